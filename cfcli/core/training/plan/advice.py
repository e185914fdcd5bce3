"""What makes a training run fit a machine."""

import contextlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cfcli.core.config.fields import keys_of
from cfcli.core.config.train import Optimizer, TrainConfig
from cfcli.core.errors import ConfigError, MachineError
from cfcli.core.training.plan.machine import Machine, available
from cfcli.core.training.plan.memory import SURE, WORTH_REFUSING, Plan, plan, size
from cfcli.core.training.plan.sizing import Job

# Optimizers that need less memory than adam, the second even less.
SPARSE: tuple[Optimizer, ...] = ("sparse-adam", "rowwise-adagrad")
MOST_DOUBLINGS = 6  # of the machines or devices that are advised

Changes = dict[str, int | bool | str]  # of the configuration, by key


class Way(NamedTuple):
    """One way to make a training run fit.

    Attributes:
        flags: of the command line, word by word.
        plan: what the training needs with them.
    """

    flags: list[str]
    plan: Plan


@dataclass(frozen=True)
class Needs:
    """What a training run needs, in bytes.

    Attributes:
        memory: of all processes on this machine.
        device: of a GPU.
        disk: for checkpoints or the run.
    """

    memory: int
    device: int
    disk: int

    @classmethod
    def of(cls, found: Plan) -> "Needs":
        """The sums of a plan.

        Args:
            found: the plan.
        """
        return cls(found.memory, found.device, found.disk)


@dataclass(frozen=True)
class Suggestion:
    """Flags that make a training run fit.

    Attributes:
        flags: word by word.
        needs: what the training needs with them.
    """

    flags: list[str]
    needs: Needs


@dataclass(frozen=True)
class Report:
    """What a training run needs and what a machine has: what ``cfcli plan --json`` prints.

    Attributes:
        fits: whether there is enough of everything.
        lacking: which of memory, device and disk do not suffice.
        model: kind of the model.
        solver: adam or gibbs.
        optimizer: what adam steps by; None for gibbs.
        dim: dimension of the embeddings.
        devices: processes on each machine.
        num_nodes: machines.
        users: number of users.
        items: number of items.
        rows: ratings to train on.
        val: ratings to validate on.
        per_rank: bytes of memory that a process needs, by what they are for.
        on_device: the names of those that a GPU holds.
        needs: their sums, and the disk.
        has: what this machine has.
        suggestions: what would make it fit, where it does not.
    """

    fits: bool
    lacking: list[str]
    model: str
    solver: str
    optimizer: str | None
    dim: int
    devices: int
    num_nodes: int
    users: int
    items: int
    rows: int
    val: int
    per_rank: dict[str, int]
    on_device: list[str]
    needs: Needs
    has: Machine
    suggestions: list[Suggestion]


def settled(config: TrainConfig, job: Job, machine: Machine) -> TrainConfig:
    """The configuration with the optimizer that ``auto`` means here: adam, or where that does not
    fit the first that does.

    Several ranks, which must agree, and what takes no other optimizer get adam.

    Args:
        config: that is asked for.
        job: the size of the data.
        machine: what is there.
    """
    asked = (
        config.adam.optimizer != "auto"
        or config.resolved_solver != "adam"
        or config.processes.ranks > 1
        or config.device == "mps"
    )
    if asked or not plan(config, job, machine).lacking():
        return config
    for name in SPARSE:
        other = config.replace(optimizer=name)
        if not plan(other, job, machine).lacking():
            return other
    return config


def refuse(config: TrainConfig, job: Job, machine: Machine) -> None:
    """Refuses a training run that surely needs more than there is.

    Args:
        config: of the training.
        job: the size of the data.
        machine: what is there.

    Raises:
        MachineError: it does; the message names what would make it fit.
    """
    found = plan(config, job, machine)
    lacking = [name for name in found.lacking(SURE) if getattr(found, name) > WORTH_REFUSING]
    if not lacking:
        return
    needs = ", ".join(
        f"{size(getattr(found, name))} of {name} where {size(getattr(machine, name))} are free"
        for name in lacking
    )
    ways = " or ".join(" ".join(way.flags) for way in fitting(config, job, machine))
    advice = f"it fits with {ways}" if ways else "see 'cfcli plan'"
    raise MachineError(f"training needs {needs}; {advice}")


def fitting(config: TrainConfig, job: Job, machine: Machine) -> list[Way]:
    """Ways to make a training run fit, each with as few flags as do: to hold the same model in
    another way, a smaller dimension, and tables shared with other machines. Where none of these
    fits, all of them at once.

    Args:
        config: that does not fit.
        job: the size of the data.
        machine: what is there.
    """
    by_sampling = config.resolved_solver == "gibbs"
    # Settings that gradient descent alone knows must not be given to the sampler.
    solver: Changes = {"solver": "adam"} if by_sampling or config.solver != "auto" else {}
    optimizers: list[Changes] = [solver | {"optimizer": name} for name in SPARSE]
    choices: list[list[Changes]] = [
        [{}, *optimizers],
        [{}, solver | {"loader": "stream"}],
        [{}, solver | {"implicit": False}],
        [{}],
    ]
    if by_sampling:
        choices[0].insert(1, {"solver": "adam"})
    if config.adam.batch_size != "auto":
        choices[3].append({"batch_size": "auto"})
    same_model = [_merged(changes) for changes in itertools.product(*choices)]
    same_model.sort(key=len)
    smaller: list[Changes] = [
        {"dim": config.dimension >> k} for k in range(1, config.dimension.bit_length())
    ]
    more = "devices" if machine.device is not None else "num_nodes"
    shared: list[Changes] = [
        solver | {more: getattr(config.processes, more) << k, "shard_embeddings": True}
        for k in range(1, MOST_DOUBLINGS + 1)
    ]
    ways = [_first(config, tried, job, machine) for tried in (same_model, smaller, shared)]
    found = [way for way in ways if way is not None]
    if found:
        return found
    everything = [same_model[-1] | change for change in (*smaller, *shared)]
    last = _first(config, everything, job, machine)
    return [] if last is None else [last]


def _merged(parts: tuple[Changes, ...]) -> Changes:
    """Several changes as one."""
    found: Changes = {}
    for part in parts:
        found |= part
    return found


def _first(config: TrainConfig, tried: list[Changes], job: Job, machine: Machine) -> Way | None:
    """The first of some changes that makes it fit."""
    keys, values = keys_of(TrainConfig), config.values()
    for changes in tried:
        names = sorted(changes, key=lambda name: name != "solver")
        new = {name: changes[name] for name in names if values[name] != changes[name]}
        if not new:
            continue
        with contextlib.suppress(ConfigError):
            found = plan(config.replace(**new), job, machine)
            if not found.lacking():
                words = [keys[name].words(value) for name, value in new.items()]
                return Way(list(itertools.chain(*words)), found)
    return None


def report(config: TrainConfig, job: Job, out: Path) -> Report:
    """Compares what a training run needs with what this machine has.

    Args:
        config: of the training.
        job: the size of the data.
        out: the folder where the run would be.

    Raises:
        MachineError: there is no such device.
    """
    machine = available(config, out)
    config = settled(config, job, machine)
    found = plan(config, job, machine)
    lacking = found.lacking()
    ways = fitting(config, job, machine) if lacking else []
    return Report(
        fits=not lacking,
        lacking=lacking,
        model=config.model,
        solver=config.resolved_solver,
        optimizer=config.resolved_optimizer,
        dim=config.dimension,
        devices=config.processes.devices,
        num_nodes=config.processes.num_nodes,
        users=job.users,
        items=job.items,
        rows=job.rows,
        val=job.val,
        per_rank=found.parts,
        on_device=sorted(found.on_device),
        needs=Needs.of(found),
        has=machine,
        suggestions=[Suggestion(way.flags, Needs.of(way.plan)) for way in ways],
    )
