"""Pairs and ids, from files of users."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PanicException, PolarsError

from cfcli.core.errors import InputError
from cfcli.core.inputs import parquet
from cfcli.core.inputs.lines import behind_header, cut, first_line, line_blocks
from cfcli.core.inputs.records import (
    BadQuote,
    find_records,
    is_quoted,
    one_character,
    sniff,
    split,
    with_one_character,
)
from cfcli.core.inputs.roles import ALIASES, key_of
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.streams import HEAD, Opened

PIECE = 4 << 20  # bytes of text predicted at once
ROWS = 1 << 18  # rows of Parquet predicted at once


def read_ids(source: Source, role: str, own: str) -> pl.Series:
    """Ids from a file: the column called ``own`` or by an alias of the role, or, without such a
    header, whole lines.

    Raises:
        InputError: nothing in it, or damaged.
    """
    data, _ = source.read()
    try:
        if data.startswith(b"PAR1"):
            frame = pl.read_parquet(data)
        else:
            text = data.decode("utf-8-sig")
            lines = [line.rstrip("\r") for line in text.split("\n")]
            first = next(line for line in lines if line.strip())
            cells = split([first], ",")[0]
            if not any(name == own or key_of(name) in ALIASES[role] for name in cells):
                return pl.Series([line for line in lines if line], dtype=pl.String)
            frame = pl.read_csv(data, infer_schema=False, glob=False)
        name = next(n for n in frame.columns if n == own or key_of(n) in ALIASES[role])
    except StopIteration:
        raise InputError(f"{source.name}: no column '{own}' in it") from None
    except (PolarsError, PanicException, UnicodeDecodeError) as error:
        raise InputError(f"{source.name}: damaged: {str(error).splitlines()[0]}") from None
    return frame[name].cast(pl.String).drop_nulls()


def text_pairs(
    opened: Opened, head: bytes, pairs: Source
) -> Iterator[tuple[NDArray[np.int64], pl.DataFrame]]:
    """The line on which each row begins, and the rows, every column as text."""
    start, before = first_line(head, opened, 0)
    shown = start.decode("utf-8", "replace")
    if not shown.strip():
        raise InputError(f"{pairs.name}: is empty")
    separator, names = sniff(
        shown if len(start) < HEAD else shown[: shown.rfind("\n")], pairs.name, fields=2
    )
    names = [name.strip() for name in names]
    if len(set(names)) < len(names):
        raise InputError(f"{pairs.name}: a name of a column stands there twice")
    quoted = is_quoted(separator)
    one = one_character(separator)
    schema = dict.fromkeys(names, pl.String)
    if not (body := behind_header(start, quoted)) and not opened.peek():
        yield np.empty(0, np.int64), pl.DataFrame(schema=schema)  # a header alone
    line = before + 1 + start.count(b"\n", 0, len(start) - len(body))
    for block in line_blocks(opened, body, quoted):
        for piece in cut(block, PIECE, quoted):
            data = with_one_character(piece, separator)
            try:
                found = find_records(data, one)
            except BadQuote as error:
                at = line + data.count(b"\n", 0, error.place)
                raise InputError(f"{pairs.name}:{at}: {error}") from None
            wrong = np.flatnonzero((found.fields != len(names)) & (found.fields > 0))
            if len(wrong):
                at = line + int(found.lines[wrong[0]])
                raise InputError(
                    f"{pairs.name}:{at}: expected {len(names)} fields, found {found.fields[wrong[0]]}"
                )
            is_row = found.fields > 0
            try:
                frame = pl.read_csv(
                    data,
                    separator=one,
                    has_header=False,
                    schema=schema,
                    quote_char='"' if quoted else None,
                    glob=False,
                )
            except (PolarsError, PanicException) as error:
                raise InputError(f"{pairs.name}:{line}: {str(error).splitlines()[0]}") from None
            if not is_row.all():
                frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
            if frame.height != is_row.sum():
                raise InputError(
                    f"{pairs.name}:{line}: rows from here on cannot be told apart; is it a CSV file?"
                )
            yield line + found.lines[is_row], frame
            line += piece.count(b"\n")


def parquet_pairs(
    opened: Opened, head: bytes, pairs: Source
) -> Iterator[tuple[NDArray[np.int64], pl.DataFrame]]:
    """The number of each row, from 1, and the rows."""
    with parquet.opened_file(opened, head, None) as file:
        names = file.schema_arrow.names
        if len(set(names)) < len(names):
            raise InputError(f"{pairs.name}: a name of a column stands there twice")
        yield np.empty(0, np.int64), parquet.from_arrow(file.schema_arrow.empty_table(), names)
        row = 1
        for frame in parquet.frames(file, ROWS, names):
            yield np.arange(row, row + frame.height), frame
            row += frame.height
