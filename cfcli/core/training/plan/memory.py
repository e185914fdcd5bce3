"""What a training needs, before it starts, against what the machine has.

The estimates are sums of what is there at the same time, in bytes; their factors were measured on a
CPU, whose allocator keeps some of what was freed.
"""

from dataclasses import dataclass

from cfcli.core.config.train import TrainConfig
from cfcli.core.models.kinds import KINDS
from cfcli.core.training.plan import sizing
from cfcli.core.training.plan.machine import Machine
from cfcli.core.training.plan.sizing import Job

FLOAT = 4  # bytes
SURE = 0.8  # share of an estimate that is certainly needed
WORTH_REFUSING = 100 << 20  # bytes of an estimate below which nothing is refused
PROCESS = 380 << 20  # Python, PyTorch and Lightning
FOR_RANKS = 60 << 20  # what is imported beside them for several ranks,
FOR_SHARDS = 150 << 20  # and for tables in parts
RATING = 12  # bytes of a user, an item and a rating
WEIGHING = 32  # bytes of a rating while its weight is found: its time, and numbers on the way
WEIGHED = 24  # bytes that the sampler takes for the weight of a rating, of both sides
TIMED = 70  # the same of times: two places, the groups of four effects, and what they exchange
SEEN = 20  # bytes on the disk of a pair in the record of who rated what, while it is made
CHOICE = 60  # bytes of a rating while the table of choices is made
JUDGED = 26  # bytes of a score by which the settings of the interest model are chosen
SUBSPACES = 3.8  # matrices of the size of the features that are held while these are found
STATE = {"adam": 2.0, "sparse-adam": 2.0}  # of the optimizer, in tables

Parts = dict[str, float]  # bytes that one rank needs at the peak, by what they are for


@dataclass(frozen=True)
class Plan:
    """What a training run needs, in bytes.

    Attributes:
        parts: memory that one rank needs, by what it is for.
        on_device: the names of those parts that a GPU holds, where there is one.
        ranks: number of them on this machine.
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
        """What all ranks on this machine need together."""
        sizes = [size for name, size in self.parts.items() if name not in self.on_device]
        return self.ranks * sum(sizes)

    @property
    def device(self) -> int:
        """What a GPU needs, which one rank has."""
        return sum(self.parts[name] for name in self.on_device)

    def lacking(self, share: float = 1.0) -> list[str]:
        """Which of memory, device and disk do not suffice.

        Args:
            share: of what is needed that must be there.
        """
        found = []
        for name in ("memory", "device", "disk"):
            there = getattr(self.machine, name)
            if there is not None and share * getattr(self, name) > there:
                found.append(name)
        return found


def plan(config: TrainConfig, job: Job, machine: Machine) -> Plan:
    """Estimates what a training run needs on a machine. An interest model that is not demanded
    counts where it fits.

    Args:
        config: of the training.
        job: the size of the data.
        machine: what is there.
    """
    by_sampling = config.resolved_solver == "gibbs"
    last = job.refitted(config)
    parts, disk = _sampled(config, last) if by_sampling else _descended(config, last)
    if has_interest(config, job, machine, disk):
        parts["interest"] = max(0.0, PROCESS + interest(job) - sum(parts.values()))
        disk += interest_file(job)
    if config.refit == "all":
        disk *= 2  # with the twin
    held_here = {"process", "reading", "interest"} if machine.device is not None else set(parts)
    whole = {name: int(size) for name, size in parts.items()}
    return Plan(
        whole, frozenset(set(parts) - held_here), config.processes.devices, int(disk), machine
    )


def interest(job: Job) -> float:
    """Bytes for the interest model while it is fitted, when the memory of the rating model is free
    again.

    Args:
        job: the size of the data.
    """
    k = sizing.interest_dim(job.users, job.items)
    rows = job.all * CHOICE
    judged = min(job.users * job.items, sizing.JUDGED_SCORES) * JUDGED
    return rows + FLOAT * job.entities * (k + sizing.OVERSAMPLING) * SUBSPACES + judged


def interest_file(job: Job) -> float:
    """Bytes of the interest model on disk.

    Args:
        job: the size of the data.
    """
    return FLOAT * job.entities * sizing.interest_dim(job.users, job.items)


def has_interest(config: TrainConfig, job: Job, machine: Machine, disk: float = 0) -> bool:
    """Whether a training fits an interest model: where it is demanded, or where it fits in memory
    and on disk.

    Args:
        config: of the training.
        job: the size of the data.
        machine: what is there.
        disk: bytes that the training needs without it.
    """
    if config.interest is not None:
        return config.interest
    fits_memory = machine.memory is None or PROCESS + interest(job) <= machine.memory
    return fits_memory and (machine.disk is None or disk + interest_file(job) <= machine.disk)


def _descended(config: TrainConfig, job: Job) -> tuple[Parts, float]:
    """Memory and disk that gradient descent needs."""
    ranks, sharded = config.processes.ranks, config.processes.shard_embeddings
    whole = FLOAT * job.entities * (config.dimension + config.adam.biases)
    tables = whole / ranks if sharded else whole
    f = 0
    if config.uses_features:
        f = sizing.helpful_features(job.rows, job.users, job.items, sizing.DESCENT_FEATURES)
    features = FLOAT * job.entities * f
    optimizer = config.resolved_optimizer or ""
    state = STATE.get(optimizer, 1 / (config.dimension + 1))
    # Ranks that share tables take all ratings; others share the ratings.
    sharing = 1 if sharded else ranks
    batch = min(job.rows, sizing.batch_size(config, job.rows)) / sharing
    streams = config.adam.loader == "stream"
    rating = RATING + FLOAT * _is_weighed(config, job)
    if streams:
        rows: float = sizing.SHUFFLED * 2 * rating
    else:
        rows = (job.rows * rating + job.val * RATING) / sharing
        rows += job.rows * FLOAT  # the order of all
    process = PROCESS
    if sharded:
        process += FOR_SHARDS
    elif ranks > 1:
        process += FOR_RANKS
    parts: Parts = {
        "process": process,
        "tables": tables,
        "gradients": tables if optimizer == "adam" else 0,
        # Adam is not fused for tables in parts: that makes intermediate results.
        "optimizer": tables * (state + sharded),
        # And as much that the allocator keeps of what it took to find them.
        "features": 2 * features,
        # Of tables in parts a new one is made before the old one goes.
        "best epoch": tables * (1 + sharded),
        "validation": tables if f else 0,
        "rows": rows,
        "step": FLOAT * _numbers_of_step(config, job, batch, f),
    }
    _add_reading(parts, config, job, f, 0 if streams else job.rows)
    return parts, _disk(config, job, whole, (2 + state) * whole + features)


def _numbers_of_step(config: TrainConfig, job: Job, batch: float, f: int) -> float:
    """Numbers in memory in a step: for each rating the vectors and what the head computes; for each
    user and item of the step their own vectors, sums, gradients and features."""
    there = min(batch, job.users) + min(batch, job.items)
    per_rating = KINDS[config.model].numbers_per_rating(config.dimension, config.ncf.hidden)
    return batch * per_rating + there * (3 * config.dimension + f)


def _sampled(config: TrainConfig, job: Job) -> tuple[Parts, float]:
    """Memory and disk that the sampler needs."""
    rank = sizing.sampler_rank(config, job.rows)
    vectors = FLOAT * job.entities * (rank + 1)
    f = sizing.helpful_features(job.rows, job.users, job.items, sizing.SAMPLER_FEATURES)
    # Users or items of a block, each with some matrices (K, K).
    n = max(job.users, job.items)
    block = min(n, sizing.BLOCK / (rank + 1) / max(job.rows / n, (rank + 1) / 4))
    mean = FLOAT * job.entities * 2 * sizing.mean_rank(config.dimension)
    samples = min(sizing.SAMPLE_BYTES, sizing.SAMPLES * vectors / 2)
    of_row = WEIGHED * _is_weighed(config, job) + TIMED * config.gibbs.times
    parts: Parts = {
        "process": PROCESS,
        "tables": 3.0 * vectors,
        "features": FLOAT * job.entities * f,
        "mean of samples": mean,
        "samples": samples,
        "rows": job.rows * (33 + of_row) + job.val * 24,
        "step": 4 * FLOAT * block * (rank + 1) ** 2,
    }
    _add_reading(parts, config, job, f, job.rows)
    model = FLOAT * job.entities * (config.dimension + 1)
    return parts, _disk(config, job, model + samples, vectors + mean + samples)


def _is_weighed(config: TrainConfig, job: Job) -> bool:
    """Whether training rows have weights."""
    return job.is_weighed or config.half_life is not None


def _add_reading(parts: Parts, config: TrainConfig, job: Job, f: int, rows: int) -> None:
    """Adds what is needed beyond the other parts, which are not there yet, while the rows are read
    and their features found.

    Args:
        parts: the others.
        config: of the training.
        job: the size of the data.
        f: number of features.
        rows: that are read into memory.
    """
    reading = parts["process"] + rows * (2 * RATING + WEIGHING * _is_weighed(config, job))
    if f:
        reading += FLOAT * job.entities * (f + sizing.OVERSAMPLING) * SUBSPACES + rows * 20
    parts["reading"] = max(0.0, reading - sum(parts.values()))


def _disk(config: TrainConfig, job: Job, model: float, checkpoint: float) -> float:
    """Bytes for checkpoints, of which the next lies beside the last, or for the run, which comes
    after them."""
    return max(min(2, config.epochs) * checkpoint, model + job.all * SEEN)


def size(n: int) -> str:
    """A number of bytes for a person to read.

    Args:
        n: the number.
    """
    return f"{n / 1e9:,.1f} GB" if n >= 1e8 else f"{n / 1e6:,.0f} MB"
