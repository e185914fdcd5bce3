"""Delimited texts: CSV and its kin.

Ids are read as text: types that a reader infers would merge ``007`` with ``7`` and round ids beyond
2^53. A block of lines is parsed by Polars at once. Only where something in it is odd (quotes,
columns left out, a value that is not a number) is it cut into pieces whose records are found first,
so that each has its true line (a quoted newline makes rows differ from lines) and its true number
of fields.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
import polars as pl
from polars.exceptions import PanicException, PolarsError

from cfcli.core.config.prepare import Format, PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.inputs.checks import WRONG_FIELDS
from cfcli.core.inputs.lines import Lines, ahead, behind_header, cut, line_blocks, read_start
from cfcli.core.inputs.records import (
    BLANKS,
    SEPARATORS,
    UNIT,
    BadQuote,
    find_records,
    is_blank,
    one_character,
    split,
    with_one_character,
)
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.streams import HEAD, Opened
from cfcli.core.inputs.tables import Block, Malformed, Reading, Rows, Text, Types

BLOCK = 32 << 20  # bytes that are parsed at once
PIECE = 4 << 20  # bytes that are looked at record by record
FIRST_ROWS = 50  # from which guessed types are checked
NUMBER: dict[pl.DataType | type[pl.DataType], str] = {
    pl.Int64: r"-?\d{1,18}",
    pl.Float64: r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?",
}
SEP_LINE = re.compile(rb'"?sep=([^\r\n])"?[ ,;\t]*(?:\r?\n|$)', re.IGNORECASE)
FOREIGN = {  # what no text begins with
    b"\xff\xfe": (
        "UTF-16 or UTF-32; read it with --encoding utf-16 (utf-32), "
        "or convert it with 'iconv -t UTF-8'"
    ),
    b"\xfe\xff": (
        "UTF-16; read it with --encoding utf-16, or convert it with 'iconv -f UTF-16 -t UTF-8'"
    ),
    b"\0\0\xfe\xff": (
        "UTF-32; read it with --encoding utf-32, or convert it with 'iconv -f UTF-32 -t UTF-8'"
    ),
}


@contextlib.contextmanager
def open_delimited(opened: Opened, source: Source, reading: Reading) -> Iterator["Delimited"]:
    """Opens a delimited text.

    Args:
        opened: its bytes, of which none were read yet.
        source: that they are from.
        reading: how to read it.

    Raises:
        InputError: it is empty, or not a table; also later, where a row cannot be read.
    """
    yield Delimited(opened, source.name, reading)


class Delimited(Text):
    """A delimited text that is open for reading.

    Args:
        opened: its bytes, of which none were read yet.
        where: name of the input, for messages.
        reading: how to read it.

    Attributes:
        separator: of its fields.
    """

    def __init__(self, opened: Opened, where: str, reading: Reading) -> None:
        config = reading.config
        self.where = where
        self.notes: list[str] = []
        self._opened = opened
        start, config = _without_sep(read_start(opened, config.skip_lines), where, config)
        layout = reading.detect(self._first_lines(start.data), where, config)
        self.separator = layout.separator
        self._quoted = layout.quoted
        self._body = start
        self.names = layout.names
        if layout.has_header:
            self.names = [name.strip() for name in layout.names]
            body = behind_header(start.data, layout.quoted)
            header = start.data[: len(start.data) - len(body)]
            self._body = Lines(body, start.first + header.count(b"\n"))
        if self.names != layout.names[: len(self.names)]:
            self.notes.append(f"{where}: blanks around the names of columns were left out")
        while layout.has_header and len(self.names) > 1 and not self.names[-1]:
            self.names.pop()
        # Excel writes columns that once held something; they have to be parsed, too.
        unnamed = [f"unnamed {k}" for k in range(len(self.names), len(layout.names))]
        self._all_names = [*self.names, *unnamed]
        if unnamed:
            self.notes.append(f"{where}: columns without a name at the end were left out")
        if layout.quoted and layout.separator == "\t":
            self.notes.append(f"{where}: quotes around fields were left out")
        is_unusual = layout.separator in ";|" + BLANKS
        if is_unusual or (layout.separator != "," and where.endswith(".csv")):
            shown = layout.separator.replace("\t", "\\t")
            self.notes.append(f"{where}: fields are separated by '{shown}'")

    def rows(self, names: Sequence[str]) -> Iterator[Rows]:
        """The rows, in pieces of about :data:`PIECE` bytes.

        Args:
            names: of the columns to read.

        Raises:
            InputError: something in it cannot be read.
        """
        parser = _Parser(self._all_names, self.separator, self._quoted, self.types(names))
        # Small blocks, and none ahead: whoever reads pairs relies on bounded memory.
        blocks = line_blocks(self._opened, self._body, self._quoted, PIECE)
        for data, line in self._checked(blocks):
            yield from self._exact(parser, data, line, PIECE)

    def blocks(self, types: Types, guesses: Types) -> Iterator[Block]:
        """The rows, in blocks of about :data:`BLOCK` bytes.

        Args:
            types: the columns to read, and the type to parse each as.
            guesses: numbers that some of them may be, which are faster to parse than text.

        Raises:
            InputError: something in it cannot be read.
        """
        parser = _Parser(self._all_names, self.separator, self._quoted, types)
        parser.guess(self._body.data, guesses)
        texts = self._checked(ahead(line_blocks(self._opened, self._body, self._quoted, BLOCK)))
        yield from ahead(
            Block(parser.at_once(data), partial(self._exact, parser, data, line, PIECE))
            for data, line in texts
        )

    def _checked(self, blocks: Iterator[Lines]) -> Iterator[Lines]:
        """The blocks that hold more than blanks."""
        data = b"\n"
        for data, line in blocks:
            if b"\0" in data:
                at = line + data.count(b"\n", 0, data.index(b"\0"))
                raise InputError(f"{self.where}:{at}: holds NUL bytes, so it is not a text")
            if not (data[:HEAD].isspace() and data.isspace()):
                yield Lines(data, line)
        if not data.endswith(b"\n"):
            self.notes.append(
                f"{self.where}: the last line has no line break; the file may be cut off"
            )

    def _first_lines(self, start: bytes) -> str:
        """Whole lines to detect the layout from."""
        for magic, what in FOREIGN.items():
            if start.startswith(magic):
                raise InputError(f"{self.where}: is {what}")
        if start[257:262] == b"ustar":
            raise InputError(
                f"{self.where}: is a tar archive; unpack it with 'tar -xf' and give the file in it"
            )
        text = start.decode("utf-8", "replace")
        if "\0" in text:
            raise InputError(f"{self.where}: holds NUL bytes, so it is not a text")
        if not text.strip():
            raise InputError(f"{self.where}: is empty")
        if b"\n" not in start and b"\r" in start:
            raise InputError(
                f'{self.where}: has CR line endings alone; convert it with \'tr "\\r" "\\n"\''
            )
        is_cut = len(start) >= HEAD and "\n" in text
        return text[: text.rindex("\n")] if is_cut else text

    def _exact(self, parser: "_Parser", data: bytes, line: int, size: int) -> Iterator[Rows]:
        """The rows of whole lines, the first of which is number ``line``, in pieces of ``size``
        bytes; where Polars cannot read a piece, in smaller ones, to find the record at fault."""
        for piece in cut(data, size, self._quoted):
            try:
                rows = parser.by_record(piece, line)
            except BadQuote as error:
                at = line + piece.count(b"\n", 0, error.place)
                raise InputError.at(self.where, at, str(error)) from None
            if rows is not None:
                yield rows
            elif size > 1:
                yield from self._exact(parser, piece, line, max(1, size // 64))
            else:
                raise InputError.at(self.where, line, _why_unreadable(piece))
            line += piece.count(b"\n")


def _without_sep(start: Lines, where: str, config: PrepareConfig) -> tuple[Lines, PrepareConfig]:
    """Leaves out a first line ``sep=;``, with which Excel is told the separator."""
    found = SEP_LINE.match(start.data)
    if found is None:
        return start, config
    separator = found[1].decode("latin-1")
    names = {separator: name for name, separator in SEPARATORS.items()}
    if config.format == "auto":
        if separator not in names:
            raise InputError(
                f"{where}:{start.first}: '{separator}' separates the fields; "
                "only comma, tab, ';', '|' and blank can"
            )
        config = replace(config, format=cast("Format", names[separator]))
    return Lines(start.data[found.end() :].lstrip(b"\r\n"), start.first + 1), config


class _Parser:
    """Parses lines of a text.

    Args:
        names: of all its columns.
        separator: of its fields.
        quoted: whether double quotes may stand around fields.
        types: the columns to read, and the type to parse each as.
    """

    def __init__(self, names: list[str], separator: str, quoted: bool, types: Types) -> None:
        self.names = names
        self.separator = separator
        self.one = one_character(separator)
        self.quoted = quoted
        self.types = types
        self.wanted = sorted(names.index(name) for name in types)
        self.leaves_out = len(self.wanted) < len(names)
        self.guesses: dict[str, pl.DataType | type[pl.DataType]] = {}

    def guess(self, data: bytes, guesses: Types) -> None:
        """Keeps the guesses that hold in the first rows of a text, for :meth:`at_once`.

        Args:
            data: the start of its rows.
            guesses: types of numbers.
        """
        lines = data[:HEAD].decode("utf-8", "replace").split("\n")[:FIRST_ROWS]
        rows = [row for row in split(lines, self.separator) if len(row) == len(self.names)]
        self.guesses = {}
        for name, kind in guesses.items():
            place = self.names.index(name)
            pattern = NUMBER[kind]
            if all(re.fullmatch(pattern, row[place]) for row in rows):
                self.guesses[name] = kind

    def at_once(self, data: bytes) -> pl.DataFrame | None:
        """All rows of a block, or None when some line may not be as it should be.

        Args:
            data: whole lines.
        """
        if self.leaves_out or (self.quoted and b'"' in data) or self._has_unit(data):
            return None
        text = with_one_character(data, self.separator)
        frame = self._parse(text, self.guesses)
        if frame is None and self.guesses:
            frame = self._parse(text, {})
            if frame is not None:
                self.guesses = {}
        if frame is not None and frame.to_series(0).has_nulls():
            frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))  # blank lines
        if frame is not None and frame[self.names[-1]].has_nulls():
            return None  # Polars fills up short rows
        return frame

    def by_record(self, data: bytes, line: int) -> Rows | None:
        """The rows of some lines, malformed ones apart; or None when Polars cannot read them.

        Args:
            data: whole records.
            line: the number of the first line.

        Raises:
            BadQuote: quotes do not stand around whole fields.
        """
        if self._has_unit(data):
            return None
        text = with_one_character(data, self.separator)
        found = find_records(text, self.one, self.quoted)
        lines = line + found.lines
        is_good = found.fields == len(self.names)
        frame: pl.DataFrame | None = pl.DataFrame(schema=dict(self.types))
        if is_good.all():
            frame = self._parse(text, {})
        elif is_good.any():
            keep = np.ones(len(text), bool)
            for k in np.flatnonzero(~is_good).tolist():
                keep[found.starts[k] : found.ends[k] + 1] = False
            frame = self._parse(np.frombuffer(text, np.uint8)[keep].tobytes(), {})
        if frame is None or frame.height != is_good.sum():
            return None

        def text_of(record: int) -> str:
            """The text of a record, as it was read; empty for a blank one.

            Args:
                record: its place among those found.
            """
            raw = text[found.starts[record] : found.ends[record]]
            shown = raw.decode("utf-8", "replace").rstrip("\r")
            if is_blank(shown, self.one, self.quoted):
                return ""
            return shown.replace(self.one, self.separator)

        malformed = [
            self._malformed(int(lines[k]), int(found.fields[k]), text_of(k))
            for k in np.flatnonzero(~is_good & (found.fields > 0)).tolist()
        ]
        malformed = [bad for bad in malformed if bad.text]  # the others are blank lines
        places = np.flatnonzero(is_good)
        frame = frame.select(list(self.types))
        return Rows(frame, lines[places], lambda k: text_of(int(places[k])), malformed)

    def _malformed(self, line: int, fields: int, text: str) -> Malformed:
        """A row with too few fields, named by the first column that is missing; or with too many,
        named by the last column."""
        column = self.names[min(fields, len(self.names) - 1)]
        detail = f"expected {len(self.names)} fields, found {fields}"
        return Malformed(line, column, WRONG_FIELDS, detail, text)

    def _parse(self, data: bytes, guesses: Types) -> pl.DataFrame | None:
        schema: dict[str, pl.DataType | type[pl.DataType]] = dict.fromkeys(self.names, pl.String)
        try:
            return pl.read_csv(
                data,
                separator=self.one,
                has_header=False,
                schema=schema | dict(self.types) | dict(guesses),
                columns=self.wanted if self.leaves_out else None,
                quote_char='"' if self.quoted else None,
                glob=False,
            )
        except (PolarsError, PanicException):
            return None

    def _has_unit(self, data: bytes) -> bool:
        """Whether the character that stands for the separator occurs already."""
        return self.separator == "::" and UNIT.encode() in data


def _why_unreadable(record: bytes) -> str:
    try:
        record.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = record[error.start]
        return f"byte 0x{byte:02x} is not UTF-8; name the encoding with --encoding, such as latin-1"
    return "holds control characters that no table has, such as CR inside a line"
