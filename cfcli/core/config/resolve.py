"""Typed configuration: one frozen dataclass per command, read from TOML, flags and the environment.

Precedence, lowest first: the default of a key, the table of a ``--config`` file, ``--set
KEY=VALUE``, then flags (which the command line takes from ``CFCLI_*`` where a flag is not given).
An unknown key is an error that names the nearest known one.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias, TypeVar, cast

from cfcli.core.config import legacy
from cfcli.core.config.fields import Key, keys_of
from cfcli.core.config.names import known_key
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.toml import Value, from_toml_value, to_toml_value
from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ConfigError, MachineError

Config = TypeVar("Config", PrepareConfig, TrainConfig)
Table: TypeAlias = Mapping[str, "Value | Mapping[str, Value]"]
"""Keys to values, and topics to their keys and values."""
Note: TypeAlias = Callable[[str], None]
"""Takes a sentence for the person who runs the command."""

TABLES: dict[str, type[PrepareConfig] | type[TrainConfig]] = {
    "prepare": PrepareConfig,
    "train": TrainConfig,
}


def _ignore(text: str) -> None:
    """Takes a note that nobody reads."""


def resolve(
    cls: type[Config],
    *,
    file: Path | None = None,
    sets: Iterable[str] = (),
    flags: Mapping[str, Value] | None = None,
    note: Note = _ignore,
) -> Config:
    """The configuration from all its sources, later ones winning.

    Args:
        cls: which configuration.
        file: a TOML file with the tables ``[prepare]`` and ``[train]``, each optional.
        sets: ``KEY=VALUE`` texts; VALUE is TOML, or else taken as a string.
        flags: keys to values; those that are None were not given.
        note: called with what is worth knowing about the settings, as that a file is of 0.1.

    Raises:
        ConfigError: an unknown key, a wrong type or value, a file that does not name its solver.
        MachineError: the file cannot be read.
    """
    given = dict(_parsed(text, cls) for text in sets)
    given |= {key: value for key, value in (flags or {}).items() if value is not None}
    from_file = _read_file(cls, file, given, note) if file is not None else {}
    config = cls.of(**(from_file | given))
    if isinstance(config, TrainConfig):
        if file is not None:
            _check_file_names_solver(config, file, from_file.keys() - given.keys())
        if config.adam.num_workers and config.adam.loader != "stream":
            note("num_workers: only --loader stream reads with worker processes; none are started")
    return config


def resolve_resumed(
    begun: Path,
    file: Path | None,
    sets: Iterable[str],
    flags: Mapping[str, Value],
    note: Note = _ignore,
) -> TrainConfig:
    """The configuration of a run that goes on: as it began, except for how it ends and where it
    computes.

    Args:
        begun: the run's ``config.toml``.
        file: the value of ``--config``, which must not be given.
        sets: the values of ``--set``, of which there must be none.
        flags: keys to values; those that are None were not given.
        note: see :func:`resolve`.

    Raises:
        ConfigError: anything else was asked to change.
    """
    if file or tuple(sets):
        raise ConfigError("--resume takes the settings of the run: give no --config and no --set")
    before = resolve(TrainConfig, file=begun, note=note)
    after = before.replace(**{key: value for key, value in flags.items() if value is not None})
    old, new = before.values(), after.values()
    keys = keys_of(TrainConfig).values()
    changeable = [key.name for key in keys if key.facts.may_change]
    for key in keys:
        if old[key.name] != new[key.name] and not key.facts.may_change:
            raise ConfigError(
                f"{key.name}: cannot change when a run is resumed; only {', '.join(changeable)} can"
            )
    return after


def resolve_both(
    file: Path | None,
    sets: Iterable[str],
    flags: Mapping[str, Value],
    note: Note = _ignore,
) -> tuple[PrepareConfig, TrainConfig]:
    """The configurations of both tables; a key of both, such as ``seed``, is set in both.

    Args:
        file, sets, flags, note: see :func:`resolve`.
    """
    sets = tuple(sets)
    both = sorted({*keys_of(PrepareConfig), *keys_of(TrainConfig)})
    names = {text: known_key(_name_in(text).rpartition(".")[2], both, "--set") for text in sets}

    def own(cls: type[Config]) -> Config:
        keys = keys_of(cls)
        return resolve(
            cls,
            file=file,
            sets=[text for text, name in names.items() if name in keys],
            flags={name: value for name, value in flags.items() if name in keys},
            note=note,
        )

    return own(PrepareConfig), own(TrainConfig)


def from_dict(cls: type[Config], values: Mapping[str, object]) -> Config:
    """A configuration as :func:`as_dict` gives it; one of 0.1, without topics, is taken too.

    Args:
        cls: which configuration.
        values: keys to values, and topics to their keys and values.

    Raises:
        ConfigError: an unknown key, a wrong type or value.
    """
    # The keys say what their values may be, and refuse all else.
    found, outside = _flattened(cls, cast(Table, values), "configuration", "")
    if cls is TrainConfig and legacy.is_legacy(found, outside):
        found = legacy.upgraded(found, outside, {}).values
    return cls.of(**found)


def as_dict(config: PrepareConfig | TrainConfig) -> dict[str, Value | dict[str, Value]]:
    """The configuration as plain numbers, strings, booleans and lists, nested by topic.

    Args:
        config: any.
    """
    found: dict[str, Value | dict[str, Value]] = {}
    topics: dict[str, dict[str, Value]] = {}
    values = config.values()
    for key in keys_of(type(config)).values():
        value = values[key.name]
        plain = list(value) if isinstance(value, tuple) else value
        if key.topic:
            topics.setdefault(key.topic, {})[key.name] = plain
        else:
            found[key.name] = plain
    return found | topics


def to_toml(config: PrepareConfig | TrainConfig) -> str:
    """The configuration as a file that ``--config`` takes; keys that are None are left out.

    Args:
        config: any.
    """
    table = next(name for name, cls in TABLES.items() if isinstance(config, cls))
    general: dict[str, Value] = {}
    topics: dict[str, dict[str, Value]] = {}
    for name, value in as_dict(config).items():
        if isinstance(value, dict):
            topics[f"{table}.{name}"] = value
        else:
            general[name] = value
    tables = {table: general} | topics
    written = [toml_table(name, of) for name, of in tables.items()]
    return "\n".join(text for text in written if text)


def toml_table(name: str, values: Mapping[str, Value]) -> str:
    """A table of a TOML file without the keys that are None; empty where all are.

    Args:
        name: of the table, as ``train.adam``.
        values: keys to values.
    """
    lines = [f"{key} = {to_toml_value(v)}" for key, v in values.items() if v is not None]
    return "\n".join([f"[{name}]", *lines, ""]) if lines else ""


def read_toml(path: Path) -> dict[str, Table]:
    """The tables of a configuration file, their names checked.

    Args:
        path: of the file.

    Raises:
        ConfigError: it is not TOML, or has an unknown table.
        MachineError: it cannot be read.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    for name, table in tables.items():
        if name not in TABLES:
            _refuse_outside_tables(path, name, is_table=isinstance(table, dict))
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: '{name}' is not a table; write [{name}]")
    return tables


def _refuse_outside_tables(path: Path, name: str, *, is_table: bool) -> None:
    """Raises a ConfigError for a name at the top of a file that is not one of its tables.

    Args:
        path: of the file.
        name: a key, or the name of a table.
        is_table: whether it is the name of a table.
    """
    keys: dict[str, Mapping[str, Key]] = {name: keys_of(cls) for name, cls in TABLES.items()}
    if is_table:
        for table, known in keys.items():
            if name in {key.topic for key in known.values()}:
                raise ConfigError(f"{path}: write [{table}.{name}] in place of [{name}]")
        known_key(name, TABLES, f"{path}", "table")
    own = known_key(name, sorted({*keys["prepare"], *keys["train"]}), str(path))
    places = [
        f"[{table}.{known[own].topic}]" if known[own].topic else f"[{table}]"
        for table, known in keys.items()
        if own in known
    ]
    raise ConfigError(f"{path}: {own}: is in no table; put it under {' or '.join(places)}")


def _read_file(
    cls: type[Config], file: Path, given: Mapping[str, Value], note: Note
) -> dict[str, Value]:
    """The keys that a file gives to a configuration, whatever their topic.

    Args:
        cls: which configuration.
        file: its path.
        given: keys that win over those of the file.
        note: called if the file is of 0.1.
    """
    table = next(name for name, known in TABLES.items() if known is cls)
    values, outside = _flattened(cls, read_toml(file).get(table, {}), table, f"{file}: ")
    if cls is TrainConfig and legacy.is_legacy(values, outside):
        values, text = legacy.upgraded(values, outside, given)
        note(f"{file}: {text}")
    return values


def _flattened(
    cls: type[Config], table: Table, name: str, where: str
) -> tuple[dict[str, Value], list[str]]:
    """The keys of a table and of its topics, and which of them stand outside their topic.

    Args:
        cls: the configuration that the table is of.
        table: keys to values, and topics to their keys and values.
        name: of the table, for errors.
        where: the file, for errors.
    """
    keys: Mapping[str, Key] = keys_of(cls)
    topics: set[str] = {key.topic for key in keys.values() if key.topic}
    known = [*keys, *topics, *([legacy.COMPILED] if cls is TrainConfig else [])]
    values: dict[str, Value] = {}
    outside = []
    for given, value in table.items():
        own = known_key(given, known, f"{where}[{name}]")
        if own in topics:
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}'{own}' is not a table; write [{name}.{own}]")
            for inner, of in value.items():
                _add(values, _known_in(own, inner, keys, f"{where}[{name}.{own}]"), of, where)
            continue
        if isinstance(value, Mapping):
            raise ConfigError(f"{where}[{name}.{own}]: '{own}' is not a topic")
        if own in keys and keys[own].topic:
            outside.append(own)
        _add(values, own, value, where)
    return values, outside


def _add(values: dict[str, Value], name: str, value: Value, where: str) -> None:
    if name in values:
        raise ConfigError(f"{where}{name} is set twice")
    values[name] = value


def _known_in(topic: str, name: str, keys: Mapping[str, Key], where: str) -> str:
    """The name of a key that is given as one of ``topic``."""
    own = [key.name for key in keys.values() if key.topic == topic]
    plain = name.replace("-", "_")
    if plain in keys and plain not in own:
        right = keys[plain].topic
        place = f"topic '{right}'" if right else "no topic"
        raise ConfigError(f"{where}: '{plain}' belongs to {place}")
    return known_key(name, own, where)


def _parsed(text: str, cls: type[Config]) -> tuple[str, Value]:
    """The key and the value of a ``KEY=VALUE``; KEY may begin with its topic."""
    value = text.partition("=")
    if not value[1]:
        raise ConfigError(f"--set {text}: not of the form KEY=VALUE")
    keys = keys_of(cls)
    topic, dot, name = _name_in(text).rpartition(".")
    own = _known_in(topic, name, keys, f"--set {topic}.") if dot else known_key(name, keys, "--set")
    return own, from_toml_value(value[2])


def _name_in(text: str) -> str:
    return text.partition("=")[0].strip()


def _check_file_names_solver(config: TrainConfig, file: Path, names: Iterable[str]) -> None:
    """Raises a ConfigError where keys of a file would choose the solver.

    Args:
        config: from all sources.
        file: for the message.
        names: the keys that only the file gave.
    """
    if not config.chosen_by:
        return
    for key in config.changed("adam", "processes"):
        if key.name in names:
            raise ConfigError(
                f"{file}: {key.name} in [train.{key.topic}] is a setting of the solver adam, which "
                'the file does not name: add the line solver = "adam" under [train]'
            )
