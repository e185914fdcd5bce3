"""Errors of predicted ratings; scikit-learn does the arithmetic."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfcli.core.storage.schema import Measure

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Errors of predicted ratings; none of them is a number where there are no rows.

    Attributes:
        mse: mean squared error.
        rmse: its root.
        mae: mean absolute error.
    """

    mse: Measure
    rmse: Measure
    mae: Measure


@dataclass(frozen=True)
class ModelErrors(Errors):
    """Errors of a model.

    Attributes:
        r2: coefficient of determination; not a number below two rows.
    """

    r2: Measure


def errors(rating: Floats, prediction: Floats) -> Errors:
    """Errors of predictions.

    Args:
        rating: the true ratings, (N,).
        prediction: what was predicted, (N,).
    """
    from sklearn.metrics import mean_absolute_error, mean_squared_error

    if len(rating) == 0:
        return Errors(math.nan, math.nan, math.nan)
    mse = float(mean_squared_error(rating, prediction))
    return Errors(mse, mse**0.5, float(mean_absolute_error(rating, prediction)))


def model_errors(rating: Floats, prediction: Floats) -> ModelErrors:
    """Errors of predictions with their coefficient of determination.

    Args:
        rating: the true ratings, (N,).
        prediction: what was predicted, (N,).
    """
    from sklearn.metrics import r2_score

    found = errors(rating, prediction)
    r2 = float(r2_score(rating, prediction)) if len(rating) > 1 else math.nan
    return ModelErrors(found.mse, found.rmse, found.mae, r2)
