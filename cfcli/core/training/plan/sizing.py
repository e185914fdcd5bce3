"""The numbers that solvers choose by the size of their data.

The solvers take them from here, and so does the plan, which estimates the memory that they lead to.
Nothing heavy is imported.
"""

import math
from dataclasses import dataclass, replace

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.info import DatasetInfo

# Gradient descent.
DESCENT_FEATURES = 64  # of who rated what, at most: each costs time at every step
STEPS_PER_BATCH = 16  # at most: Lightning takes half as long over a batch as a small step takes
RATINGS_PER_BATCH = 1 << 18  # at most, unless a step has more
SHUFFLED = 1 << 22  # ratings that the loader ``stream`` shuffles together

# The features of who rated what.
OVERSAMPLING = 10  # vectors beside them on the way to them

# The interest model.
INTEREST_DIM = 512  # at most
LEAST_INTEREST_DIM = 32
INTEREST_NUMBERS = 1 << 26  # of all users and items, at most
JUDGED_SCORES = 1 << 24  # by which its settings are chosen, at most

# Gibbs sampling.
SAMPLER_FEATURES = 200  # at most
MANY_RATINGS = 500_000  # from which on they carry factors of a larger rank
SWEEPS = 10  # an epoch, at most
SWEPT_RATINGS = 2_000_000  # from which on an epoch has fewer sweeps: each says more of a vector
# Numbers of a block of a sweep: of the vectors that belong to its ratings. Larger ones leave the
# cache; with smaller ones, threads wait for each other between the steps of the blocks.
BLOCK = 1 << 20
MEAN_RANK = 128  # least rank to which the mean of the samples is cut while it grows
SAMPLES = 16  # that are kept, at most
SAMPLE_BYTES = 256 << 20  # of those that are kept, at most


@dataclass(frozen=True)
class Job:
    """The size of what is trained on.

    Attributes:
        users: number of users (U).
        items: number of items (I).
        rows: ratings for training.
        val: ratings for validation.
        test: ratings for testing.
        is_weighed: whether ratings have weights of their own.
    """

    users: int
    items: int
    rows: int
    val: int = 0
    test: int = 0
    is_weighed: bool = False

    @classmethod
    def of(cls, info: DatasetInfo) -> "Job":
        """The size of a dataset.

        Args:
            info: its manifest.
        """
        is_weighed = info.columns.weight is not None
        return cls(info.users, info.items, info.train, info.val, info.test, is_weighed)

    def refitted(self, config: TrainConfig) -> "Job":
        """The size of what a training ends with.

        Args:
            config: of the training.
        """
        if config.why_no_refit:
            return self
        more = {"none": 0, "all": self.val + self.test}.get(config.refit or "val", self.val)
        return replace(self, rows=self.rows + more)

    @property
    def all(self) -> int:
        """Ratings of all sides."""
        return self.rows + self.val + self.test

    @property
    def entities(self) -> int:
        """Users and items together: rows of the tables."""
        return self.users + self.items


def helpful_features(rows: int, users: int, items: int, most: int) -> int:
    """How many features of who rated what help. More of them cost time and, measured, accuracy.

    Args:
        rows: number of ratings.
        users: number of users.
        items: number of items.
        most: what the solver takes at most.
    """
    return max(1, min(most, int(rows**0.5 / 5), min(users, items) // 2))


def interest_dim(users: int, items: int) -> int:
    """Dimension of the interest model (K).

    Args:
        users: number of users.
        items: number of items.
    """
    affordable = max(LEAST_INTEREST_DIM, INTEREST_NUMBERS // max(users + items, 1))
    return min(INTEREST_DIM, affordable, users, items)


def auto_batch_size(rows: int) -> int:
    """Ratings of a step of gradient descent for ``batch_size = "auto"``: about 100 steps an epoch,
    as a power of two from 32 on.

    At most a million, whose vectors are to fit into memory: Adam moves all parameters at each step.

    Args:
        rows: number of ratings to train on.
    """
    return 1 << min(20, max(5, round(math.log2(max(rows, 1) / 100))))


def batch_size(config: TrainConfig, rows: int) -> int:
    """Ratings of a step of gradient descent.

    Args:
        config: ``batch_size``.
        rows: number of ratings to train on.
    """
    return auto_batch_size(rows) if config.adam.batch_size == "auto" else config.adam.batch_size


def steps_per_batch(batch_size: int) -> int:
    """Steps of gradient descent that are taken on one batch of Lightning's.

    Args:
        batch_size: ratings of a step.
    """
    return max(1, min(STEPS_PER_BATCH, RATINGS_PER_BATCH // batch_size))


def sampler_rank(config: TrainConfig, rows: int) -> int:
    """Rank of the sampler's draws.

    The mean of many draws is of higher rank: ``dim`` asks for more only where the ratings can tell
    it. One more, for the bias, makes a multiple of 8, which vector instructions like.

    Args:
        config: ``sampler_rank`` and ``dim``.
        rows: number of ratings to train on.
    """
    if config.gibbs.sampler_rank:
        return config.gibbs.sampler_rank
    if rows < MANY_RATINGS:
        return 15
    return max(31, min(config.dimension, 64) // 8 * 8 - 1)


def sweeps_per_epoch(rows: int, rank: int) -> int:
    """Sweeps of the sampler in an epoch.

    Args:
        rows: number of ratings to train on.
        rank: of the draws.
    """
    least = 2 if rank < 32 else 1
    return min(SWEEPS, max(least, SWEEPS * SWEPT_RATINGS // rows))


def mean_rank(dim: int) -> int:
    """Rank to which the mean of the samples is cut while it grows.

    Args:
        dim: of the model that is made of it.
    """
    return max(MEAN_RANK, 2 * dim)


def samples_kept(numbers: int) -> int:
    """How many of the newest samples are kept, in half precision.

    Args:
        numbers: in one sample.
    """
    return min(SAMPLES, SAMPLE_BYTES // (2 * numbers))
