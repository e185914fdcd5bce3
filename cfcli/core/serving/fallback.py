"""Ratings for pairs that a run may not know."""

from functools import cached_property
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.content import ANY, NEW, unknown_shares, weight_of
from cfcli.core.models.heads import Floats
from cfcli.core.models.spread import Spread
from cfcli.core.models.times import seconds_of
from cfcli.core.pair import Pair
from cfcli.core.runs.run import Run

Basis = Literal[
    "model", "folded_in", "item_attributes", "user_attributes", "user_bias", "item_bias", "mean"
]
SOURCES: tuple[Basis, ...] = get_args(Basis)
TRAINED, TOLD, FOLDED = 1, 2, 4  # what a run knows of a user or an item
BLOCK = 1 << 16  # pairs whose vectors are held at once


class FallbackPredictor:
    """Predicts ratings, also for users and items that the run may not know.

    Each side of a pair has the vector that its training rows gave it, or else the one that its
    attributes tell, or else the mean of all, see :func:`cfcli.core.training.attributes.settle`.

    Args:
        run: whose model predicts.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.base = run, run.baseline()
        self.predictor = run.predictor(is_bounded=run.info.link != "identity")
        self.low, self.high = run.info.shape.low, run.info.shape.high

    def __call__(
        self, user: pl.Series, item: pl.Series, time: pl.Series | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Ratings (N,) and, for each, the place of its source in :data:`SOURCES`.

        Args:
            user, item, time: as in :meth:`scores`.
        """
        scores, sources = self.scores(user, item, time)
        return self.bounded(scores), sources

    def bounded(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ratings by the scores of pairs, kept within the scale, (N,).

        Args:
            scores: as :meth:`scores` gives them.
        """
        return np.clip(scores, self.low, self.high)

    def scores(
        self, user: pl.Series, item: pl.Series, time: pl.Series | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Ratings (N,), by the link ``identity`` not kept within the scale, and the place of each
        one's source in :data:`SOURCES`.

        Args:
            user: indices of the users, (N,), null where unknown.
            item: indices of the items, (N,), null where unknown.
            time: of each pair, in UTC, (N,), null where unknown; None for the newest time. Used
                where the model knows times.
        """
        users, knows_user = index_of(user)
        items, knows_item = index_of(item)
        known = knows_user & knows_item
        sources = self._sources(users, knows_user, items, knows_item)
        offset = self._offset(user, item, time)
        if known.all():
            return self.predictor.predict(users, items, offset).astype(np.float64), sources
        rating = np.empty(len(users))
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
        return rating, sources

    def deviations(self, user: pl.Series, item: pl.Series) -> NDArray[np.float64]:
        """How far ratings are expected to lie from their predictions, in ratings, (N,).

        Args:
            user: indices of the users, (N,), null where unknown.
            item: indices of the items, (N,), null where unknown.

        Raises:
            ConfigError: the run keeps no samples.
        """
        unknown = []
        for column, share in zip((user, item), self._unknown, strict=True):
            index, knows = index_of(column)
            unknown.append(np.where(knows, share[index], 1.0))
        return self._spread(index_of(user)[0], index_of(item)[0], Pair(*unknown))

    @cached_property
    def _spread(self) -> Spread:
        """The spread of the samples."""
        return Spread(self.run.samples, self._trained)

    @property
    def _trained(self) -> Pair[NDArray[np.bool_]]:
        """Which users and items have training rows."""
        return Pair(self.base.user_n > 0, self.base.item_n > 0)

    @cached_property
    def _unknown(self) -> Pair[NDArray[np.float64]]:
        """Of the variance of a new vector, the share that is not known of each user and item."""
        found = unknown_shares(self.run.content, self.run.tensors, self.run.info.dim, self._trained)
        place, left = self.run.folded
        found.user[place] = np.where(self._trained.user[place], 0.0, left)
        return found

    def _offset(self, user: pl.Series, item: pl.Series, time: pl.Series | None) -> Floats | None:
        """What time adds to ratings, (N,); None for nothing."""
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

    def _sources(
        self,
        users: NDArray[np.int64],
        knows_user: NDArray[np.bool_],
        items: NDArray[np.int64],
        knows_item: NDArray[np.bool_],
    ) -> NDArray[np.uint8]:
        """What each rating rests on, as a place in :data:`SOURCES`, (N,): looked up by what is
        known of both sides, which takes a tenth of the time of conditions on all pairs."""
        states = self._states
        user = np.where(knows_user, states.user[users], 0)
        item = np.where(knows_item, states.item[items], 0)
        return SOURCE_OF_STATES[user, item]

    @cached_property
    def _states(self) -> Pair[NDArray[np.uint8]]:
        """What is known of each user and item: a sum of :data:`TRAINED`, :data:`TOLD` and
        :data:`FOLDED`."""
        found = []
        for content, n in zip(self.run.content, (self.base.user_n, self.base.item_n), strict=True):
            found.append(np.where(n > 0, TRAINED, 0 if content is None else TOLD).astype(np.uint8))
        found[0][self.run.folded.place] += FOLDED
        return Pair(*found)

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


def _source_of_states() -> NDArray[np.uint8]:
    """The place in :data:`SOURCES` by the states of a user and an item, (8, 8)."""
    user, item = np.indices((8, 8))
    trained = (user & TRAINED) > 0, (item & TRAINED) > 0
    told = (user & TOLD) > 0, (item & TOLD) > 0
    folded = (user & FOLDED) > 0
    cases = [folded & trained[1], trained[0] & trained[1], told[1], told[0], *trained]
    return np.select(cases, [1, 0, 2, 3, 4, 5], len(SOURCES) - 1).astype(np.uint8)


SOURCE_OF_STATES = _source_of_states()


def index_of(column: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Indices (N,), 0 for null, and which of them are not null, (N,).

    Args:
        column: indices of users or items, (N,), null where unknown.
    """
    return column.fill_null(0).to_numpy().astype(np.int64), column.is_not_null().to_numpy()
