"""Dataclasses as JSON, and JSON as dataclasses: what a manifest must hold follows from the
fields."""

import dataclasses
import math
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cfcli.core.errors import ArtifactError

C = TypeVar("C")
Measure = Annotated[float, "not a number where there is nothing to measure, which is null in JSON"]
LEFT_OUT = {"left out": True}
INLINE = {"inline": True}


def left_out() -> Any:
    """A field that is None by default, and whose key is then not written."""
    return field(default=None, metadata=LEFT_OUT)


def inline() -> Any:
    """A field for a dataclass, or None, whose keys are written among those of its owner."""
    return field(default=None, metadata=INLINE)


def to_json(obj: object) -> dict[str, object]:
    """The fields of a dataclass as values that JSON has.

    Args:
        obj: an instance of a dataclass; its fields hold dataclasses, lists, tuples, mappings,
            paths, texts, numbers, booleans or None.

    Returns:
        A value by the name of its field, in the order of the fields.
    """
    content: dict[str, object] = {}
    for part in fields(obj):  # type: ignore[arg-type]
        value = getattr(obj, part.name)
        if value is None and part.metadata in (LEFT_OUT, INLINE):
            continue
        if part.metadata == INLINE:
            content |= to_json(value)
        else:
            content[part.name] = plain(value)
    return content


def plain(value: object) -> object:
    """A value as JSON has it, see :func:`to_json`.

    Args:
        value: what a field of a dataclass may hold.
    """
    if is_dataclass(value):
        return to_json(value)
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def read_as(cls: type[C], path: Path, content: object) -> C:
    """A dataclass from what a manifest holds; keys that the class does not know are ignored.

    Args:
        cls: a dataclass. Fields with a default may be missing in the manifest.
        path: of the manifest, for messages.
        content: what the manifest holds.

    Raises:
        ArtifactError: a key is missing or its value is of another kind than the field.
    """
    value: C = _read(cls, path, path.name, content)
    return value


def _read(kind: Any, path: Path, key: str, value: object) -> Any:
    """A value of a manifest as a field of this kind has it."""
    origin = typing.get_origin(kind) or kind
    inner = typing.get_args(kind)
    if kind is object:
        return value
    if is_dataclass(origin) and isinstance(value, dict):
        return _read_fields(kind, path, value)
    if origin is Annotated:
        return math.nan if value is None else _read(inner[0], path, key, value)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _read(inner[0], path, key, value)
    if origin is list and isinstance(value, list):
        return [_read(inner[0], path, key, part) for part in value]
    if origin is dict and isinstance(value, dict):
        return {name: _read(inner[1], path, name, part) for name, part in value.items()}
    if origin is Literal and value in inner:
        return value
    if _is_plain(kind, value):
        return value
    raise ArtifactError(f"{path}: damaged: '{key}' is {str(value)[:40]!r}")


def _read_fields(kind: Any, path: Path, content: Mapping[str, object]) -> Any:
    """A dataclass, perhaps a generic one, from the values of its fields."""
    cls = typing.get_origin(kind) or kind
    variables = getattr(cls, "__parameters__", ())
    given = dict(zip(variables, typing.get_args(kind), strict=False))
    hints = typing.get_type_hints(cls, include_extras=True)
    values = {}
    for part in fields(cls):
        if part.name in content or part.default is dataclasses.MISSING:
            hint = given.get(hints[part.name], hints[part.name])
            values[part.name] = _read(hint, path, part.name, content.get(part.name))
    return cls(**values)


def _is_plain(kind: object, value: object) -> bool:
    """Whether a value is of a kind that has no parts. Counts and sizes are never below 0."""
    if kind is float:
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    if kind is int:
        return isinstance(value, int) and value >= 0
    return isinstance(value, str) if kind is str else kind is bool and isinstance(value, bool)
