"""Values of the configuration as TOML, and back."""

import datetime
import json
import tomllib
from collections.abc import Sequence
from typing import TypeAlias

Plain: TypeAlias = str | int | float | bool | datetime.date | None
Value: TypeAlias = Plain | Sequence[Plain]
"""What a key may hold, as TOML, JSON or the command line give it."""


def to_toml_value(value: Value) -> str:
    """``value`` in TOML: as in JSON, but TOML knows no surrogate pairs and no bare DEL.

    Args:
        value: text, number, boolean, or a list of those.
    """
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def from_toml_value(text: str) -> Value:
    """The value that ``text`` is in TOML, or the text itself where it is none.

    Args:
        text: what follows ``KEY=`` in ``--set``.
    """
    try:
        value: Value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return value
