"""What lists of recommendations are ordered by."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cfcli.core.errors import ConfigError
from cfcli.core.models.heads import Floats, LinearHead
from cfcli.core.models.interest import FLAT, Interest, Weights, popularity, standardised
from cfcli.core.models.scoring import Predictor
from cfcli.core.pair import Pair
from cfcli.core.runs.run import Run

LEADING = 64  # directions by which items are alike; further ones are those of few items
By = Literal["list", "interest", "rating"]


class UserVectors(NamedTuple):
    """Users (B) as the two models of a run know them.

    Attributes:
        rating: (B, D + 1), see :meth:`cfcli.core.models.scoring.Predictor.user_vectors`; None where
            the rating model cannot know them.
        interest: (B, K), see :class:`cfcli.core.models.interest.Interest`; None where there is no
            interest model.
    """

    rating: Floats | None
    interest: Floats | None


class Scaled(NamedTuple):
    """Users (B) as :attr:`Order.item_side` takes them: ``users @ item_side + offset`` are the
    scores.

    Attributes:
        users: (B, W).
        offset: the part of a score that all items share, (B, 1).
    """

    users: Floats
    offset: Floats


@dataclass(frozen=True)
class Order:
    """What lists are ordered by: ``list`` adds up interest, predicted rating and popularity.

    Attributes:
        predictor: of ratings.
        interest: the interest model; None orders by rating.
        weights: of the scores in ``list``.
        raters: number of ratings of each item that the models were fitted on, (I,).
        by: which of the scores.
        dim: of the embeddings (D), which have more columns where there are new items; None for all.
    """

    predictor: Predictor
    interest: Interest | None
    weights: Weights
    raters: NDArray[np.number]
    by: By = "list"
    dim: int | None = None

    @classmethod
    def of(cls, run: Run, by: By = "list") -> "Order":
        """The order of a run. One without an interest model orders by rating instead of ``list``.

        Args:
            run: whose models score.
            by: what is asked for.

        Raises:
            ConfigError: ``interest`` is asked for, and the run has none.
            ArtifactError: its interest model is damaged.
        """
        info, interest = run.info.interest, run.interest
        weights = info.weights if info is not None and info.weights is not None else Weights()
        if interest is None:
            if by == "interest":
                raise ConfigError(f"--by interest: {run.path} has no interest model{why_none(run)}")
            by = "rating"
        raters = run.items["n_ratings"].to_numpy() if interest is None else interest.raters
        if by == "rating":
            interest = None
        return cls(run.predictor(), interest, weights, raters, by, run.info.dim)

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Which items have ratings, (I,)."""
        return self.raters > 0

    @cached_property
    def popularity(self) -> Floats:
        """Logarithms of the numbers of ratings, standardised over the known items, (I,)."""
        return popularity(self.raters, self.known)

    @property
    def item_vectors(self) -> Floats:
        """What tells how alike items are, (I, K): the leading directions of the interest model, or
        else the embeddings of the rating model; from their mean."""
        found = self.predictor.tensors["item_embedding.weight"][:, : self.dim]
        if self.interest is not None:
            found = self.interest.item[:, :LEADING]
        return np.asarray(found - found[self.known].mean(axis=0), np.float32)

    def vectors(self, users: NDArray[np.int64]) -> UserVectors:
        """Users of the run.

        Args:
            users: their indices, (B,).
        """
        interest = None if self.interest is None else self.interest.user[users]
        return UserVectors(self.predictor.user_vectors(users), interest)

    def scores(self, users: UserVectors) -> Floats:
        """Scores of all items, (B, I): the higher, the better.

        Args:
            users: whom to score for (B).
        """
        if self.interest is None or users.interest is None:
            assert users.rating is not None
            return self.predictor.scores(users.rating)
        interest = self.interest.scores(users.interest)
        if self.by == "interest":
            return interest
        rating = None if users.rating is None else self.predictor.scores(users.rating)
        return self.blend(interest, rating)

    def blend(self, interest: Floats, rating: Floats | None) -> Floats:
        """The scores of ``list``.

        Args:
            interest: (B, I).
            rating: (B, I), or None where the rating model does not know the users.
        """
        known, weights = self.known, self.weights
        found = weights.interest * standardised(interest, known)
        if rating is not None and weights.rating:
            found += weights.rating * standardised(rating, known)
        if weights.popularity:
            found += weights.popularity * self.popularity
        return found

    @cached_property
    def item_side(self) -> Floats | None:
        """What users as :meth:`scaled` has them are multiplied by, (W, I); None for a rating model
        whose scores are not linear. One product then takes the place of those of both models and of
        several passes over their scores: :meth:`scores` takes 2.5 times as long by ``list``."""
        head = self.predictor.head
        if self.interest is not None and self.by == "interest":
            return self.interest.targets
        if not isinstance(head, LinearHead):
            return None
        if self.interest is None:
            return head.item_weights
        return np.vstack([head.item_weights, self.interest.targets, self.popularity])

    def scaled(self, users: UserVectors) -> Scaled:
        """Users (B) for :attr:`item_side`.

        Args:
            users: as both models know them; the rating model must, unless the order is by interest.
        """
        if self.by == "interest":
            assert users.interest is not None
            return Scaled(users.interest, np.zeros((len(users.interest), 1), np.float32))
        head = self.predictor.head
        assert users.rating is not None
        assert isinstance(head, LinearHead)
        one = np.ones((len(users.rating), 1), np.float32)
        rating = np.hstack([users.rating[:, :-1], one])
        if self.interest is None or users.interest is None:
            return Scaled(rating, users.rating[:, -1:] + np.float32(head.start))
        weights, (of_rating, of_interest) = self.weights, self._spreads
        rating, rating_mean = of_rating.standardised(weights.rating, rating)
        interest, interest_mean = of_interest.standardised(weights.interest, users.interest)
        found = np.hstack([rating, interest, weights.popularity * one], dtype=np.float32)
        return Scaled(found, -(rating_mean + interest_mean).astype(np.float32))

    @cached_property
    def _spreads(self) -> "tuple[_Spread, _Spread]":
        """Of the scores by rating and by interest."""
        head = self.predictor.head
        assert self.interest is not None
        assert isinstance(head, LinearHead)
        of_rating = _Spread.of(head.item_weights, self.known)
        return of_rating, _Spread.of(self.interest.targets, self.known)


class _Spread(NamedTuple):
    """What tells mean and standard deviation of a user's scores over the known items.

    Attributes:
        mean: of the items' vectors, (K,).
        covariance: of them, (K, K).
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def of(cls, items: Floats, known: NDArray[np.bool_]) -> "_Spread":
        """Of items (K, I) of which some are known, (I,)."""
        counted = items[:, known].astype(np.float64)
        mean = counted.mean(axis=1)
        counted -= mean[:, None]
        return cls(mean, counted @ counted.T / counted.shape[1])

    def standardised(
        self, weight: float, users: Floats
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Users (B, K) whose scores have the weight as standard deviation, or 0 where they do not
        differ, as :func:`cfcli.core.models.interest.standardised` has it; and the means (B, 1) of
        these scores."""
        wide = users.astype(np.float64)
        variance = np.einsum("bk,bk->b", wide @ self.covariance, wide)[:, None]
        deviation = np.sqrt(np.maximum(variance, 0))
        found = weight * wide / np.where(deviation > FLAT, deviation, np.inf)
        return found, found @ self.mean[:, None]


def vectors(run: Run, kind: By) -> Pair[Floats]:
    """Vectors whose inner product orders items for a user as :class:`Order` does.

    Users and items have the same width: where a score has a term of the item alone, the user has a
    constant for it. Terms of the user alone, which order nothing, are left out.

    Args:
        run: whose models score.
        kind: ``rating``, ``interest``, or ``list`` for both together.

    Returns:
        Of users (U, W) and of items (I, W), float32.

    Raises:
        ConfigError: the run has no such vectors: it has no interest model, or the scores of its
            rating model are not linear.
    """
    if kind != "rating" and run.interest is None:
        raise ConfigError(f"--vectors {kind}: {run.path} has no interest model{why_none(run)}")
    order = Order.of(run, kind)
    if order.item_side is None:
        raise ConfigError(
            f"--vectors {kind}: {run.path} is {run.info.model}, whose network has no vectors; "
            "use --vectors interest"
        )
    users = order.scaled(order.vectors(np.arange(run.users.height))).users
    return Pair(users, order.item_side.T)


def why_none(run: Run) -> str:
    """Why a run has no interest model, with the words that lead to it.

    Args:
        run: that has none.
    """
    info = run.info.interest
    if info is None:
        return "; runs have one since version 0.2: train again"
    return f" ({info.reason})"
