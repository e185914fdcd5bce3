"""Tables of Arrow: IPC files (Feather), IPC streams, and what other files of typed columns share
with them."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from polars.exceptions import PanicException, PolarsError

from cfcli.core.errors import InputError
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.streams import Opened
from cfcli.core.inputs.tables import Block, Reading, Rows, Types

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_ROWS = 1 << 20  # that are decoded at once where they are parsed in blocks
PIECE_ROWS = 1 << 18  # and where all columns are read
FILE = b"ARROW1\0\0"  # what an IPC file begins with
STREAM = b"\xff\xff\xff\xff"  # and a message of an IPC stream


@contextlib.contextmanager
def open_arrow(opened: Opened, source: Source, reading: Reading) -> Iterator["ArrowTable"]:
    """Opens an IPC file, such as Feather, or an IPC stream.

    Args:
        opened: its bytes, of which none were read yet.
        source: that they are from; its constant columns are added to those of the file.
        reading: how to read it.

    Raises:
        InputError: what is read from it within the block is damaged.
    """
    import pyarrow as pa

    open_it = pa.ipc.open_file if opened.peek().startswith(FILE) else pa.ipc.open_stream
    with (
        opened.seekable(reading.scratch) as path,
        damage("Arrow", source.name),
        pa.OSFile(path) as file,
    ):
        schema = open_it(file).schema
        yield ArrowTable(schema, partial(_frames, open_it, file, schema), source)


def _frames(
    open_it: "Callable[..., pa.RecordBatchFileReader | pa.RecordBatchStreamReader]",
    file: "pa.NativeFile",
    schema: "pa.Schema",
    rows: int,
    columns: Sequence[str],
) -> Iterator[pl.DataFrame]:
    """Some columns, a number of rows at once."""
    import pyarrow as pa

    fields = [schema.names.index(name) for name in columns]
    file.seek(0)
    reader = open_it(file, options=pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False))
    for batch in _batches(reader):
        for start in range(0, batch.num_rows, rows):
            yield checked(batch.slice(start, rows), columns)


def _batches(
    reader: "pa.RecordBatchFileReader | pa.RecordBatchStreamReader",
) -> "Iterator[pa.RecordBatch]":
    if hasattr(reader, "num_record_batches"):  # a file
        return map(reader.get_batch, range(reader.num_record_batches))
    return iter(reader)


@contextlib.contextmanager
def damage(title: str, where: str) -> Iterator[None]:
    """Turns what pyarrow and Polars raise on damaged files into an InputError.

    Args:
        title: of the format.
        where: name of the input.

    Raises:
        InputError: something was raised.
    """
    import pyarrow as pa

    try:
        yield
    except (
        PolarsError,
        PanicException,
        pa.ArrowException,
        OSError,
        ValueError,
        MemoryError,
    ) as error:
        lines = str(error).splitlines() or [""]
        raise InputError(f"{where}: damaged {title}: {lines[0]}") from None


def refuse_wide_decimals(schema: "pa.Schema", names: Sequence[str], where: str) -> None:
    """Refuses types at which Polars would panic, with a backtrace on stderr.

    Args:
        schema: of a table.
        names: of the columns that are to be read.
        where: name of the table, for messages.

    Raises:
        InputError: a column is or holds decimals of 256 bits.
    """
    for name in names:
        kind = str(schema.field(name).type)
        if "decimal256" in kind:
            raise InputError(
                f"{where}: column '{name}' is of type {kind}, which cannot be read; make it "
                "float64 or text"
            )


class ArrowTable:
    """A file of typed columns that is open for reading, a :class:`cfcli.core.inputs.tables.Table`.

    Args:
        schema: of its columns.
        frames: gives the rows of some columns, at most a number at once.
        source: that it is from; its constant columns are added to those of the file.
    """

    def __init__(
        self,
        schema: "pa.Schema",
        frames: Callable[[int, Sequence[str]], Iterator[pl.DataFrame]],
        source: Source,
    ) -> None:
        self.where = source.name
        self.notes: list[str] = []
        self._schema = schema
        self._frames = frames
        self._inside: list[str] = schema.names
        self._constants = {
            name: value for name, value in source.columns.items() if name not in self._inside
        }
        self.names = [*self._inside, *self._constants]

    def types(self, names: Sequence[str]) -> pl.Schema:
        """The types of columns; constant ones are text.

        Args:
            names: of the columns.

        Raises:
            InputError: Polars has no such type.
        """
        refuse_wide_decimals(self._schema, self._of_file(names), self.where)
        empty = self._schema.empty_table()
        return self._with_constants(_from_arrow(empty, self._of_file(names)), names).schema

    def rows(self, names: Sequence[str]) -> Iterator[Rows]:
        """The rows, at most :data:`PIECE_ROWS` at once.

        Args:
            names: of the columns to read.
        """
        for block in self._blocks(names, PIECE_ROWS):
            yield from block.exact()

    def blocks(self, types: Types, guesses: Types) -> Iterator[Block]:
        """The rows, at most :data:`BLOCK_ROWS` at once.

        Args:
            types: the columns to read, which keep the types that they have.
            guesses: not used.
        """
        return self._blocks(list(types), BLOCK_ROWS)

    def _blocks(self, names: Sequence[str], size: int) -> Iterator[Block]:
        row = 1
        for frame in self._frames(size, self._of_file(names)):
            numbers = np.arange(row, row + frame.height)
            frame = self._with_constants(frame, names)
            yield Block.of(Rows(frame, numbers, partial(_text_of, frame)))
            row += len(numbers)

    def _of_file(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name not in self._constants]

    def _with_constants(self, frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        constants = []
        for name in names:
            if name in self._constants:
                constants.append(pl.lit(self._constants[name], pl.String).alias(name))
        return frame.with_columns(constants).select(names)


def checked(batch: "pa.RecordBatch", columns: Sequence[str]) -> pl.DataFrame:
    """Columns of a batch that may be damaged.

    Args:
        batch: some rows.
        columns: the names of those to take.

    Raises:
        pa.ArrowException: it is damaged.
    """
    batch.validate(full=True)  # texts may be no UTF-8, which Polars takes on trust
    return _from_arrow(batch, columns)


def _from_arrow(table: "pa.Table | pa.RecordBatch", names: Sequence[str]) -> pl.DataFrame:
    """Columns alone: damaged metadata beside them makes Polars panic."""
    return pl.DataFrame({name: pl.from_arrow(table.column(name)) for name in names})


def _text_of(frame: pl.DataFrame, row: int) -> str:
    return ",".join(str(cell) for cell in frame.row(row))
