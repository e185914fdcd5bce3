"""The numbers that solvers choose by the size of their data."""

import math
from dataclasses import dataclass

from cfcli.core.config.train import TrainConfig

STREAM = 4 << 20  # rows in the buffer of the loader stream
FEATURES, MOST_FEATURES, SPARE = (
    64,
    200,
    10,
)  # of who rated what: for adam, for gibbs, and beside them on the way
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


def features(job: Job, most: int) -> int:
    """How many features of who rated what there are."""
    return max(1, min(most, int(job.rows**0.5 / 5), min(job.users, job.items) // 2))


def batch_size(config: TrainConfig, rows: int) -> int:
    """Ratings of a step."""
    auto = 1 << min(20, max(5, round(math.log2(max(rows, 1) / 100))))
    return min(rows, auto if config.adam.batch_size == "auto" else config.adam.batch_size)


def sampled_rank(config: TrainConfig, rows: int) -> int:
    """Rank of gibbs' samples."""
    return config.gibbs.sampler_rank or (
        15 if rows < 500_000 else max(31, min(config.dim, 64) // 8 * 8 - 1)
    )
