"""Which column of a table plays which role."""

import contextlib
import difflib
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cfcli.core.config.names import known_key
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import ConfigError, InputError

HEADERLESS = ("user_id", "item_id", "rating", "timestamp")  # MovieLens' u.data and ratings.dat
ALIASES = {  # as key_of() writes them
    "user": ("userid", "user", "uid"),
    "item": ("itemid", "item", "movieid", "iid", "bookid", "productid"),
    "rating": ("rating", "score", "stars", "value"),
    "time": ("timestamp", "time", "datetime", "date"),
    "title": ("title", "name", "booktitle", "book-title", "movietitle", "itemname"),
    "genres": ("genres",),
}
LIKELY = {  # that are proposed alone, as they may also be beside one of these
    "user": ("reviewerid", "customerid", "memberid", "playerid"),
    "item": ("asin", "isbn", "articleid", "businessid", "animeid"),
    "rating": ("overall", "starrating"),
}
RATING_ROLES = ("user", "item", "rating")  # that every table of ratings has
SHOWN = 20  # names of columns in a message
SIMILAR = 0.75  # difflib's ratio, from which a name may be a misspelt alias


class Form(NamedTuple):
    """What form an input has.

    Attributes:
        config: the keys of ``[prepare]`` that say so.
        own: the names that columns have in a run, by role: those come before aliases.
        headerless: whether an input whose first line names no columns is taken as data.
        places: which column plays a role then, as ``column_0``; by default in the usual order.
    """

    config: PrepareConfig = PrepareConfig()
    own: Mapping[str, str] = {}
    headerless: bool = False
    places: Mapping[str, str] = {}

    def asked(self, role: str) -> str | None:
        """The name that a flag gives to the column of a role.

        Args:
            role: user, item, rating, time, weight or title.
        """
        found: str | None = getattr(self.config, f"{role}_col")
        return found

    def with_role(self, names: Sequence[str], role: str, where: str) -> list[str]:
        """The columns that may play a role: the one that a flag names, or else the one that is
        called as in the run, or else those that are called by an alias.

        Args:
            names: of all columns.
            role: a key of :data:`ALIASES`.
            where: name of the input, for messages.

        Raises:
            ConfigError: the column that a flag names is not there.
        """
        if wanted := self.asked(role):
            if same := called(wanted, names):
                return [same]
            try:
                return [known_key(wanted, names, f"{where}: --{role}-col", "column")]
            except ConfigError as error:
                raise unknown_column(error, names) from None
        own = self.own.get(role)
        return [own] if own and own in names else with_role(names, role)

    def fits(self, names: Sequence[str], roles: Sequence[str]) -> bool:
        """Whether there is a column for each role.

        Args:
            names: of all columns.
            roles: keys of :data:`ALIASES`.
        """
        with contextlib.suppress(ConfigError):
            return all(self.with_role(names, role, "") for role in roles)
        return False

    def is_header(self, names: Sequence[str], roles: Sequence[str]) -> bool:
        """Whether a first line names columns.

        Args:
            names: its fields.
            roles: keys of :data:`ALIASES`, of the columns that are needed.
        """
        if self.config.no_header:
            return False
        if not self.headerless:
            return True
        known = [name.strip() for name in names]
        return any(self.own.get(role) in known or with_role(known, role) for role in roles)

    def headerless_names(self, width: int) -> list[str]:
        """Names for the columns of an input that has none: user, item, rating and time, called as
        flags say, as in the run, or as in MovieLens. Flags may also choose among ``column_0``,
        ``column_1`` and so on.

        Args:
            width: number of columns.
        """
        roles = ("user", "item", "rating", "time")
        asked = [self.asked(role) for role in roles]
        if any(name in numbered(width) for name in asked):
            return numbered(width)
        if self.places and not any(asked):
            chosen = {place: self.own[role] for role, place in self.places.items()}
            return [chosen.get(name, name) for name in numbered(width)]
        usual = zip(roles, asked, HEADERLESS, strict=True)
        names = [name or self.own.get(role) or usual for role, name, usual in usual]
        return [*names, *numbered(width)[len(names) :]][:width]


def find_columns(
    names: Sequence[str], form: Form, where: str, *, is_text: bool = True
) -> dict[str, str]:
    """Which column of a table of ratings plays which role.

    Args:
        names: of all columns, each once.
        form: names columns that are not called by an alias.
        where: name of the input, for messages.
        is_text: whether it may have a header, or none.

    Returns:
        The name of the column by role: ``user``, ``item``, ``rating`` and perhaps ``time`` and
        ``weight``. Weights have no alias: they count where a flag names them.

    Raises:
        InputError: a role has no column or two.
        ConfigError: a column that was asked for by name is not there.
    """
    found: dict[str, str] = {}
    weight = ["weight"] if form.asked("weight") else []
    for role in (*RATING_ROLES, "time", *weight):
        hits = form.with_role(names, role, where)
        if len(hits) > 1:
            raise InputError(
                f"{where}: both '{hits[0]}' and '{hits[1]}' may be the {role}; "
                f"choose with --{role}-col"
            )
        if hits:
            found[role] = hits[0]
    missing = [role for role in RATING_ROLES if role not in found]
    if missing:
        hint = ""
        if is_text and form.config.no_header:
            hint = " (flags that choose by place have to name all columns)"
        elif is_text:
            hint = (
                " (the first line must hold the column names, else see --no-header; "
                "lines above it are left out with --skip-lines)"
            )
        raise InputError(f"{where}: {_missing(names, missing)}{hint}")
    roles: dict[str, str] = {}
    for role, name in found.items():
        if name in roles:
            raise InputError(
                f"{where}: column '{name}' cannot be both the {roles[name]} and the {role}"
            )
        roles[name] = role
    return found


def refuse_repeated(names: Sequence[str], where: str) -> None:
    """Raises an InputError where two columns have one name.

    Args:
        names: of all columns.
        where: name of the input, for messages.
    """
    counts = Counter(names)
    repeated = [name for name, n in counts.items() if n > 1]
    if repeated:
        raise InputError(
            f"{where}: column '{min(repeated)}' appears twice; "
            "rename one, or, where it is data, see --no-header"
        )


def with_role(names: Sequence[str], role: str) -> list[str]:
    """The columns that are called by an alias of a role.

    Args:
        names: of all columns.
        role: a key of :data:`ALIASES`.
    """
    return [name for name in names if key_of(name) in ALIASES[role]]


def called(wanted: str, names: Sequence[str]) -> str | None:
    """The column of a name; where there is none, the only one that differs in letter case alone.

    Args:
        wanted: the name.
        names: of all columns.
    """
    if wanted in names:
        return wanted
    same = [name for name in names if name.casefold() == wanted.casefold()]
    return same[0] if len(same) == 1 else None


def has_roles(names: Sequence[str], roles: Sequence[str] = RATING_ROLES) -> bool:
    """Whether there is a column for each role.

    Args:
        names: of all columns.
        roles: keys of :data:`ALIASES`.
    """
    return all(with_role(names, role) for role in roles)


def numbered(n: int) -> list[str]:
    """Names for columns that have none.

    Args:
        n: number of columns.
    """
    return [f"column_{k}" for k in range(n)]


def is_place(name: str) -> bool:
    """Whether a name is one of :func:`numbered`.

    Args:
        name: of a column.
    """
    return re.fullmatch(r"column_\d+", name) is not None


def key_of(name: str) -> str:
    """The name of a column as aliases are compared: without case, blanks and underscores.

    Args:
        name: of the column.
    """
    return re.sub(r"[\s_]", "", name).casefold()


def _missing(names: Sequence[str], roles: Sequence[str]) -> str:
    """What is said of roles without a column, with flags for those that can be guessed."""
    likely = {role: name for role in roles for name in reversed(names) if _may_be(name, role)}
    flags = " ".join(f"--{role}-col {shlex.quote(name)}" for role, name in likely.items())
    columns = " and ".join(f"the {role}" for role in roles)
    text = f"no column for {columns.replace(' and ', ', ', len(roles) - 2)} among {shown(names)}; "
    if not likely:
        return f"{text}name {'it' if len(roles) == 1 else 'them'} with {_flags_of(roles)}"
    if len(roles) == 1:
        return f"{text}is it '{likely[roles[0]]}'? name it with {flags}"
    others = [role for role in roles if role not in likely]
    rest = f" and with {_flags_of(others)}" if others else ""
    return f"{text}name them with flags such as {flags}{rest}"


def _flags_of(roles: Sequence[str]) -> str:
    return ", ".join(f"--{role}-col" for role in roles)


def _may_be(name: str, role: str) -> bool:
    key = key_of(name)
    close = difflib.get_close_matches(key, ALIASES[role], n=1, cutoff=SIMILAR)
    return key in LIKELY[role] or bool(close)


def unknown_column(error: ConfigError, names: Sequence[str]) -> ConfigError:
    """The error of a column that is not there, with those that are.

    Args:
        error: of :func:`cfcli.core.config.names.known_key`.
        names: of all columns.
    """
    between = " The" if str(error).endswith("?") else "; the"
    return ConfigError(f"{error}{between} columns are {shown(names)}")


def shown(names: Sequence[str]) -> str:
    """The first names, for a message.

    Args:
        names: of columns.
    """
    return ", ".join(repr(name[:40]) for name in names[:SHOWN])
