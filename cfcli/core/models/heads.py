"""How each kind of model makes scores of embeddings, with NumPy alone.

Using a model must start at once, so torch is not imported here. What the same heads look like in
training is in the module of each model.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
CHUNK = 1 << 16  # pairs scored at once: what a dense network needs for them fits the cache


class Head(ABC):
    """Scores of pairs of a user and an item.

    Args:
        tensors: parameters by name, as a run keeps them; float32.
    """

    def __init__(self, tensors: Mapping[str, Floats]) -> None:
        self.tensors = tensors

    @abstractmethod
    def pairs(self, p: Floats, q: Floats) -> Floats:
        """Scores (B,) of pairs, without the biases of users and items.

        Args:
            p: embeddings of the users, (B, D).
            q: embeddings of the items, (B, D).
        """

    @abstractmethod
    def all_items(self, users: Floats) -> Floats:
        """Scores (B, I) of all items for some users, biases included.

        Args:
            users: embeddings with the bias as the last column, (B, D + 1).
        """

    @cached_property
    def item_bias(self) -> Floats:
        """Biases of the items, (I,); zeros for a model without biases."""
        found = self.tensors.get("item_bias")
        if found is None:
            return np.zeros(len(self.tensors["item_embedding.weight"]), np.float32)
        return found


class LinearHead(Head):
    """A head whose scores are linear in the user's vector: ``[p, 1] @ item_weights + b_u + start``.

    Attributes:
        start: the bias that all pairs share.
    """

    start: float

    @property
    @abstractmethod
    def item_weights(self) -> Floats:
        """What ``[p, 1]`` is multiplied by, (D + 1, I); the last row holds the items' biases."""

    def all_items(self, users: Floats) -> Floats:
        one = np.ones(len(users), np.float32)
        offset = users[:, -1:] + self.start
        return np.column_stack([users[:, :-1], one]) @ self.item_weights + offset


class InnerProduct(LinearHead):
    """``weight * (p . q) + bias``, the head of mf."""

    def __init__(self, tensors: Mapping[str, Floats]) -> None:
        super().__init__(tensors)
        self.weight = tensors["linear.weight"][0, 0]
        self.bias = tensors["linear.bias"][0]
        self.start = float(self.bias)

    @cached_property
    def item_weights(self) -> Floats:
        q = self.tensors["item_embedding.weight"] * self.weight
        return np.ascontiguousarray(np.column_stack([q, self.item_bias]).T)

    def pairs(self, p: Floats, q: Floats) -> Floats:
        return np.asarray(self.weight * np.einsum("bd,bd->b", p, q) + self.bias, np.float32)


class Network(Head):
    """``network([p, q]) + p . q``, the head of ncf; the network has ReLU layers."""

    def __init__(self, tensors: Mapping[str, Floats]) -> None:
        super().__init__(tensors)
        numbers = {int(name.split(".")[1]) for name in tensors if name.startswith("network.")}
        self.layers = [
            (tensors[f"network.{k}.weight"], tensors[f"network.{k}.bias"]) for k in sorted(numbers)
        ]

    def pairs(self, p: Floats, q: Floats) -> Floats:
        weight, bias = self.layers[0]
        hidden = np.concatenate([p, q], axis=1) @ weight.T + bias
        return np.asarray(self._rest(hidden) + np.einsum("bd,bd->b", p, q), np.float32)

    def all_items(self, users: Floats) -> Floats:
        p, q = users[:, :-1], self.tensors["item_embedding.weight"]
        dim = p.shape[1]
        # The first layer is a sum of a part of the user and one of the item: each is computed once.
        weight, bias = self.layers[0]
        of_users = p @ weight[:, :dim].T + bias
        of_items = q @ weight[:, dim:].T
        out = np.empty((len(users), len(q)), np.float32)
        for k, of_user in enumerate(of_users):
            for start in range(0, len(q), CHUNK):
                part = slice(start, start + CHUNK)
                out[k, part] = self._rest(of_items[part] + of_user)
        return out + p @ q.T + users[:, -1:] + self.item_bias

    def _rest(self, x: Floats) -> Floats:
        """The network's output (B,), given what its first layer returned (B, width)."""
        for weight, bias in self.layers[1:]:
            x = np.maximum(x, 0) @ weight.T + bias
        return x[:, 0]
