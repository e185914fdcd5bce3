"""How a key of a configuration is declared and checked."""

import datetime
import math
import sys
import types
from dataclasses import field
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from cfcli.core.errors import ConfigError


def key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


def seconds_of(text: str, where: str) -> float:
    """A time like 90s, 20m, 8h or 2d in seconds."""
    try:
        seconds = float(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1:]]
    except (KeyError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{where}: '{text}' is not a time like 90s, 20m or 8h")
    return seconds


def check(config: object) -> None:
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        try:
            object.__setattr__(config, name, _coerce(value, hint))
        except ValueError as error:
            raise ConfigError(f"{name}: {value!r} is not {error}") from None


def _coerce(value: Any, hint: Any) -> Any:
    """``value`` as ``hint`` wants it: an int may stand for a float, '1,2' or a list for a tuple;
    nothing else moves."""
    kind, args = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        for option in args:
            try:
                return _coerce(value, option)
            except ValueError as error:
                reason = str(error)
        raise ValueError(
            " or ".join(_describe(option) for option in args if option is not type(None)) or reason
        )
    if kind is Literal:
        if value in args:
            return value
    elif kind is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if isinstance(parts, list | tuple) and (args[-1] is ... or len(parts) == len(args)):
            try:
                return tuple(
                    _coerce(args[0](part) if isinstance(part, str) else part, args[0])
                    for part in parts
                )
            except (TypeError, ValueError):
                pass
    elif hint is float:
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) <= sys.float_info.max
        ):
            return float(value)
    elif hint is int and isinstance(value, str) and value.isdecimal():
        return int(value)
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    elif hint is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    elif hint is str and isinstance(value, datetime.date):  # TOML has dates, also with a time
        return value.isoformat()
    raise ValueError(_describe(hint))


def _describe(hint: Any) -> str:
    kind, args = get_origin(hint), get_args(hint)
    if kind is Literal:
        return "one of " + ", ".join(map(str, args)) if len(args) > 1 else f"'{args[0]}'"
    if kind is tuple:
        return f"a list like {'64,32' if args[-1] is ... else 'LO,HI'}"
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(
        hint, str(hint)
    )


def check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:  # what scikit-learn and Lightning take
        raise ConfigError(f"seed: {seed} is not from 0 to 4294967295")


def at_least(config: object, least: int, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if isinstance(value, int | float) and value < least:
            raise ConfigError(f"{name}: {value:g} is below {least}")
