"""Configurations as cfcli 0.1 wrote them: all keys of ``[train]`` in one table, and two more."""

from collections.abc import Mapping
from typing import NamedTuple

from cfcli.core.config.fields import keys_of
from cfcli.core.config.toml import Value, to_toml_value
from cfcli.core.config.train import TrainConfig

COMPILED = "compiled"  # a key that is gone
DATALOADER = "dataloader"  # a value of 'loader' that is gone


class Upgraded(NamedTuple):
    """What became of a configuration of 0.1.

    Attributes:
        values: keys to values, as they are named today.
        note: what its author should know; one sentence or more, without a full stop.
    """

    values: dict[str, Value]
    note: str


def is_legacy(values: Mapping[str, Value], outside: list[str]) -> bool:
    """Whether a table is as 0.1 had it.

    Args:
        values: its keys to values, those of its topics too.
        outside: keys of topics that stand outside their topic.
    """
    return bool(outside) or COMPILED in values or values.get("loader") == DATALOADER


def upgraded(
    values: Mapping[str, Value], outside: list[str], given: Mapping[str, Value]
) -> Upgraded:
    """A configuration of 0.1 as it is today.

    There, keys that only gradient descent knows chose the solver adam, keys of other solvers and
    models were ignored, and files held ``implicit`` and ``learning_rate`` at their defaults.

    Args:
        values: keys to values.
        outside: keys of topics that stand outside their topic.
        given: keys that win over these, as flags do.

    Raises:
        ConfigError: a value that makes no sense.
    """
    keys = keys_of(TrainConfig)
    found, gone, notes = dict(values), {}, []
    if COMPILED in found:
        gone[COMPILED] = found.pop(COMPILED)
    if found.get("loader") == DATALOADER:
        gone["loader"] = found.pop("loader")
    chosen_by = [name for name, value in gone.items() if value]
    found = {name: keys[name].read(value) for name, value in found.items()}
    for name, value in list(found.items()):
        if keys[name].is_default(value):
            del found[name]
        elif keys[name].topic in ("adam", "ncf", "processes"):
            chosen_by.append(name)
    if outside:
        notes.append(f"settings have topics now: {_by_topic(outside)}")
    if gone:
        lines = [f"{name} = {to_toml_value(value)}" for name, value in gone.items()]
        notes.append(f"ignored, as it no longer exists: {', '.join(lines)}")
    model = given.get("model", found.get("model", "mf"))
    solver = given.get("solver", found.get("solver"))
    if chosen_by and model == "mf" and solver is None:
        found["solver"] = solver = "adam"
        makes = "makes" if len(chosen_by) == 1 else "make"
        notes.append(
            f'{_listed(chosen_by)} {makes} the solver adam: write solver = "adam" under [train]'
        )
    unused = ["sampler_rank"] if model != "mf" or solver == "adam" else []
    if model == "mf":
        unused += ["hidden", "dropout"]
    for name in unused:
        if found.pop(name, None) is not None:
            notes.append(f"{name} has no effect on this model and is ignored")
    return Upgraded(found, "; ".join(notes))


def _by_topic(names: list[str]) -> str:
    """Which keys belong under which topic."""
    keys = keys_of(TrainConfig)
    topics: dict[str, list[str]] = {}
    for name in names:
        topics.setdefault(keys[name].topic, []).append(name)
    return ", ".join(f"{_listed(group)} under [train.{topic}]" for topic, group in topics.items())


def _listed(names: list[str]) -> str:
    """Names as in a sentence: 'a', 'a and b', 'a, b and c'."""
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"
