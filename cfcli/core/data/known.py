"""From the files of items and users to the attributes of a dataset."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from cfcli.core.config.names import known_key
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.data.attributes import describe, unheard, why_useless
from cfcli.core.data.entities import RESERVED
from cfcli.core.data.ids import IdMap
from cfcli.core.data.info import Attribute
from cfcli.core.data.unknown import SAMPLE, find_lookalike
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.inputs.entities import Entities, Kind, read_items, read_users
from cfcli.core.inputs.roles import Form, unknown_column
from cfcli.core.inputs.sources import Source
from cfcli.core.pair import Entity, Pair

NONE = ("none",)  # --attributes, to keep none


@dataclass(frozen=True)
class Known:
    """A file of items or users, and which of its columns may become attributes.

    Attributes:
        where: name of the file.
        entity: what it is of.
        frame: ``id``, of items perhaps ``title`` and ``genres``, and the columns.
        names: of the columns that may become attributes.
        asked: whether they were named, so that they stay although they say little.
        left_out: other columns, and why they are no attributes.
    """

    where: str
    entity: Entity
    frame: pl.DataFrame
    names: list[str]
    asked: bool
    left_out: dict[str, str]


@dataclass(frozen=True)
class Added:
    """A table of a dataset with what a file says of its users or items.

    Attributes:
        table: one row each, in the order of the index.
        attributes: those of its columns that are attributes.
        notes: what the user should know, one sentence each.
    """

    table: pl.DataFrame
    attributes: list[Attribute]
    notes: list[str]


def read_known(
    files: Pair[Source | None], config: PrepareConfig
) -> tuple[Pair[Known | None], list[str]]:
    """Reads the files of users and items that there are.

    Args:
        files: of users and of items.
        config: the keys of ``[prepare]`` that say what form they have, and ``attributes``.

    Returns:
        What they hold, and notes for the user.

    Raises:
        InputError: one cannot be read, or has a column that was named and can be no attribute.
        ConfigError: no file has a column that was named; or none was named of the users.
        MachineError: one cannot be read.
    """
    form = Form(config)
    asked = config.attributes
    if asked and asked != NONE and not any(files):
        raise ConfigError("--attributes: needs --items or --users, the file with these columns")
    if files.user and files.user.dataset and not asked:
        files = Pair(None, files.item)  # nobody gave it
    users = read_users(files.user, form) if files.user else None
    items = read_items(files.item, form) if files.item else None
    if asked and asked != NONE:
        asked = _checked(asked, [found for found in (users, items) if found])
    notes = [note for found in (users, items) if found for note in found.notes]
    pair = Pair(_known(users, files.user, "user", asked), _known(items, files.item, "item", asked))
    return pair, notes


def add_known(table: pl.DataFrame, known: Known | None) -> Added:
    """Adds what a file says to the table of a dataset.

    Args:
        table: of users or items, the ids in its first column.
        known: the file; None adds nothing.
    """
    if known is None:
        return Added(table, [], [])
    column = table.columns[0]
    names = [name for name in known.names if name != column]
    title = [name for name in ("title", "genres") if known.entity == "item"]
    kept = dict.fromkeys(name for name in (*title, *names) if name in known.frame.columns)
    frame = known.frame.select("id", *kept)
    found = table.join(frame, left_on=column, right_on="id", how="left", maintain_order="left")
    left_out = dict(known.left_out)
    attributes = []
    for each in describe(found, names):
        why = why_useless(each, found)
        if each.columns and (known.asked or not why):
            attributes.append(each)
        else:
            left_out[each.name] = why
    useless = [name for name in names if name in left_out and name not in title]
    notes = []
    if left_out:
        reasons = ", ".join(f"{name} ({why})" for name, why in left_out.items())
        notes.append(f"{known.where}: columns that are no attributes: {reasons}")
    notes += _on_absent(found, frame, known)
    return Added(found.drop(useless), attributes, notes)


def read_again(
    source: Source,
    entity: Entity,
    attributes: Sequence[Attribute],
    form: Form,
    note: Callable[[str], object] | None = None,
) -> pl.DataFrame:
    """Reads a file of items or users for :func:`cfcli.core.data.attributes.encode`.

    Args:
        source: the file.
        entity: what it is of.
        attributes: that are wanted; those that it does not have are missing.
        form: of the file, as :meth:`cfcli.core.runs.run.Run.form` gives it.
        note: is called with what a person should know of the file.

    Returns:
        One row for each id: ``id``, perhaps ``title`` and ``genres``, and the attributes that it
        has.

    Raises:
        InputError: it is no such file, or has something else in the place of a number.
        MachineError: it cannot be read.
    """
    kinds: dict[str, Kind] = {each.name: each.kind for each in attributes}
    read = read_items if entity == "item" else read_users
    found = read(source, form, kinds)
    unknown = (f"{source.name}: {text}" for text in unheard(attributes, found.frame))
    for text in (*found.notes, *unknown):
        if note is not None:
            note(text)
    return found.frame


def _checked(asked: Sequence[str], files: Sequence[Entities]) -> tuple[str, ...]:
    """The names that were asked for, each of which is that of a column."""
    columns = list(dict.fromkeys(name for found in files for name in _all_columns(found)))
    try:
        return tuple(known_key(name, columns, "--attributes", "column") for name in asked)
    except ConfigError as error:
        raise unknown_column(error, columns) from None


def _all_columns(found: Entities) -> list[str]:
    return [*found.columns, *found.left_out]


def _known(
    found: Entities | None, source: Source | None, entity: Entity, asked: tuple[str, ...] | None
) -> Known | None:
    """The columns of a file that may become attributes: all of items, and those that are named."""
    if found is None or source is None:
        return None
    reserved = RESERVED | {"title"}
    if entity == "item":
        reserved -= {"genres"}
    left_out = dict(found.left_out)
    for name in found.columns:
        if name in reserved:
            left_out[name] = "cfcli uses that name itself; rename the column"
    named = [name for name in dict.fromkeys(asked or ()) if name in _all_columns(found)]
    if entity == "user" and asked != NONE and not named:
        if source.dataset:
            return None
        raise ConfigError(
            f"{source.name}: name the columns that are attributes, as they say things about "
            f"people: --attributes {','.join(found.columns)}"
        )
    for name in named:
        if name in left_out:
            raise InputError(
                f"{source.name}: column '{name}' cannot be an attribute: {left_out[name]}"
            )
    if asked == NONE:
        names = []
    else:
        names = named or [name for name in found.columns if name not in left_out]
    if named or asked == NONE:
        left_out = {}
    return Known(source.name, entity, found.frame, names, bool(named), left_out)


def _on_absent(table: pl.DataFrame, frame: pl.DataFrame, known: Known) -> list[str]:
    """A note on items without a title, or on users and items without a row."""
    column = table.columns[0]
    what = "title" if "title" in frame.columns else "row"
    is_absent = ~table[column].is_in(frame["id"].implode())
    absent = table.filter(is_absent)[column]
    n = len(absent) if what == "row" else table["title"].null_count()
    if not n:
        return []
    note = f"{n:,} of {table.height:,} {known.entity}s have no {what} in {known.where}"
    alike = find_lookalike(absent.head(SAMPLE), IdMap(frame["id"]))
    if alike is None:
        return [note]
    return [f"{note}, such as '{alike.unknown}' (there it is '{alike.known}': {alike.reason}?)"]
