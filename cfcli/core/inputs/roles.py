"""What the fields of a text are: how they are separated, and which column plays which role."""

import difflib
import re
from collections.abc import Sequence

from cfcli.core.config.names import known_key
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import InputError

ALIASES = {
    "user": ("userid", "user", "uid"),
    "item": ("itemid", "item", "movieid", "iid", "bookid", "productid"),
    "rating": ("rating", "score", "stars", "value"),
    "time": ("timestamp", "time", "datetime", "date"),
}
HEADERLESS = ("user_id", "item_id", "rating", "timestamp")  # MovieLens' u.data and ratings.dat


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
    keys = {name: key_of(name) for name in names}
    found = {}
    for role, aliases in ALIASES.items():
        if wanted := getattr(config, f"{role}_col"):
            found[role] = known_key(wanted, names, f"{where}: --{role}-col")
            continue
        hits = [name for name, key in keys.items() if key in aliases]
        if len(hits) > 1:
            raise InputError(
                f"{where}: both '{hits[0]}' and '{hits[1]}' may be the {role}; choose with --{role}-col"
            )
        if hits:
            found[role] = hits[0]
        elif role != "time":
            near = [
                name
                for name, key in keys.items()
                if difflib.get_close_matches(key, aliases, n=1, cutoff=0.75)
            ]
            hint = f"is it '{near[0]}'? " if near else ""
            raise InputError(
                f"{where}: no column for the {role} among {', '.join(repr(n[:40]) for n in names[:20])}; {hint}"
                f"name it with --{role}-col (the first line must hold the column names, else see --no-header; "
                "lines above it are left out with --skip-lines)"
            )
    roles: dict[str, str] = {}
    for role, name in found.items():
        if name in roles:
            raise InputError(
                f"{where}: column '{name}' cannot be both the {roles[name]} and the {role}"
            )
        roles[name] = role
    return found


def key_of(name: str) -> str:
    """The name of a column as aliases are compared: without regard to case, blanks and
    underscores."""
    return re.sub(r"[\s_]", "", name).casefold()


def has_roles(names: list[str]) -> bool:
    keys = {key_of(name) for name in names}
    return all(keys & set(ALIASES[role]) for role in ("user", "item", "rating"))
