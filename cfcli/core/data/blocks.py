"""The rows of a split, block by block: what does not fit into memory, or need not."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.errors import ArtifactError

COLUMNS = {"user": pl.UInt32, "item": pl.UInt32, "rating": pl.Float32}
KINDS = {"user": np.uint32, "item": np.uint32, "rating": np.float32}
ROWS = 1 << 20  # of a table that is in memory, at once


class Piece(NamedTuple):
    """Rows ``start`` to ``stop`` of a row group; of these, every ``every``-th, from ``offset``
    on."""

    group: int
    start: int
    stop: int
    offset: int = 0
    every: int = 1


@dataclass(frozen=True)
class Blocks:
    """The Parquet file of a split, read by row groups; :mod:`cfcli.core.data.writing` writes those
    of about a million rows.

    Attributes:
        path: of the file.
        users, items: numbers of them; no index may reach them.
    """

    path: Path
    users: int
    items: int

    def __len__(self) -> int:
        return sum(self._groups)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """All rows in the order of the file: columns ``user`` u32, ``item`` u32, ``rating`` f32."""
        return self.read(self.pieces(range(len(self))))

    def pieces(self, rows: range) -> list[Piece]:
        """The parts of row groups that these rows are."""
        found, begin = [], 0
        for group, n in enumerate(self._groups):
            start, stop = max(rows.start - begin, 0), min(rows.stop - begin, n)
            if start < stop:
                found.append(Piece(group, start, stop))
            begin += n
        return found

    def read(self, pieces: Iterable[Piece]) -> Iterator[pl.DataFrame]:
        """The rows of each piece."""
        for columns in self.arrays(pieces):
            yield pl.DataFrame(columns)

    def arrays(self, pieces: Iterable[Piece]) -> Iterator[dict[str, NDArray[Any]]]:
        """The columns of each piece, by nothing that works in threads: in a process that was
        forked, as PyTorch's workers are, threads of the libraries that it came with wait for ever.

        Raises:
            ArtifactError: the file is damaged, or has an index that is none.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                for group, start, stop, offset, every in pieces:
                    table = file.read_row_group(group, columns=[*COLUMNS], use_threads=False)[
                        start:stop
                    ]
                    if any(column.null_count for column in table.columns):
                        raise ArtifactError(f"{self.path}: damaged: has gaps")
                    columns = {
                        name: table.column(name).to_numpy()[offset::every] for name in COLUMNS
                    }
                    yield {
                        name: np.ascontiguousarray(column)
                        for name, column in self._checked(columns).items()
                    }
        except (pa.ArrowException, OSError, KeyError) as error:
            raise ArtifactError(
                f"{self.path}: damaged: {(str(error).splitlines() or [''])[0]}"
            ) from None

    def _checked(self, columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        kinds = {name: column.dtype for name, column in columns.items()}
        if kinds != KINDS or not np.isfinite(columns["rating"]).all():
            raise ArtifactError(f"{self.path}: damaged: not users, items and finite ratings")
        for name, n in (("user", self.users), ("item", self.items)):
            if columns[name].max(initial=0) >= max(n, 1):
                raise ArtifactError(f"{self.path}: damaged: column '{name}' is not below {n}")
        return columns

    @cached_property
    def _groups(self) -> list[int]:
        """Rows of each row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                return [
                    file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)
                ]
        except (pa.ArrowException, OSError) as error:
            raise ArtifactError(
                f"{self.path}: damaged: {(str(error).splitlines() or [''])[0]}"
            ) from None


@dataclass(frozen=True)
class Summary:
    """What one pass over rows tells.

    Attributes:
        n: number of rows.
        low, high, mean, deviation: of the ratings.
        user_n, item_n: ratings of each, (U,) and (I,).
    """

    n: int
    low: float
    high: float
    mean: float
    deviation: float
    user_n: NDArray[np.int64]
    item_n: NDArray[np.int64]

    @classmethod
    def of(cls, rows: "pl.DataFrame | Blocks", users: int, items: int) -> "Summary":
        """The summary of a table or of blocks."""
        n, low, high, total, squares = 0, math.inf, -math.inf, 0.0, 0.0
        user_n, item_n = np.zeros(users, np.int64), np.zeros(items, np.int64)
        for block in in_blocks(rows):
            rating: NDArray[Any] = block["rating"].to_numpy().astype(np.float64)
            n += len(rating)
            low, high = min(low, rating.min(initial=low)), max(high, rating.max(initial=high))
            total += rating.sum()
            squares += rating @ rating
            user_n += np.bincount(block["user"].to_numpy(), minlength=users)
            item_n += np.bincount(block["item"].to_numpy(), minlength=items)
        mean = total / max(n, 1)
        return cls(
            n, low, high, mean, max(squares / max(n, 1) - mean**2, 0.0) ** 0.5, user_n, item_n
        )


def in_blocks(rows: pl.DataFrame | Blocks) -> Iterable[pl.DataFrame]:
    """A table as blocks, too."""
    return rows if isinstance(rows, Blocks) else rows.iter_slices(ROWS)
