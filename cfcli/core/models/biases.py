"""The baselines that every model must beat: means and damped biases, from the training rows
alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ITEM_DAMPING, USER_DAMPING = 25.0, 10.0


@dataclass(frozen=True)
class BiasModel:
    """Means, and biases shrunk towards zero where ratings are few: Koren (2010), "Factor in the
    Neighbors", eq. 2-3.

    b_i = sum_u (r_ui - mu) / (25 + n_i);  b_u = sum_i (r_ui - mu - b_i) / (10 + n_u)

    Attributes:
        mean: of all ratings (mu).
        user_n, item_n: ratings of each, (U,) and (I,).
        user_mean, item_mean: ``mean`` where there are none.
        user_bias, item_bias: 0 where there are none.
    """

    mean: float
    user_n: NDArray[np.int64]
    item_n: NDArray[np.int64]
    user_mean: Floats
    item_mean: Floats
    user_bias: Floats
    item_bias: Floats

    @classmethod
    def fit(
        cls,
        user: NDArray[np.uint32],
        item: NDArray[np.uint32],
        rating: NDArray[Any],
        n_users: int,
        n_items: int,
    ) -> "BiasModel":
        """The model of the given rows.

        Args:
            user: indices of the users, (N,).
            item: indices of the items, (N,).
            rating: (N,).
            n_users: number of users (U).
            n_items: number of items (I).
        """
        return cls.of([(user, item, rating)], n_users, n_items)

    @classmethod
    def of(
        cls, blocks: Iterable[tuple[NDArray[Any], ...]], n_users: int, n_items: int
    ) -> "BiasModel":
        """The model of the rows of all blocks, which are gone through twice.

        Args:
            blocks: users, items and ratings of some rows each, all three (N,).
            n_users: number of users (U).
            n_items: number of items (I).
        """
        (user_n, user_sum), (item_n, item_sum) = (np.zeros((2, n)) for n in (n_users, n_items))
        for user, item, rating in blocks:
            user_n += np.bincount(user, minlength=n_users)
            item_n += np.bincount(item, minlength=n_items)
            user_sum += np.bincount(user, rating, n_users)
            item_sum += np.bincount(item, rating, n_items)
        mean = float(item_sum.sum() / item_n.sum())
        # Of ratings less their mean; taken off the sums, as there are fewer of them.
        user_sum -= mean * user_n
        item_sum -= mean * item_n
        item_bias = item_sum / (ITEM_DAMPING + item_n)
        of_items = np.zeros(n_users)
        for user, item, _ in blocks:
            of_items += np.bincount(user, item_bias[item], n_users)
        user_bias = (user_sum - of_items) / (USER_DAMPING + user_n)
        return cls(
            mean,
            user_n.astype(np.int64),
            item_n.astype(np.int64),
            mean + user_sum / np.maximum(user_n, 1),
            mean + item_sum / np.maximum(item_n, 1),
            user_bias,
            item_bias,
        )
