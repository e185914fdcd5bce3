"""The table of choices, and its leading directions."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from cfcli.core.data.blocks import Blocks, in_blocks
from cfcli.core.models.heads import Floats
from cfcli.core.models.interest import choice_weights
from cfcli.core.pair import Pair
from cfcli.core.training import cooccurrence
from cfcli.core.training.plan import sizing

POWERS = 8  # iterations that find the subspace
LEAST_SCALE = 1e-3  # of what EASE divides by
# Rated items count for more in the interest the rarer they are: by this power of their numbers of
# ratings. Chosen on validation rows of 12 splits, from 40 to 9,724 items and from 2 to 800 ratings
# a user: they choose 0.15 or 0.25 on nine of them.
RARENESS = 0.15


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
    """The leading directions of a table of choices whose columns are weighted by
    :data:`RARENESS`.

    Attributes:
        vectors: orthonormal, (I, K).
        energy: squared singular values, (K,), the largest first.
        rest: of each item, the part of its unit vector and of its squared length that they leave,
            both (I,).
        weights: of the columns, (I,).
    """

    vectors: Floats
    energy: Floats
    rest: tuple[Floats, Floats]
    weights: Floats

    @classmethod
    def of(cls, table: csr_matrix, seed: int) -> "Directions":
        """Finds them.

        Args:
            table: of choices, (U, I).
            seed: of the random start.
        """
        k = sizing.interest_dim(*table.shape)
        weights = np.maximum(table.getnnz(axis=0), 1).astype(np.float32) ** -RARENESS
        weighted = table.data * weights[table.indices], table.indices, table.indptr
        right, sizes = cooccurrence.directions(csr_matrix(weighted, table.shape), k, seed, POWERS)
        vectors, energy = right.numpy(), sizes.square().numpy()
        length = np.bincount(table.indices, weighted[0] ** 2, len(weights)).astype(np.float32)
        squared = vectors * vectors
        rest = np.maximum(1 - squared.sum(1), 0), np.maximum(length - squared @ energy, 0)
        return cls(vectors, energy, rest, weights)

    def items(self, penalty: float) -> tuple[Floats, Floats]:
        """The vectors (I, K) and scales (I,) of the items, see
        :class:`cfcli.core.models.interest.Interest`.

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
        scale = 1 / (np.maximum(c, LEAST_SCALE) * self.weights)
        return self.weights[:, None] * q, scale.astype(np.float32)
