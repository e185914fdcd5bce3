"""Errors of predicted ratings; scikit-learn does the arithmetic."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def errors(rating: Floats, prediction: Floats, *, r2: bool = False) -> dict[str, float | None]:
    """Mean squared error, its root, mean absolute error, and perhaps the coefficient of determination.

    Args:
        rating, prediction: (N,).

    Returns:
        ``mse``, ``rmse``, ``mae`` and, where asked, ``r2`` (None below two ratings); all None where N is 0.
    """
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

    names = ["mse", "rmse", "mae", *(["r2"] if r2 else [])]
    if len(rating) == 0:
        return dict.fromkeys(names)
    mse = float(mean_squared_error(rating, prediction))
    result: dict[str, float | None] = {
        "mse": mse,
        "rmse": mse**0.5,
        "mae": float(mean_absolute_error(rating, prediction)),
    }
    if r2:
        result["r2"] = float(r2_score(rating, prediction)) if len(rating) > 1 else None
    return result


def paired_bootstrap(
    difference: Floats, group: NDArray[np.uint32], *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """A percentile interval of the mean of ``difference``: Efron (1979).

    Whole groups (users) are drawn with replacement: ratings of one user are alike, and an interval that takes them
    for independent is too narrow.

    Args:
        difference: what one prediction's squared error has above the other's, of the same rows, (N,).
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
