"""How a text is cut into records and fields."""

import contextlib
import csv
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cfcli.core.errors import InputError
from cfcli.core.inputs.roles import has_roles

SEPARATORS = {"csv": ",", "tsv": "\t", "dat": "::"}
csv.field_size_limit(1 << 30)  # what is too long is told elsewhere
UNIT = "\x1f"  # stands for '::', because Polars and csv take one-character separators only


def sniff(head: str, where: str, format: str = "auto", *, fields: int = 3) -> tuple[str, list[str]]:
    """The separator (``::`` comes back as it is) and the fields of the first line.

    The separator is the one that cuts most of the first lines into as many fields as the first, at
    least ``fields``.

    Args:
        head: the first lines, none of them blank, the last perhaps cut.

    Raises:
        InputError: there is none, or more than one.
    """
    lines = head.split("\n")[:100]
    found = {}
    for separator in [SEPARATORS[format]] if format in SEPARATORS else ("::", "\t", ",", ";", "|"):
        rows = split(lines, separator)
        if format in SEPARATORS and rows:
            return separator, rows[0]
        widths = [len(row) for row in rows]
        if widths and widths[0] >= fields and widths.count(widths[0]) > len(widths) / 2:
            found[separator] = rows[0]
    if len(found) > 1 and len(known := {s: row for s, row in found.items() if has_roles(row)}) == 1:
        found = known
    if len(found) > 1:
        raise InputError(
            f"{where}: fields are separated by {' or by '.join(map(repr, found))}; say so with --format"
        )
    if not found:
        raise InputError(
            f"{where}: no separator found (comma, tab, '::', ';' or '|') in: {lines[0][:80]} "
            "(lines above the column names are left out with --skip-lines)"
        )
    return next(iter(found.items()))


def split(lines: Iterable[str], separator: str) -> list[list[str]]:
    """The fields of lines that are not blank, up to one that csv cannot read."""
    texts = (
        (line.replace("::", UNIT) if separator == "::" else line).rstrip("\r") + "\n"
        for line in lines
    )
    rows = []
    with contextlib.suppress(csv.Error):
        for row in csv.reader(
            texts, delimiter=one_character(separator), quoting=quoting(separator)
        ):
            rows += [row] if row else []
    return rows


def quoting(separator: str) -> Literal[0, 3]:
    """csv's way with double quotes: around fields, or, between tabs and ``::``, of no meaning."""
    return csv.QUOTE_MINIMAL if separator in ",;|" else csv.QUOTE_NONE


def is_quoted(separator: str) -> bool:
    """Whether double quotes stand around fields."""
    return quoting(separator) == csv.QUOTE_MINIMAL


def with_one_character(data: bytes, separator: str) -> bytes:
    """The text with a separator of one character, :func:`one_character`, as Polars takes it."""
    return data.replace(b"::", UNIT.encode()) if separator == "::" else data


def one_character(separator: str) -> str:
    """The separator, or what stands for it while it is parsed."""
    return UNIT if separator == "::" else separator


class BadQuote(ValueError):
    """A double quote inside a field, or one that is not closed; ``place`` is where the field
    opens."""

    def __init__(self, place: int) -> None:
        super().__init__("a double quote stands inside a field, or is not closed")
        self.place = place


@dataclass(frozen=True)
class Records:
    """The records of a text; each array has one number for each.

    Attributes:
        starts, ends: where they begin, and where the line break behind them is.
        fields: how many fields they have, 0 for a blank line.
        lines: the line on which they begin, from 0.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    fields: NDArray[np.int64]
    lines: NDArray[np.int64]


def find_records(data: bytes, separator: str) -> Records:
    """The records of some whole lines, as the csv module would find them. Polars fills up short
    rows, cuts long ones where it leaves out columns, and forgives some quotes.

    Args:
        data: a few megabytes at most: it takes about 20 times the memory.
        separator: one character.

    Raises:
        BadQuote: quotes do not stand around whole fields.
    """
    text = np.frombuffer(data, np.uint8)
    is_separator, is_end = text == ord(separator), text == ord("\n")
    breaks = np.flatnonzero(is_end)
    ends = breaks
    if is_quoted(separator) and len(quotes := np.flatnonzero(text == ord('"'))):
        opening, closing = quotes[0::2], quotes[1::2]
        outside = np.concatenate(
            [[ord("\n")], text, [ord("\n")]]
        )  # one character more at both ends
        starts_well = np.isin(outside[opening], [ord(separator), ord("\n")])
        ends_well = np.isin(outside[closing + 2], [ord(separator), ord("\n"), ord("\r")])
        doubled = np.flatnonzero(
            opening[1:] == closing[: len(opening) - 1] + 1
        )  # it stands for one within a field
        starts_well[doubled + 1] = ends_well[doubled] = True
        bad = np.flatnonzero(~(starts_well[: len(closing)] & ends_well))
        if len(bad) or len(opening) > len(closing):
            raise BadQuote(int(opening[bad[0] if len(bad) else -1]))
        within = np.cumsum(text == ord('"'), dtype=np.int32) % 2 == 1
        is_separator &= ~within
        ends = np.flatnonzero(is_end & ~within)
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(text))
    starts = np.concatenate([[0], ends[:-1] + 1])
    separators = np.diff(np.searchsorted(np.flatnonzero(is_separator), ends), prepend=0)
    is_blank = (ends == starts) | ((ends == starts + 1) & (text[ends - 1] == ord("\r")))
    return Records(
        starts, ends, np.where(is_blank, 0, separators + 1), np.searchsorted(breaks, starts)
    )
