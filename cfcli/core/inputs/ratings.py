"""Ratings files, whatever their format, to blocks of validated rows."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.inputs.foreign import refuse_unknown_matrix
from cfcli.core.inputs.formats import open_table
from cfcli.core.inputs.intake import Intake
from cfcli.core.inputs.records import BLANKS, sniff
from cfcli.core.inputs.roles import find_columns, numbered
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.tables import Layout, Reading, Table, Types

HEADERLESS = ("user_id", "item_id", "rating", "timestamp")  # MovieLens' u.data and ratings.dat


class Ratings(NamedTuple):
    """All ratings of small inputs.

    Attributes:
        frame: ``user_id`` and ``item_id`` (text, exact), ``rating`` (f32, finite) and, where there
            are times, ``timestamp`` (microseconds, UTC, null where unreadable); in order.
        intake: what else is known of them.
    """

    frame: pl.DataFrame
    intake: Intake


def read(sources: Sequence[Source], config: PrepareConfig, scratch: Path | None = None) -> Ratings:
    """Reads small inputs into memory.

    Args:
        sources: the inputs.
        config: the keys of ``[prepare]`` that say what form they have.
        scratch: a folder for bad rows; None to keep none.

    Raises:
        InputError: no ratings in it, columns missing or ambiguous, more bad rows than allowed.
        MachineError: a source cannot be read.
    """
    intake = Intake(config, scratch)
    blocks = [block for source in sources for block in read_blocks(source, intake)]
    intake.finish()
    frame = pl.concat(blocks, how="diagonal")
    user_ids = intake.user_ids.to_series().gather(frame["user"]).rename("user_id")
    item_ids = intake.item_ids.to_series().gather(frame["item"]).rename("item_id")
    others = frame.drop("user", "item").get_columns()
    return Ratings(pl.DataFrame([user_ids, item_ids, *others]), intake)


def read_blocks(source: Source, intake: Intake) -> Iterator[pl.DataFrame]:
    """The rows of a source, in order: ``user`` and ``item`` (u32, codes), ``rating`` (f32, finite)
    and, where the source has times, ``timestamp`` (microseconds, UTC, null where unreadable).

    Args:
        source: of ratings.
        intake: gets to know the ids, the bad rows and the notes.

    Raises:
        InputError: it cannot be used, or has more bad rows than allowed.
        MachineError: it cannot be read.
    """
    before = intake.rows_read
    reading = Reading(intake.config, detect_layout, intake.scratch)
    with (
        source.opened(intake.config.max_bytes) as opened,
        open_table(opened, source, reading) as table,
    ):
        yield from _blocks(table, intake)
        intake.notes += table.notes
    intake.sources.append(opened.record(intake.rows_read - before))


def detect_layout(start: str, where: str, config: PrepareConfig) -> Layout:
    """How a text of ratings is laid out: with a header, or as MovieLens' files without one.

    Args:
        start: the first lines.
        where: name of the input, for messages.
        config: the keys of ``[prepare]`` that say what form it has.

    Raises:
        InputError: there is no separator, or more than one.
    """
    layout = sniff(start, where, config)
    width = len(layout.names)
    may_be_movielens = width in (3, 4)
    is_movielens = may_be_movielens and layout.separator in ("::", "\t", BLANKS)
    if not (config.no_header or (is_movielens and _is_number(layout.names[2]))):
        return layout
    names = numbered(width)
    if may_be_movielens and not (config.user_col or config.item_col or config.rating_col):
        names = list(HEADERLESS[:width])
    return replace(layout, names=names, has_header=False)


def _blocks(table: Table, intake: Intake) -> Iterator[pl.DataFrame]:
    refuse_unknown_matrix(table.names, table.where, intake.config)
    columns = find_columns(table.names, intake.config, table.where)
    intake.columns = intake.columns or columns
    for role, kind in zip(columns, table.types(list(columns.values())).values(), strict=True):
        _refuse_type(kind, role, columns[role], table.where)
    types: dict[str, pl.DataType | type[pl.DataType]] = dict.fromkeys(columns.values(), pl.String)
    types[columns["user"]] = pl.Categorical(intake.user_ids)
    types[columns["item"]] = pl.Categorical(intake.item_ids)
    for block in table.blocks(types, _guesses(columns, intake.config)):
        if block.quick is not None:
            checked = intake.checks.check(block.quick, columns)
            if not checked["problem"].max():
                yield intake.accept(checked, table.where)
                continue
        for rows in block.exact():
            coded = replace(rows, frame=_coded(rows.frame, types))
            yield intake.sort_out(coded, columns, table.where)


def _guesses(columns: dict[str, str], config: PrepareConfig) -> Types:
    """The numbers that ratings and times mostly are."""
    guesses: dict[str, pl.DataType | type[pl.DataType]] = {}
    if not config.decimal_comma:
        guesses[columns["rating"]] = pl.Float64
    if "time" in columns:
        guesses[columns["time"]] = pl.Int64
    return guesses


def _coded(frame: pl.DataFrame, types: Types) -> pl.DataFrame:
    """The rows with ids as categories, where the format gives other types."""
    coded = []
    for name, kind in types.items():
        if isinstance(kind, pl.Categorical) and frame.schema[name] != kind:
            coded.append(pl.col(name).cast(pl.String).cast(kind))
    return frame.with_columns(coded)


def _refuse_type(kind: pl.DataType, role: str, name: str, where: str) -> None:
    """Raises an InputError for a type that cannot be what the column is for."""
    # Engines that see no value in a part write it without a type; numbers of databases are
    # decimals.
    is_good = kind in (pl.String, pl.Categorical, pl.Enum, pl.Null) or kind.is_integer()
    is_good |= isinstance(kind, pl.Decimal) and kind.scale == 0
    if role in ("rating", "time"):
        is_good |= kind.is_numeric()
    if role == "time":
        is_good |= kind in (pl.Date, pl.Datetime)
    if not is_good:
        what = "a number" if role == "rating" else "a whole number"
        raise InputError(
            f"{where}: column '{name}' ({role}) is of type {kind}; make it text or {what}"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
