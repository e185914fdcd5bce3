"""Scores from a run's tensors with NumPy alone: no torch, so that using a model starts at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
CHUNK = 1 << 16  # pairs scored at once: what a dense network needs for them fits the cache


class Predictor:
    """Predicts ratings of (user, item) pairs.

    Args:
        model: ``mf`` or ``ncf``.
        tensors: as :class:`cfcli.core.training.TrainedModel` has them.
        low, high: the range of ratings.
    """

    def __init__(self, model: str, tensors: Mapping[str, Floats], low: float, high: float) -> None:
        self.model, self.tensors, self.low, self.high = model, tensors, low, high

    def predict(self, user: NDArray[Any], item: NDArray[Any]) -> Floats:
        """Ratings (N,) of user and item indices, each (N,)."""
        out = np.empty(len(user), dtype=np.float32)
        for start in range(0, len(user), CHUNK):
            part = slice(start, start + CHUNK)
            out[part] = self._predict(user[part], item[part])
        return out

    def _predict(self, user: NDArray[Any], item: NDArray[Any]) -> Floats:
        t = self.tensors
        p, q = t["user_embedding.weight"][user], t["item_embedding.weight"][item]  # (B, D)
        score = self._network(p, q) if self.model == "ncf" else self._product(p, q)
        if "user_bias" in t:
            score = score + t["user_bias"][user] + t["item_bias"][item]
        with np.errstate(over="ignore"):  # exp may reach infinity, which is the right limit
            return (self.low + (self.high - self.low) / (1 + np.exp(-score))).astype(np.float32)

    def _product(self, p: Floats, q: Floats) -> Floats:
        weight, bias = self.tensors["linear.weight"][0, 0], self.tensors["linear.bias"][0]
        return np.asarray(weight * np.einsum("bd,bd->b", p, q) + bias)

    def _network(self, p: Floats, q: Floats) -> Floats:
        layers = sorted({int(name.split(".")[1]) for name in self.tensors if name.startswith("network.")})
        x = np.concatenate([p, q], axis=1)
        for layer in layers:
            x = x @ self.tensors[f"network.{layer}.weight"].T + self.tensors[f"network.{layer}.bias"]
            if layer != layers[-1]:
                np.maximum(x, 0, out=x)
        return x[:, 0]
