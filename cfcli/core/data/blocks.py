"""The rows of a split, block by block, so that they need not fit into memory."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.weights import Weighting
from cfcli.core.errors import ArtifactError
from cfcli.core.pair import Pair

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {"user": pl.UInt32, "item": pl.UInt32, "rating": pl.Float32}
DTYPES = {"user": np.uint32, "item": np.uint32, "rating": np.float32, "weight": np.float32}
ROWS = 1 << 20  # rows of a block of a table in memory

Arrays = dict[str, NDArray[np.generic]]  # by name of the column, as in ``DTYPES``


class Piece(NamedTuple):
    """Some rows of a row group.

    Attributes:
        group: number of the row group, from 0.
        start: the first row in it.
        stop: the row after the last.
        offset: how many of these rows to skip at the beginning.
        every: 1 takes all other rows, n every n-th of them.
    """

    group: int
    start: int
    stop: int
    offset: int = 0
    every: int = 1


@dataclass(frozen=True)
class Blocks:
    """The Parquet file of a split, read by row groups.

    :mod:`cfcli.core.data.writing` writes groups of about a million rows.

    Attributes:
        path: of the file.
        users: number of users; all indices of users are below it.
        items: number of items; all indices of items are below it.
        others: further columns to read, ``weight`` or ``timestamp``.
        weighting: makes the column ``weight`` of these; None leaves them as they are.
    """

    path: Path
    users: int
    items: int
    others: tuple[str, ...] = ()
    weighting: Weighting | None = None

    def __len__(self) -> int:
        return sum(self._groups)

    def has(self, column: str) -> bool:
        """Whether the file has a column.

        Args:
            column: its name.

        Raises:
            ArtifactError: the file is damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return column in pq.read_schema(self.path).names
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from None

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """All rows in the order of the file: columns ``user`` u32, ``item`` u32, ``rating`` f32,
        and those that were asked for."""
        return self.read(self.pieces(range(len(self))))

    def pieces(self, rows: range) -> list[Piece]:
        """Finds the parts of row groups that hold some rows.

        Args:
            rows: consecutive rows of the file.

        Raises:
            ArtifactError: the file is damaged.
        """
        found, begin = [], 0
        for group, n in enumerate(self._groups):
            start, stop = max(rows.start - begin, 0), min(rows.stop - begin, n)
            if start < stop:
                found.append(Piece(group, start, stop))
            begin += n
        return found

    def read(self, pieces: Iterable[Piece]) -> Iterator[pl.DataFrame]:
        """Reads pieces as tables, see :meth:`arrays`.

        Args:
            pieces: what to read, in this order.

        Yields:
            The rows of each piece: columns ``user`` u32, ``item`` u32, ``rating`` f32.

        Raises:
            ArtifactError: the file is damaged, or has an invalid index.
        """
        for columns in self.arrays(pieces):
            yield pl.DataFrame(columns)

    def arrays(self, pieces: Iterable[Piece]) -> Iterator[Arrays]:
        """Reads pieces as arrays, without threads.

        In a forked process, as PyTorch's workers are, the thread pools of libraries that were
        loaded before the fork would wait for ever.

        Args:
            pieces: what to read, in this order.

        Yields:
            The columns ``user``, ``item`` and ``rating`` of each piece, and those that were asked
            for.

        Raises:
            ArtifactError: the file is damaged, or has an invalid index.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                for group, start, stop, offset, every in pieces:
                    names = [*COLUMNS, *self.others]
                    table = file.read_row_group(group, columns=names, use_threads=False)
                    table = table[start:stop]
                    if any(table.column(name).null_count for name in names if name != "timestamp"):
                        raise ArtifactError(f"{self.path}: damaged: has missing values")
                    columns = {
                        name: np.array(_values(table.column(name))[offset::every]) for name in names
                    }
                    self._check(columns)
                    yield columns if self.weighting is None else self._weighed(columns)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise self._damaged(error) from None

    def _weighed(self, columns: Arrays) -> Arrays:
        """The columns with weights in the place of what they are made of."""
        assert self.weighting is not None
        others = pl.DataFrame({name: columns.pop(name) for name in self.others})
        return columns | {"weight": self.weighting.weights(others)}

    def _check(self, columns: Arrays) -> None:
        dtypes = {name: column.dtype for name, column in columns.items()}
        found = {name: kind for name, kind in dtypes.items() if name != "timestamp"}
        numbers = [columns[name] for name in ("rating", "weight") if name in columns]
        are_right = all(found[name] == DTYPES[name] for name in found)
        if not are_right or not all(np.isfinite(each).all() for each in numbers):
            raise ArtifactError(f"{self.path}: damaged: not users, items and finite ratings")
        for name, n in (("user", self.users), ("item", self.items)):
            if columns[name].max(initial=0) >= max(n, 1):
                raise ArtifactError(f"{self.path}: damaged: column '{name}' is not below {n}")

    def _damaged(self, error: Exception) -> ArtifactError:
        reason = str(error).partition("\n")[0]
        return ArtifactError(f"{self.path}: damaged: {reason}")

    @cached_property
    def _groups(self) -> list[int]:
        """Rows of each row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                metadata = file.metadata
                return [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from None


def _values(column: "pa.ChunkedArray") -> NDArray[Any]:
    """Numbers or times of a column. PyArrow's own to_numpy() imports pandas where it is installed,
    which takes longer than all else that is read of a small dataset."""
    array = column.combine_chunks()
    if str(array.type).startswith("timestamp"):
        numbers = array.view("int64")
        if numbers.null_count:
            numbers = numbers.fill_null(np.iinfo(np.int64).min)  # NaT
        return np.from_dlpack(numbers).view(f"datetime64[{array.type.unit}]")
    return np.from_dlpack(array)


@dataclass(frozen=True)
class Summary:
    """Statistics of rows from one pass over them.

    Attributes:
        n: number of rows.
        low: the lowest rating.
        high: the highest rating.
        mean: of the ratings.
        deviation: standard deviation of the ratings.
        user_n: number of ratings of each user, (U,).
        item_n: number of ratings of each item, (I,).
    """

    n: int
    low: float
    high: float
    mean: float
    deviation: float
    user_n: NDArray[np.int64]
    item_n: NDArray[np.int64]

    @property
    def counts(self) -> Pair[NDArray[np.int64]]:
        """Numbers of ratings of users (U,) and of items (I,)."""
        return Pair(self.user_n, self.item_n)

    @classmethod
    def of(cls, rows: "pl.DataFrame | Blocks", users: int, items: int) -> "Summary":
        """Summarises rows.

        Args:
            rows: columns ``user``, ``item`` and ``rating``.
            users: number of users (U).
            items: number of items (I).

        Raises:
            ArtifactError: the file of the blocks is damaged.
        """
        n, total, squares = 0, 0.0, 0.0
        low, high = math.inf, -math.inf
        user_n, item_n = np.zeros(users, np.int64), np.zeros(items, np.int64)
        for block in in_blocks(rows):
            rating: NDArray[np.float64] = block["rating"].to_numpy().astype(np.float64)
            n += len(rating)
            low = float(rating.min(initial=low))
            high = float(rating.max(initial=high))
            total += rating.sum()
            squares += float(rating @ rating)
            user_n += np.bincount(block["user"].to_numpy(), minlength=users)
            item_n += np.bincount(block["item"].to_numpy(), minlength=items)
        mean = total / max(n, 1)
        deviation = max(squares / max(n, 1) - mean**2, 0.0) ** 0.5
        return cls(n, low, high, mean, deviation, user_n, item_n)


def in_blocks(rows: pl.DataFrame | Blocks) -> Iterable[pl.DataFrame]:
    """Makes blocks of a table in memory, too.

    Args:
        rows: a table, or what is in blocks already.
    """
    return rows if isinstance(rows, Blocks) else rows.iter_slices(ROWS)
