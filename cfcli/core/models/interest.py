"""The interest model: what a user would choose, from who rated what; and the order of the lists,
which weighs it against the predicted rating."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cfcli.core.models.heads import Floats

STRENGTH = 0.15  # of a rating in the weight of a choice; from 0.1 to 0.3 lists are about as good
LEAST_WEIGHT = 0.2
FLAT = 1e-9  # standard deviation below which scores order nothing


def choice_weights(
    rating: NDArray[np.floating], mean: NDArray[np.floating] | float, deviation: float
) -> Floats:
    """How much a rated item counts as a choice of its user: 1, and a little more where the rating
    is above the user's others.

    Args:
        rating: (N,).
        mean: of the ratings of its user, (N,) or one number.
        deviation: standard deviation of all ratings.
    """
    weight = 1 + STRENGTH * (rating - mean) / max(deviation, FLAT)
    return np.maximum(weight, LEAST_WEIGHT).astype(np.float32)


@dataclass(frozen=True)
class Weights:
    """What the order of the lists is made of: scores, standardised over the items for each user,
    are added with these weights.

    Attributes:
        interest: of the interest score.
        rating: of the predicted rating.
        popularity: of the logarithm of the number of ratings of an item.
    """

    interest: float = 1.0
    rating: float = 0.3
    popularity: float = 0.0


class Interest:
    """EASE (Steck 2019, "Embarrassingly shallow autoencoders for sparse data") in the leading
    directions of the table of choices.

    EASE finds the items x items matrix B with a zero diagonal and the least
    ``|X - X B|^2 + penalty |B|^2``. Here X (U, I) is the table of choices, whose column for item i
    is multiplied by w_i, so that rare items say more. With ``P = inverse(X'X + penalty)`` it is
    ``B_ij = -P_ij / P_jj`` (its eq. 8). Let V (I, K) be right singular vectors of X with singular
    values s, and ``g = s^2 / (s^2 + penalty)``. Then ``penalty * P = 1 - V diag(g) V'``, so the
    score of an item j that user u did not choose is::

        (X B)_uj = p_u . q_j / c_j,    q = V diag(g)^(1/2),    p = X q,    c_j = penalty * P_jj

    A user's vector is the sum of the vectors of the items that the user chose, weighted by the
    choices, so new users are folded in exactly. With all singular vectors this is EASE itself.

    Args:
        tensors: ``user`` p (U, K), ``item`` w_i q_i (I, K), ``scale`` 1 / (w_i c_i) (I,) and
            ``raters``, how many users chose each item, (I,).
    """

    def __init__(self, tensors: Mapping[str, Floats]) -> None:
        self.user = tensors["user"]
        self.item = tensors["item"]
        self.scale = tensors["scale"]
        self.raters = tensors["raters"]

    @cached_property
    def targets(self) -> Floats:
        """What a user's vector is multiplied by, (K, I)."""
        return np.ascontiguousarray((self.item * self.scale[:, None]).T)

    def scores(self, users: Floats) -> Floats:
        """Scores (B, I) of all items; those of chosen items mean nothing.

        Args:
            users: vectors (B, K).
        """
        return users @ self.targets

    def fold_in(self, item: NDArray[np.integer], weight: Floats) -> Floats:
        """The vector (K,) of a user who was not trained on.

        Args:
            item: indices of the items that they rated, (N,).
            weight: how much each counts, (N,), see :func:`choice_weights`.
        """
        found: Floats = weight @ self.item[item]
        return found


def standardised(scores: Floats, among: NDArray[np.bool_]) -> Floats:
    """Scores of each user with mean 0 and standard deviation 1 over some items; all 0 where they do
    not differ.

    Args:
        scores: (B, I).
        among: which items count, (I,).
    """
    counted = scores if among.all() else scores[:, among]
    mean = counted.mean(axis=1, keepdims=True)
    deviation = counted.std(axis=1, keepdims=True)
    found: Floats = (scores - mean) / np.where(deviation > FLAT, deviation, np.inf)
    return found


def popularity(raters: NDArray[np.number], among: NDArray[np.bool_]) -> Floats:
    """Logarithms of the numbers of ratings of items, standardised over some of them.

    Args:
        raters: number of ratings of each item, (I,).
        among: which items count, (I,).
    """
    logarithm = np.log1p(raters).astype(np.float32)
    found: Floats = standardised(logarithm[None], among)[0]
    return found
