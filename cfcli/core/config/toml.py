"""Configurations as TOML, and back."""

import json
import tomllib
from typing import Any


def to_toml_value(value: Any) -> str:
    """``value`` in TOML: as in JSON, but TOML knows no surrogate pairs and no bare DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def from_toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
