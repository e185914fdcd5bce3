"""How far ratings fall from their predictions, by samples of the posterior."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def standard_deviation(
    samples: Mapping[str, NDArray[Any]], user: NDArray[np.integer], item: NDArray[np.integer]
) -> NDArray[np.float64]:
    """How far ratings (N,) fall from their predictions, in ratings.

    The posterior predictive standard deviation, from the spread of the samples and the noise
    (Gelman et al., "Bayesian Data Analysis", ch. 14).

    Args:
        samples: by name, see :meth:`cfcli.core.training.gibbs.posterior.Posterior.samples`.
        user: indices of the users, (N,).
        item: indices of the items, (N,).
    """
    users, items = samples["users"], samples["items"]
    n = len(users)
    total, squares = np.zeros(len(user)), np.zeros(len(user))
    for p, q in zip(users, items, strict=True):
        a, b = p[user].astype(np.float32), q[item].astype(np.float32)
        rating = np.einsum("bd,bd->b", a[:, :-1], b[:, :-1]) + a[:, -1] + b[:, -1]
        total += rating
        squares += rating.astype(np.float64) ** 2
    spread = (squares - total**2 / n) / (n - 1)
    noise = samples["user_noise"][user] * samples["item_noise"][item].astype(np.float64)
    found: NDArray[np.float64] = np.sqrt(np.maximum(spread, 0) + noise)
    return found
