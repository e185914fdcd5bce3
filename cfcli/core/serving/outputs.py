"""Tables for other programs, written block by block as they come."""

import contextlib
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import polars as pl

from cfcli.core.storage import publishing

# What could move a terminal's cursor or turn the order of its text around; line breaks and tabs may
# stay.
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"


def excel_safe(frame: pl.DataFrame) -> pl.DataFrame:
    """Texts that a spreadsheet would take for a formula get an apostrophe in front, as OWASP's "CSV
    Injection" has it: those that begin with = + - @, a tab or a carriage return."""
    text = pl.selectors.string()
    return frame.with_columns(
        pl.when(text.str.contains(r"^[=+\-@\t\r]")).then("'" + text).otherwise(text).name.keep()
    )


def write(
    blocks: Iterable[pl.DataFrame],
    out: str,
    *,
    json: bool = False,
    safe: bool = False,
    form: str | None = None,
) -> int:
    """Writes blocks of one table to ``out`` and returns how many rows it were.

    ``out`` is a file that is there whole or not at all (Parquet if ``form`` says so or it is called
    so, else CSV), or ``-`` for stdout (CSV, or a JSON object a line).

    On a terminal, control characters in texts are replaced.

    Args:
        safe: CSV for spreadsheets, see :func:`excel_safe`.

    Raises:
        MachineError: it cannot be written.
    """
    rows = 0
    is_terminal = out == "-" and sys.stdout.isatty()
    as_parquet = form == "parquet" if form else out.endswith((".parquet", ".pq"))
    with _opened(out) as stream, contextlib.ExitStack() as stack:
        parquet: Any = None
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
                text = io.BytesIO()  # Polars itself would not say which error of the system it met
                if json:
                    block.write_ndjson(text)
                else:
                    (excel_safe(block) if safe else block).write_csv(text, include_header=k == 0)
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
