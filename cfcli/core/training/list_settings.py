"""The settings of the lists, chosen on validation rows."""

import time
from dataclasses import dataclass
from itertools import product

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from cfcli.core.metrics.lists import K, Quality, judged, mean_quality
from cfcli.core.models.interest import FLAT, Interest, Weights, popularity, standardised
from cfcli.core.models.scoring import Predictor
from cfcli.core.models.top import best_columns
from cfcli.core.training.choices import Directions

# Penalties that are tried, as shares of the largest squared singular value. The first is taken
# where nothing can be chosen. Dense tables want small ones, tables of few ratings a user large
# ones.
PENALTY = 1 / 40
PENALTIES = PENALTY * 2.0 ** np.array([0, 1, 2, 4, 6, 8, -1, -2, -3, -5])
STEPS = 2.0 ** np.array([0, 0.5, -0.5])  # around the best of them
RATING = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 2.0)
POPULARITY = (0.0, 0.1, 0.3, 1.0, 3.0)
# Where who rated what says nothing, the interest is only noise.
WITHOUT_INTEREST = [
    Weights(0.0, *pair) for pair in ((1.0, 0.0), (1.0, 0.3), (0.3, 1.0), (0.0, 1.0))
]
FEW_USERS = 30  # with validation rows, below which nothing can be chosen
PLATEAU = 0.99  # share of the best merit from which on settings are as good
ALL = 1 / 3  # power of nDCG for all rows beside that for liked rows in what is chosen by


@dataclass(frozen=True)
class Settings:
    """What is chosen on validation rows.

    Attributes:
        share: the penalty, as a share of the largest squared singular value.
        weights: of the order of the lists.
        quality: of the lists with them, for liked rows; None where nothing was chosen.
    """

    share: float = PENALTY
    weights: Weights = Weights()
    quality: Quality | None = None


class Judge:
    """Lists for users with validation rows, by interest models with different settings.

    Args:
        table: the choices in the training rows, (U, I).
        found: its directions.
        rows: validation rows of the users judged (B).
        predictor: of ratings.
        liked_from: lowest rating of what a user liked.
    """

    def __init__(
        self,
        table: csr_matrix,
        found: Directions,
        rows: pl.DataFrame,
        predictor: Predictor,
        liked_from: float,
    ) -> None:
        self.found = found
        users, place = np.unique(rows["user"].to_numpy(), return_inverse=True)
        self.choices = table[users]
        self.raters = table.getnnz(axis=0).astype(np.float32)
        self.known = self.raters > 0
        self.popularity = popularity(self.raters, self.known)
        scores = predictor.scores(predictor.user_vectors(users))
        self.rating = standardised(scores, self.known)
        shape = self.choices.shape
        item, liked = rows["item"].to_numpy(), rows["rating"].to_numpy() >= liked_from
        self.excluded = np.zeros(shape, np.float32)
        self.excluded[self.choices.nonzero()] = -np.inf
        self.excluded[:, ~self.known] = -np.inf
        self.relevant = np.zeros(shape, bool)
        self.relevant[place, item] = True
        self.liked = np.zeros(shape, bool)
        self.liked[place[liked], item[liked]] = True

    def settings(self, until: float | None = None) -> Settings | None:
        """The best penalty with usual weights, and then the best weights with it, see
        :func:`middle`.

        Args:
            until: see :func:`cfcli.core.training.interest.fit`.

        Returns:
            None where the time does not suffice.
        """
        usual = [Weights(), Weights(popularity=1.0)]
        tried, found = self._tried(PENALTIES, usual, until)
        if tried:
            grid = [Weights(1.0, *pair) for pair in product(RATING, POPULARITY)] + WITHOUT_INTEREST
            best, _ = tried[int(_merit(found).argmax())]
            tried, found = self._tried(best * STEPS, grid, until)
        if not tried:
            return None
        share, weights = middle(tried, found)
        _, _, ndcgs, recalls = self._qualities(share, [weights])[0]
        return Settings(share, weights, mean_quality(ndcgs, recalls))

    def _tried(
        self, shares: NDArray[np.float64], grid: list[Weights], until: float | None
    ) -> tuple[list[tuple[float, Weights]], NDArray[np.float64]]:
        """All pairs of a penalty and weights, and their qualities, (N, 4, B); none where the time
        does not suffice."""
        tried = [(float(share), weights) for share in shares for weights in grid]
        found = []
        for share in shares:
            if until is not None and time.perf_counter() > until:
                return [], np.empty((0, 4, 0))
            found.append(self._qualities(float(share), grid))
        return tried, np.concatenate(found)

    def _qualities(self, share: float, tried: list[Weights]) -> NDArray[np.float64]:
        """nDCG and recall for all and for liked rows, (N, 4, B), of N weights."""
        q, scale = self.found.items(share * float(self.found.energy[0]))
        model = Interest({"user": q[:0], "item": q, "scale": scale, "raters": self.raters})
        users = np.asarray(self.choices @ q, np.float32)
        interest = standardised(model.scores(users), self.known)
        found = []
        for weights in tried:
            scores = weights.rating * self.rating + weights.popularity * self.popularity
            scores = scores + weights.interest * interest + self.excluded
            top, best = best_columns(scores, min(K, scores.shape[1]))
            there = np.isfinite(best)
            sides = self.relevant, self.liked
            found.append([values for side in sides for values in judged(top, there, side)])
        return np.array(found)


def middle(tried: list[tuple[float, Weights]], found: NDArray[np.float64]) -> tuple[float, Weights]:
    """The mean of the settings that are as good as the best: the middle of a plateau is a safer
    choice than its highest point, which is noise.

    As good are those within 1 % of the best, or within a standard error of the difference over
    users (the rule of Breiman et al. 1984, "Classification and regression trees", section 3.4.3).

    Args:
        tried: penalties and weights, N of them.
        found: nDCG and recall for all and for liked rows of users (B), (N, 4, B); not a number
            where a user has no such rows.
    """
    merit = _merit(found)
    best = int(merit.argmax())
    ndcg = found[:, 0 if np.isnan(found[best, 2]).all() else 2]
    ndcg = ndcg[:, ~np.isnan(ndcg[best])]
    error = (ndcg - ndcg[best]).std(axis=1) / np.sqrt(ndcg.shape[1])
    allowed = np.maximum(1 - PLATEAU, error / max(ndcg[best].mean(), FLAT))
    plateau = np.flatnonzero(merit >= merit[best] * (1 - allowed))
    share = np.exp(np.mean([np.log(tried[k][0]) for k in plateau]))
    parts = np.array([list(vars(tried[k][1]).values()) for k in plateau])
    mean = (parts / parts.sum(axis=1, keepdims=True)).mean(axis=0)
    return float(share), Weights(*(mean / (mean[0] or 1.0)).tolist())


def _merit(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """What settings are chosen by, (N,): nDCG for liked rows, with an eye on all rows.

    Args:
        found: see :func:`middle`.
    """
    of_all: NDArray[np.float64] = np.nanmean(found[:, 0], axis=1)
    if np.isnan(found[:, 2]).all():
        return of_all
    of_liked: NDArray[np.float64] = np.nanmean(found[:, 2], axis=1)
    return of_liked * of_all**ALL
