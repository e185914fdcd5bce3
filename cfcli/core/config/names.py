"""Names of keys: known, or the nearest that is."""

import difflib
from collections.abc import Iterable

from cfcli.core.errors import ConfigError


def known_key(key: str, known: Iterable[str], where: str, what: str = "key") -> str:
    """``key`` in its canonical spelling, with underscores.

    Args:
        key: as it was given.
        known: the names that there are.
        where: the flag or the file, for the error.
        what: it is a name of, for the error.

    Raises:
        ConfigError: it is not among ``known``; the message names the nearest that is.
    """
    known = list(known)
    plain = key.replace("-", "_")
    name = plain if plain in known else key
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise ConfigError(f"{where}: unknown {what} '{key}'{hint}")
