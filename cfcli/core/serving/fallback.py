"""Ratings for pairs that a run may not know."""

from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.content import ANY, NEW, weight_of
from cfcli.core.models.heads import Floats
from cfcli.core.models.times import seconds_of
from cfcli.core.pair import Pair
from cfcli.core.runs.run import Run

SOURCES = (
    "model",
    "folded_in",
    "item_attributes",
    "user_attributes",
    "user_bias",
    "item_bias",
    "mean",
)
BLOCK = 1 << 16  # pairs whose vectors are held at once


class FallbackPredictor:
    """Predicts ratings, also for users and items that the run may not know.

    Each side of a pair has the vector that its training rows gave it, or else the one that its
    attributes tell, or else the mean of all, see :func:`cfcli.core.training.attributes.settle`.

    Args:
        run: whose model predicts.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.base, self.predictor = run.baseline(), run.predictor()
        self.low, self.high = run.info.shape.low, run.info.shape.high

    def __call__(
        self, user: pl.Series, item: pl.Series, time: pl.Series | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Ratings (N,) and, for each, the place of its source in :data:`SOURCES`.

        Args:
            user: indices of the users, (N,), null where unknown.
            item: indices of the items, (N,), null where unknown.
            time: of each pair, in UTC, (N,), null where unknown; None for the newest time. Used where
                the model knows times.
        """
        users, knows_user = index_of(user)
        items, knows_item = index_of(item)
        offset = self.offset(user, item, time)
        rating = np.empty(len(users))
        known = knows_user & knows_item
        rating[known] = self.predictor.predict(
            users[known], items[known], None if offset is None else offset[known]
        )
        rows = np.flatnonzero(~known)
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            p = self.predictor.vectors("user", users[part])
            q = self.predictor.vectors("item", items[part])
            p[~knows_user[part]], q[~knows_item[part]] = self.means.user, self.means.item
            rating[part] = self.predictor.pairs(p, q, 0.0 if offset is None else offset[part])
        return np.clip(rating, self.low, self.high), self._sources(user, item)

    def offset(self, user: pl.Series, item: pl.Series, time: pl.Series | None) -> Floats | None:
        """What time adds to ratings, (N,); None for nothing.

        Args:
            user: indices of the users, (N,), null where unknown.
            item: indices of the items, (N,), null where unknown.
            time: of each pair, in UTC, (N,), null where unknown; None for the newest time.
        """
        effects = self.run.times
        if effects is None or time is None:
            return None
        users, items = (side.fill_null(-1).cast(pl.Int64).to_numpy() for side in (user, item))
        return effects.offset(users, items, seconds_of(time))

    @cached_property
    def means(self) -> Pair[Floats]:
        """The vectors of a user and of an item of whom nothing is known, (D + 1,) each."""
        found = []
        for name, n in Pair(self.base.user_n, self.base.item_n).named():
            power = ANY if self.run.content[name] is None else NEW
            found.append(self.predictor.mean(name, weight_of(name, n, power)))
        return Pair(*found)

    def _sources(self, user: pl.Series, item: pl.Series) -> NDArray[np.uint8]:
        """What each rating rests on, as a place in :data:`SOURCES`, (N,)."""
        trained, told = [], []
        users, knows_user = index_of(user)
        folded = knows_user & np.isin(users, self.run.folded)
        for index, n, content in zip(
            (user, item), (self.base.user_n, self.base.item_n), self.run.content, strict=True
        ):
            place, is_there = index_of(index)
            trained.append(is_there & (n[place] > 0))
            told.append(is_there & (n[place] == 0) & (content is not None))
        cases = [folded & trained[1], trained[0] & trained[1], told[1], told[0], *trained]
        return np.select(cases, [1, 0, 2, 3, 4, 5], len(SOURCES) - 1).astype(np.uint8)

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
