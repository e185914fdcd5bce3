"""Environment variables that look like those of cfcli but do nothing."""

import difflib
from collections.abc import Mapping

from cfcli.core.config.fields import keys_of
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.train import TrainConfig

PREFIX = "CFCLI_"
DEBUG = "CFCLI_DEBUG"  # shows the traceback of a bug
# Beside those of settings. The last is for processes that cfcli starts.
OTHERS = (
    "CFCLI_DATA", "CFCLI_STORE", "CFCLI_CACHE", "CFCLI_MOVIELENS_URL", "CFCLI_ALLOW_WORLD_WRITABLE",
    "CFCLI_LINES_EVERY", DEBUG, "CFCLI_FIRST_PROCESS",
)  # fmt: skip


def without_effect(environment: Mapping[str, str]) -> list[str]:
    """What to say of each variable that begins with ``CFCLI_`` and that no command reads.

    Args:
        environment: names to values.
    """
    given = sorted(name for name in environment if name.startswith(PREFIX))
    if not given:
        return []
    keys = [*keys_of(PrepareConfig).values(), *keys_of(TrainConfig).values()]
    known = {f"{PREFIX}{key.name.upper()}" for key in keys if key.facts.flag} | {*OTHERS}
    hidden = {f"{PREFIX}{key.name.upper()}": key.name for key in keys}
    notes = []
    for name in given:
        if name in known:
            continue
        near = difflib.get_close_matches(name.upper().replace("-", "_"), known, n=1, cutoff=0.8)
        hint = f"; did you mean {near[0]}?" if near else ", and no setting has that name"
        if name in hidden:
            hint = f"; set it by --set {hidden[name]}=VALUE or in a file for --config"
        notes.append(f"the environment variable {name} has no effect{hint}")
    return notes
