"""What a training needs, before it starts, against what the machine has.

The estimates are sums of what is there at the same time, in bytes; their factors were measured on a
CPU, whose allocator keeps some of what was freed.
"""

from dataclasses import dataclass

from cfcli.core.config.train import TrainConfig
from cfcli.core.training.plan.machine import Machine
from cfcli.core.training.plan.sizing import (
    DRAWS,
    FEATURES,
    KEPT_RANK,
    MOST_FEATURES,
    PADDED,
    SPARE,
    STREAM,
    Job,
    batch_size,
    features,
    sampled_rank,
)

FLOAT = 4  # bytes
SURE, WORTH = (
    0.8,
    100 << 20,
)  # share of an estimate, and bytes of it, from which a training is refused
PROCESS = 380 << 20  # Python, PyTorch and Lightning
TOGETHER, SPREAD = (
    60 << 20,
    150 << 20,
)  # and what is imported for several ranks, and for tables in parts
ROW = 12  # user, item and rating
SEEN = 12  # who rated what, on the disk: to be sorted, and packed beside that
SUBSPACES = 3.8  # on that way
STATE = {"adam": 2.0, "sparse-adam": 2.0}  # of the optimizer, in tables


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
        return self.ranks * sum(
            size for name, size in self.parts.items() if name not in self.on_device
        )

    @property
    def device(self) -> int:
        """Of a GPU, which one rank has."""
        return sum(size for name, size in self.parts.items() if name in self.on_device)

    def lacking(self, share: float = 1.0) -> list[str]:
        """Which of memory, device and disk do not suffice for that share of what is needed."""
        names = ("memory", "device", "disk")
        there = ((name, getattr(self.machine, name)) for name in names)
        return [
            name for name, has in there if has is not None and share * getattr(self, name) > has
        ]


def plan(config: TrainConfig, job: Job, machine: Machine) -> Plan:
    """What a training needs on this machine."""
    parts: dict[str, float]
    parts, disk = (_sampled if config.resolved_solver == "gibbs" else _descended)(config, job)
    held = {"process", "reading"} if machine.device is not None else set(parts)
    whole = {name: int(size) for name, size in parts.items()}
    return Plan(whole, frozenset(set(parts) - held), config.processes.devices, int(disk), machine)


def _descended(config: TrainConfig, job: Job) -> tuple[dict[str, float], float]:
    """Of adam: the parts at their peak, and the disk."""
    ranks = config.processes.ranks
    spread = config.processes.shard_embeddings
    whole = FLOAT * job.entities * (config.dim + config.adam.biases)
    tables = whole / (ranks if spread else 1)
    f = features(job, FEATURES) if config.uses_features else 0
    z = FLOAT * job.entities * f
    name = config.resolved_optimizer or ""
    times = STATE.get(name, 1 / (config.dim + 1))
    parted = 1 if spread else ranks  # of the ratings
    batch = batch_size(config, job.rows) / parted
    streams = config.adam.loader == "stream"
    rows = STREAM * 2 * ROW if streams else (job.rows + job.val) * ROW / parted + job.rows * FLOAT
    parts = {
        "process": PROCESS + (SPREAD if spread else TOGETHER if ranks > 1 else 0),
        "tables": tables,
        "gradients": tables * (name == "adam"),
        "optimizer": tables
        * (times + spread),  # Adam is not fused for tables in parts: intermediate results
        "features": 2 * z,  # and as much that the allocator keeps of what it took to find them
        "best epoch": tables
        * (1 + spread),  # of tables in parts, made anew before the old one goes
        "validation": tables * (1 if f else 0),
        "rows": rows,
        "step": FLOAT * _of_step(config, job, batch, f),
    }
    _add_reading(parts, job, f, 0 if streams else job.rows)
    return parts, _disk(config, job, whole, (2 + times) * whole + z)


def _of_step(config: TrainConfig, job: Job, batch: float, f: int) -> float:
    """Numbers in memory in a step: vectors of its ratings; own ones, sums, gradients and features
    of those they are of; and what a network computes."""
    network = 4 * config.dim + 3 * sum(config.ncf.hidden) if config.model == "ncf" else 0
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
    return parts, _disk(
        config, job, FLOAT * job.entities * (config.dim + 1) + draws, vectors + kept + draws
    )


def _add_reading(parts: dict[str, float], job: Job, f: int, rows: int) -> None:
    """Adds what is needed beyond the other parts, which are not there yet, while so many rows are
    read and their features found."""
    subspace = FLOAT * job.entities * (f + SPARE) * SUBSPACES if f else 0
    reading = parts["process"] + subspace + rows * (2 * ROW + 20 * (f > 0))
    parts["reading"] = max(0.0, reading - sum(parts.values()))


def _disk(config: TrainConfig, job: Job, model: float, checkpoint: float) -> float:
    """For checkpoints, of which the next lies beside the last, or for the run, which comes after
    them."""
    return max(min(2, config.epochs) * checkpoint, model + job.rows * SEEN)


def size(n: int) -> str:
    """Bytes for a person."""
    return f"{n / 1e9:,.1f} GB" if n >= 1e8 else f"{n / 1e6:,.0f} MB"
