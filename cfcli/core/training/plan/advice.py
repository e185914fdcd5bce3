"""What makes a training fit."""

import contextlib
import dataclasses
import itertools
from pathlib import Path
from typing import Any

from cfcli.core.config.fields import keys_of
from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ConfigError, MachineError
from cfcli.core.training.plan.machine import Machine, available
from cfcli.core.training.plan.memory import SURE, WORTH, Plan, plan, size
from cfcli.core.training.plan.sizing import Job


def settled(config: TrainConfig, job: Job, machine: Machine) -> TrainConfig:
    """The configuration with the optimizer that ``auto`` means here, where it is not adam: the
    first that fits. Several ranks, which must agree, and what takes no other get adam."""
    asked = (
        config.adam.optimizer != "auto"
        or config.resolved_solver != "adam"
        or config.processes.ranks > 1
    )
    if not asked and config.device != "mps" and plan(config, job, machine).lacking():
        for name in ("sparse-adam", "rowwise-adagrad"):
            other = config.replace(optimizer=name)
            if not plan(other, job, machine).lacking():
                return other
    return config


def refuse(config: TrainConfig, job: Job, machine: Machine) -> None:
    """Raises a MachineError where a training surely needs more than there is, which names what
    would make it fit."""
    found = plan(config, job, machine)
    if lacking := [name for name in found.lacking(SURE) if getattr(found, name) > WORTH]:
        of = ", ".join(
            f"{size(getattr(found, name))} of {name} where {size(getattr(machine, name))} are free"
            for name in lacking
        )
        ways = " or ".join(" ".join(flags) for flags, _ in fitting(config, job, machine))
        raise MachineError(
            f"training needs {of}; " + (f"it fits with {ways}" if ways else "see 'cfcli plan'")
        )


def fitting(config: TrainConfig, job: Job, machine: Machine) -> list[tuple[list[str], Plan]]:
    """Flags that make a training fit, each as few as do, with the plan by them: other ways to hold
    the same model; a smaller dimension; tables shared with other machines. Where none of these
    fits, all of them at once."""
    solver = (
        {"solver": "adam"} if config.solver != "auto" or config.resolved_solver == "gibbs" else {}
    )
    optimizers: list[dict[str, Any]] = [
        {"optimizer": name} | solver for name in ("sparse-adam", "rowwise-adagrad")
    ]
    choices: list[list[dict[str, Any]]] = [
        [{}, *([{"solver": "adam"}] if config.resolved_solver == "gibbs" else []), *optimizers],
        [{}, {"loader": "stream"} | solver],
        [{}, {"implicit": False} | solver],
        [{}, *([{"batch_size": "auto"}] if config.adam.batch_size != "auto" else [])],
    ]
    same = [
        {key: value for change in changes for key, value in change.items()}
        for changes in itertools.product(*choices)
    ]
    same.sort(key=len)
    dims = [{"dim": config.dim >> k} for k in range(1, config.dim.bit_length())]
    more = "devices" if machine.device is not None else "num_nodes"
    shards = [
        {more: getattr(config.processes, more) << k, "shard_embeddings": True} | solver
        for k in range(1, 7)
    ]
    found = [way for ways in (same, dims, shards) if (way := _first(config, ways, job, machine))]
    if not found and (
        way := _first(config, [same[-1] | change for change in (*dims, *shards)], job, machine)
    ):
        found = [way]
    return found


def _first(
    config: TrainConfig, ways: list[dict[str, Any]], job: Job, machine: Machine
) -> tuple[list[str], Plan] | None:
    """The first of some changes that fits, as flags, and the plan by it."""
    keys, values = keys_of(TrainConfig), config.values()
    for changes in ways:
        names = sorted(changes, key=lambda name: name != "solver")
        changes = {name: changes[name] for name in names if values[name] != changes[name]}
        with contextlib.suppress(ConfigError):
            found = plan(config.replace(**changes), job, machine)
            if changes and not found.lacking():
                words = [keys[name].words(value) for name, value in changes.items()]
                return list(itertools.chain(*words)), found
    return None


def report(config: TrainConfig, job: Job, out: Path) -> dict[str, Any]:
    """What a training needs and what this machine has, in bytes, and what would make it fit: plain
    values."""
    machine = available(config, out)
    config = settled(config, job, machine)
    found = plan(config, job, machine)
    names = ("memory", "device", "disk")
    return {
        "fits": not found.lacking(),
        "lacking": found.lacking(),
        "model": config.model,
        "solver": config.resolved_solver,
        "optimizer": config.resolved_optimizer,
        "dim": config.dim,
        "devices": config.processes.devices,
        "num_nodes": config.processes.num_nodes,
        **dataclasses.asdict(job),
        "per_rank": found.parts,
        "on_device": sorted(found.on_device),
        "needs": {name: getattr(found, name) for name in names},
        "has": {name: getattr(machine, name) for name in names},
        "suggestions": [
            {"flags": flags, "needs": {name: getattr(other, name) for name in names}}
            for flags, other in (fitting(config, job, machine) if found.lacking() else [])
        ],
    }
