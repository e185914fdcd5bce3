"""Ratings in Parquet: types are known, so what they can be is checked by them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from cfcli.core.errors import InputError
from cfcli.core.inputs.roles import find_columns
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.streams import Opened

if TYPE_CHECKING:
    from cfcli.core.inputs.ratings import Reader

PARQUET_ROWS = 1 << 20  # that are decoded at once


def blocks(reader: "Reader", source: Source, opened: Opened, head: bytes) -> Iterator[pl.DataFrame]:
    """The rows of a Parquet file, ``head`` of which was read already; see :meth:`Reader.blocks`."""
    with opened_file(opened, head, reader.scratch) as file:
        inside = file.schema_arrow.names
        names = [*inside, *(name for name in source.columns if name not in inside)]
        columns = find_columns(names, reader.config, source.name)
        reader.columns = reader.columns or columns
        wanted = [name for name in columns.values() if name in inside]
        types = from_arrow(file.schema_arrow.empty_table(), wanted)
        for role, name in columns.items():
            if name in inside:
                _refuse_type(types.schema[name], role, name, source.name)
        row = 0
        for frame in frames(file, PARQUET_ROWS, wanted):
            yield _block(reader, frame, source, columns, row)
            row += frame.height


@contextlib.contextmanager
def opened_file(opened: Opened, head: bytes, scratch: Path | None) -> Iterator[Any]:
    """The ``pyarrow.parquet.ParquetFile`` in an input, ``head`` of which was read already; see
    :meth:`Opened.seekable`.

    Raises:
        InputError: what is read from it within the block is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with opened.seekable(head, scratch) as path:
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                yield file
        except (
            PolarsError,
            PanicException,
            pa.ArrowException,
            OSError,
            ValueError,
            MemoryError,
        ) as error:
            text = (str(error).splitlines() or [""])[0]
            raise InputError(f"{opened.name}: damaged Parquet: {text}") from None


def frames(file: Any, rows: int, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Some columns of a ``ParquetFile``, at most ``rows`` rows at once."""
    for batch in file.iter_batches(rows, columns=columns, use_threads=False):
        batch.validate(full=True)  # texts may be no UTF-8, which Polars takes on trust
        yield from_arrow(batch, columns)


def _block(
    reader: "Reader", frame: pl.DataFrame, source: Source, columns: dict[str, str], start: int
) -> pl.DataFrame:
    constant = [
        pl.lit(source.columns[n], pl.String).alias(n)
        for n in columns.values()
        if n not in frame.columns
    ]
    frame = frame.with_columns(constant)
    ids = ((columns["user"], reader.user_ids), (columns["item"], reader.item_ids))
    coded = frame.with_columns(
        pl.col(name).cast(pl.String).cast(pl.Categorical(known)) for name, known in ids
    )

    def row(k: int) -> tuple[int, str]:
        return start + k + 1, ",".join(str(cell) for cell in frame.row(k))[:200]

    return reader.put_aside(coded, columns, source.name, row, [])


def from_arrow(table: Any, names: list[str]) -> pl.DataFrame:
    """Columns alone: damaged metadata beside them makes Polars panic."""
    return pl.DataFrame({name: pl.from_arrow(table.column(name)) for name in names})


def _refuse_type(kind: pl.DataType, role: str, name: str, where: str) -> None:
    # Engines that see no value in a part write it without a type; numbers of databases are
    # decimals.
    good = kind in (pl.String, pl.Categorical, pl.Enum, pl.Null) or kind.is_integer()
    good |= isinstance(kind, pl.Decimal) and kind.scale == 0
    if role in ("rating", "time"):
        good |= kind.is_numeric()
    if role == "time":
        good |= kind in (pl.Date, pl.Datetime)
    if not good:
        what = "a number" if role == "rating" else "a whole number"
        raise InputError(
            f"{where}: column '{name}' ({role}) is of type {kind}; make it text or {what}"
        )
