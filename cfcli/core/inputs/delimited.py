"""Ratings in a text: CSV and its kin.

Ids are read as text: types that a reader infers would merge ``007`` with ``7`` and round ids beyond
2^53. Each block of lines is parsed by Polars at once. Only where something in it is odd (quotes,
columns left out, a value that is no number) is it cut into pieces whose records are found first, so
that each has its true line (a quoted newline makes rows differ from lines) and its true number of
fields.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import polars as pl
from polars.exceptions import PanicException, PolarsError

from cfcli.core.errors import InputError
from cfcli.core.inputs.checks import FIELDS
from cfcli.core.inputs.lines import ahead, behind_header, cut, first_line, line_blocks
from cfcli.core.inputs.records import (
    UNIT,
    BadQuote,
    find_records,
    is_quoted,
    one_character,
    sniff,
    split,
    with_one_character,
)
from cfcli.core.inputs.roles import HEADERLESS, find_columns
from cfcli.core.inputs.sources import Source, refuse_foreign
from cfcli.core.inputs.streams import HEAD, Opened

if TYPE_CHECKING:
    from cfcli.core.inputs.ratings import Reader

PIECE = 4 << 20  # bytes of a block with something odd in it that are looked at record by record


def blocks(reader: "Reader", source: Source, opened: Opened, head: bytes) -> Iterator[pl.DataFrame]:
    """The rows of a text, ``head`` of which was read already; see :meth:`Reader.blocks`."""
    where, config = source.name, reader.config
    refuse_foreign(head, where)
    start, lines = first_line(head, opened, config.skip_lines)
    shown = start.decode("utf-8", "replace")
    if "\0" in shown:
        raise InputError(f"{where}: holds NUL bytes, so it is no text; is it a CSV file?")
    if len(start) >= HEAD and "\n" in shown:
        shown = shown[: shown.rindex("\n")]
    if not shown.strip():
        raise InputError(f"{where}: is empty")
    if b"\n" not in start and b"\r" in start:
        raise InputError(f'{where}: has CR line endings alone; convert it with \'tr "\\r" "\\n"\'')
    separator, first = sniff(shown, where, config.format)
    names = [name.strip() for name in first]
    if names != first:
        reader.said.append(f"{where}: blanks around the names of columns were left out")
    if separator in ";|" or (separator != "," and where.endswith(".csv")):
        reader.said.append(f"{where}: fields are separated by '{separator}'".replace("\t", "\\t"))
    header = not config.no_header
    if len(names) in (3, 4) and separator in ("::", "\t") and _is_number(names[2]):
        header = False
    if not header:
        plain = len(names) in (3, 4) and not (
            config.user_col or config.item_col or config.rating_col
        )
        names = (
            list(HEADERLESS[: len(names)]) if plain else [f"column_{k}" for k in range(len(names))]
        )
    columns = find_columns(names, config, where)
    reader.columns = reader.columns or columns
    text = Text(reader, where, separator, names, columns)
    if header:
        body = behind_header(start, text.quoted)
        lines += start.count(b"\n", 0, len(start) - len(body))
        start = body
    text.line = lines + 1
    whole = True
    for data in ahead(line_blocks(opened, start, text.quoted)):
        whole = data.endswith(b"\n")
        yield from text.block(data)
    if not whole:
        reader.said.append(f"{where}: the last line has no line break; the file may be cut off")


@dataclass
class Text:
    """A text that is being read.

    Attributes:
        separator, names, columns: of its fields, and the roles of its columns.
        known: the types that its fields have turned out to have.
        line: the number of the line that comes next.
    """

    reader: "Reader"
    where: str
    separator: str
    names: list[str]
    columns: dict[str, str]
    known: dict[str, Any] | None = None
    line: int = 1

    def __post_init__(self) -> None:
        self.quoted = is_quoted(self.separator)
        self.needed = sorted(self.names.index(name) for name in self.columns.values())
        self.leaves_out = len(self.needed) < len(self.names)

    def block(self, data: bytes, size: int = PIECE) -> Iterator[pl.DataFrame]:
        """The rows of some whole lines, the first of which is number ``self.line``: all at once or,
        where that does not go, in pieces of ``size`` bytes."""
        if data[:HEAD].isspace() and data.isspace():
            self.line += data.count(b"\n")
        elif b"\0" in data:
            line = self.line + data.count(b"\n", 0, data.index(b"\0"))
            raise InputError(f"{self.where}:{line}: holds NUL bytes, so it is no text")
        elif (frame := self._at_once(data)) is not None:
            yield frame
        else:
            for piece in cut(data, size, self.quoted):
                if (frame := self._by_record(piece)) is not None:
                    yield frame
                elif size == 1:
                    self._cannot_parse(piece)
                else:
                    yield from self.block(piece, max(1, size // 64))
                    continue
                self.line += piece.count(b"\n")

    def _at_once(self, data: bytes) -> pl.DataFrame | None:
        """All rows of a block, or None when some line may not be as it should be."""
        if self.leaves_out or (self.quoted and b'"' in data) or self._has_unit(data):
            return None
        for types in self._types(data):
            frame = self._parse(with_one_character(data, self.separator), types)
            if frame is not None:
                self.known = types
                break
        else:
            return None
        height = frame.height
        if frame[self.columns["user"]].has_nulls():
            frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))  # blank lines
        if frame[self.names[-1]].has_nulls():
            return None  # Polars fills up short rows
        checked = self.reader.checks.check(frame, self.columns)
        if checked["problem"].max():
            return None
        self.line += height  # without quotes, rows are lines
        return self.reader.accept(checked)

    def _by_record(self, data: bytes) -> pl.DataFrame | None:
        """The good rows of some lines, the bad ones put aside; or None when Polars cannot read
        them."""
        if self._has_unit(data):
            return None
        text, separator = with_one_character(data, self.separator), one_character(self.separator)
        try:
            found = find_records(text, separator)
        except BadQuote as error:
            line = self.line + text.count(b"\n", 0, error.place)
            raise InputError(f"{self.where}:{line}: {error}") from None
        is_good = found.fields == len(self.names)
        keep = np.ones(len(text), bool)
        for k in np.flatnonzero(~is_good).tolist():
            keep[found.starts[k] : found.ends[k] + 1] = False
        frame: pl.DataFrame | None = pl.DataFrame(schema=self._schema({}))
        if is_good.any():
            frame = self._parse(np.frombuffer(text, np.uint8)[keep].tobytes(), {})
        if frame is None or frame.height != is_good.sum():
            return None

        def raw(k: int) -> str:
            return text[found.starts[k] : found.ends[k]].decode("utf-8", "replace").rstrip("\r")

        rejects = []
        for k in np.flatnonzero(~is_good & (found.fields > 0)).tolist():
            if "".join(itertools.chain(*split([raw(k)], separator))).strip():
                column = self.names[
                    min(found.fields[k], len(self.names)) - (found.fields[k] > len(self.names))
                ]
                detail = f"expected {len(self.names)} fields, found {found.fields[k]}"
                shown = raw(k).replace(separator, self.separator)[:200]
                rejects.append(
                    (self.where, self.line + int(found.lines[k]), column, FIELDS, detail, shown)
                )
        places = np.flatnonzero(is_good)

        def row(k: int) -> tuple[int, str] | None:
            cells = split([raw(places[k])], separator)
            if not "".join(itertools.chain(*cells)).strip():
                return None  # a blank line
            return self.line + int(found.lines[places[k]]), raw(places[k]).replace(
                separator, self.separator
            )[:200]

        return self.reader.put_aside(frame, self.columns, self.where, row, rejects)

    def _parse(self, data: bytes, types: dict[str, Any]) -> pl.DataFrame | None:
        try:
            return pl.read_csv(
                data,
                separator=one_character(self.separator),
                has_header=False,
                schema=self._schema(types),
                columns=self.needed if self.leaves_out else None,
                quote_char='"' if self.quoted else None,
                glob=False,
            )
        except (PolarsError, PanicException):
            return None

    def _cannot_parse(self, data: bytes) -> NoReturn:
        """Says why a single record cannot be read."""
        try:
            data.decode("utf-8")
            reason = "holds control characters that no table has, such as CR inside a line"
        except UnicodeDecodeError as error:
            reason = f"byte 0x{data[error.start]:02x} is not UTF-8; say what it is with --encoding, such as latin-1"
        raise InputError(f"{self.where}:{self.line}: {reason}")

    def _has_unit(self, data: bytes) -> bool:
        """Whether the character that stands for the separator is there already."""
        return self.separator == "::" and UNIT.encode() in data

    def _schema(self, types: dict[str, Any]) -> dict[str, Any]:
        """The types to parse the columns as."""
        schema: dict[str, Any] = {name: types.get(name, pl.String) for name in self.names}
        schema[self.columns["user"]] = pl.Categorical(self.reader.user_ids)
        schema[self.columns["item"]] = pl.Categorical(self.reader.item_ids)
        return schema

    def _types(self, data: bytes) -> list[dict[str, Any]]:
        """The types of the columns of ratings and times to parse with: numbers where they are,
        which is faster, and text, which always is right."""
        if self.known is None:
            self.known = {}
            rows = split(data[:HEAD].decode("utf-8", "replace").split("\n")[:50], self.separator)
            if not self.reader.config.decimal_comma:
                self.known[self.columns["rating"]] = pl.Float64
            if "time" in self.columns:
                place = self.names.index(self.columns["time"])
                values = [row[place] for row in rows if len(row) == len(self.names)]
                if all(re.fullmatch(r"-?\d{1,18}", value) for value in values):
                    self.known[self.columns["time"]] = pl.Int64
        return [self.known, {}] if self.known else [{}]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
