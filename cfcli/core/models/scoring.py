"""Ratings from a run's tensors with NumPy alone: no torch, so that using a model starts at once."""

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cfcli.core.config.train import Link
from cfcli.core.models import heads
from cfcli.core.models.heads import Floats, LinearHead
from cfcli.core.models.kinds import KINDS
from cfcli.core.pair import Entity

Doubles = NDArray[np.float64]
Indices = NDArray[np.integer]
NEWTON_STEPS = 50  # at most, of folding a user in
LEAST_GAIN = 1e-9  # share of the loss below which a step is the last
LEAST_STEP = 1e-6  # to which a step is halved while it does not lower the loss
RIDGE = 1e-6  # added to the covariance of all users' vectors, so that it can be inverted


class Predictor:
    """Predicts ratings: low + (high - low) * sigmoid(score), or, with the link ``identity``, the
    score kept within the range.

    Args:
        model: name of its kind, a key of :data:`cfcli.core.models.kinds.KINDS`.
        tensors: parameters by name, as :class:`cfcli.core.training.trained.TrainedModel` has them.
        low: the lowest rating.
        high: the highest rating.
        link: how a score becomes a rating.
        noise: variance of a rating around its expectation, in squared ratings; for folding users
            in with the link ``identity``.
    """

    def __init__(
        self,
        model: str,
        tensors: Mapping[str, Floats],
        low: float,
        high: float,
        link: Link = "sigmoid",
        noise: float = 1.0,
    ) -> None:
        self.kind = KINDS[model]
        self.tensors = tensors
        self.low = low
        self.high = high
        self.link = link
        self.noise = noise

    @cached_property
    def head(self) -> heads.Head:
        """What makes scores of embeddings."""
        return self.kind.head(self.tensors)

    def predict(self, user: Indices, item: Indices, offset: Floats | None = None) -> Floats:
        """Ratings (N,) of pairs.

        Args:
            user: indices of the users, (N,).
            item: indices of the items, (N,).
            offset: what is added to each score, (N,); None for nothing.
        """
        out = np.empty(len(user), dtype=np.float32)
        for start in range(0, len(user), heads.CHUNK):
            part = slice(start, start + heads.CHUNK)
            score = self._score(user[part], item[part])
            out[part] = self.rating(score if offset is None else score + offset[part])
        return out

    def rating(self, score: Floats) -> Floats:
        """Ratings of scores.

        Args:
            score: with biases, of any shape.
        """
        if self.link == "identity":
            return np.clip(score, self.low, self.high).astype(np.float32)
        with np.errstate(over="ignore"):  # exp may reach infinity, which is the right limit
            return (self.low + (self.high - self.low) / (1 + np.exp(-score))).astype(np.float32)

    def user_vectors(self, user: Indices) -> Floats:
        """Embeddings of users with their bias as one more column, (B, D + 1).

        Args:
            user: indices, (B,).
        """
        return self.vectors("user", user)

    def vectors(self, entity: Entity, index: Indices) -> Floats:
        """Embeddings of users or items with their bias as one more column, (B, D + 1).

        Args:
            entity: which.
            index: their indices, (B,).
        """
        return vectors_of(self.tensors, entity, index)

    def mean(self, entity: Entity, weight: NDArray[np.floating]) -> Floats:
        """The mean vector of users or items, (D + 1,).

        Args:
            entity: which.
            weight: of each, (N,).
        """
        found = (weight / weight.sum()) @ self.vectors(entity, np.arange(len(weight)))
        return np.asarray(found, np.float32)

    def pairs(self, users: Floats, items: Floats, offset: Floats | float = 0.0) -> Floats:
        """Ratings (B,) by vectors.

        Args:
            users: (B, D + 1), the bias last.
            items: (B, D + 1), the bias last.
            offset: what is added to each score, (B,).
        """
        score = self.head.pairs(users[:, :-1], items[:, :-1])
        return self.rating(np.asarray(score + users[:, -1] + items[:, -1] + offset, np.float32))

    def scores(self, users: Floats) -> Floats:
        """Scores (B, I) of all items.

        Args:
            users: vectors (B, D + 1), as :meth:`user_vectors` gives them.
        """
        return self.head.all_items(users)

    def fold_in(
        self,
        item: Indices,
        rating: NDArray[np.floating],
        l2: float,
        trained: Floats | None = None,
        weight: NDArray[np.floating] | None = None,
    ) -> Floats:
        """The vector (D + 1,) of a user who was not trained on: what training would give them with
        the items held fast. For one who was, new ratings move the trained vector.

        With a sigmoid it minimises the mean squared error, on the scale of the range, plus ``l2``
        times the squared length. With the link ``identity`` it is the posterior mean, where the
        prior has the mean and the covariance of all users' vectors; ``l2`` is not used.

        Args:
            item: indices of the items that they rated, (N,).
            rating: their ratings, (N,).
            l2: weight of the squared length.
            trained: the vector of a user who was trained on, (D + 1,); it is the mean of the prior.
            weight: how much each rating counts, (N,), with the link ``identity``; None where all
                count 1.

        Raises:
            ValueError: the model has no linear space.
        """
        if not isinstance(self.head, LinearHead):
            raise ValueError("only a model with a linear space can fold users in")
        weights, start = self.head.item_weights, self.head.start
        # With the design matrix X (N, D + 1) a user's scores are X @ vector + offset.
        design = _design(weights[:, item])
        offset = weights[-1, item].astype(np.float64) + start
        seen = np.asarray(rating, np.float64)
        if self.link == "identity":
            rest = seen - offset
            if weight is not None:
                root = np.sqrt(weight)
                design, rest = design * root[:, None], rest * root
            return self._posterior_mean(design, rest, trained).astype(np.float32)
        target = (seen - self.low) / (self.high - self.low)
        begin = np.zeros(design.shape[1]) if trained is None else trained.astype(np.float64)
        penalty = max(l2, 1e-6) * len(item)
        moved = _logistic_fit(design, offset + design @ begin, target, penalty)
        return (begin + moved).astype(np.float32)

    def left_by(self, item: Indices) -> float:
        """Of the variance that the vector of a new user gives to their ratings of all items, the
        share that is left once they are folded in; with the link ``identity``.

        Args:
            item: indices of the items that they rated, (N,).
        """
        assert isinstance(self.head, LinearHead)
        weights = self.head.item_weights
        design = _design(weights[:, item])
        left = self.noise * np.linalg.inv(design.T @ design + self._prior.precision)
        by = self._all_items
        return float((left * by).sum() / (self._prior.covariance * by).sum())

    def _posterior_mean(self, design: Doubles, rest: Doubles, trained: Floats | None) -> Doubles:
        """Mean (D + 1,) of a vector whose scores ``design @ vector`` were seen with noise, as
        ``rest``: Bayesian linear regression (Bishop 2006, eq. 3.50)."""
        mean = self._prior.mean if trained is None else trained.astype(np.float64)
        precision = self._prior.precision
        left, right = design.T @ design + precision, design.T @ rest + precision @ mean
        return np.asarray(np.linalg.solve(left, right), np.float64)

    @cached_property
    def _prior(self) -> "_Prior":
        """The prior of a user's vector."""
        everyone = self.user_vectors(np.arange(len(self.tensors["user_embedding.weight"])))
        wide = everyone.astype(np.float64)
        covariance = np.cov(wide, rowvar=False) + RIDGE * np.eye(wide.shape[1])
        precision = np.asarray(self.noise * np.linalg.inv(covariance), np.float64)
        return _Prior(wide.mean(0), covariance, precision)

    @cached_property
    def _all_items(self) -> Doubles:
        """What users' vectors are multiplied by, squared and summed over all items,
        (D + 1, D + 1)."""
        assert isinstance(self.head, LinearHead)
        every = _design(self.head.item_weights)
        return np.asarray(every.T @ every)

    def _score(self, user: Indices, item: Indices) -> Floats:
        t = self.tensors  # np.take() needs a third of the time of t[...][user]
        p = np.take(t["user_embedding.weight"], user, axis=0)
        score = self.head.pairs(p, np.take(t["item_embedding.weight"], item, axis=0))
        if "user_bias" in t:
            score = score + np.take(t["user_bias"], user) + np.take(t["item_bias"], item)
        return np.asarray(score, np.float32)


class _Prior(NamedTuple):
    """The mean and the covariance of all users' vectors.

    Attributes:
        mean: (D + 1,).
        covariance: (D + 1, D + 1).
        precision: its inverse, times the variance of a rating, (D + 1, D + 1).
    """

    mean: Doubles
    covariance: Doubles
    precision: Doubles


def _design(weights: Floats) -> Doubles:
    """What a user's vector is multiplied by, (N, D + 1): its bias by 1.

    Args:
        weights: of N items, a column each, the item's bias last, (D + 1, N).
    """
    return np.column_stack([weights[:-1].T, np.ones(weights.shape[1])]).astype(np.float64)


def vectors_of(
    tensors: Mapping[str, Floats], entity: Entity, index: Indices | slice = slice(None)
) -> Floats:
    """Embeddings of users or items with their bias as one more column, which is 0 in a model
    without biases, (B, D + 1).

    Args:
        tensors: parameters by name.
        entity: whose vectors.
        index: their indices, (B,); all by default.
    """
    p = tensors[f"{entity}_embedding.weight"][index]
    bias = tensors.get(f"{entity}_bias")
    return np.column_stack([p, np.zeros(len(p), np.float32) if bias is None else bias[index]])


def _logistic_fit(design: Doubles, offset: Doubles, target: Doubles, penalty: float) -> Doubles:
    """The vector v (D + 1,) with the least ``|sigmoid(X v + offset) - target|^2 + penalty |v|^2``,
    by Gauss-Newton with halved steps (Nocedal and Wright 2006, section 10.3). Each step is a ridge
    regression.

    Args:
        design: X, (N, D + 1).
        offset: (N,).
        target: (N,), from 0 to 1.
        penalty: weight of the squared length.
    """

    def output(vector: Doubles) -> Doubles:
        """``sigmoid(X v + offset)``, (N,).

        Args:
            vector: v, (D + 1,).
        """
        found: Doubles = 1 / (1 + np.exp(-(design @ vector + offset)))
        return found

    def loss(vector: Doubles, share: Doubles) -> float:
        """What is minimised.

        Args:
            vector: v, (D + 1,).
            share: its output, (N,).
        """
        return float(((share - target) ** 2).sum() + penalty * vector @ vector)

    vector = np.zeros(design.shape[1])
    share = output(vector)
    value = loss(vector, share)
    for _ in range(NEWTON_STEPS):
        slope = design * (share * (1 - share))[:, None]
        gradient = slope.T @ (share - target) + penalty * vector
        step = np.linalg.solve(slope.T @ slope + penalty * np.eye(len(vector)), gradient)
        size = 1.0
        new = vector - step
        new_share = output(new)
        while loss(new, new_share) > value and size > LEAST_STEP:
            size /= 2
            new = vector - size * step
            new_share = output(new)
        new_value = loss(new, new_share)
        if value - new_value < LEAST_GAIN * value:
            break
        vector, share, value = new, new_share, new_value
    return vector
