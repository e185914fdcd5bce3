"""Titles and genres of items, from a file of their own."""

import io
from functools import partial
from typing import NamedTuple

import polars as pl

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.inputs.formats import is_text, open_table
from cfcli.core.inputs.records import sniff
from cfcli.core.inputs.roles import ALIASES, Form, has_roles, key_of, numbered, with_role
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.tables import Layout, Reading, Table, whole_rows

DEFAULT = PrepareConfig()
ML100K_GENRES = (  # the flags that end each line of MovieLens' u.item, in its order (u.genre)
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical "
    "Mystery Romance Sci-Fi Thriller War Western"
).split()  # fmt: skip
TITLE_ROLES = ("item", "title")  # that every table of titles has
DAT_COLUMNS = ["movie_id", "title", "genres"]


class Titles(NamedTuple):
    """What is known of items.

    Attributes:
        frame: one row for each id: ``id``, ``title`` and ``genres`` (joined by ``|``, null where
            unknown), all of them text.
        notes: what the user should know about the file, one sentence each.
    """

    frame: pl.DataFrame
    notes: list[str]


def read_titles(source: Source, config: PrepareConfig = DEFAULT) -> Titles:
    """Reads a table with a header (such as MovieLens' ``movies.csv``, or Parquet), ``movies.dat``
    (``id::title::genres``) or ``u.item`` (id, title, dates, address and 19 flags, between ``|``).
    Of an id that is there twice, the first row counts.

    Args:
        source: of at most a gigabyte; a text that is not UTF-8 is read as Latin-1.
        config: the keys of ``[prepare]`` that say what form it has. The ids may be called as those
            of the ratings.

    Raises:
        InputError: it is none of these.
        ConfigError: it has no such column of titles.
        MachineError: it cannot be read.
    """
    data = source.read(config.max_bytes)
    notes = []
    encoding = config.encoding
    if is_text(data) and _is_utf8(data):
        encoding = "utf-8"
    elif encoding == "utf-8" and is_text(data):
        encoding = "latin-1"
        notes.append(f"{source.name} is not UTF-8; read as Latin-1")
    own = {"item": config.item_col} if config.item_col else {}
    form = Form(PrepareConfig(title_col=config.title_col, encoding=encoding), own)
    copy = Source(source.name, lambda: io.BytesIO(data), path=source.path)
    reading = Reading(form, TITLE_ROLES, partial(_layout, form))
    with copy.opened() as opened, open_table(opened, copy, reading) as table:
        frame = _read(table, form)
    frame = frame.filter(pl.col("id").is_not_null())
    kept = frame.unique("id", keep="first", maintain_order=True)
    others = frame.select("id", "title").n_unique() - kept.height
    if others:
        notes.append(f"{source.name}: {others:,} titles are of ids titled before; kept: first")
    return Titles(kept, notes)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _layout(form: Form, start: str, where: str, config: PrepareConfig) -> Layout:
    """MovieLens' two forms without a header, else a table with one."""
    first = start.split("\n", 1)[0].rstrip("\r")
    if first.count("|") > len(ML100K_GENRES):
        others = first.count("|") - 1 - len(ML100K_GENRES)
        names = ["movie_id", "title", *numbered(others), *ML100K_GENRES]
        return Layout("|", names, quoted=False, has_header=False)
    fields = first.split("::")
    if (
        len(fields) >= len(DAT_COLUMNS)
        and not form.asked("title")
        and not has_roles(fields, TITLE_ROLES)
    ):
        names = [*DAT_COLUMNS, *numbered(len(fields) - len(DAT_COLUMNS))]
        return Layout("::", names, quoted=False, has_header=False)
    return sniff(start, where, config, roles=TITLE_ROLES)


def _rank(name: str) -> int:
    """The place of a name among aliases; those that are no alias come first."""
    aliases = [alias for role in TITLE_ROLES for alias in ALIASES[role]]
    key = key_of(name)
    return aliases.index(key) if key in aliases else -1


def _read(table: Table, form: Form) -> pl.DataFrame:
    """Columns ``id``, ``title`` and ``genres``."""
    items, titles = (form.with_role(table.names, role, table.where) for role in TITLE_ROLES)
    if not items or not titles:
        raise InputError(
            f"{table.where}: needs a column of item ids, called as in the ratings, and one of titles "
            f"(--title-col); found {', '.join(table.names)}"
        )
    item, title = (min(found, key=_rank) for found in (items, titles))
    flags = ML100K_GENRES if set(ML100K_GENRES) <= set(table.names) else []
    genres = with_role(table.names, "genres")[:1]
    names = [item, title, *genres, *flags]
    frames = [pl.DataFrame(schema=table.types(names))]
    frames += [rows.frame for rows in whole_rows(table, names)]
    frame = pl.concat(frames)
    joined = pl.lit(None, pl.String)
    if flags:
        set_flags = [pl.when(pl.col(flag) == "1").then(pl.lit(flag)) for flag in flags]
        joined = pl.concat_list(set_flags).list.drop_nulls().list.join("|")
    elif genres:
        joined = pl.col(genres[0])
        if isinstance(frame.schema[genres[0]], pl.List):
            joined = joined.cast(pl.List(pl.String)).list.join("|")
    columns = {"id": pl.col(item), "title": pl.col(title), "genres": joined}
    return frame.select(**columns).cast(pl.String)
