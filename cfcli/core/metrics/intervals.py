"""Confidence intervals by resampling."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfcli.core.metrics.ratings import Floats
from cfcli.core.storage.schema import Measure

FEW_USERS = 10  # below which an interval says more than it knows


@dataclass(frozen=True)
class Interval:
    """A value and a 95 % interval around it.

    Attributes:
        value: the value.
        low: lower end of the interval; not a number where there are too few users.
        high: upper end of the interval; not a number where there are too few users.
    """

    value: Measure
    low: Measure
    high: Measure


def mean_with_interval(values: Floats, group: NDArray[np.uint32]) -> Interval:
    """The mean of values with the interval of :func:`paired_bootstrap`, which fewer than
    :data:`FEW_USERS` users do not have: resamples of so few are too much alike.

    Args:
        values: one per row, such as differences of squared errors, (N,).
        group: the user of each row, (N,).
    """
    low = high = float("nan")
    if len(np.unique(group)) >= FEW_USERS:
        low, high = paired_bootstrap(values, group)
    return Interval(float(values.mean()), low, high)


def paired_bootstrap(
    difference: Floats,
    group: NDArray[np.uint32],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """A percentile interval of the mean of ``difference``, by the bootstrap of whole groups.

    Ratings of one user are alike, so an interval that takes them for independent is too narrow.
    Therefore each resample draws as many users as there are, with replacement, and takes all rows
    of each user that it draws. With the sum d_u of the differences of user u and the number n_u of
    its rows, a resample U has the mean::

        sum(d_u for u in U) / sum(n_u for u in U)

    The interval goes from the (1 - level) / 2 quantile of these means to the (1 + level) / 2
    quantile. Of a single user, both bounds are the mean.

    Source: Efron, B. (1979), "Bootstrap methods: another look at the jackknife"; for groups,
    Davison and Hinkley (1997), "Bootstrap Methods and their Application", section 3.8.

    Args:
        difference: how much the squared error of one prediction exceeds that of the other, for the
            same rows, (N,), N > 0; or squared errors themselves, for an interval of the MSE.
        group: the user of each row, as any numbers that tell users apart, (N,).
        level: the share of resamples whose mean lies in the interval, between 0 and 1.
        resamples: how many are drawn.
        seed: of the random generator; the same seed gives the same interval.

    Returns:
        The lower and the upper bound.
    """
    _, index = np.unique(group, return_inverse=True)
    total = np.bincount(index, difference)
    count = np.bincount(index)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for k in range(resamples):
        drawn = generator.integers(0, len(total), len(total))
        means[k] = total[drawn].sum() / count[drawn].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
