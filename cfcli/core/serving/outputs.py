"""Writes tables for other programs, block by block."""

import contextlib
import gzip
import io
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, cast

import polars as pl

from cfcli.core.errors import ConfigError
from cfcli.core.serving.cells import without_bytes, without_nesting
from cfcli.core.storage import publishing
from cfcli.core.threads import in_threads

if TYPE_CHECKING:
    import pyarrow as pa

Form = Literal["csv", "tsv", "jsonl", "parquet", "arrow"]
SUFFIXES: dict[str, Form] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
THREADS = 2  # that render texts
TEXTS = ("csv", "tsv", "jsonl")
PACKED = (".gz", ".zst")
PACKING = 6  # gzip's own default; Python's is 9, the slowest
ENDINGS = ".csv, .tsv or .jsonl (.gz or .zst may follow), .parquet, .arrow or .feather"
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
    return form_of(out) == "jsonl"


def with_texts(block: pl.DataFrame, ids: Iterable[str]) -> pl.DataFrame:
    """A block with ids as texts, as all JSON has them: numbers would lose zeros and digits.

    Args:
        block: some rows.
        ids: names of columns of ids; those that are not there are left out.
    """
    return block.with_columns(pl.col([n for n in ids if n in block.columns]).cast(pl.String))


def form_of(name: str) -> Form | None:
    """The form that the name of a file asks for: one of those in :data:`SUFFIXES`, in either case,
    where texts may have ``.gz`` or ``.zst`` behind it.

    Args:
        name: of the file, with or without its folder; ``-`` for stdout.

    Returns:
        The form; None where the name has no suffix.

    Raises:
        ConfigError: the suffix is none of these.
    """
    path = Path(name.lower())
    inner = Path(path.stem) if path.suffix in PACKED else path
    form = SUFFIXES.get(inner.suffix)
    if form in TEXTS or (form and inner == path) or not path.suffix:
        return form
    raise ConfigError(
        f"{name}: no form is called '{Path(name).suffix}'; the name may end in {ENDINGS}"
    )


def write(
    blocks: Iterable[pl.DataFrame],
    out: str,
    *,
    json: bool = False,
    safe: bool = False,
    form: str | None = None,
) -> int:
    """Writes a table, in the form that the name of the file asks for; see :func:`form_of`.

    On a terminal, control characters in texts are replaced.

    Args:
        blocks: the rows, all with the same columns.
        out: path of a file, which appears only once it is complete, or ``-`` for stdout.
        json: write JSON lines in place of CSV where no suffix decides.
        safe: make CSV and TSV safe for spreadsheets, see :func:`excel_safe`.
        form: what to write where no suffix decides.

    Returns:
        The number of rows.

    Raises:
        ConfigError: the name has another suffix.
        MachineError: no permission, or no space.
    """
    rows = 0
    is_terminal = out == "-" and sys.stdout.isatty()
    form = form_of(out) or form or ("jsonl" if json else "csv")
    with _opened(out) as raw, contextlib.ExitStack() as stack:
        stream = stack.enter_context(_packed(raw, Path(out).suffix.lower()))
        if is_terminal:
            blocks = map(_without_controls, blocks)
        if form in TEXTS:
            render = partial(_text, form=form, safe=safe)
            for height, text in in_threads(render, enumerate(blocks), THREADS):
                rows += height
                stream.write(text.getbuffer())
                if out == "-":
                    stream.flush()
            return rows
        writer: Any = None
        for block in blocks:
            rows += block.height
            table = block.to_arrow()
            if writer is None:
                schema = table.schema
                writer = stack.enter_context(_writer(form, stream, schema))
            writer.write_table(table.cast(schema))
    return rows


def _without_controls(block: pl.DataFrame) -> pl.DataFrame:
    return block.with_columns(pl.selectors.string().str.replace_all(CONTROL, "\ufffd"))


def _text(numbered: tuple[int, pl.DataFrame], form: str, safe: bool) -> tuple[int, io.BytesIO]:
    """The number of rows of a block, and its text; the first block has the header."""
    number, block = numbered
    text = io.BytesIO()  # Polars would not say which error of the system it met
    if form == "jsonl":
        without_bytes(block).write_ndjson(text)
        return block.height, text
    rows = without_nesting(block)
    if safe:
        rows = excel_safe(rows)
    separator = "\t" if form == "tsv" else ","
    rows.write_csv(text, include_header=number == 0, separator=separator)
    return block.height, text


def _writer(form: str, stream: IO[bytes], schema: "pa.Schema") -> Any:
    """Writes Arrow's tables, one after the other."""
    if form == "arrow":
        import pyarrow.ipc as ipc

        return ipc.new_file(stream, schema)
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A dictionary of predictions, nearly all of which differ, takes a third of the time of writing.
    repeating = [field.name for field in schema if not pa.types.is_floating(field.type)]
    return pq.ParquetWriter(stream, schema, compression="zstd", use_dictionary=repeating)


class _Unclosed:
    """A stream that stays open when Arrow closes it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.write, self.flush, self.closed = stream.write, stream.flush, False

    def close(self) -> None:
        pass


@contextlib.contextmanager
def _packed(stream: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    """The stream, behind a compressor where the suffix of the file asks for one."""
    if suffix == ".gz":
        with gzip.GzipFile("", "wb", PACKING, stream, mtime=0) as packed:
            yield cast("IO[bytes]", packed)
    elif suffix == ".zst":
        import pyarrow as pa

        below = pa.PythonFile(_Unclosed(stream), mode="w")
        with pa.CompressedOutputStream(below, "zstd") as packed:
            yield packed
    else:
        yield stream


@contextlib.contextmanager
def _opened(out: str) -> Iterator[IO[bytes]]:
    if out == "-":
        yield sys.stdout.buffer
    else:
        with publishing.file(Path(out)) as stream:
            yield stream
