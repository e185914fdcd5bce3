"""Typed configuration: one frozen dataclass per command, read from TOML, flags and the environment.

Precedence, lowest first: the default here, the table of a ``--config`` file, ``--set KEY=VALUE``,
then flags (which the command line takes from ``CFCLI_*`` where a flag is not given). Every key is
known here: an unknown one is an error that names the nearest right one.
"""

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cfcli.core.config.names import known_key
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.toml import from_toml_value, to_toml_value
from cfcli.core.config.train import MAY_CHANGE, TrainConfig
from cfcli.core.errors import ConfigError, MachineError

TABLES: dict[str, type] = {"prepare": PrepareConfig, "train": TrainConfig}
Config = TypeVar("Config", PrepareConfig, TrainConfig)


def resolve(
    cls: type[Config],
    *,
    file: Path | None = None,
    sets: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration from all places that may speak, later ones winning.

    Args:
        file: a TOML file with the tables ``[prepare]`` and ``[train]``, each optional.
        sets: ``KEY=VALUE`` texts; VALUE is TOML, or else taken as a string.
        flags: keys to values; those that are None were not given.

    Raises:
        ConfigError: unknown key, wrong type or value.
        MachineError: the file cannot be read.
    """
    table = next(name for name, known in TABLES.items() if known is cls)
    values: dict[str, Any] = {}
    if file is not None:
        for key, value in read_toml(file).get(table, {}).items():
            values[known_key(key, _names(cls), f"{file}: [{table}]")] = value
    for text in sets:
        key, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--set {text}: not of the form KEY=VALUE")
        values[known_key(key.strip(), _names(cls), "--set")] = from_toml_value(value)
    values |= {key: value for key, value in (flags or {}).items() if value is not None}
    return cls(**values)


def resolve_resumed(
    begun: Path, file: Path | None, sets: Iterable[str], flags: Mapping[str, Any]
) -> TrainConfig:
    """The configuration of a run that goes on: as it was ``begun``, but for how it ends and where
    it computes.

    Raises:
        ConfigError: anything else was asked to change.
    """
    if file or tuple(sets):
        raise ConfigError("--resume takes the settings of the run: give no --config and no --set")
    before, after = resolve(TrainConfig, file=begun), resolve(TrainConfig, file=begun, flags=flags)
    for name in _names(TrainConfig):
        if getattr(before, name) != getattr(after, name) and name not in MAY_CHANGE:
            raise ConfigError(
                f"{name}: cannot change when a run is resumed; only {', '.join(MAY_CHANGE)} can"
            )
    return after


def resolve_both(
    file: Path | None, sets: Iterable[str], flags: Mapping[str, Any]
) -> tuple[PrepareConfig, TrainConfig]:
    """The configurations of both tables; what both know, such as ``seed``, is set in both."""
    both = sorted({*_names(PrepareConfig), *_names(TrainConfig)})
    keys = {text: known_key(text.partition("=")[0].strip(), both, "--set") for text in sets}

    def own(cls: type[Config]) -> Config:
        names = _names(cls)
        return resolve(
            cls,
            file=file,
            sets=[text for text, name in keys.items() if name in names],
            flags={name: value for name, value in flags.items() if name in names},
        )

    return own(PrepareConfig), own(TrainConfig)


def read_toml(path: Path) -> dict[str, dict[str, Any]]:
    """The tables of a configuration file, their names checked."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    for name, table in tables.items():
        known_key(name, TABLES, f"{path}: table")
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: '{name}' is not a table; write [{name}]")
    return tables


def to_toml(config: PrepareConfig | TrainConfig) -> str:
    """The configuration as a file that ``--config`` takes; keys that are None are left out."""
    table = next(name for name, known in TABLES.items() if isinstance(config, known))
    lines = [
        f"{name} = {to_toml_value(value)}"
        for name, value in as_dict(config).items()
        if value is not None
    ]
    return "\n".join([f"[{table}]", *lines, ""])


def as_dict(config: PrepareConfig | TrainConfig) -> dict[str, Any]:
    """The configuration as plain numbers, strings, booleans and lists."""
    return {
        k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(config).items()
    }


def _names(cls: type) -> list[str]:
    return [f.name for f in dataclasses.fields(cls)]
