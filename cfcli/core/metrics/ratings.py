"""Errors of predicted ratings; scikit-learn does the arithmetic."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def errors(rating: Floats, prediction: Floats, *, r2: bool = False) -> dict[str, float | None]:
    """Mean squared error, its root, mean absolute error, and perhaps the coefficient of
    determination.

    Args:
        rating, prediction: (N,).

    Returns:
        ``mse``, ``rmse``, ``mae`` and, where asked, ``r2`` (None below two ratings); all None where
        N is 0.
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
