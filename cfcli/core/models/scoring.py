"""Scores from a run's tensors with NumPy alone: no torch, so that using a model starts at once."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcli.core.config.train import Link

Floats = NDArray[np.float32]
CHUNK = 1 << 16  # pairs scored at once: what a dense network needs for them fits the cache
STEPS, LEAST_GAIN = 50, 1e-9  # of fitting a new user


class Predictor:
    """Predicts ratings: low + (high - low) * sigmoid(score), or, with the link ``identity``, the
    score within bounds.

    Args:
        model: ``mf`` or ``ncf``.
        tensors: as :class:`cfcli.core.training.trained.TrainedModel` has them.
        low, high: the range of ratings.
        noise: mean squared error of the training rows, for users folded in with ``identity``.
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
        self.model, self.tensors, self.low, self.high, self.link, self.noise = (
            model,
            tensors,
            low,
            high,
            link,
            noise,
        )

    def predict(self, user: NDArray[Any], item: NDArray[Any]) -> Floats:
        """Ratings (N,) of user and item indices, each (N,)."""
        out = np.empty(len(user), dtype=np.float32)
        for start in range(0, len(user), CHUNK):
            part = slice(start, start + CHUNK)
            out[part] = self.rating(self._score(user[part], item[part]))
        return out

    def rating(self, score: Floats) -> Floats:
        """Ratings of scores, of any shape."""
        if self.link == "identity":
            return np.clip(score, self.low, self.high).astype(np.float32)
        with np.errstate(over="ignore"):  # exp may reach infinity, which is the right limit
            return (self.low + (self.high - self.low) / (1 + np.exp(-score))).astype(np.float32)

    def user_vectors(self, user: NDArray[Any]) -> Floats:
        """The embeddings (B, D) of users with their bias as one more column, (B, D + 1)."""
        p = self.tensors["user_embedding.weight"][user]
        bias = (
            self.tensors["user_bias"][user]
            if "user_bias" in self.tensors
            else np.zeros(len(p), np.float32)
        )
        return np.column_stack([p, bias])

    def scores(self, users: Floats) -> Floats:
        """Scores (B, I) of all items for users, (B, D + 1) as :meth:`user_vectors` gives them."""
        if self.model == "ncf":
            return self._network_scores(users)
        weights, start = self._item_side
        return np.column_stack([users[:, :-1], np.ones(len(users), np.float32)]) @ weights + (
            users[:, -1:] + start
        )

    def fold_in(self, item: NDArray[Any], rating: NDArray[Any], l2: float) -> Floats:
        """The vector (D + 1,) of a user who was not trained on, from ratings (N,) of items (N,):
        what training would make of them with the items held fast.

        With a sigmoid: minimises the mean squared error, on the scale of the range, plus ``l2``
        times the squared length, by Gauss-Newton with halved steps (Nocedal and Wright 2006,
        section 10.3); each step is a ridge regression. Without: the posterior mean with the mean
        and the covariance of all users' vectors as the prior, which is a single one.

        Raises:
            ValueError: a dense network has no such form.
        """
        if self.model != "mf":
            raise ValueError("only mf can fold users in")
        weights, start = self._item_side
        design = np.column_stack([weights[:-1, item].T, np.ones(len(item))]).astype(
            np.float64
        )  # (N, D + 1)
        offset = weights[-1, item].astype(np.float64) + start
        if self.link == "identity":
            known = self.user_vectors(np.arange(len(self.tensors["user_bias"]))).astype(np.float64)
            mean, size = known.mean(0), known.shape[1]
            precision = self.noise * np.linalg.inv(
                np.cov(known, rowvar=False) + 1e-6 * np.eye(size)
            )
            rest = np.asarray(rating, np.float64) - offset
            return np.linalg.solve(
                design.T @ design + precision, design.T @ rest + precision @ mean
            ).astype(np.float32)
        target = (np.asarray(rating, np.float64) - self.low) / (self.high - self.low)
        penalty = max(l2, 1e-6) * len(item)

        def loss(vector: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            share = 1 / (1 + np.exp(-(design @ vector + offset)))
            return float(((share - target) ** 2).sum() + penalty * vector @ vector), share

        vector = np.zeros(design.shape[1])
        value, share = loss(vector)
        for _ in range(STEPS):
            slope = design * (share * (1 - share))[:, None]
            gradient = slope.T @ (share - target) + penalty * vector
            step = np.linalg.solve(slope.T @ slope + penalty * np.eye(len(vector)), gradient)
            size = 1.0
            while (found := loss(vector - size * step))[0] > value and size > 1e-6:
                size /= 2
            if value - found[0] < LEAST_GAIN * value:
                break
            vector, (value, share) = vector - size * step, found
        return vector.astype(np.float32)

    @cached_property
    def _item_side(self) -> tuple[Floats, float]:
        """Of mf: what users' embeddings, and a 1 beside them, are multiplied by, (D + 1, I), and
        the bias of all."""
        t = self.tensors
        q = t["item_embedding.weight"] * t["linear.weight"][0, 0]
        bias = t["item_bias"] if "item_bias" in t else np.zeros(len(q), np.float32)
        return np.ascontiguousarray(np.column_stack([q, bias]).T), float(t["linear.bias"][0])

    def _score(self, user: NDArray[Any], item: NDArray[Any]) -> Floats:
        t = self.tensors
        p, q = t["user_embedding.weight"][user], t["item_embedding.weight"][item]  # (B, D)
        if self.model == "ncf":
            score = self._network(np.concatenate([p, q], axis=1)) + np.einsum("bd,bd->b", p, q)
        else:
            score = t["linear.weight"][0, 0] * np.einsum("bd,bd->b", p, q) + t["linear.bias"][0]
        if "user_bias" in t:
            score = score + t["user_bias"][user] + t["item_bias"][item]
        return np.asarray(score, np.float32)

    @cached_property
    def _layers(self) -> list[tuple[Floats, Floats]]:
        """Weights and biases of the dense layers."""
        names = sorted(
            {int(name.split(".")[1]) for name in self.tensors if name.startswith("network.")}
        )
        return [
            (self.tensors[f"network.{k}.weight"], self.tensors[f"network.{k}.bias"]) for k in names
        ]

    def _network(self, x: Floats, first: int = 0) -> Floats:
        """The network's output (B,) for the inputs (B, ...) of layer ``first``."""
        for weight, bias in self._layers[first:]:
            if weight is not self._layers[0][0]:
                x = np.maximum(x, 0)
            x = x @ weight.T + bias
        return x[:, 0]

    def _network_scores(self, users: Floats) -> Floats:
        p, q = users[:, :-1], self.tensors["item_embedding.weight"]
        weight, bias = self._layers[0]
        of_users, of_items = (
            p @ weight[:, : p.shape[1]].T + bias,
            q @ weight[:, p.shape[1] :].T,
        )  # the first layer
        out = np.empty((len(users), len(q)), np.float32)
        for k, row in enumerate(of_users):
            for start in range(0, len(q), CHUNK):
                part = slice(start, start + CHUNK)
                x = of_items[part] + row
                out[k, part] = self._network(x, 1) if len(self._layers) > 1 else x[:, 0]
        item_bias = self.tensors.get("item_bias")
        return out + p @ q.T + users[:, -1:] + (item_bias if item_bias is not None else 0)
