"""Ratings for pairs that a run may not know."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.runs.run import Run

SOURCES = ("model", "user_bias", "item_bias", "mean")


class FallbackPredictor:
    """Predicts ratings, also for users and items that the run may not know.

    A pair that the run knows gets the model's rating. For others it falls back on what is known:
    mean + user bias, mean + item bias, or the mean. The biases are the damped ones of the training
    rows, see :class:`cfcli.core.models.biases.BiasModel`.

    Args:
        run: whose model predicts.
    """

    def __init__(self, run: Run) -> None:
        self.base, self.predictor = run.baseline(), run.predictor()
        self.low, self.high = run.info.shape.low, run.info.shape.high

    def __call__(
        self, user: pl.Series, item: pl.Series
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Ratings (N,) and, for each, the place of its source in :data:`SOURCES`.

        Args:
            user: indices of the users, (N,), null where unknown.
            item: indices of the items, (N,), null where unknown.
        """
        users, knows_user = index_of(user)
        items, knows_item = index_of(item)
        rating = self.bias(user, item)
        known = knows_user & knows_item
        rating[known] = self.predictor.predict(users[known], items[known])
        source = np.select([known, knows_user, knows_item], [0, 1, 2], 3).astype(np.uint8)
        return np.clip(rating, self.low, self.high), source

    def bias(self, user: pl.Series, item: pl.Series) -> NDArray[np.float64]:
        """Ratings (N,) by the damped biases alone, of what is known.

        Args:
            user: indices of the users, (N,), null where unknown.
            item: indices of the items, (N,), null where unknown.
        """
        users, knows_user = index_of(user)
        items, knows_item = index_of(item)
        rating = self.base.mean + np.where(knows_user, self.base.user_bias[users], 0.0)
        rating += np.where(knows_item, self.base.item_bias[items], 0.0)
        return np.clip(rating, self.low, self.high)


def index_of(column: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Indices (N,), 0 for null, and which of them are not null, (N,).

    Args:
        column: indices of users or items, (N,), null where unknown.
    """
    return column.fill_null(0).to_numpy().astype(np.int64), column.is_not_null().to_numpy()
