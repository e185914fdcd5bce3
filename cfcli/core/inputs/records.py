"""How a text is cut into records and fields."""

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.inputs.roles import RATING_ROLES, has_roles, with_role
from cfcli.core.inputs.tables import Layout

BLANKS = " "  # one or more of them
SEPARATORS = {  # by the names of --format
    "csv": ",",
    "tsv": "\t",
    "dat": "::",
    "semicolon": ";",
    "pipe": "|",
    "blanks": BLANKS,
}
DETECTED: tuple[str, ...] = ("::", "\t", ",", ";", "|")
UNIT = "\x1f"  # stands for '::', because Polars and csv take separators of one character only
NO_SEPARATOR = UNIT  # cuts a text into whole lines, as it occurs in none
LINES = 100  # of the start of a text, from which the separator is detected


def sniff(
    start: str, where: str, config: PrepareConfig, *, roles: Sequence[str] = RATING_ROLES
) -> Layout:
    """Detects the separator of a text with a header: the one that cuts most of the first lines into
    as many fields as the first, at least one for each role. Blanks separate where nothing else
    does.

    Args:
        start: the first lines, none of them blank, the last perhaps cut.
        where: name of the input, for messages.
        config: its ``format`` may name the separator, as :data:`SEPARATORS` does.
        roles: of the columns that are needed. Where several separators are possible, the one that
            gives columns for all of them is chosen.

    Raises:
        InputError: there is none, or more than one.
    """
    lines = start.split("\n")[:LINES]
    named = SEPARATORS.get(config.format)
    found = []
    for separator in [named] if named else DETECTED:
        widths = [len(row) for row in split(lines, separator)]
        is_even = widths.count(widths[0]) > len(widths) / 2 if widths else False
        if widths and (named or (is_even and widths[0] >= len(roles))):
            names = split(lines, separator)[0]
            found.append(layout_of(separator, names))
    if not found and not named and are_cut_by_blanks(lines, roles):
        found.append(Layout(BLANKS, split(lines, BLANKS)[0], is_quoted(BLANKS)))
    if not found and (why := _why_no_table(lines, roles)):
        raise InputError(f"{where}: {why} in: {lines[0][:80]}")
    if not found and not named:  # the rows have other numbers of fields, which is said of them
        headers = [layout_of(one, (split(lines, one) or [[]])[0]) for one in DETECTED]
        found = [
            layout
            for layout in headers
            if len(layout.names) > 1 and any(with_role(layout.names, role) for role in roles)
        ]
    if len(found) > 1:
        fitting = [layout for layout in found if has_roles(layout.names, roles)]
        found = fitting if len(fitting) == 1 else found
    if len(found) > 1:
        formats = {separator: name for name, separator in SEPARATORS.items()}
        choices = " or by ".join(repr(layout.separator) for layout in found)
        flags = " or ".join(f"--format {formats[layout.separator]}" for layout in found)
        raise InputError(f"{where}: fields are separated by {choices}; say so with {flags}")
    if not found and len(lines[0]) > csv.field_size_limit():
        raise InputError(
            f"{where}: the first line has {len(lines[0]):,} characters and begins with "
            f"{lines[0][:40]!r}, so it cannot hold column names"
        )
    if not found:
        raise InputError(
            f"{where}: no separator found (comma, tab, '::', ';', '|' or blanks) in: "
            f"{lines[0][:80]} (lines above the column names are left out with --skip-lines)"
        )
    return found[0]


def _why_no_table(lines: Sequence[str], roles: Sequence[str]) -> str:
    """What is wrong with lines that no separator cuts into a table; empty where it is not known."""
    for separator in (*DETECTED, BLANKS):
        names, *rows = split(lines, separator) or [[]]
        are_names = has_roles([name.strip('"') for name in names], roles)
        if len(names) < 2 or (separator == BLANKS and not are_names):
            continue
        fields = Counter(map(len, rows)).most_common(1)[0][0] if rows else len(names)
        if any(f'{separator} "' in line for line in lines):
            return f"blanks stand between {separator!r} and quotes; take them out"
        if fields == len(names) + 1 and any(row[-1] for row in rows):
            return (
                f"lines have one field more than the {len(names)} names (R's names of rows? write "
                "them with row.names = FALSE)"
            )
    return ""


def layout_of(separator: str, names: list[str]) -> Layout:
    """The layout of a text with a header. Where quotes stand around all names between tabs, as R
    writes them, they stand around fields, too.

    Args:
        separator: of the fields.
        names: the fields of the header, by :func:`split`.
    """
    has_quotes = all(len(name) > 1 and name[0] == name[-1] == '"' for name in names)
    if separator == "\t" and has_quotes:
        return Layout(separator, [name[1:-1] for name in names], quoted=True)
    return Layout(separator, names, is_quoted(separator))


def are_cut_by_blanks(lines: Sequence[str], roles: Sequence[str]) -> bool:
    """Whether blanks cut several lines into fields of a table: most of them, below a header; or
    each of them, as any text has blanks.

    Args:
        lines: without line feeds.
        roles: of the columns that are needed.
    """
    rows = split(lines, BLANKS)
    widths = [len(row) for row in rows]
    if len(widths) < 2 or widths[0] < len(roles):
        return False
    alike = widths.count(widths[0])
    return alike == len(widths) or (has_roles(rows[0], roles) and alike > len(widths) / 2)


def split(lines: Iterable[str], separator: str) -> list[list[str]]:
    """The fields of lines that are not blank, up to one that csv cannot read.

    Args:
        lines: without line feeds.
        separator: of the fields; it decides on :func:`is_quoted`, too.
    """
    one = one_character(separator)
    texts = [line.replace(separator, one).rstrip("\r") + "\n" for line in lines]
    if separator == BLANKS:
        texts = [re.sub(" +", " ", text).strip(" \n") + "\n" for text in texts]
    records = csv.reader(texts, delimiter=one)
    if not is_quoted(separator):
        records = csv.reader(texts, delimiter=one, quoting=csv.QUOTE_NONE)
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        rows.extend(records)
    return [row for row in rows if row]


def is_quoted(separator: str) -> bool:
    """Whether double quotes stand around fields; between tabs and ``::`` they mean nothing.

    Args:
        separator: of the fields.
    """
    return separator in ",;|"


def is_blank(record: str, separator: str, quoted: bool) -> bool:
    """Whether all fields of a record are empty or hold nothing but blanks.

    Args:
        record: its text.
        separator: of the fields.
        quoted: whether double quotes may stand around fields.
    """
    for field in record.split(separator):
        text = field.strip()
        # One quote alone is half of a field that holds separators, which is not empty.
        if quoted and len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1].strip()
        if text:
            return False
    return True


def with_one_character(data: bytes, separator: str) -> bytes:
    """The text with a separator of one character, :func:`one_character`, as Polars takes it.

    Args:
        data: the text.
        separator: of the fields.
    """
    if separator == BLANKS:
        data = re.sub(rb" {2,}", b" ", data) if b"  " in data else data
        for around, alone in ((b" \r\n", b"\r\n"), (b" \n", b"\n"), (b"\n ", b"\n")):
            data = data.replace(around, alone)
        return data.strip(b" ")
    return data.replace(b"::", UNIT.encode()) if separator == "::" else data


def one_character(separator: str) -> str:
    """The separator, or what stands for it while it is parsed.

    Args:
        separator: of the fields.
    """
    return UNIT if separator == "::" else separator


class BadQuote(ValueError):
    """A double quote inside a field, or one that is not closed.

    Args:
        place: where the field opens, in bytes.
    """

    def __init__(self, place: int) -> None:
        super().__init__("a double quote stands inside a field, or is not closed")
        self.place = place


@dataclass(frozen=True)
class Records:
    """The records of a text; every array has shape (records,).

    Attributes:
        starts, ends: where they begin, and where the line break behind them is.
        fields: how many fields they have, 0 for a blank line.
        lines: the line on which they begin, from 0.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    fields: NDArray[np.int64]
    lines: NDArray[np.int64]


def find_records(data: bytes, separator: str, quoted: bool) -> Records:
    """Finds the records of some whole lines, as the csv module would. Polars fills up short rows,
    cuts long ones where it leaves out columns, and forgives some quotes.

    Args:
        data: a few megabytes at most: it takes about 20 times the memory.
        separator: one character.
        quoted: whether double quotes may stand around fields.

    Raises:
        BadQuote: quotes do not stand around whole fields.
    """
    text = np.frombuffer(data, np.uint8)
    is_separator = text == ord(separator)
    is_end = text == ord("\n")
    breaks = np.flatnonzero(is_end)
    if quoted and b'"' in data:
        _check_quotes(text, separator)
        is_within = np.cumsum(text == ord('"'), dtype=np.int32) % 2 == 1
        is_separator &= ~is_within
        is_end &= ~is_within
    ends = np.flatnonzero(is_end)
    is_simple = len(ends) == len(breaks)  # no line break within a record
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(text))
    starts = np.concatenate([[0], ends[:-1] + 1])
    separators = _separators(is_separator, is_end, len(ends))
    is_cr_alone = (ends == starts + 1) & (text[ends - 1] == ord("\r"))
    is_empty = (ends == starts) | is_cr_alone
    fields = np.where(is_empty, 0, separators + 1)
    lines = np.arange(len(starts)) if is_simple else np.searchsorted(breaks, starts)
    return Records(starts, ends, fields, lines)


def _separators(
    is_separator: NDArray[np.bool_], is_end: NDArray[np.bool_], records: int
) -> NDArray[np.int64]:
    """How many separators each record has, (records,): a search for the end of each among the
    separators took a third of the time of reading pairs."""
    kinds = is_end[np.flatnonzero(is_separator | is_end)]
    ends = np.flatnonzero(kinds)
    if len(ends) < records:  # the last one has no line break
        ends = np.append(ends, len(kinds))
    found: NDArray[np.int64] = np.diff(ends, prepend=-1) - 1
    return found


def _check_quotes(text: NDArray[np.uint8], separator: str) -> None:
    """Raises BadQuote for a quote that does not open or close a whole field."""
    quotes = np.flatnonzero(text == ord('"'))
    opening = quotes[0::2]
    closing = quotes[1::2]
    padded = np.concatenate([[ord("\n")], text, [ord("\n")]])  # what is before text[k] is padded[k]
    starts_well = np.isin(padded[opening], [ord(separator), ord("\n")])
    ends_well = np.isin(padded[closing + 2], [ord(separator), ord("\n"), ord("\r")])
    # Two quotes side by side within a field stand for one.
    doubled = np.flatnonzero(opening[1:] == closing[: len(opening) - 1] + 1)
    starts_well[doubled + 1] = True
    ends_well[doubled] = True
    bad = np.flatnonzero(~(starts_well[: len(closing)] & ends_well))
    if len(bad):
        raise BadQuote(int(opening[bad[0]]))
    if len(opening) > len(closing):
        raise BadQuote(int(opening[-1]))
