"""What each kind of model consists of, for the code around the models.

Neither torch nor NumPy is imported before a model is built or used.

To add a model, touch these four files:

1. ``core/models/<name>.py``: its module, a subclass of :class:`cfcli.core.models.base.Factors`.
2. ``core/models/heads.py``: the same score with NumPy, a subclass of
   :class:`cfcli.core.models.heads.Head`.
3. ``core/models/kinds.py``: a subclass of :class:`Kind`, and a line in :data:`KINDS`.
4. ``core/config/train.py``: its name in the literal ``Model``, and the settings that it alone has.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cfcli.core.models.base import Factors
    from cfcli.core.models.heads import Floats, Head

Shapes = dict[str, tuple[int, ...]]  # of tensors, by name


@dataclass(frozen=True)
class Sizes:
    """What the shapes of a model's tensors depend on.

    Attributes:
        users: number of users (U).
        items: number of items (I).
        dim: dimension of the embeddings (D).
        biases: whether each user and item has a bias.
        hidden: widths of the hidden layers of a model that has some.
    """

    users: int
    items: int
    dim: int
    biases: bool
    hidden: tuple[int, ...]


class Kind(ABC):
    """A kind of model: embeddings of users and items, and a head that makes scores of them.

    Attributes:
        has_linear_space: whether a user's scores are linear in the user's vector (its head is a
            :class:`cfcli.core.models.heads.LinearHead`). Then new users can be folded in, and the
            vectors of two trainings can be rotated onto each other.
    """

    has_linear_space: bool

    def tensors(self, sizes: Sizes) -> Shapes:
        """Names and shapes of all tensors that a run of this kind keeps.

        Args:
            sizes: of the run.
        """
        shapes: Shapes = {
            "user_embedding.weight": (sizes.users, sizes.dim),
            "item_embedding.weight": (sizes.items, sizes.dim),
        }
        if sizes.biases:
            shapes["user_bias"] = (sizes.users,)
            shapes["item_bias"] = (sizes.items,)
        return shapes | self.head_tensors(sizes)

    @abstractmethod
    def head_tensors(self, sizes: Sizes) -> Shapes:
        """Names and shapes of those that belong to no user and no item.

        Args:
            sizes: of the run.
        """

    def numbers_per_rating(self, dim: int, hidden: tuple[int, ...]) -> int:
        """How many numbers a step of gradient descent holds for each of its ratings.

        Args:
            dim: dimension of the embeddings (D).
            hidden: widths of the hidden layers.
        """
        return 2 * dim

    @abstractmethod
    def module(self) -> type[Factors]:
        """The module that is trained."""

    @abstractmethod
    def head(self, tensors: Mapping[str, Floats]) -> Head:
        """The head that scores with NumPy.

        Args:
            tensors: parameters by name, as a run keeps them; float32.
        """


class MatrixFactorisation(Kind):
    """mf: the score is the inner product of the embeddings, with a weight and a bias."""

    has_linear_space = True

    def head_tensors(self, sizes: Sizes) -> Shapes:
        return {"linear.weight": (1, 1), "linear.bias": (1,)}

    def module(self) -> type[Factors]:
        from cfcli.core.models.mf import MF

        return MF

    def head(self, tensors: Mapping[str, Floats]) -> Head:
        from cfcli.core.models.heads import InnerProduct

        return InnerProduct(tensors)


class NeuralFiltering(Kind):
    """ncf: the score is the inner product plus a dense network on both embeddings."""

    has_linear_space = False

    def head_tensors(self, sizes: Sizes) -> Shapes:
        shapes: Shapes = {"product": (1,)}  # marks runs whose score includes the inner product
        widths = [2 * sizes.dim, *sizes.hidden, 1]
        for k, (before, after) in enumerate(itertools.pairwise(widths)):
            layer = f"network.{3 * k}"  # ReLU and dropout have the two numbers after it
            shapes[f"{layer}.weight"] = (after, before)
            shapes[f"{layer}.bias"] = (after,)
        return shapes

    def numbers_per_rating(self, dim: int, hidden: tuple[int, ...]) -> int:
        return super().numbers_per_rating(dim, hidden) + 4 * dim + 3 * sum(hidden)

    def module(self) -> type[Factors]:
        from cfcli.core.models.ncf import NCF

        return NCF

    def head(self, tensors: Mapping[str, Floats]) -> Head:
        from cfcli.core.models.heads import Network

        return Network(tensors)


KINDS: dict[str, Kind] = {
    "mf": MatrixFactorisation(),
    "ncf": NeuralFiltering(),
}
