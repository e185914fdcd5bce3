"""JSON: one object a line, or an array of objects.

A value is taken as it is written, so that ids stay exact: ``1`` and ``"1"`` are one id, ``"007"``
and ``7`` are two, and no number is rounded. Lines are parsed in blocks by Polars, where it takes
every value as it is written; else one by one.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import polars as pl
from polars.exceptions import PanicException, PolarsError

from cfcli.core.errors import InputError
from cfcli.core.inputs.lines import Lines, decoded, line_blocks, read_start
from cfcli.core.inputs.roles import ALIASES, RATING_ROLES, key_of
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.streams import Opened
from cfcli.core.inputs.tables import Block, Malformed, Reading, Rows, Text, Types

BLOCK = 16 << 20  # bytes of lines that are parsed at once
PIECE = 4 << 20  # and one by one
FIRST_ROWS = 1000  # of an array, whose keys are the columns
ROWS_AT_ONCE = 1 << 15  # of an array
ROLES = (*RATING_ROLES, "time")
LATE = (
    "the key {} comes only after the first rows and is left out; give it to the first row, too, "
    "where it may be null"
)
UNREADABLE = "not an object of values"
BLANKS = re.compile(r"[ \t\r\n]*")


class Record(NamedTuple):
    """One object, or what stands in its place.

    Attributes:
        line: on which it begins, from 1.
        text: as it stands in the input.
        value: what it says; None where it is not an object.
        why: why it is not an object.
    """

    line: int
    text: str
    value: dict[str, object] | None
    why: str = ""


class RepeatedKey(ValueError):
    """An object has a key twice."""


@contextlib.contextmanager
def open_json_lines(opened: Opened, source: Source, reading: Reading) -> Iterator["JsonLines"]:
    """Opens JSON lines: one object a line.

    Args:
        opened: its bytes, of which none were read yet.
        source: that they are from.
        reading: how to read it.

    Raises:
        InputError: none of the first lines is an object; also later, where it is no text.
    """
    yield JsonLines(opened, source.name, read_start(opened, reading.config.skip_lines))


@contextlib.contextmanager
def open_json(opened: Opened, source: Source, reading: Reading) -> Iterator["JsonArray"]:
    """Opens a JSON array of objects, all of which is read into memory.

    Args:
        opened: its bytes, of which none were read yet.
        source: that they are from.
        reading: how to read it.

    Raises:
        InputError: larger than a gigabyte, or no such array; also later, where an object of it
            cannot be read.
    """
    advice = f"write one object a line: jq -c '.[]' {source.name} > ratings.jsonl"
    data = opened.read_all("a JSON array", advice)
    yield JsonArray(decoded(data.removeprefix(b"\xef\xbb\xbf"), source.name, 1), source.name)


class JsonLines(Text):
    """JSON lines that are open for reading.

    Args:
        opened: its bytes.
        where: name of the input, for messages.
        start: what was read of it already.
    """

    def __init__(self, opened: Opened, where: str, start: Lines) -> None:
        self.where = where
        self.notes: list[str] = []
        self._opened = opened
        self._start = start
        whole = start.data.rpartition(b"\n")[0] or start.data
        text = whole.decode("utf-8", "replace")
        first = list(_records_of_lines(text, start.first))
        self.names = _keys(first)
        if not self.names:
            why = first[0].why if first else "is empty"
            raise InputError(f"{where}:{start.first}: {why}; JSON lines have one object a line")

    def rows(self, names: Sequence[str]) -> Iterator[Rows]:
        """The rows, in pieces of about :data:`PIECE` bytes.

        Args:
            names: of the columns to read.

        Raises:
            InputError: it is no text.
        """
        for data, line in line_blocks(self._opened, self._start, quoted=False, size=PIECE):
            yield from self._exact(data, line, names, are_all=len(names) == len(self.names))

    def blocks(self, types: Types, guesses: Types) -> Iterator[Block]:
        """The rows, in blocks of about :data:`BLOCK` bytes.

        Args:
            types: the columns to read, and the type to parse each as.
            guesses: not used.

        Raises:
            InputError: it is no text.
        """
        late = _late_keys(types, self._start.data)
        for data, line in line_blocks(self._opened, self._start, quoted=False, size=BLOCK):
            for key in late:
                if key in data:
                    self.notes.append(f"{self.where}: {LATE.format(key.decode())}")
                    late = []
            yield Block(_at_once(data, types), partial(self._exact, data, line, list(types)))

    def _exact(
        self, data: bytes, line: int, names: Sequence[str], *, are_all: bool = False
    ) -> Iterator[Rows]:
        records = _records_of_lines(decoded(data, self.where, line), line)
        return _rows(records, names, are_all)


class JsonArray(Text):
    """An array of objects.

    Args:
        text: all of it.
        where: name of the input, for messages.

    Raises:
        InputError: it has no objects, or the first ones cannot be read.
    """

    def __init__(self, text: str, where: str) -> None:
        self.where = where
        self.notes: list[str] = []
        self._text = text
        self._first = list(islice(self._records(), FIRST_ROWS))
        self.names = _keys(self._first)
        if not self.names:
            raise InputError(f"{where}: is a JSON array without objects; it needs one for each row")

    def rows(self, names: Sequence[str]) -> Iterator[Rows]:
        """The rows, at most :data:`ROWS_AT_ONCE` at once.

        Args:
            names: of the columns to read.

        Raises:
            InputError: the array is damaged.
        """
        return _rows(self._records(), names, len(names) == len(self.names))

    def blocks(self, types: Types, guesses: Types) -> Iterator[Block]:
        """The rows as :meth:`rows` gives them.

        Args:
            types: the columns to read.
            guesses: not used.
        """
        for key in _late_keys(types, "".join(record.text for record in self._first).encode()):
            if key.decode() in self._text:
                self.notes.append(f"{self.where}: {LATE.format(key.decode())}")
        return super().blocks(types, guesses)

    def _records(self) -> Iterator[Record]:
        """The elements, one by one: the array as a whole would take many times its size."""
        text = self._text
        place = _behind_blanks(text, 0) + 1  # behind the bracket
        line = 1 + text.count("\n", 0, place)
        end = _behind_blanks(text, place)
        is_more = not text.startswith("]", end)
        while is_more:
            start = _behind_blanks(text, end)
            line += text.count("\n", place, start)
            try:
                value, end = DECODER.raw_decode(text, start)
            except (ValueError, RecursionError) as error:
                raise self._damaged(line, start, error) from None
            yield _record(line, text[start:end], value)
            place = start
            end = _behind_blanks(text, end)
            is_more = text.startswith(",", end)
            end += is_more
        if not text.startswith("]", end):
            at = line + text.count("\n", place, end)
            raise InputError(f"{self.where}:{at}: the JSON array is damaged or cut off")
        rest = _behind_blanks(text, end + 1)
        if rest < len(text):
            at = line + text.count("\n", place, rest)
            raise InputError(f"{self.where}:{at}: something stands behind the JSON array")

    def _damaged(self, line: int, start: int, error: Exception) -> InputError:
        at = line
        if isinstance(error, json.JSONDecodeError):
            at += self._text.count("\n", start, error.pos)
        return InputError(f"{self.where}:{at}: the JSON array is damaged: {_why(error)}")


def _behind_blanks(text: str, place: int) -> int:
    found = BLANKS.match(text, place)
    assert found is not None  # it matches nothing, too
    return found.end()


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RepeatedKey("a key stands twice in an object")
    return found


# Numbers stay the texts that they are.
DECODER = json.JSONDecoder(
    parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_object
)


def _records_of_lines(text: str, line: int) -> Iterator[Record]:
    for number, each in enumerate(text.split("\n"), line):
        stripped = each.strip()
        if not stripped:
            continue
        try:
            yield _record(number, stripped, DECODER.decode(stripped))
        except (ValueError, RecursionError) as error:
            yield Record(number, stripped, None, f"is no JSON object: {_why(error)}")


def _record(line: int, text: str, value: object) -> Record:
    if not isinstance(value, dict):
        return Record(line, text, None, "is no JSON object, which has braces around it")
    if "\\u" in text and not _is_text(value):
        return Record(
            line, text, None, "is no text: it names half a character by \\ud800 to \\udfff"
        )
    return Record(line, text, value)


def _is_text(value: dict[str, object]) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (character {error.colno})"
    return str(error) if isinstance(error, RepeatedKey) else "it is nested too deep"


def _keys(records: Sequence[Record]) -> list[str]:
    """All keys, in the order in which they come."""
    keys: dict[str, None] = {}
    for record in records:
        keys.update(dict.fromkeys(record.value or {}))
    return list(keys)


def _late_keys(types: Types, start: bytes) -> list[bytes]:
    """Keys that may be times, where none is in the first rows, to look for in the others."""
    keys = [f'"{name}"'.encode() for name in ALIASES["time"]]
    return [key for key in keys if key not in start and len(types) == len(RATING_ROLES)]


def _rows(records: Iterator[Record], names: Sequence[str], are_all: bool) -> Iterator[Rows]:
    """The rows of records, null where an object lacks a key. Where all columns are read, lists and
    objects in those without a role are texts of JSON."""
    roles = {alias for role in ROLES for alias in ALIASES[role]}
    nested = [name for name in names if are_all and key_of(name) not in roles]
    schema = dict.fromkeys(names, pl.String)
    while some := list(islice(records, ROWS_AT_ONCE)):
        good: list[Record] = []
        values: list[list[str | None]] = []
        malformed: list[Malformed] = []
        for record in some:
            found = _cells(record, names, nested)
            if isinstance(found, Malformed):
                malformed.append(found)
            else:
                good.append(record)
                values.append(found)
        columns = list(zip(*values, strict=True)) or [()] * len(names)
        frame = pl.DataFrame(dict(zip(names, columns, strict=True)), schema=schema)
        lines = np.array([record.line for record in good], np.int64)
        yield Rows(frame, lines, _text_of(good), malformed)


def _text_of(records: list[Record]) -> Callable[[int], str]:
    return lambda row: records[row].text


def _cells(
    record: Record, names: Sequence[str], nested: Sequence[str]
) -> list[str | None] | Malformed:
    if record.value is None:
        return Malformed(record.line, "", UNREADABLE, record.why, record.text)
    cells = []
    for name in names:
        value = record.value.get(name)
        if isinstance(value, bool):
            value = "true" if value else "false"
        if isinstance(value, list) and key_of(name) in ALIASES["genres"]:
            value = "|".join(map(str, value))
        if isinstance(value, dict | list) and name in nested:
            value = json.dumps(json.loads(record.text)[name], ensure_ascii=False)
        if isinstance(value, dict | list):
            what = "a list" if isinstance(value, list) else "an object"
            detail = f"is {what}; it must be a single value"
            return Malformed(record.line, name, UNREADABLE, detail, record.text)
        cells.append(None if value is None else str(value))
    return cells


def _at_once(data: bytes, types: Types) -> pl.DataFrame | None:
    """All rows of some lines; None where Polars may not take a value as it is written, or not find
    the same rows."""
    if b"\\u" in data or b"\0" in data:
        return None
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    for name, kind in types.items():
        key = json.dumps(name, ensure_ascii=False).encode()
        # An id is the text of a number; a rating or a time is its value, which may be a fraction.
        fraction = rb"(?:\.\d{1,18})?" if kind == pl.String else b""
        plain = rb'\s*:\s*(?:"|null|-?\d{1,18}' + fraction + rb"(?=\s*[,}]))"
        if data.count(key) != lines or len(re.findall(re.escape(key) + plain, data)) != lines:
            return None
    try:
        frame = pl.read_ndjson(data, schema=dict.fromkeys(types, pl.String))
    except (PolarsError, PanicException):
        return None
    if frame.height != lines:
        return None
    return frame.with_columns(pl.col(name).cast(kind) for name, kind in types.items())
