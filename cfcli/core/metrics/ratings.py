"""Errors of predicted ratings."""

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
    if len(rating) == 0:
        return Errors(math.nan, math.nan, math.nan)
    away = np.subtract(rating, prediction, dtype=np.float64)
    mse = float(np.mean(away**2))
    return Errors(mse, mse**0.5, float(np.mean(np.abs(away))))


def model_errors(rating: Floats, prediction: Floats) -> ModelErrors:
    """Errors of predictions with their coefficient of determination.

    Args:
        rating: the true ratings, (N,).
        prediction: what was predicted, (N,).
    """
    found = errors(rating, prediction)
    if len(rating) < 2:
        r2 = math.nan
    elif np.ptp(rating):
        r2 = 1 - found.mse / float(np.var(rating, dtype=np.float64))
    else:  # as scikit-learn has it where all ratings are the same
        r2 = 0.0 if found.mse else 1.0
    return ModelErrors(found.mse, found.rmse, found.mae, r2)
