"""How far ratings fall from their predictions, by samples of the posterior."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cfcli.core.pair import Entity, Pair

Doubles = NDArray[np.float64]
Indices = NDArray[np.integer]
SIDES: tuple[tuple[Entity, Entity], ...] = (("user", "item"), ("item", "user"))


class Moments(NamedTuple):
    """What the vectors of a sample are like, of users or of items.

    Attributes:
        mean: of the vectors with the bias last, (K,).
        covariance: (K, K).
    """

    mean: Doubles
    covariance: Doubles


class Spread:
    """The posterior predictive standard deviation, from the spread of the samples and the noise
    (Gelman et al., "Bayesian Data Analysis", ch. 14).

    Of whom no training row is known may be like any of the others: in each sample, their vector has
    the mean and the covariance of all that have training rows.

    Args:
        samples: by name, see :meth:`cfcli.core.training.gibbs.posterior.Posterior.samples`.
        trained: which users (U,) and items (I,) have training rows. There may be more, which came
            after the training.
    """

    def __init__(
        self, samples: Mapping[str, NDArray[Any]], trained: Pair[NDArray[np.bool_]]
    ) -> None:
        self.samples = samples
        sizes = Pair(samples["users"].shape[1], samples["items"].shape[1])
        self.trained = Pair(*(of[:n] for of, n in zip(trained, sizes, strict=True)))

    def __call__(
        self, user: Indices, item: Indices, unknown: Pair[NDArray[np.floating]]
    ) -> Doubles:
        """How far ratings (N,) fall from their predictions, in ratings.

        Args:
            user: indices of the users, (N,); not used where ``unknown`` is above 0.
            item: indices of the items, (N,); likewise.
            unknown: of the variance of all users' vectors and of all items', the share that is not
                known of each pair, (N,): 0 for what has training rows.
        """
        index = Pair(user, item)
        is_new = unknown.map(lambda share: share > 0)
        index = Pair(*(np.where(new, 0, of) for new, of in zip(is_new, index, strict=True)))
        n = len(self.samples["users"])
        total, squares, within = (np.zeros(len(user)) for _ in range(3))
        for place in range(n):
            p, q = (self._vectors(entity, place, index, is_new) for entity, _ in SIDES)
            rating = np.einsum("bd,bd->b", p[:, :-1], q[:, :-1]) + p[:, -1] + q[:, -1]
            total += rating
            squares += rating.astype(np.float64) ** 2
            within += self._within(place, Pair(p, q), unknown)
        spread = (squares - total**2 / n) / (n - 1)
        noise = np.ones(len(user))
        for entity, of in index.named():
            variance = self.samples[f"{entity}_noise"].astype(np.float64)
            usual = variance[self.trained[entity]].mean()
            noise *= np.where(is_new[entity], usual, variance[of])
        found: Doubles = np.sqrt(np.maximum(spread, 0) + within / n + noise)
        return found

    def _vectors(
        self, entity: Entity, place: int, index: Pair[Indices], is_new: Pair[NDArray[np.bool_]]
    ) -> NDArray[np.float32]:
        """The vectors of a sample, (N, K), which are the mean one where nothing is known."""
        side = self.samples[f"{entity}s"][place]
        found: NDArray[np.float32] = side[index[entity]].astype(np.float32)
        if is_new[entity].any():
            found[is_new[entity]] = self.moments[entity][place].mean
        return found

    def _within(
        self, place: int, vectors: Pair[NDArray[np.float32]], unknown: Pair[NDArray[np.floating]]
    ) -> Doubles:
        """What the vectors that are not known add to the variance within a sample, (N,)."""
        found = np.zeros(len(unknown.user))
        for entity, other in SIDES:
            share = unknown[entity]
            rows = np.flatnonzero(share)
            if len(rows):
                # The bias is multiplied by 1, and the rest by the vector of the other side.
                by = vectors[other][rows].astype(np.float64)
                by[:, -1] = 1
                covariance = self.moments[entity][place].covariance
                found[rows] += share[rows] * np.einsum("bk,bk->b", by @ covariance, by)
        both = unknown.user * unknown.item
        if both.any():
            first, second = (side[place].covariance[:-1, :-1] for side in self.moments)
            found += both * (first * second).sum()
        return found

    @cached_property
    def moments(self) -> Pair[list[Moments]]:
        """Of each sample, those of the users and of the items that have training rows."""
        found = []
        for entity, trained in self.trained.named():
            sides = self.samples[f"{entity}s"]
            vectors = (side[trained].astype(np.float64) for side in sides)
            found.append([Moments(of.mean(0), np.cov(of, rowvar=False)) for of in vectors])
        return Pair(*found)
