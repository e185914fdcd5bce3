"""Fits the interest model and chooses its settings on validation rows."""

import time
from dataclasses import dataclass
from itertools import product

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from cfcli.core.data.blocks import Blocks, in_blocks
from cfcli.core.metrics.lists import K, Quality, judged, mean_quality
from cfcli.core.models.heads import Floats
from cfcli.core.models.interest import (
    Interest,
    Weights,
    choice_weights,
    popularity,
    standardised,
)
from cfcli.core.models.scoring import Predictor
from cfcli.core.models.top import best_columns
from cfcli.core.pair import Pair
from cfcli.core.training import cooccurrence
from cfcli.core.training.plan import sizing

POWERS = 8  # iterations that find the subspace
# Penalties that are tried, as shares of the largest squared singular value. The first is taken where
# nothing can be chosen.
PENALTY = 1 / 40
PENALTIES = PENALTY * 2.0 ** np.array([0, 1, 2, 4, -1, -2, -3, -5, -7])
STEPS = 2.0 ** np.array([0, 0.5, -0.5])  # around the best of them
RATING = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 2.0)
POPULARITY = (0.0, 0.1, 0.3, 1.0, 3.0)
# Where who rated what says nothing, the interest is only noise.
WITHOUT_INTEREST = [Weights(0.0, 1.0, 0.0), Weights(0.0, 1.0, 0.3), Weights(0.0, 0.3, 1.0)]
JUDGED_USERS = 2000  # at most
FEW_USERS = 30  # with validation rows, below which nothing can be chosen
PLATEAU = 0.99  # share of the best merit from which on settings are as good
ALL = 1 / 3  # power of nDCG for all rows beside that for liked rows in what is chosen by
LEAST_SCALE = 1e-3  # of what EASE divides by


@dataclass(frozen=True)
class FittedInterest:
    """An interest model and how it came about.

    Attributes:
        tensors: parameters by name, see :class:`cfcli.core.models.interest.Interest`.
        penalty: of EASE.
        weights: of the order of the lists.
        mean: mean rating of each user, (U,),
        deviation: and standard deviation of all ratings: what the weights of choices follow from.
        liked_from: lowest rating of what a user liked.
        rows: how many ratings it was fitted on.
        val: quality of the lists for liked validation rows, before the last fit; None where nothing
            was chosen by them.
        seconds: that all of it took.
    """

    tensors: dict[str, Floats]
    penalty: float
    weights: Weights
    mean: Floats
    deviation: float
    liked_from: float
    rows: int
    val: Quality | None
    seconds: float


@dataclass(frozen=True)
class Choices:
    """Who rated what.

    Attributes:
        table: a weight for each rated pair, (U, I), see
            :func:`cfcli.core.models.interest.choice_weights`.
        mean: mean rating of each user, (U,).
        deviation: standard deviation of the ratings.
    """

    table: csr_matrix
    mean: Floats
    deviation: float

    @classmethod
    def of(cls, sides: list[pl.DataFrame | Blocks], shape: Pair[int]) -> "Choices":
        """The choices in rows.

        Args:
            sides: columns ``user``, ``item`` and ``rating``.
            shape: numbers of users and of items.
        """
        columns = ("user", "item", "rating")
        blocks = [block.select(columns) for side in sides for block in in_blocks(side)]
        rows = pl.concat(blocks, rechunk=True)
        del blocks
        user, item, rating = (rows[name].to_numpy() for name in columns)
        deviation = float(rating.std()) if len(rating) else 0.0
        count = np.bincount(user, minlength=shape.user)
        total = np.bincount(user, rating, shape.user)
        mean = (total / np.maximum(count, 1)).astype(np.float32)
        weight = choice_weights(rating, mean[user], deviation)
        return cls(csr_matrix((weight, (user, item)), shape=tuple(shape)), mean, deviation)


@dataclass(frozen=True)
class Directions:
    """The leading directions of a table of choices.

    Attributes:
        vectors: orthonormal, (I, K).
        energy: squared singular values, (K,), the largest first.
        rest: of each item, the part of its unit vector and of its squared length that they leave,
            both (I,).
    """

    vectors: Floats
    energy: Floats
    rest: tuple[Floats, Floats]

    @classmethod
    def of(cls, table: csr_matrix, seed: int) -> "Directions":
        """Finds them.

        Args:
            table: of choices, (U, I).
            seed: of the random start.
        """
        k = sizing.interest_dim(*table.shape)
        right, sizes = cooccurrence.directions(table, k, seed, POWERS)
        vectors, energy = right.numpy(), sizes.square().numpy()
        length = np.asarray(table.multiply(table).sum(axis=0), np.float32)[0]
        squared = vectors * vectors
        rest = np.maximum(1 - squared.sum(1), 0), np.maximum(length - squared @ energy, 0)
        return cls(vectors, energy, rest)

    def items(self, penalty: float) -> tuple[Floats, Floats]:
        """The vectors q (I, K) and scales 1 / c (I,) of the items.

        The directions that are left out count as if each item had one of its own, of the right
        length: 512 directions then order MovieLens 1M as well as all 3,706.

        Args:
            penalty: of EASE.
        """
        gain = self.energy / (self.energy + penalty)
        q = self.vectors * np.sqrt(gain)
        share, length = self.rest
        own = np.divide(length, share, out=np.zeros_like(length), where=share > LEAST_SCALE)
        c = 1 - (q * q).sum(1) - share * own / (own + penalty)
        return q, (1 / np.maximum(c, LEAST_SCALE)).astype(np.float32)


def fit(
    train: pl.DataFrame | Blocks,
    val: pl.DataFrame | Blocks,
    shape: Pair[int],
    predictor: Predictor,
    liked_from: float,
    seed: int,
) -> FittedInterest:
    """Fits the interest model on training rows, chooses the penalty and the weights of the order on
    validation rows, and fits it anew on both.

    Without enough validation rows it takes fixed settings.

    Args:
        train: training rows: columns ``user``, ``item`` and ``rating``.
        val: validation rows.
        shape: numbers of users and of items.
        predictor: of ratings.
        liked_from: lowest rating of what a user liked.
        seed: of random numbers.

    Raises:
        ArtifactError: a file of the dataset is damaged.
    """
    begin = time.perf_counter()
    settings = Settings(PENALTY, Weights(), None)
    if len(val):
        held_out = pl.concat([block.select("user", "item", "rating") for block in in_blocks(val)])
        sample = _sample(held_out, shape.item, seed)
        if sample["user"].n_unique() >= FEW_USERS:
            table = Choices.of([train], shape).table
            judge = Judge(table, Directions.of(table, seed), sample, predictor, liked_from)
            settings = judge.settings()
            del judge, table
    choices = Choices.of([train, val], shape)
    found = Directions.of(choices.table, seed)
    penalty = settings.share * float(found.energy[0])
    q, scale = found.items(penalty)
    users = np.asarray(choices.table @ q, np.float32)
    return FittedInterest(
        tensors={"user": users, "item": q, "scale": scale},
        penalty=penalty,
        weights=settings.weights,
        mean=choices.mean,
        deviation=choices.deviation,
        liked_from=liked_from,
        rows=choices.table.nnz,
        val=settings.quality,
        seconds=time.perf_counter() - begin,
    )


def _sample(rows: pl.DataFrame, items: int, seed: int) -> pl.DataFrame:
    """The validation rows of some users."""
    users = rows["user"].unique().sort()
    most = max(FEW_USERS, min(JUDGED_USERS, sizing.JUDGED_SCORES // max(items, 1)))
    if len(users) <= most:
        return rows
    chosen = users.sample(most, seed=seed)
    return rows.filter(pl.col("user").is_in(chosen.implode()))


@dataclass(frozen=True)
class Settings:
    """What is chosen on validation rows.

    Attributes:
        share: the penalty, as a share of the largest squared singular value.
        weights: of the order of the lists.
        quality: of the lists with them, for liked rows; None where nothing was chosen.
    """

    share: float
    weights: Weights
    quality: Quality | None


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
        raters = table.getnnz(axis=0)
        self.known = raters > 0
        self.popularity = popularity(raters, self.known)
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

    def settings(self) -> Settings:
        """The best penalty with usual weights, and then the best weights with it.

        Of the many settings that are nearly the best, the mean is taken: the middle of a plateau is
        a safer choice than its highest point, which is noise.
        """
        shares = [float(share) for share in PENALTIES]
        usual = [Weights(), Weights(popularity=1.0)]
        found = np.concatenate([self._qualities(share, usual) for share in shares])
        best = int(_merit(found).argmax()) // len(usual)
        grid = [Weights(1.0, *pair) for pair in product(RATING, POPULARITY)] + WITHOUT_INTEREST
        tried = [(float(shares[best] * step), weights) for step in STEPS for weights in grid]
        near = [self._qualities(float(shares[best] * step), grid) for step in STEPS]
        merit = _merit(np.concatenate(near))
        share, weights = tried[int(merit.argmax())]
        if weights.interest:
            plateau = [
                setting
                for setting, value in zip(tried, merit, strict=True)
                if value >= PLATEAU * merit.max() and setting[1].interest
            ]
            share = float(np.exp(np.mean([np.log(share) for share, _ in plateau])))
            weights = Weights(
                1.0,
                float(np.mean([weights.rating for _, weights in plateau])),
                float(np.mean([weights.popularity for _, weights in plateau])),
            )
        of_all = self._qualities(share, [weights])[0]
        return Settings(share, weights, Quality(float(of_all[2]), float(of_all[3])))

    def _qualities(self, share: float, tried: list[Weights]) -> Floats:
        """nDCG and recall for all and for liked rows, (N, 4), of N weights."""
        q, scale = self.found.items(share * float(self.found.energy[0]))
        model = Interest({"user": q[:0], "item": q, "scale": scale})
        users = np.asarray(self.choices @ q, np.float32)
        interest = standardised(model.scores(users), self.known)
        found = []
        for weights in tried:
            scores = weights.rating * self.rating + weights.popularity * self.popularity
            scores = scores + weights.interest * interest + self.excluded
            top, best = best_columns(scores, min(K, scores.shape[1]))
            there = np.isfinite(best)
            sides = self.relevant, self.liked
            of_all, of_liked = (mean_quality(*judged(top, there, side)) for side in sides)
            found.append((of_all.ndcg, of_all.recall, of_liked.ndcg, of_liked.recall))
        return np.array(found)


def _merit(found: Floats) -> Floats:
    """What settings are chosen by, (N,): nDCG for liked rows, with an eye on all rows.

    Args:
        found: as :meth:`Judge._qualities` gives it, (N, 4).
    """
    of_all, of_liked = found[:, 0], found[:, 2]
    return of_all if np.isnan(of_liked).all() else of_liked * of_all**ALL
