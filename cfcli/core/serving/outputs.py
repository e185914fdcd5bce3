"""Writes tables for other programs, block by block."""

import contextlib
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import polars as pl

from cfcli.core.serving.cells import without_bytes, without_nesting
from cfcli.core.storage import publishing

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetWriter

# What could move a terminal's cursor or turn the order of its text around; line breaks and tabs may
# stay.
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"


def excel_safe(frame: pl.DataFrame) -> pl.DataFrame:
    """Puts an apostrophe in front of texts that a spreadsheet would take for a formula.

    These begin with = + - @, a tab or a carriage return (OWASP, "CSV Injection").

    Args:
        frame: a table; only its columns of text change.
    """
    text = pl.selectors.string()
    return frame.with_columns(
        pl.when(text.str.contains(r"^[=+\-@\t\r]")).then("'" + text).otherwise(text).name.keep()
    )


def is_json(out: str) -> bool:
    """Whether a file is JSON lines by its name.

    Args:
        out: the name.
    """
    return ".jsonl" in Path(out).suffixes


def with_texts(block: pl.DataFrame, ids: Iterable[str]) -> pl.DataFrame:
    """A block with ids as texts, as all JSON has them: numbers would lose zeros and digits.

    Args:
        block: some rows.
        ids: names of columns of ids; those that are not there are left out.
    """
    return block.with_columns(pl.col([n for n in ids if n in block.columns]).cast(pl.String))


def write(
    blocks: Iterable[pl.DataFrame],
    out: str,
    *,
    json: bool = False,
    safe: bool = False,
    form: str | None = None,
) -> int:
    """Writes a table.

    On a terminal, control characters in texts are replaced.

    Args:
        blocks: the rows, all with the same columns.
        out: path of a file, which appears only once it is complete, or ``-`` for stdout.
        json: write a JSON object per line in place of CSV.
        safe: make CSV safe for spreadsheets, see :func:`excel_safe`.
        form: ``parquet``, or another text for CSV or JSON lines; None to decide by the name of the
            file.

    Returns:
        The number of rows.

    Raises:
        MachineError: no permission, or no space.
    """
    rows = 0
    is_terminal = out == "-" and sys.stdout.isatty()
    as_parquet = form == "parquet" if form else out.endswith((".parquet", ".pq"))
    with _opened(out) as stream, contextlib.ExitStack() as stack:
        parquet: ParquetWriter | None = None
        for k, block in enumerate(blocks):
            rows += block.height
            if is_terminal:
                block = block.with_columns(pl.selectors.string().str.replace_all(CONTROL, "\ufffd"))
            if as_parquet:
                table = block.to_arrow()
                if parquet is None:
                    import pyarrow.parquet as pq

                    parquet = stack.enter_context(
                        pq.ParquetWriter(stream, table.schema, compression="zstd")
                    )
                parquet.write_table(table.cast(parquet.schema))
            else:
                text = io.BytesIO()  # Polars would not say which error of the system it met
                if json:
                    without_bytes(block).write_ndjson(text)
                else:
                    rows_of_text = without_nesting(block)
                    if safe:
                        rows_of_text = excel_safe(rows_of_text)
                    rows_of_text.write_csv(text, include_header=k == 0)
                stream.write(text.getbuffer())
                if out == "-":
                    stream.flush()
    return rows


@contextlib.contextmanager
def _opened(out: str) -> Iterator[IO[bytes]]:
    if out == "-":
        yield sys.stdout.buffer
    else:
        with publishing.file(Path(out)) as stream:
            yield stream
