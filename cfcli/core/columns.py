"""What the fields of a text are: how they are separated, and which column plays which role."""

import contextlib
import csv
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from cfcli.core.config import PrepareConfig, known_key
from cfcli.core.errors import InputError

ALIASES = {
    "user": ("userid", "user", "uid"),
    "item": ("itemid", "item", "movieid", "iid", "bookid", "productid"),
    "rating": ("rating", "score", "stars", "value"),
    "time": ("timestamp", "time", "datetime", "date"),
}
HEADERLESS = ("user_id", "item_id", "rating", "timestamp")  # MovieLens' u.data and ratings.dat
SEPARATORS = {"csv": ",", "tsv": "\t", "dat": "::"}
UNIT = "\x1f"  # stands for '::', because Polars and csv take one-character separators only


def find_columns(names: Sequence[str], config: PrepareConfig, where: str) -> dict[str, str]:
    """Which column plays which role: user, item, rating and perhaps time.

    Raises:
        InputError: a role has no column or two; names given twice.
        ConfigError: a column that was asked for by name is not there.
    """
    if len(set(names)) < len(names):
        twice = min(name for name in names if names.count(name) > 1)
        raise InputError(
            f"{where}: column '{twice}' stands there twice; rename one, or, where it is data, see --no-header"
        )
    keys = {name: re.sub(r"[\s_]", "", name).casefold() for name in names}
    found = {}
    for role, aliases in ALIASES.items():
        if wanted := getattr(config, f"{role}_col"):
            found[role] = known_key(wanted, names, f"{where}: --{role}-col")
            continue
        hits = [name for name, key in keys.items() if key in aliases]
        if len(hits) > 1:
            raise InputError(f"{where}: both '{hits[0]}' and '{hits[1]}' may be the {role}; choose with --{role}-col")
        if hits:
            found[role] = hits[0]
        elif role != "time":
            near = [name for name, key in keys.items() if difflib.get_close_matches(key, aliases, n=1, cutoff=0.75)]
            hint = f"is it '{near[0]}'? " if near else ""
            raise InputError(
                f"{where}: no column for the {role} among {', '.join(repr(n[:40]) for n in names[:20])}; {hint}"
                f"name it with --{role}-col (the first line must hold the column names, else see --no-header; "
                "lines above it are left out with --skip-lines)"
            )
    roles: dict[str, str] = {}
    for role, name in found.items():
        if name in roles:
            raise InputError(f"{where}: column '{name}' cannot be both the {roles[name]} and the {role}")
        roles[name] = role
    return found


def sniff(head: str, where: str, format: str = "auto", *, fields: int = 3) -> tuple[str, list[str]]:
    """The separator (``::`` comes back as it is) and the fields of the first line.

    The separator is the one that cuts most of the first lines into as many fields as the first, at least ``fields``.

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
    if len(found) > 1 and len(known := {s: row for s, row in found.items() if _has_roles(row)}) == 1:
        found = known
    if len(found) > 1:
        raise InputError(f"{where}: fields are separated by {' or by '.join(map(repr, found))}; say so with --format")
    if not found:
        raise InputError(
            f"{where}: no separator found (comma, tab, '::', ';' or '|') in: {lines[0][:80]} "
            "(lines above the column names are left out with --skip-lines)"
        )
    return next(iter(found.items()))


def split(lines: Iterable[str], separator: str) -> list[list[str]]:
    """The fields of lines that are not blank, up to one that csv cannot read."""
    texts = ((line.replace("::", UNIT) if separator == "::" else line).rstrip("\r") + "\n" for line in lines)
    rows = []
    with contextlib.suppress(csv.Error):
        for row in csv.reader(texts, delimiter=one_character(separator), quoting=quoting(separator)):
            rows += [row] if row else []
    return rows


def quoting(separator: str) -> Literal[0, 3]:
    """csv's way with double quotes: around fields, or, between tabs and ``::``, of no meaning."""
    return csv.QUOTE_MINIMAL if separator in ",;|" else csv.QUOTE_NONE


def one_character(separator: str) -> str:
    """The separator, or what stands for it while it is parsed."""
    return UNIT if separator == "::" else separator


def is_regular(data: bytes, separator: str, fields: int) -> bool:
    """Whether each line that is not blank has ``fields`` fields, and quotes stand around whole fields only.

    Polars fills up short rows, cuts long ones where it leaves out columns, and forgives some quotes.

    Args:
        data: whole lines, a few megabytes at most: it takes about 20 times the memory.
        separator: one character.
    """
    text = np.frombuffer(data, np.uint8)
    is_separator, is_end = text == ord(separator), text == ord("\n")
    if quoting(separator) == csv.QUOTE_MINIMAL and len(quotes := np.flatnonzero(text == ord('"'))):
        if len(quotes) % 2:
            return False
        opening, closing = quotes[0::2], quotes[1::2]
        outside = np.concatenate([[ord("\n")], text, [ord("\n")]])  # one character more at both ends
        before, after = outside[opening], outside[closing + 2]
        again = np.append(opening[1:] == closing[:-1] + 1, False)  # a doubled quote, which stands for one
        starts = np.isin(before, [ord(separator), ord("\n")]) | np.roll(again, 1)
        ends = np.isin(after, [ord(separator), ord("\n"), ord("\r")]) | again
        if not (starts.all() and ends.all()):
            return False
        within = np.cumsum(text == ord('"'), dtype=np.int32) % 2 == 1
        is_separator &= ~within
        is_end &= ~within
    ends = np.flatnonzero(is_end)
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(text))
    separators = np.diff(np.searchsorted(np.flatnonzero(is_separator), ends), prepend=0)
    lengths = np.diff(ends, prepend=-1) - 1
    blank = (lengths == 0) | ((lengths == 1) & (text[ends - 1] == ord("\r")))
    return bool((blank | (separators == fields - 1)).all())


def _has_roles(names: list[str]) -> bool:
    keys = {re.sub(r"[\s_]", "", name).casefold() for name in names}
    return all(keys & set(ALIASES[role]) for role in ("user", "item", "rating"))
