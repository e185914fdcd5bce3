"""Which column of a table plays which role."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence

from cfcli.core.config.names import known_key
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import InputError

ALIASES = {  # as key_of() writes them
    "user": ("userid", "user", "uid"),
    "item": ("itemid", "item", "movieid", "iid", "bookid", "productid"),
    "rating": ("rating", "score", "stars", "value"),
    "time": ("timestamp", "time", "datetime", "date"),
    "title": ("title",),
    "genres": ("genres",),
}
RATING_ROLES = ("user", "item", "rating")  # that every table of ratings has
SHOWN = 20  # names of columns in a message
SIMILAR = 0.75  # difflib's ratio, from which a name may be a misspelt alias


def find_columns(names: Sequence[str], config: PrepareConfig, where: str) -> dict[str, str]:
    """Which column of a table of ratings plays which role.

    Args:
        names: of all columns, each once.
        config: names columns that are not called by an alias.
        where: name of the input, for messages.

    Returns:
        The name of the column by role: ``user``, ``item``, ``rating`` and perhaps ``time``.

    Raises:
        InputError: a role has no column or two.
        ConfigError: a column that was asked for by name is not there.
    """
    asked = {
        "user": config.user_col,
        "item": config.item_col,
        "rating": config.rating_col,
        "time": config.time_col,
    }
    found: dict[str, str] = {}
    for role, wanted in asked.items():
        if wanted:
            found[role] = known_key(wanted, names, f"{where}: --{role}-col")
            continue
        hits = with_role(names, role)
        if len(hits) > 1:
            raise InputError(
                f"{where}: both '{hits[0]}' and '{hits[1]}' may be the {role}; "
                f"choose with --{role}-col"
            )
        if hits:
            found[role] = hits[0]
        elif role in RATING_ROLES:
            raise InputError(_missing(names, role, where))
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


def key_of(name: str) -> str:
    """The name of a column as aliases are compared: without case, blanks and underscores.

    Args:
        name: of the column.
    """
    return re.sub(r"[\s_]", "", name).casefold()


def _missing(names: Sequence[str], role: str, where: str) -> str:
    hint = ""
    for name in names:
        if difflib.get_close_matches(key_of(name), ALIASES[role], n=1, cutoff=SIMILAR):
            hint = f"is it '{name}'? "
            break
    shown = ", ".join(repr(name[:40]) for name in names[:SHOWN])
    return (
        f"{where}: no column for the {role} among {shown}; {hint}name it with --{role}-col "
        "(the first line must hold the column names, else see --no-header; "
        "lines above it are left out with --skip-lines)"
    )
