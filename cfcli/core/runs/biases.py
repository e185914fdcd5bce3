"""What damped biases would do in the place of a run: the bar that every model must pass."""

import math

import numpy as np

from cfcli.core.data.dataset import Dataset
from cfcli.core.metrics.ratings import Errors
from cfcli.core.models.biases import BiasModel
from cfcli.core.runs.info import Shape
from cfcli.core.runs.writing import Columns


def bias_errors(dataset: Dataset, shape: Shape, side: str = "val") -> Errors:
    """Errors of damped biases that were fitted on the training rows.

    Args:
        dataset: whose training rows.
        shape: of the run, whose lowest and highest rating also limit these predictions.
        side: of the split, whose rows are predicted.

    Raises:
        ArtifactError: a file is damaged, or another dataset has taken its place.
    """
    squared = absolute = 0.0
    with dataset.unchanged():
        model = BiasModel.of(Columns([dataset.blocks("train")]), shape.users, shape.items)
        rows = dataset.blocks(side)
        for user, item, rating in Columns([rows]):
            score = model.mean + model.user_bias[user] + model.item_bias[item]
            error = np.clip(score, shape.low, shape.high) - rating
            squared += float(np.square(error).sum())
            absolute += float(np.abs(error).sum())
    n = len(rows)
    if not n:
        return Errors(math.nan, math.nan, math.nan)
    return Errors(squared / n, math.sqrt(squared / n), absolute / n)
