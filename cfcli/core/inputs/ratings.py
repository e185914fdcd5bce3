"""Ratings files, whatever their format, to blocks of validated rows."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple

import polars as pl

from cfcli.core.config.prepare import TIME_UNITS, PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.inputs.delimited import Delimited
from cfcli.core.inputs.foreign import refuse_unknown_matrix
from cfcli.core.inputs.formats import open_table
from cfcli.core.inputs.intake import Intake
from cfcli.core.inputs.records import BLANKS, sniff
from cfcli.core.inputs.roles import HEADERLESS, RATING_ROLES, Form, find_columns, is_place
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.tables import Layout, Reading, Table, Types
from cfcli.core.words import counted


class Ratings(NamedTuple):
    """All ratings of small inputs.

    Attributes:
        frame: ``user_id`` and ``item_id`` (text, exact), ``rating`` (f32, finite) and, where there
            are times, ``timestamp`` (microseconds, UTC, null where unreadable); in order.
        intake: what else is known of them.
    """

    frame: pl.DataFrame
    intake: Intake


def read(sources: Sequence[Source], form: Form, scratch: Path | None = None) -> Ratings:
    """Reads small inputs into memory.

    Args:
        sources: the inputs.
        form: that they have.
        scratch: a folder for bad rows; None to keep none.

    Raises:
        InputError: no ratings in it, columns missing or ambiguous, more bad rows than allowed.
        MachineError: a source cannot be read.
    """
    intake = Intake(form, scratch)
    blocks = [block for source in sources for block in read_blocks(source, intake)]
    intake.finish()
    frame = pl.concat([intake.settled(block) for block in blocks], how="diagonal")
    user_ids = intake.user_ids.to_series().gather(frame["user"]).rename("user_id")
    item_ids = intake.item_ids.to_series().gather(frame["item"]).rename("item_id")
    others = frame.drop("user", "item", "unread", strict=False).get_columns()
    return Ratings(pl.DataFrame([user_ids, item_ids, *others]), intake)


def read_distinct(source: Source, form: Form) -> tuple[pl.DataFrame, list[str]]:
    """Reads a small input, of which the last rating of each pair counts, as ``prepare`` has it.

    Args:
        source: the input.
        form: that it has.

    Returns:
        :attr:`Ratings.frame` without repeated pairs, and a note on them where there are any.

    Raises:
        InputError: see :func:`read`.
        MachineError: it cannot be read.
    """
    frame, _ = read([source], form)
    rows = frame.with_row_index("at")
    by_time = rows.sort("timestamp", maintain_order=True) if "timestamp" in rows.columns else rows
    last = by_time.unique(["user_id", "item_id"], keep="last").sort("at").drop("at")
    repeats = frame.height - last.height
    told = [f"{source.name}: {counted(repeats, 'rating')} of pairs rated before; kept: last"]
    return last, told if repeats else []


def read_blocks(source: Source, intake: Intake) -> Iterator[pl.DataFrame]:
    """The rows of a source, in order: ``user`` and ``item`` (u32, codes), ``rating`` (f32, finite),
    where weights were asked for ``weight`` (f32, above 0) and, where the source has times,
    ``timestamp`` (microseconds, UTC, null where unreadable), which :meth:`Intake.settled` completes
    once all sources were read.

    Args:
        source: of ratings.
        intake: gets to know the ids, the bad rows and the notes.

    Raises:
        InputError: it cannot be used, or has more bad rows than allowed.
        MachineError: it cannot be read.
    """
    before = intake.rows_read
    detect = partial(detect_layout, form=intake.form)
    reading = Reading(intake.form, RATING_ROLES, detect, intake.scratch)
    with (
        source.opened(intake.config.max_bytes) as opened,
        open_table(opened, source, reading) as table,
    ):
        intake.separators.add(table.separator if isinstance(table, Delimited) else None)
        yield from _blocks(table, intake)
        intake.notes += table.notes
    intake.sources.append(opened.record(intake.rows_read - before))


def detect_layout(
    start: str, where: str, config: PrepareConfig, form: Form | None = None
) -> Layout:
    """How a text of ratings is laid out: with a header, or as MovieLens' files without one.

    Args:
        start: the first lines.
        where: name of the input, for messages.
        config: the keys of ``[prepare]`` that say what form it has.
        form: the same with what else is known of it.

    Raises:
        InputError: there is no separator, or more than one.
    """
    form = form or Form(config)
    layout = sniff(start, where, config)
    if form.is_header(layout.names, RATING_ROLES) and not is_movielens(layout):
        return layout
    return replace(layout, names=form.headerless_names(len(layout.names)), has_header=False)


def is_movielens(layout: Layout) -> bool:
    """Whether a first line is data: of a file like MovieLens' u.data or ratings.dat.

    Args:
        layout: of the file, whose names are the fields of that line.
    """
    is_alike = len(layout.names) in (3, 4) and layout.separator in ("::", "\t", BLANKS)
    return is_alike and _is_number(layout.names[2])


def _blocks(table: Table, intake: Intake) -> Iterator[pl.DataFrame]:
    refuse_unknown_matrix(table.names, table.where, intake.config)
    is_text = isinstance(table, Delimited)
    columns = find_columns(table.names, intake.form, table.where, is_text=is_text)
    intake.columns = intake.columns or _lasting(columns)
    for role, kind in zip(columns, table.types(list(columns.values())).values(), strict=True):
        refuse_type(kind, role, columns[role], table.where)
    types: dict[str, pl.DataType | type[pl.DataType]] = dict.fromkeys(columns.values(), pl.String)
    types[columns["user"]] = pl.Categorical(intake.user_ids)
    types[columns["item"]] = pl.Categorical(intake.item_ids)
    for block in table.blocks(types, _guesses(columns, intake.config)):
        if block.quick is not None:
            checked = intake.checks.check(block.quick, columns)
            if not checked["problem"].max() and not intake.needs_lines(checked):
                yield intake.accept(checked, table.where)
                continue
        for rows in block.exact():
            coded = replace(rows, frame=_coded(rows.frame, types))
            yield intake.sort_out(coded, columns, table.where)


def _lasting(columns: dict[str, str]) -> dict[str, str]:
    """Names that columns go by from now on: a number is no name, and embeddings have the same."""
    usual = dict(zip(("user", "item", "rating", "time"), HEADERLESS, strict=True))
    usual["weight"] = "weight"
    return {role: usual[role] if is_place(name) else name for role, name in columns.items()}


def _guesses(columns: dict[str, str], config: PrepareConfig) -> Types:
    """The numbers that ratings, weights and times mostly are."""
    guesses: dict[str, pl.DataType | type[pl.DataType]] = {}
    if not config.decimal_comma:
        for role in ("rating", "weight"):
            if role in columns:
                guesses[columns[role]] = pl.Float64
    if "time" in columns and config.time_format in (None, *TIME_UNITS):
        guesses[columns["time"]] = pl.Int64
    return guesses


def _coded(frame: pl.DataFrame, types: Types) -> pl.DataFrame:
    """The rows with ids as categories, and dictionaries of other columns as text."""
    coded = []
    for name, kind in types.items():
        if kind == pl.String and isinstance(frame.schema[name], pl.Categorical | pl.Enum):
            coded.append(pl.col(name).cast(pl.String))
        if isinstance(kind, pl.Categorical) and frame.schema[name] != kind:
            coded.append(pl.col(name).cast(pl.String).cast(kind))
    return frame.with_columns(coded)


def refuse_type(kind: pl.DataType, role: str, name: str, where: str) -> None:
    """Refuses a type that cannot be what the column is for.

    Args:
        kind: the type of the column.
        role: ``user``, ``item``, ``rating``, ``time`` or ``weight``.
        name: of the column.
        where: name of the input, for messages.

    Raises:
        InputError: ids that are floats, ratings that are dates and the like.
    """
    # Engines that see no value in a part write it without a type; numbers of databases are
    # decimals.
    is_good = kind in (pl.String, pl.Categorical, pl.Enum, pl.Null) or kind.is_integer()
    is_good |= isinstance(kind, pl.Decimal) and kind.scale == 0
    if role in ("rating", "time", "weight"):
        is_good |= kind.is_numeric()
    if role == "time":
        is_good |= kind in (pl.Date, pl.Datetime)
    if not is_good:
        what = "a number" if role in ("rating", "weight") else "a whole number"
        hint = ""
        readers = {".parquet": "read_parquet", ".arrow": "read_ipc", ".feather": "read_ipc"}
        if kind.is_float() and (reader := readers.get(PurePath(where).suffix)):
            code = f"pl.{reader}('FILE').cast({{{name!r}: pl.Int64}}).write_parquet('NEW')"
            hint = f': python -c "import polars as pl; {code}"'
        raise InputError(
            f"{where}: column '{name}' ({role}) is of type {kind}; make it text or {what}{hint}"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
