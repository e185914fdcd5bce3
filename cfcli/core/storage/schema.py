"""What a manifest must hold."""

import sys
from pathlib import Path
from typing import Any

from cfcli.core.errors import ArtifactError


def check(path: Path, info: dict[str, Any], schema: dict[str, Any]) -> None:
    """Holds a manifest to what the program relies on: types, or the values that are allowed.

    Raises:
        ArtifactError: something is missing or of another kind.
    """
    for key, wanted in schema.items():
        value = info.get(key) if isinstance(info, dict) else None
        if isinstance(wanted, dict):
            check(path, value or {}, wanted)
            continue
        if isinstance(wanted, tuple):
            good = value in wanted
        elif wanted is float:
            good = isinstance(value, int | float) and abs(value) <= sys.float_info.max
        else:
            good = isinstance(value, wanted) and not (wanted is int and value < 0)
        if not good:
            raise ArtifactError(f"{path}: damaged: '{key}' is {str(value)[:40]!r}")
