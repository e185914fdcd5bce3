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


class Scores(NamedTuple):
    """Scores of all items for users (B).

    Attributes:
        order: the higher, the better, (B, I).
        rating: what the predicted rating is made of, (B, I), before it is cut to the scale; None
            where the rating model does not know the users.
    """

    order: Floats
    rating: Floats | None


@dataclass(frozen=True)
class Order:
    """What lists are ordered by: ``list`` adds up interest, predicted rating and popularity.

    Attributes:
        predictor: of ratings.
        interest: the interest model; None orders by rating.
        weights: of the scores in ``list``.
        raters: number of ratings of each item that the models were fitted on, (I,).
        by: which of the scores.
    """

    predictor: Predictor
    interest: Interest | None
    weights: Weights
    raters: NDArray[np.number]
    by: By = "list"

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
        return cls(run.predictor(), interest if by != "rating" else None, weights, raters, by)

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
        found = self.predictor.tensors["item_embedding.weight"]
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

    def scores(self, users: UserVectors) -> Scores:
        """Scores of all items.

        Args:
            users: whom to score for (B).
        """
        rating = None if users.rating is None else self.predictor.scores(users.rating)
        if self.interest is None or users.interest is None:
            assert rating is not None
            return Scores(rating, rating)  # one array: a copy would cost as much as the product
        interest = self.interest.scores(users.interest)
        if self.by == "interest":
            return Scores(interest, rating)
        return Scores(self.blend(interest, rating), rating)

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
    parts = []
    if kind != "interest":
        head = order.predictor.head
        if not isinstance(head, LinearHead):
            raise ConfigError(
                f"--vectors {kind}: {run.path} is {run.info.model}, whose network has no vectors; "
                "use --vectors interest"
            )
        ones = np.ones((run.users.height, 1), np.float32)
        users = np.hstack([run.tensors["user_embedding.weight"], ones])
        parts.append(Pair(users, head.item_weights.T))
    if kind == "rating":
        return parts[0]
    assert order.interest is not None
    parts.append(Pair(order.interest.user, order.interest.targets.T))
    if kind == "interest":
        return parts[0]
    weights = order.weights
    scaled = [
        Pair(weight * side.user / _deviations(side, order.known), side.item)
        for weight, side in zip((weights.rating, weights.interest), parts, strict=True)
    ]
    counts = order.popularity[:, None]
    constant = np.full((run.users.height, 1), weights.popularity, np.float32)
    scaled.append(Pair(constant, counts))
    joined = Pair(*(np.hstack(sides) for sides in zip(*scaled, strict=True)))
    return joined.map(lambda side: side.astype(np.float32))


def _deviations(sides: Pair[Floats], among: NDArray[np.bool_]) -> Floats:
    """Standard deviations of the users' scores over some items, (U, 1); infinite where the scores
    do not differ, see :func:`cfcli.core.models.interest.standardised`."""
    items = sides.item[among].astype(np.float64)
    items -= items.mean(axis=0)
    covariance = items.T @ items / len(items)
    users = sides.user.astype(np.float64)
    variance = np.einsum("uk,uk->u", users @ covariance, users)
    found: Floats = np.where(variance > FLAT**2, np.sqrt(np.maximum(variance, 0)), np.inf)[:, None]
    return found


def why_none(run: Run) -> str:
    """Why a run has no interest model, with the words that lead to it.

    Args:
        run: that has none.
    """
    info = run.info.interest
    if info is None:
        return "; runs have one since version 0.2: train again"
    return f" ({info.reason})"
