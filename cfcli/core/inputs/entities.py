"""What is known of items and of users, from files of their own: titles, and columns that may be
attributes."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import polars as pl
from polars.exceptions import PanicException, PolarsError

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.inputs.formats import is_text, open_table
from cfcli.core.inputs.pairs import ids_layout
from cfcli.core.inputs.records import sniff
from cfcli.core.inputs.roles import (
    ALIASES,
    Form,
    has_roles,
    is_place,
    key_of,
    numbered,
    shown,
    with_role,
)
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.tables import Layout, Reading, Table, Text, whole_rows
from cfcli.core.inputs.times import NULL_WORDS
from cfcli.core.pair import Entity
from cfcli.core.words import counted, either

USUAL = Form()
Kind = Literal["category", "list", "number"]
SEPARATOR = "|"  # between the values of a list
ML100K_GENRES = (  # the flags that end each line of MovieLens' u.item, in its order (u.genre)
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()  # fmt: skip
TITLE_ROLES = ("item", "title")  # that a table of items has, but for the title
DAT_COLUMNS = ["movie_id", "title", "genres"]
MOVIELENS_USERS = {  # the first line of MovieLens' files of users, the separator and the columns
    r"\d+\|\d+\|[MF]\|[^|]*\|[^|]*": ("|", ["user_id", "age", "gender", "occupation", "zip_code"]),
    r"\d+::[MF]::\d+::\d+::[^:]*": ("::", ["user_id", "gender", "age", "occupation", "zip_code"]),
}
YEAR = (
    r"\((\d{4})(?:\s*[-\u2013]\s*\d{0,4}\s*)?\)\s*$"  # at the end of a title, as MovieLens has it
)
DATE = r"^\d{1,4}[-/. ](?:\d{1,2}|[A-Za-z]{3,9})[-/. ]\d{1,4}(?:$|[T ])"
YEAR_OF_DATE = r"(?:^|\D)(\d{4})(?:\D|$)"
NUMBER = r"^[+-]?(?:0|[1-9]\d*|\d*\.\d+|\d+\.)(?:\.\d*)?(?:[eE][+-]?\d+)?$"  # 007 is a name
NAME = re.compile(r"(?:^|[\s_-])(?:id|ID|Id|code|Code|zip|Zip)$|[a-z]I[dD]$")  # not an amount
FindLayout = Callable[[Form, str, str, PrepareConfig], Layout]


@dataclass(frozen=True)
class Entities:
    """What a file says of items or of users.

    Attributes:
        frame: one row for each id: ``id``; of items ``title`` and ``genres`` (joined by ``|``, null
            where unknown), both where the file has titles; then columns that may be attributes,
            called as in the file: numbers are float64, all else is text, lists joined by ``|``.
        left_out: the other columns, and why they can be no attributes.
        notes: what the user should know about the file, one sentence each.
    """

    frame: pl.DataFrame
    left_out: dict[str, str]
    notes: list[str]

    @property
    def columns(self) -> list[str]:
        """The names of the columns that may be attributes."""
        found = [name for name in self.frame.columns if name not in ("id", "title")]
        has_genres = "genres" in found and self.frame["genres"].count()
        return [name for name in found if name != "genres" or has_genres]


def read_items(
    source: Source, form: Form = USUAL, kinds: Mapping[str, Kind] | None = None
) -> Entities:
    """Reads a table of items with a header (such as MovieLens' ``movies.csv``, or Parquet),
    ``movies.dat`` (``id::title::genres``) or ``u.item`` (id, title, dates, address and 19 flags,
    between ``|``). Where most titles end in a year, as ``Heat (1995)``, there is a column ``year``.
    Of an id that is there twice, the first row counts.

    Args:
        source: of at most a gigabyte; a text that is not UTF-8 is read as Latin-1.
        form: of it. The ids may be called as those of the ratings.
        kinds: attributes that are wanted, by name, and what they have to be; then ids may also
            stand alone. None for all.

    Raises:
        InputError: it is none of these, or a wanted number is no number.
        ConfigError: it has no such column of titles.
        MachineError: it cannot be read.
    """
    layout = _items_layout if kinds is None else partial(_layout_again, "item", _items_layout)
    return _read(source, form, TITLE_ROLES, layout, partial(_read_items, own_kinds=kinds))


def read_users(
    source: Source, form: Form = USUAL, kinds: Mapping[str, Kind] | None = None
) -> Entities:
    """Reads a table of users with a header, or MovieLens' ``u.user`` or ``users.dat``. Of an id
    that is there twice, the first row counts.

    Args:
        source: of at most a gigabyte; a text that is not UTF-8 is read as Latin-1.
        form: of it. The ids may be called as those of the ratings.
        kinds: attributes that are wanted, by name, and what they have to be; then ids may also
            stand alone. None for all.

    Raises:
        InputError: it is none of these, or a wanted number is no number.
        MachineError: it cannot be read.
    """
    layout = _users_layout if kinds is None else partial(_layout_again, "user", _users_layout)
    return _read(source, form, ["user"], layout, partial(_read_users, own_kinds=kinds))


def _read(
    source: Source,
    form: Form,
    roles: Sequence[str],
    layout: FindLayout,
    read: Callable[[Table, Form], Entities],
) -> Entities:
    """Reads a file, and keeps the first row of each id."""
    data = source.read(form.config.max_bytes)
    notes = []
    encoding = form.config.encoding
    if is_text(data) and _is_utf8(data):
        encoding = "utf-8"
    elif encoding == "utf-8" and is_text(data):
        encoding = "latin-1"
        notes.append(f"{source.name} is not UTF-8; read as Latin-1")
    config = form.config
    own = dict(form.own)
    for role, column in (("item", config.item_col), ("user", config.user_col)):
        if column:
            own[role] = column
    asked = PrepareConfig(
        title_col=config.title_col, encoding=encoding, decimal_comma=config.decimal_comma
    )
    form = Form(asked, own)
    copy = Source(source.name, lambda: io.BytesIO(data), path=source.path)
    reading = Reading(form, roles, partial(layout, form))
    with copy.opened() as opened, open_table(opened, copy, reading) as table:
        found = read(table, form)
    frame = found.frame.filter(pl.col("id").is_not_null())
    kept = frame.unique("id", keep="first", maintain_order=True)
    titled = frame.select("id", *({"title"} & set(frame.columns))).n_unique()
    others = frame.n_unique() - titled
    if titled > kept.height:
        n = titled - kept.height
        notes.append(
            f"{source.name}: {counted(n, 'title')} {either(n, 'is', 'are')} of ids titled before; "
            "kept: first"
        )
    if others:
        notes.append(
            f"{source.name}: {counted(others, 'row')} {either(others, 'has', 'have')} other "
            "attributes than a row of their id before; kept: first"
        )
    return replace(found, frame=kept, notes=notes)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _items_layout(form: Form, start: str, where: str, config: PrepareConfig) -> Layout:
    """MovieLens' two forms without a header, else a table with one."""
    first = start.split("\n", 1)[0].rstrip("\r")
    if any(re.fullmatch(pattern, first) for pattern in MOVIELENS_USERS):
        raise InputError(f"{where}: looks like MovieLens' users; give it as --users")
    if first.count("|") > len(ML100K_GENRES):
        others = first.count("|") - 1 - len(ML100K_GENRES)
        names = ["movie_id", "title", *numbered(others), *ML100K_GENRES]
        return Layout("|", names, quoted=False, has_header=False)
    fields = first.split("::")
    if (
        len(fields) >= len(DAT_COLUMNS)
        and not form.asked("title")
        and not has_roles(fields, ["item"])
    ):
        names = [*DAT_COLUMNS, *numbered(len(fields) - len(DAT_COLUMNS))]
        return Layout("::", names, quoted=False, has_header=False)
    return _with_names(sniff(start, where, config, roles=TITLE_ROLES), "item", form, where)


def _users_layout(form: Form, start: str, where: str, config: PrepareConfig) -> Layout:
    """MovieLens' two forms without a header, else a table with one."""
    first = start.split("\n", 1)[0].rstrip("\r")
    for pattern, (separator, names) in MOVIELENS_USERS.items():
        if re.fullmatch(pattern, first):
            return Layout(separator, names, quoted=False, has_header=False)
    if first.count("|") > len(ML100K_GENRES):
        raise InputError(f"{where}: looks like MovieLens' u.item; give it as --items")
    found = sniff(start, where, config, roles=["user", "user"])  # an id and something beside it
    return _with_names(found, "user", form, where)


def _with_names(found: Layout, role: Entity, form: Form, where: str) -> Layout:
    """The layout, unless its header is no header.

    Raises:
        InputError: no column is called as those of ids are, and one has a number for a name.
    """
    are_data = any(name.strip().isdecimal() for name in found.names)
    if found.has_header and are_data and not form.with_role(found.names, role, where):
        raise InputError(
            f"{where}: its first line is no header ({shown(found.names[:4])} ...); put one before "
            f"it that names the columns, with the {role} ids called as in the ratings"
        )
    return found


def _layout_again(
    role: Entity, layout: FindLayout, form: Form, start: str, where: str, config: PrepareConfig
) -> Layout:
    """As :func:`ids_layout` says, since ids may stand alone; but MovieLens' forms have no
    header."""
    try:
        found = layout(form, start, where, config)
    except InputError:
        return ids_layout(role, form, start, where, config)
    return ids_layout(role, form, start, where, config) if found.has_header else found


def _rank(name: str) -> int:
    """The place of a name among aliases; those that are no alias come first."""
    aliases = [alias for role in ("user", *TITLE_ROLES) for alias in ALIASES[role]]
    key = key_of(name)
    return aliases.index(key) if key in aliases else -1


def _read_items(table: Table, form: Form, own_kinds: Mapping[str, Kind] | None) -> Entities:
    """Ids, titles, genres and other columns."""
    items, titles = (form.with_role(table.names, role, table.where) for role in TITLE_ROLES)
    if not items or (len(table.names) < 2 and own_kinds is None):
        raise InputError(
            f"{table.where}: needs a column of item ids, called as in the ratings, and one of "
            f"titles (--title-col) or attributes; found {', '.join(table.names)}"
        )
    item = min(items, key=_rank)
    title = min(titles, key=_rank) if titles else None
    flags = ML100K_GENRES if set(ML100K_GENRES) <= set(table.names) else []
    genres = with_role(table.names, "genres")[:1]
    used = [item, *([title] if title else []), *genres, *flags]
    others, left_out = _attributes(table, used, own_kinds)
    frame = _frame(table, [*used, *others])
    joined = pl.lit(None, pl.String)
    if flags:
        set_flags = [pl.when(pl.col(flag) == "1").then(pl.lit(flag)) for flag in flags]
        joined = pl.concat_list(set_flags).list.drop_nulls().list.join(SEPARATOR)
    elif genres:
        joined = pl.col(genres[0])
        if isinstance(frame.schema[genres[0]], pl.List):
            joined = joined.cast(pl.List(pl.String)).list.join(SEPARATOR)
    columns = {"id": pl.col(item)}
    if title:
        columns["title"] = pl.col(title)
    if title or flags or genres:
        columns["genres"] = joined
    found = frame.select(**columns).cast(pl.String)
    if title and not any(key_of(name) == "year" for name in others):
        found = _with_year(found, own_kinds)
    return _typed(found, frame.select(others), left_out, own_kinds or {}, table, form)


def _read_users(table: Table, form: Form, own_kinds: Mapping[str, Kind] | None) -> Entities:
    """Ids and other columns."""
    users = form.with_role(table.names, "user", table.where)
    if not users or (len(table.names) < 2 and own_kinds is None):
        raise InputError(
            f"{table.where}: needs a column of user ids, called as in the ratings, and others; "
            f"found {', '.join(table.names)}"
        )
    user = min(users, key=_rank)
    kinds = own_kinds
    if own_kinds is None and table.names in [names for _, names in MOVIELENS_USERS.values()]:
        kinds = {"occupation": "category", "zip_code": "category"}  # which may be numbers
    others, left_out = _attributes(table, [user], own_kinds)
    frame = _frame(table, [user, *others])
    found = frame.select(id=pl.col(user).cast(pl.String))
    return _typed(found, frame.select(others), left_out, kinds or {}, table, form)


def _attributes(
    table: Table, used: Sequence[str], kinds: Mapping[str, Kind] | None
) -> tuple[list[str], dict[str, str]]:
    """The columns that may be attributes, and the others with the reason."""
    others, left_out = [], {}
    for name in table.names:
        if name in used or is_place(name) or (kinds is not None and name not in kinds):
            continue
        try:
            kind = table.types([name])[name]
        except InputError:  # Polars has no such type
            kind = pl.Object()
        inner = kind.inner if isinstance(kind, pl.List) else kind
        is_plain = inner.is_numeric() or inner.is_temporal() or inner in (pl.String, pl.Boolean)
        if is_plain or isinstance(inner, pl.Categorical | pl.Enum):
            others.append(name)
        else:
            left_out[name] = "neither texts nor numbers"
    return others, left_out


def _frame(table: Table, names: Sequence[str]) -> pl.DataFrame:
    frames = [pl.DataFrame(schema=table.types(names))]
    frames += [rows.frame for rows in whole_rows(table, names)]
    return pl.concat(frames)


def _with_year(frame: pl.DataFrame, kinds: Mapping[str, Kind] | None) -> pl.DataFrame:
    """Adds the years that stand in titles, if most titles have one."""
    year = frame["title"].str.extract(YEAR).cast(pl.Float64).alias("year")
    is_wanted = 2 * year.count() > frame["title"].count() if kinds is None else "year" in kinds
    return frame.with_columns(year) if is_wanted else frame


def _typed(
    known: pl.DataFrame,
    others: pl.DataFrame,
    left_out: dict[str, str],
    kinds: Mapping[str, Kind],
    table: Table,
    form: Form,
) -> Entities:
    """Adds other columns as numbers and texts. A text of a file with types stays one."""
    columns = list(known)
    for column in others:
        if column.name in known.columns:
            left_out[column.name] = "cfcli uses that name itself; rename the column"
            continue
        column = _plain(column, form.config.decimal_comma)
        kind = kinds.get(column.name)
        if kind == "number" or (kind is None and column.dtype == pl.String):
            column = _number(column, kind == "number", isinstance(table, Text), table.where)
        elif kind is None and NAME.search(column.name) and _are_whole(column):
            column = column.cast(pl.Int64).cast(pl.String)
        elif kind is not None:
            column = column.cast(pl.Int64 if _are_whole(column) else column.dtype).cast(pl.String)
        columns.append(column)
    return Entities(pl.DataFrame(columns), left_out, [])


def _plain(column: pl.Series, decimal_comma: bool) -> pl.Series:
    """A column as float64 or as text, lists joined, null where it has no value."""
    kind = column.dtype
    if kind.is_temporal():
        is_day = kind == pl.Date or isinstance(kind, pl.Datetime)
        column = column.dt.year() if is_day else column.to_physical()
    elif isinstance(kind, pl.List):
        column = column.cast(pl.List(pl.String)).list.join(SEPARATOR)
    if column.dtype.is_numeric():
        column = column.cast(pl.Float64)
        return pl.select(pl.when(column.is_finite()).then(column)).to_series().alias(column.name)
    text = column.cast(pl.String).str.strip_chars()
    is_value = ~text.str.to_lowercase().is_in(NULL_WORDS)
    text = pl.select(pl.when(is_value).then(text)).to_series().alias(column.name)
    if decimal_comma and text.str.contains(r"^[+-]?\d+(,\d+)?$").all():
        text = text.str.replace(",", ".", literal=True)
    if text.str.contains(r"^\[.*\]$").all() and text.count():  # lists of JSON
        try:
            text = text.str.json_decode(pl.List(pl.String)).list.join(SEPARATOR)
        except (PolarsError, PanicException):
            return text
    return text


def _number(column: pl.Series, must: bool, may: bool, where: str) -> pl.Series:
    """A text as numbers, or the years of dates, where each value is one; else as it is."""
    if column.dtype != pl.String or not column.count():
        return column.cast(pl.Float64) if must else column
    if column.str.contains(DATE).all() and column.str.contains(YEAR_OF_DATE).all():
        return column.str.extract(YEAR_OF_DATE).cast(pl.Float64)
    if must:
        value = column.cast(pl.Float64, strict=False)
        wrong = column.filter(column.is_not_null() & value.is_null())
        if len(wrong):
            raise InputError(
                f"{where}: column '{column.name}': '{wrong[0][:40]}' is not a number, as the run "
                "expects"
            )
        return value
    if may and column.str.contains(NUMBER).all() and not NAME.search(column.name):
        return column.cast(pl.Float64)
    return column


def _are_whole(column: pl.Series) -> bool:
    """Whether a column holds whole numbers that are exact."""
    if not column.dtype.is_numeric():
        return False
    return bool(((column == column.floor()) & (column.abs() < 2**53)).all())
