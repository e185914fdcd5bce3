"""How a key of the configuration is declared, and what is known about it.

A configuration is a frozen dataclass. Its fields are keys, made by :func:`key`, and topics, made by
:func:`topic`: smaller dataclasses of keys. The name of a key is unique over all topics, so flags,
``--set`` and environment variables need no topic.
"""

import dataclasses
import datetime
import difflib
import math
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import (
    Literal,
    Self,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from cfcli.core.config.names import known_key
from cfcli.core.config.toml import Plain, Value, to_toml_value
from cfcli.core.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a field says about its key.

    Attributes:
        help: one or more sentences for the help of the command line.
        least: the smallest value allowed; for a list, of each of its numbers.
        above: values must be larger than this.
        below: values must be smaller than this.
        metavar: what the help shows in place of a value; the flag then takes any text.
        flag: whether the key has a flag of its own; ``--set`` reaches all keys.
        panel: the heading in the help that lists the flag.
        rare: whether only ``--help-all`` lists the flag.
        may_change: whether a resumed run may have another value.
        same_for_warm_start: whether parameters would mean something else with another value.
        stands_for: what a default of None means, so that giving it changes nothing.
    """

    help: str
    least: float | None = None
    above: float | None = None
    below: float | None = None
    metavar: str | None = None
    flag: bool = True
    panel: str = ""
    rare: bool = False
    may_change: bool = False
    same_for_warm_start: bool = False
    stands_for: Value = None


@dataclass(frozen=True)
class Key:
    """A key of the configuration.

    Attributes:
        name: unique over all topics.
        topic: the table that it is in, below that of the command; empty for general keys.
        hint: the type of its values.
        default: its value where nobody gives one.
        facts: what its field says about it.
    """

    name: str
    topic: str
    hint: object
    default: Value
    facts: Facts

    @property
    def kinds(self) -> tuple[object, ...]:
        """The types that a value may have."""
        is_union = get_origin(self.hint) in (Union, types.UnionType)
        return get_args(self.hint) if is_union else (self.hint,)

    @property
    def choices(self) -> list[str]:
        """The texts that a value may be, where they are few."""
        literals = [kind for kind in self.kinds if get_origin(kind) is Literal]
        return [str(choice) for literal in literals for choice in get_args(literal)]

    @property
    def spelling(self) -> str:
        """How the command line names it: ``--batch-size`` or ``--set link``."""
        return f"--{self.name.replace('_', '-')}" if self.facts.flag else f"--set {self.name}"

    def is_default(self, value: Value) -> bool:
        """Whether ``value`` changes nothing.

        Args:
            value: of the key, as :meth:`read` returns it.
        """
        return value == self.default or (self.default is None and value == self.facts.stands_for)

    def words(self, value: Value) -> list[str]:
        """The words of a command line that give the key this value.

        Args:
            value: of the key, as :meth:`read` returns it.
        """
        has_comma = isinstance(value, tuple) and any("," in str(part) for part in value)
        if not self.facts.flag or has_comma:
            plain = list(value) if isinstance(value, tuple) else value
            return ["--set", f"{self.name}={to_toml_value(plain)}"]
        if isinstance(value, bool):
            return [self.spelling if value else self.spelling.replace("--", "--no-", 1)]
        if isinstance(value, tuple):
            parts = [part if isinstance(part, str) else f"{part:g}" for part in value]
            return [self.spelling, ",".join(parts)]
        return [self.spelling, str(value)]

    def read(self, value: Value) -> Value:
        """``value`` as the key wants it: '1,2' or a list becomes a tuple, an int a float.

        Args:
            value: as a flag, a file or a caller gives it.

        Raises:
            ConfigError: it is of another type, or out of bounds.
        """
        try:
            found = _coerce(value, self.hint)
        except ValueError as error:
            near = difflib.get_close_matches(str(value), self.choices, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ConfigError(f"{self.name}: {value!r} is not {error}{hint}") from None
        for part in found if isinstance(found, tuple) else (found,):
            if isinstance(part, int | float) and not isinstance(part, bool):
                self._check_bounds(part)
        return found

    def _check_bounds(self, number: float) -> None:
        least, above, below = self.facts.least, self.facts.above, self.facts.below
        if least is not None and below is not None and not least <= number < below:
            whole = isinstance(number, int)
            bounds = f"{least} to {below - 1}" if whole else f"{least:g} to below {below:g}"
            raise ConfigError(f"{self.name}: {_short(number)} is not from {bounds}")
        if least is not None and number < least:
            raise ConfigError(f"{self.name}: {_short(number)} is below {least:g}")
        if above is not None and not number > above:
            raise ConfigError(f"{self.name}: {_short(number)} is not above {above:g}")


def key(
    default: T,
    help: str,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    metavar: str | None = None,
    flag: bool = True,
    panel: str = "",
    rare: bool = False,
    may_change: bool = False,
    same_for_warm_start: bool = False,
    stands_for: Value = None,
) -> T:
    """Declares a key: the value of a dataclass field, with its :class:`Facts`.

    Args:
        default: its value where nobody gives one.
        help: one or more sentences for the help of the command line.
        least: the smallest value allowed; for a list, of each of its numbers.
        above: values must be larger than this.
        below: values must be smaller than this.
        metavar: what the help shows in place of a value; the flag then takes any text.
        flag: whether the key has a flag of its own; ``--set`` reaches all keys.
        panel: the heading in the help that lists the flag.
        rare: whether only ``--help-all`` lists the flag.
        may_change: whether a resumed run may have another value.
        same_for_warm_start: whether parameters would mean something else with another value.
        stands_for: what a default of None means, so that giving it changes nothing.
    """
    facts = Facts(
        help=help,
        least=least,
        above=above,
        below=below,
        metavar=metavar,
        flag=flag,
        panel=panel,
        rare=rare,
        may_change=may_change,
        same_for_warm_start=same_for_warm_start,
        stands_for=stands_for,
    )
    return field(default=default, metadata={"facts": facts})


def topic(default: T) -> T:
    """Declares a topic: the value of a dataclass field.

    Args:
        default: an instance of the topic's dataclass.
    """
    return field(default=default)


_known: dict[type["Settings"], Mapping[str, Key]] = {}  # reading type hints takes a millisecond


def keys_of(cls: type["Settings"]) -> Mapping[str, Key]:
    """All keys of a configuration by name, those of its topics too.

    Args:
        cls: the dataclass of the configuration or of a topic.
    """
    if cls not in _known:
        _known[cls] = _declared(cls)
    return _known[cls]


def _declared(cls: type["Settings"]) -> Mapping[str, Key]:
    hints = get_type_hints(cls)
    found: dict[str, Key] = {}
    for each in dataclasses.fields(cls):
        if facts := each.metadata.get("facts"):
            default = cast(Value, each.default)
            found[each.name] = Key(each.name, "", hints[each.name], default, facts)
        else:
            inner = keys_of(hints[each.name]).values()
            found |= {key.name: dataclasses.replace(key, topic=each.name) for key in inner}
    return found


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The base of configurations and of their topics; checks every value that it is given."""

    def __post_init__(self) -> None:
        for key in keys_of(type(self)).values():
            if not key.topic:
                object.__setattr__(self, key.name, key.read(getattr(self, key.name)))

    @classmethod
    def of(cls, **values: Value) -> Self:
        """The configuration with these keys; keys of topics are named without their topic.

        Args:
            values: keys to values; all others have their defaults.

        Raises:
            ConfigError: an unknown key, or a value that makes no sense.
        """
        keys = keys_of(cls)
        groups: dict[str, dict[str, Value]] = {"": {}}
        for name, value in values.items():
            key = keys[known_key(name, keys, "configuration")]
            groups.setdefault(key.topic, {})[key.name] = value
        general = groups.pop("")
        hints = get_type_hints(cls)
        topics = {topic: hints[topic](**group) for topic, group in groups.items()}
        return cls(**general, **topics)

    def replace(self, **values: Value) -> Self:
        """A copy with other values.

        Args:
            values: keys to values; keys of topics are named without their topic.

        Raises:
            ConfigError: an unknown key, or a value that makes no sense.
        """
        return type(self).of(**(self.values() | values))

    def values(self) -> dict[str, Value]:
        """The values of all keys by name, those of topics too."""
        return {
            key.name: getattr(getattr(self, key.topic) if key.topic else self, key.name)
            for key in keys_of(type(self)).values()
        }


def check_range(low: float, high: float) -> None:
    """Raises a ConfigError unless the lowest rating is below the highest one.

    Args:
        low: the first value of ``rating_range``.
        high: the second one.
    """
    if not low < high:
        raise ConfigError(f"rating_range: {low:g} is not below {high:g}")


def seconds_of(text: str, where: str) -> float:
    """A duration like 90s, 20m, 8h or 2d in seconds.

    Args:
        text: a number and its unit.
        where: the key or flag, for the error.

    Raises:
        ConfigError: it is no duration.
    """
    try:
        seconds = float(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1:]]
    except (KeyError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{where}: '{text}' is not a time above 0 like 90s, 20m or 8h")
    return seconds


def _short(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _coerce(value: Value, hint: object) -> Value:
    """``value`` as ``hint`` wants it: an int may stand for a float, '1,2' or a list for a tuple;
    nothing else changes its type.

    Raises:
        ValueError: it cannot be; the message says what the hint wants.
    """
    kind, args = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return _coerce_to_any(value, args)
    if kind is Literal:
        if value in args:
            return value
    elif kind is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if isinstance(parts, list | tuple) and (args[-1] is ... or len(parts) == len(args)):
            try:
                return tuple(_coerce_part(part, args[0]) for part in parts)
            except (TypeError, ValueError):
                pass
    elif hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and abs(value) <= sys.float_info.max:  # type: ignore[arg-type]
            return float(value)  # type: ignore[arg-type]
    elif hint is int:
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif hint is bool and isinstance(value, bool):
        return value
    elif hint is str:
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, datetime.date):  # TOML has dates, also with a time
            return value.isoformat()
    elif hint is type(None) and value is None:
        return value
    raise ValueError(_describe(hint))


def _coerce_to_any(value: Value, hints: tuple[object, ...]) -> Value:
    """``value`` as the first of ``hints`` that takes it."""
    for option in hints:
        try:
            return _coerce(value, option)
        except ValueError:
            continue
    raise ValueError(" or ".join(_describe(option) for option in hints if option is not type(None)))


def _coerce_part(part: Plain, hint: type) -> Plain:
    """A number of a list, which may be text."""
    return cast(Plain, _coerce(hint(part) if isinstance(part, str) else part, hint))


def _describe(hint: object) -> str:
    kind, args = get_origin(hint), get_args(hint)
    if kind is Literal:
        return "one of " + ", ".join(map(str, args)) if len(args) > 1 else f"'{args[0]}'"
    if kind is tuple:
        if args[0] is str:
            return "a list like age,gender"
        return f"a list like {'64,32' if args[-1] is ... else 'LO,HI'}"
    names: dict[object, str] = {int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(hint, "a text")
