"""Pairs of users and items, and lists of ids, from files of users."""

from collections.abc import Generator
from functools import partial

import numpy as np
import polars as pl

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.inputs.formats import open_table
from cfcli.core.inputs.records import (
    BLANKS,
    DETECTED,
    NO_SEPARATOR,
    are_cut_by_blanks,
    is_quoted,
    sniff,
    split,
)
from cfcli.core.inputs.roles import has_roles, with_role
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.tables import Layout, Reading, Rows, whole_rows

DEFAULT = PrepareConfig()
PAIR_ROLES = ("user", "item")


def read_pairs(source: Source, config: PrepareConfig = DEFAULT) -> Generator[Rows, None, None]:
    """The rows of a table with a header, all columns, those of a text as text. The first rows are
    none, so that the columns are known even where there are no others.

    Args:
        source: of pairs.
        config: the keys of ``[prepare]`` that say what form it has.

    Raises:
        InputError: it is not a table, a row has too few or too many fields, or it is damaged.
        MachineError: it cannot be read.
    """
    reading = Reading(config, partial(sniff, roles=PAIR_ROLES))
    with source.opened(config.max_bytes) as opened, open_table(opened, source, reading) as table:
        empty = pl.DataFrame(schema=table.types(table.names))
        yield Rows(empty, np.empty(0, np.int64), lambda row: "")
        yield from whole_rows(table, table.names)


def read_ids(source: Source, role: str, own: str, config: PrepareConfig = DEFAULT) -> pl.Series:
    """Ids from a file.

    Args:
        source: a table with a column of ids; or, where the first line of a text names none, a text
            of which each line is an id.
        role: ``user`` or ``item``; its aliases may name the column.
        own: the name of the column in the run, which it may have, too.
        config: the keys of ``[prepare]`` that say what form it has.

    Returns:
        The ids as text, in order; empty ones are left out.

    Raises:
        InputError: it is empty or damaged, or a table without such a column.
        MachineError: it cannot be read.
    """
    reading = Reading(config, partial(_ids_layout, role, own))
    parts = [pl.Series([], dtype=pl.String)]
    with source.opened(config.max_bytes) as opened, open_table(opened, source, reading) as table:
        found = _id_columns(table.names, role, own)
        if not found:
            raise InputError(f"{source.name}: no column '{own}' in it")
        for rows in whole_rows(table, found[:1]):
            parts.append(rows.frame[found[0]].cast(pl.String))
    return pl.concat(parts).drop_nulls()


def _ids_layout(role: str, own: str, start: str, where: str, config: PrepareConfig) -> Layout:
    """A table, if its header names the ids by some separator; else whole lines."""
    lines = start.split("\n")
    for separator in DETECTED:
        rows = split(lines, separator)
        if rows and _id_columns([name.strip() for name in rows[0]], role, own):
            return Layout(separator, rows[0], is_quoted(separator))
    names = (split(lines, BLANKS) or [[]])[0]
    # Both roles, as blanks may also stand within an id such as 'user 1'.
    if has_roles(names, PAIR_ROLES) and are_cut_by_blanks(lines, PAIR_ROLES):
        return Layout(BLANKS, names, is_quoted(BLANKS))
    return Layout(NO_SEPARATOR, [own], quoted=False, has_header=False)


def _id_columns(names: list[str], role: str, own: str) -> list[str]:
    """The columns that may be the ids: the one that is called as in the run, or those called by an
    alias."""
    return [name for name in names if name == own] or with_role(names, role)
