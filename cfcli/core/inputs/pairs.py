"""Pairs of users and items, and lists of ids, from files of users."""

from collections.abc import Generator
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.inputs.formats import open_table
from cfcli.core.inputs.ratings import is_movielens, refuse_type
from cfcli.core.inputs.records import (
    BLANKS,
    DETECTED,
    NO_SEPARATOR,
    are_cut_by_blanks,
    is_quoted,
    layout_of,
    sniff,
    split,
)
from cfcli.core.inputs.roles import Form, called, has_roles
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.streams import HEAD
from cfcli.core.inputs.tables import Layout, Reading, Rows, whole_rows

USUAL = Form()
PAIR_ROLES = ("user", "item")


def read_pairs(
    source: Source, form: Form = USUAL, *, may_be_empty: bool = False
) -> Generator[Rows, None, None]:
    """The rows of a table, all columns, those of a text as text. The first rows are
    none, so that the columns are known even where there are no others.

    Args:
        source: of pairs.
        form: of it.
        may_be_empty: whether a file without a single line gives no rows; else it is an error.

    Raises:
        InputError: it is not a table, a row has too few or too many fields, or it is damaged.
        MachineError: it cannot be read.
    """
    reading = Reading(form, PAIR_ROLES, partial(_pairs_layout, form))
    with source.opened(form.config.max_bytes) as opened:
        if may_be_empty and not opened.peek(HEAD).strip():
            return
        with open_table(opened, source, reading) as table:
            empty = pl.DataFrame(schema=table.types(table.names))
            yield Rows(empty, np.empty(0, np.int64), lambda row: "")
            yield from whole_rows(table, table.names)


def _pairs_layout(form: Form, start: str, where: str, config: PrepareConfig) -> Layout:
    """A table, with a header or without one; as of ratings, MovieLens' files have none."""
    layout = sniff(start, where, config, roles=PAIR_ROLES)
    if form.is_header(layout.names, PAIR_ROLES) and not is_movielens(layout):
        return layout
    return replace(layout, names=form.headerless_names(len(layout.names)), has_header=False)


def read_ids(source: Source, role: str, form: Form) -> pl.Series:
    """Ids from a file.

    Args:
        source: a table with a column of ids; or, where the first line of a text names none, a text
            of which each line is an id.
        role: ``user`` or ``item``.
        form: of it.

    Returns:
        The ids as text, in order; empty ones are left out.

    Raises:
        InputError: it has no ids, is damaged, or is a table without such a column.
        MachineError: it cannot be read.
    """
    config = form.config
    reading = Reading(form, [role], partial(ids_layout, role, form))
    parts = [pl.Series([], dtype=pl.String)]
    with source.opened(config.max_bytes) as opened, open_table(opened, source, reading) as table:
        found = form.with_role(table.names, role, source.name)
        if not found:
            raise InputError(f"{source.name}: no column '{form.own.get(role, role)}' in it")
        refuse_type(table.types(found)[found[0]], role, found[0], source.name)
        for rows in whole_rows(table, found[:1]):
            parts.append(rows.frame[found[0]].cast(pl.String))
    ids = pl.concat(parts).drop_nulls()
    if not len(ids):
        raise InputError(f"{source.name}: no {role}s in it")
    return ids


def ids_layout(role: str, form: Form, start: str, where: str, config: PrepareConfig) -> Layout:
    """A table, if its header names the ids by some separator; else whole lines.

    Args:
        role: ``user`` or ``item``.
        form: of the input.
        start: its first lines.
        where: its name, for messages.
        config: the keys of ``[prepare]`` that hold for it.

    Raises:
        ConfigError: it has no such column as a flag names.
    """
    lines = start.split("\n")
    wanted = form.asked(role)
    for separator in DETECTED:
        rows = [] if config.no_header else split(lines, separator)
        layout = layout_of(separator, rows[0] if rows else [])
        names = [name.strip() for name in layout.names]
        if called(wanted, names) if wanted else form.with_role(names, role, where):
            return layout
    names = (split(lines, BLANKS) or [[]])[0]
    # Both roles, as blanks may also stand within an id such as 'user 1'.
    if has_roles(names, PAIR_ROLES) and are_cut_by_blanks(lines, PAIR_ROLES):
        return Layout(BLANKS, names, is_quoted(BLANKS))
    if wanted:
        raise ConfigError(f"{where}: --{role}-col: no column '{wanted}' in it")
    own = form.own.get(role, role)
    return Layout(NO_SEPARATOR, [own], quoted=False, has_header=False)
