"""What a training needs, before it starts, against what the machine has.

The estimates are sums of what is there at the same time, in bytes; their factors were measured on a CPU, whose
allocator keeps some of what was freed.
"""

import contextlib
import dataclasses
import itertools
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfcli.core.config import TOGETHER_FLAGS, TRAIN_FLAGS, TrainConfig, to_toml_value
from cfcli.core.errors import ConfigError, MachineError

FLOAT = 4  # bytes
SURE, WORTH = 0.8, 100 << 20  # share of an estimate, and bytes of it, from which a training is refused
PROCESS = 380 << 20  # Python, PyTorch and Lightning
TOGETHER, SPREAD = 60 << 20, 150 << 20  # and what is imported for several ranks, and for tables in parts
ROW = 12  # user, item and rating
SEEN = 12  # who rated what, on the disk: to be sorted, and packed beside that
STREAM = 4 << 20  # rows in the buffer of the loader stream
FEATURES, MOST_FEATURES, SPARE = 64, 200, 10  # of who rated what: for adam, for gibbs, and beside them on the way
SUBSPACES = 3.8  # on that way
STATE = {"adam": 2.0, "sparse-adam": 2.0}  # of the optimizer, in tables
KEPT_RANK, DRAWS = 128, 256 << 20  # of gibbs' mean of samples, and bytes of samples
PADDED = 1 << 17  # ratings that gibbs works on at once


@dataclass(frozen=True)
class Job:
    """The size of what is trained on.

    Attributes:
        users, items: numbers of them.
        rows: for training.
        val: for validation.
    """

    users: int
    items: int
    rows: int
    val: int = 0

    @property
    def entities(self) -> int:
        """Rows of the tables."""
        return self.users + self.items


@dataclass(frozen=True)
class Machine:
    """What is there, in bytes; None where nobody says.

    Attributes:
        memory: that a process can still get.
        device: free memory of the GPU, where one is to be used.
        disk: free where the run is to be.
    """

    memory: int | None
    device: int | None = None
    disk: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a training needs, in bytes.

    Attributes:
        parts: of the memory of a rank, by name.
        on_device: the names of those that a GPU holds, where there is one.
        ranks: on this machine.
        disk: for checkpoints, or for the run after them.
        machine: what is there.
    """

    parts: dict[str, int]
    on_device: frozenset[str]
    ranks: int
    disk: int
    machine: Machine

    @property
    def memory(self) -> int:
        """Of all ranks on this machine."""
        return self.ranks * sum(size for name, size in self.parts.items() if name not in self.on_device)

    @property
    def device(self) -> int:
        """Of a GPU, which one rank has."""
        return sum(size for name, size in self.parts.items() if name in self.on_device)

    def lacking(self, share: float = 1.0) -> list[str]:
        """Which of memory, device and disk do not suffice for that share of what is needed."""
        names = ("memory", "device", "disk")
        there = ((name, getattr(self.machine, name)) for name in names)
        return [name for name, has in there if has is not None and share * getattr(self, name) > has]


def plan(config: TrainConfig, job: Job, machine: Machine) -> Plan:
    """What a training needs on this machine."""
    parts: dict[str, float]
    parts, disk = (_sampled if config.fitted_by() == "gibbs" else _descended)(config, job)
    held = {"process", "reading"} if machine.device is not None else set(parts)
    whole = {name: int(size) for name, size in parts.items()}
    return Plan(whole, frozenset(set(parts) - held), config.devices, int(disk), machine)


def _descended(config: TrainConfig, job: Job) -> tuple[dict[str, float], float]:
    """Of adam: the parts at their peak, and the disk."""
    ranks = config.ranks
    spread = config.shard_embeddings
    whole = FLOAT * job.entities * (config.dim + config.biases)
    tables = whole / (ranks if spread else 1)
    f = features(job, FEATURES) if config.implicit else 0
    z = FLOAT * job.entities * f
    name = config.stepped_by() or ""
    times = STATE.get(name, 1 / (config.dim + 1))
    parted = 1 if spread else ranks  # of the ratings
    batch = batch_size(config, job.rows) / parted
    streams = config.loader == "stream"
    rows = STREAM * 2 * ROW if streams else (job.rows + job.val) * ROW / parted + job.rows * FLOAT
    parts = {
        "process": PROCESS + (SPREAD if spread else TOGETHER if ranks > 1 else 0),
        "tables": tables,
        "gradients": tables * (name == "adam"),
        "optimizer": tables * (times + spread),  # Adam is not fused for tables in parts: intermediate results
        "features": 2 * z,  # and as much that the allocator keeps of what it took to find them
        "best epoch": tables * (1 + spread),  # of tables in parts, made anew before the old one goes
        "validation": tables * (1 if f else 0),
        "rows": rows,
        "step": FLOAT * _of_step(config, job, batch, f),
    }
    _add_reading(parts, job, f, 0 if streams else job.rows)
    return parts, _disk(config, job, whole, (2 + times) * whole + z)


def _of_step(config: TrainConfig, job: Job, batch: float, f: int) -> float:
    """Numbers in memory in a step: vectors of its ratings; own ones, sums, gradients and features of those they are
    of; and what a network computes."""
    network = 4 * config.dim + 3 * sum(config.hidden) if config.model == "ncf" else 0
    there = min(batch, job.users) + min(batch, job.items)
    return batch * (2 * config.dim + network) + there * (3 * config.dim + f)


def _sampled(config: TrainConfig, job: Job) -> tuple[dict[str, float], float]:
    """Of gibbs: the parts at their peak, and the disk."""
    rank = sampled_rank(config, job.rows)
    vectors = FLOAT * job.entities * (rank + 1)
    f = features(job, MOST_FEATURES)
    # Entities of a block, each with some (K, K).
    n = max(job.users, job.items)
    block = min(n, PADDED / max(job.rows / n, (rank + 1) / 4))
    kept = FLOAT * job.entities * 2 * max(KEPT_RANK, 2 * config.dim)
    draws = min(DRAWS, 16 * vectors / 2)
    parts = {
        "process": PROCESS,
        "tables": 3.0 * vectors,
        "features": FLOAT * job.entities * f,
        "mean of samples": kept,
        "samples": draws,
        "rows": job.rows * 33 + job.val * 24,
        "step": 4 * FLOAT * block * (rank + 1) ** 2,
    }
    _add_reading(parts, job, f, job.rows)
    return parts, _disk(config, job, FLOAT * job.entities * (config.dim + 1) + draws, vectors + kept + draws)


def _add_reading(parts: dict[str, float], job: Job, f: int, rows: int) -> None:
    """Adds what is needed beyond the other parts, which are not there yet, while so many rows are read and their
    features found."""
    subspace = FLOAT * job.entities * (f + SPARE) * SUBSPACES if f else 0
    reading = parts["process"] + subspace + rows * (2 * ROW + 20 * (f > 0))
    parts["reading"] = max(0.0, reading - sum(parts.values()))


def _disk(config: TrainConfig, job: Job, model: float, checkpoint: float) -> float:
    """For checkpoints, of which the next lies beside the last, or for the run, which comes after them."""
    return max(min(2, config.epochs) * checkpoint, model + job.rows * SEEN)


# Numbers that the solvers choose: a test holds these to theirs, whose modules take a second to import.


def features(job: Job, most: int) -> int:
    """How many features of who rated what there are."""
    return max(1, min(most, int(job.rows**0.5 / 5), min(job.users, job.items) // 2))


def batch_size(config: TrainConfig, rows: int) -> int:
    """Ratings of a step."""
    auto = 1 << min(20, max(5, round(math.log2(max(rows, 1) / 100))))
    return min(rows, auto if config.batch_size == "auto" else config.batch_size)


def sampled_rank(config: TrainConfig, rows: int) -> int:
    """Rank of gibbs' samples."""
    return config.sampler_rank or (15 if rows < 500_000 else max(31, min(config.dim, 64) // 8 * 8 - 1))


def available(config: TrainConfig, out: Path) -> Machine:
    """What this machine has now, for a run in the folder ``out`` or, where it is not there, in the nearest that is.

    Raises:
        MachineError: no such device.
    """
    memory = min([*_of_system(), *left_by_groups()], default=None)
    folder = next((place for place in (out, *out.absolute().parents) if place.is_dir()), Path())
    device = None
    if config.device == "cuda" or (config.device == "auto" and Path("/dev/nvidia0").exists()):
        import torch

        if torch.cuda.is_available():
            device = torch.cuda.mem_get_info()[0]
        elif config.device == "cuda":
            raise MachineError("device cuda: not on this machine; --device auto takes what is there")
    return Machine(memory, device, shutil.disk_usage(folder).free)


def _of_system() -> Iterator[int]:
    """What Linux says that a process can still get."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) << 10


def left_by_groups(proc: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """What is left by the control groups that this process is in, of either version; files' pages can be dropped."""
    with contextlib.suppress(OSError):
        for line in proc.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                root, limit, used, pages = mounted, "memory.max", "memory.current", "inactive_file"
            elif "memory" in controllers.split(","):
                root, limit, used = mounted / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
                pages = "total_inactive_file"
            else:
                continue
            place = root / path.lstrip("/")
            for folder in (place, *(parent for parent in place.parents if parent.is_relative_to(root))):
                with contextlib.suppress(OSError, ValueError):  # no limit there is the word max
                    left = int((folder / limit).read_text()) - int((folder / used).read_text())
                    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                    yield max(0, left + int(stat.get(pages, 0)))


def settled(config: TrainConfig, job: Job, machine: Machine) -> TrainConfig:
    """The configuration with the optimizer that ``auto`` means here, where it is not adam: the first that fits. Several
    ranks, which must agree, and what takes no other get adam."""
    asked = config.optimizer != "auto" or config.fitted_by() != "adam" or config.compiled or config.ranks > 1
    if not asked and config.device != "mps" and plan(config, job, machine).lacking():
        for name in ("sparse-adam", "rowwise-adagrad"):
            other = dataclasses.replace(config, optimizer=name)
            if not plan(other, job, machine).lacking():
                return other
    return config


def refuse(config: TrainConfig, job: Job, machine: Machine) -> None:
    """Raises a MachineError where a training surely needs more than there is, which names what would make it fit."""
    found = plan(config, job, machine)
    if lacking := [name for name in found.lacking(SURE) if getattr(found, name) > WORTH]:
        of = ", ".join(
            f"{size(getattr(found, name))} of {name} where {size(getattr(machine, name))} are free" for name in lacking
        )
        ways = " or ".join(" ".join(flags) for flags, _ in fitting(config, job, machine))
        raise MachineError(f"training needs {of}; " + (f"it fits with {ways}" if ways else "see 'cfcli plan'"))


def fitting(config: TrainConfig, job: Job, machine: Machine) -> list[tuple[list[str], Plan]]:
    """Flags that make a training fit, each as few as do, with the plan by them: other ways to hold the same model;
    a smaller dimension; tables shared with other machines. Where none of these fits, all of them at once."""
    solver = {"solver": "adam"} if config.solver != "auto" or config.fitted_by() == "gibbs" else {}
    optimizers: list[dict[str, Any]] = [{"optimizer": name} | solver for name in ("sparse-adam", "rowwise-adagrad")]
    choices: list[list[dict[str, Any]]] = [
        [{}, *([{"solver": "adam"}] if config.fitted_by() == "gibbs" else []), *optimizers],
        [{}, {"loader": "stream"} | solver],
        [{}, {"implicit": False} | solver],
        [{}, *([{"batch_size": "auto"}] if config.batch_size != "auto" else [])],
    ]
    same = [
        {key: value for change in changes for key, value in change.items()} for changes in itertools.product(*choices)
    ]
    same.sort(key=len)
    dims = [{"dim": config.dim >> k} for k in range(1, config.dim.bit_length())]
    more = "devices" if machine.device is not None else "num_nodes"
    shards = [{more: getattr(config, more) << k, "shard_embeddings": True} | solver for k in range(1, 7)]
    found = [way for ways in (same, dims, shards) if (way := _first(config, ways, job, machine))]
    if not found and (way := _first(config, [same[-1] | change for change in (*dims, *shards)], job, machine)):
        found = [way]
    return found


def _first(
    config: TrainConfig, ways: list[dict[str, Any]], job: Job, machine: Machine
) -> tuple[list[str], Plan] | None:
    """The first of some changes that fits, as flags, and the plan by it."""
    for changes in ways:
        keys = sorted(changes, key=lambda key: key != "solver")
        changes = {key: changes[key] for key in keys if getattr(config, key) != changes[key]}
        with contextlib.suppress(ConfigError):
            found = plan(dataclasses.replace(config, **changes), job, machine)
            if changes and not found.lacking():
                return [word for key, value in changes.items() for word in _flag(key, value)], found
    return None


def _flag(key: str, value: Any) -> list[str]:
    if key not in (*TRAIN_FLAGS, *TOGETHER_FLAGS):
        return ["--set", f"{key}={to_toml_value(value)}"]
    return [f"--{key.replace('_', '-')}", *([] if value is True else [str(value)])]


def size(n: int) -> str:
    """Bytes for a person."""
    return f"{n / 1e9:,.1f} GB" if n >= 1e8 else f"{n / 1e6:,.0f} MB"


def report(config: TrainConfig, job: Job, out: Path) -> dict[str, Any]:
    """What a training needs and what this machine has, in bytes, and what would make it fit: plain values."""
    machine = available(config, out)
    config = settled(config, job, machine)
    found = plan(config, job, machine)
    names = ("memory", "device", "disk")
    return {
        "fits": not found.lacking(),
        "lacking": found.lacking(),
        "model": config.model,
        "solver": config.fitted_by(),
        "optimizer": config.stepped_by(),
        "dim": config.dim,
        "devices": config.devices,
        "num_nodes": config.num_nodes,
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
