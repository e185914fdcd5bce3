"""Names of keys: known, or the nearest that is."""

import difflib
from collections.abc import Iterable

from cfcli.core.errors import ConfigError


def known_key(key: str, known: Iterable[str], where: str) -> str:
    """``key`` in its canonical spelling.

    Raises:
        ConfigError: it is not among ``known``; the message names the nearest that is.
    """
    known = list(known)
    name = key.replace("-", "_") if key.replace("-", "_") in known else key
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    raise ConfigError(
        f"{where}: unknown key '{key}'" + (f"; did you mean '{near[0]}'?" if near else "")
    )
