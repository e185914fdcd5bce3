"""Intervals by resampling."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfcli.core.metrics.ratings import Floats


@dataclass(frozen=True)
class Interval:
    """A value and a 95 % interval around it.

    Attributes:
        value: the value.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    value: float
    low: float
    high: float


def mean_with_interval(values: Floats, group: NDArray[np.uint32]) -> Interval:
    """The mean of values with the interval of :func:`paired_bootstrap`.

    Args:
        values: one per row, such as differences of squared errors, (N,).
        group: the user of each row, (N,).
    """
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
    """A percentile interval of the mean of ``difference``: Efron (1979).

    Whole groups (users) are drawn with replacement: ratings of one user are alike, and an interval
    that takes them for independent is too narrow.

    Args:
        difference: what one prediction's squared error has above the other's, of the same rows,
            (N,).
        group: the user of each row, (N,).

    Returns:
        Lower and upper bound.
    """
    _, index = np.unique(group, return_inverse=True)
    total, count = np.bincount(index, difference), np.bincount(index)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for k in range(resamples):
        drawn = generator.integers(0, len(total), len(total))
        means[k] = total[drawn].sum() / count[drawn].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
