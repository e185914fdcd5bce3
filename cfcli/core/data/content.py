"""What attributes tell of users and items: their vectors where no rating is known.

    v = c + W z,  (c, W) = argmin sum_n w_n |v_n - c - W z_n|^2 + sum_k penalty_k |W_k|^2

A ridge regression of the trained vectors v_n, biases included, on the attributes z_n and on
products of two of them, so that a taste for old comedies is more than one for comedies and one for
what is old. Without attributes it is the mean c alone. Agarwal and Chen (2009), "Regression-based
Latent Factor Models", have the same map as the mean of a prior. Each penalty is chosen by
generalised cross-validation (Golub, Heath and Wahba 1979), with as many observations as weights
that differ are worth (Kish 1965).

In pairs with an item that is known by its attributes alone, users may have other vectors than
beside items with ratings: see ``shift``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcli.core.data.attributes import Encoded
from cfcli.core.data.info import Attribute
from cfcli.core.errors import ArtifactError
from cfcli.core.models.scoring import vectors_of
from cfcli.core.pair import Entity, Pair

Floats = NDArray[np.float32]
Counts = NDArray[np.integer]
Doubles = NDArray[np.float64]

# An item of the dataset that has no training row has few rows at all: it is like other rare ones.
# Chosen on validation rows of MovieLens 100K and latest-small, split by hash and by time.
RARE = -1.0
# One that came later may become as popular as any. Where its attributes are known: chosen on items
# whose ratings were all held out, of MovieLens 100K, 1M and latest-small. Without attributes it is
# a choice between these and the rows of latest-small that its split by time holds out.
NEW, ANY = 1.0, 0.5
PENALTIES = np.geomspace(1, 3000, 15)  # where the weights average 1
LEAST_LEFT = 0.05  # share of the observations, or of one of them, that a fit does not use up
PRODUCTS = 500  # at most, those that the most ratings have
CHUNK = 1 << 13  # entities whose products are held at once


@dataclass(frozen=True)
class Content:
    """The map from attributes to vectors.

    Attributes:
        described: A columns in all.
        pairs: the columns whose products are used, (P, 2).
        centre: mean of each column and product where it is known, (A + P,).
        map: c, then W, (1 + A + P, K).
        left: of the variance of each column of v, the share that attributes do not tell, (K,).
        shift: what is added to the vectors of the other side, with their biases, in pairs with
            those of whom attributes alone are known, (N', D + 1); None for nothing.
    """

    described: list[Attribute]
    pairs: NDArray[np.int32]
    centre: Floats
    map: Floats
    left: Floats
    shift: Floats | None = None

    @classmethod
    def fit(cls, encoded: Encoded, vectors: Floats, weight: Doubles) -> "Content":
        """The map of trained vectors.

        Args:
            encoded: the attributes, (N, A); with none, the map is the mean alone.
            vectors: (N, K).
            weight: w of each, (N,), see :func:`weight_of`; 0 for what has no training row.
        """
        return _fit(encoded, vectors, weight).content

    def vectors(self, matrix: Floats) -> Floats:
        """The vectors of users or items.

        Args:
            matrix: their attributes, (N, A), by :func:`cfcli.core.data.attributes.encode`.

        Returns:
            (N, K).
        """
        found: Floats = self.map[0] + self._centred(matrix) @ self.map[1:]
        return found

    def unknown(self, own: Floats, others: Floats) -> float:
        """Of the variance that an unknown vector gives to ratings, the share that attributes do not
        tell.

        Args:
            own: vectors (N, D + 1) of those who have training rows, the bias last.
            others: those of the other side.
        """
        by = np.mean(others**2, axis=0)
        by[-1] = 1  # what a bias is multiplied by
        variance = own.var(0) * by
        return float(variance @ self.left[: len(by)] / max(variance.sum(), 1e-9))

    def _centred(self, matrix: NDArray[np.floating]) -> Floats:
        """Columns and products from their mean, 0 where they are not known, (N, A + P)."""
        design, known = _design(self.described, matrix, self.pairs)
        return np.where(known, design - self.centre, 0).astype(np.float32)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """What a run keeps beside ``described``."""
        found: dict[str, NDArray[np.generic]] = {
            "pairs": self.pairs,
            "centre": self.centre,
            "map": self.map,
            "left": self.left,
        }
        return found if self.shift is None else found | {"shift": self.shift}

    @classmethod
    def of(
        cls,
        path: Path,
        described: Sequence[Attribute],
        tensors: Mapping[str, NDArray[Any]],
        width: int,
        shift: tuple[int, int],
    ) -> "Content":
        """The map that a run keeps.

        Args:
            path: of the file, for messages.
            described: the attributes, A columns in all.
            tensors: as :meth:`tensors` gave them; earlier runs lack ``left``, which is 1 then.
            width: of the vectors (K).
            shift: the shape of a ``shift``, which runs may lack.

        Raises:
            ArtifactError: they are not those of a map.
        """
        columns = sum(each.columns for each in described)
        if set(tensors) - {"shift", "left"} != {"pairs", "centre", "map"}:
            raise ArtifactError(f"{path}: damaged: its tensors are not those of attributes")
        pairs = tensors["pairs"]
        n = columns + len(pairs)
        wanted = {"centre": (n,), "map": (1 + n, width), "left": (width,), "shift": shift}
        fit = pairs.shape[1:] == (2,) and pairs.dtype == np.int32
        for name in tensors.keys() - {"pairs"}:
            found = tensors[name]
            fit = fit and found.shape == wanted[name] and found.dtype == np.float32
            fit = fit and bool(np.isfinite(found).all())
        if not fit:
            raise ArtifactError(f"{path}: damaged: its tensors are not those of attributes")
        if not ((pairs >= 0) & (pairs < columns)).all():
            raise ArtifactError(f"{path}: damaged: pairs of columns that are not there")
        left = tensors.get("left", np.ones(width, np.float32))
        parts = tensors["centre"], tensors["map"], left, tensors.get("shift")
        return cls([*described], pairs, *parts)


def held_out(encoded: Encoded, vectors: Floats, weight: Doubles) -> Floats:
    """The vectors that the map would tell of each user or item if it was fitted without them, by
    the formula for leaving one out of a linear regression. Their own vectors are noisy, and the
    map follows the noise of those that weigh much.

    Args:
        encoded: the attributes, (N, A).
        vectors: (N, K).
        weight: of each, (N,), as in :meth:`Content.fit`.

    Returns:
        (N, K). What has no weight has no part in the map.
    """
    fit = _fit(encoded, vectors, weight)
    found = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), CHUNK):
        part = slice(start, start + CHUNK)
        design = fit.content._centred(encoded.matrix[part])
        told = fit.content.map[0] + design @ fit.content.map[1:]
        share = weight[part] / weight[weight > 0].mean()
        own = share[:, None] * (fit.ridge.variance(design) + 1 / fit.total)
        left = np.maximum(1 - own, LEAST_LEFT)
        found[part] = vectors[part] + (told - vectors[part]) / left
    return found


def weight_of(entity: Entity, counts: Counts, power: float) -> Doubles:
    """How much each user or item counts in a :class:`Content`: a user with ratings as one, an item
    as its number of ratings to some power.

    Args:
        entity: what they are.
        counts: numbers of training ratings, (N,).
        power: what kind of item is looked for: :data:`RARE`, :data:`ANY` or :data:`NEW`.
    """
    power = power if entity == "item" else 0.0
    return np.where(counts > 0, np.maximum(counts, 1).astype(np.float64) ** power, 0)


def unknown_shares(
    contents: Pair[Content | None],
    tensors: Mapping[str, Floats],
    dim: int,
    trained: Pair[NDArray[np.bool_]],
) -> Pair[Doubles]:
    """Of the variance of a new vector, the share that is not known of each user (U,) and item (I,):
    0 of those who have training rows, 1 of those of whom no attributes tell.

    Args:
        contents: what attributes tell of users and of items.
        tensors: of the rating model.
        dim: of its embeddings (D), which may have further columns, of shifts.
        trained: which users (U,) and items (I,) have training rows.
    """
    columns = [*range(dim), -1]
    users = vectors_of(tensors, "user")[trained.user][:, columns]
    items = vectors_of(tensors, "item")[trained.item][:, columns]
    of_user = contents.user.unknown(users, items) if contents.user else 1.0
    of_item = contents.item.unknown(items, users) if contents.item else 1.0
    return Pair(np.where(trained.user, 0.0, of_user), np.where(trained.item, 0.0, of_item))


def of_columns(described: Sequence[Attribute]) -> NDArray[np.int64]:
    """The number of each column's attribute, (A,).

    Args:
        described: A columns in all.
    """
    return np.repeat(np.arange(len(described)), [each.columns for each in described])


def known_of(described: Sequence[Attribute], matrix: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which columns are of an attribute that an entity has a value of, (N, A).

    Args:
        described: A columns in all.
        matrix: the attributes, (N, A).
    """
    of = of_columns(described)
    known = np.zeros((len(matrix), len(described)), bool)
    for k in range(len(described)):
        known[:, k] = matrix[:, of == k].any(1)
    return known[:, of]


@dataclass(frozen=True)
class _Ridge:
    """A ridge regression.

    Attributes:
        size: of X'X in each of its directions, (M,).
        directions: its eigenvectors, (M, M).
        penalty: of each target, (K,).
        weights: W, (M, K).
        errors: of generalised cross-validation, summed over the observations, (K,).
    """

    size: Doubles
    directions: Doubles
    penalty: Doubles
    weights: Doubles
    errors: Doubles

    @classmethod
    def fit(cls, left: Doubles, right: Doubles, squares: Doubles, observations: float) -> "_Ridge":
        """The one with the penalty of the least generalised cross-validation error for each of K
        targets.

        Args:
            left: X'X, (M, M), of columns with mean 0.
            right: X'Y, (M, K).
            squares: of the columns of Y, (K,).
            observations: how many there are.
        """
        size, directions = np.linalg.eigh(left)
        turned = directions.T @ right
        least, best = np.full(len(squares), np.inf), turned
        chosen = np.full(len(squares), PENALTIES[-1])
        for penalty in PENALTIES:
            free = 1 + (size / (size + penalty)).sum()
            found = turned / (size + penalty)[:, None]
            rest = squares - ((2 * (size + penalty) - size)[:, None] * found**2).sum(0)
            left_over = max(1 - free / observations, LEAST_LEFT)
            error = rest / left_over**2
            chosen = np.where(error < least, penalty, chosen)
            best = np.where(error < least, found, best)
            least = np.minimum(error, least)
        return cls(size, directions, chosen, np.asarray(directions @ best), least)

    def variance(self, design: NDArray[np.floating]) -> Doubles:
        """``x' inv(X'X + penalty) x`` for each row and target, (N, K).

        Args:
            design: the rows x, (N, M).
        """
        penalties, of = np.unique(self.penalty, return_inverse=True)
        turned = design @ self.directions
        found: Doubles = turned**2 @ (1 / (self.size[:, None] + penalties))
        return found[:, of]


@dataclass(frozen=True)
class _Fit:
    """A map, and what it was made of.

    Attributes:
        content: the map.
        ridge: its regression.
        total: sum of the weights, which average 1.
    """

    content: Content
    ridge: _Ridge
    total: float


def _fit(encoded: Encoded, vectors: Floats, weight: Doubles) -> _Fit:
    """See :meth:`Content.fit`."""
    trained = weight > 0
    matrix, target = encoded.matrix[trained].astype(np.float64), vectors[trained]
    share = weight[trained] / weight[trained].mean()
    pairs = _pairs(encoded.described, matrix, share)
    width = matrix.shape[1] + len(pairs)
    total, n = np.zeros(width), np.zeros(width)
    parts = [slice(start, start + CHUNK) for start in range(0, len(matrix), CHUNK)]
    for part in parts:
        design, known = _design(encoded.described, matrix[part], pairs)
        total += share[part] @ design  # 0 where it is not known
        n += share[part] @ known
    found = Content(
        encoded.described,
        pairs,
        (total / np.maximum(n, 1e-9)).astype(np.float32),
        np.zeros((1 + width, target.shape[1]), np.float32),
        np.ones(target.shape[1], np.float32),
    )
    left, right = np.zeros((width, width)), np.zeros((width, target.shape[1]))
    mean = share @ target / share.sum()
    for part in parts:
        design = found._centred(matrix[part])
        weighted = (design * share[part, None]).T
        left += weighted @ design
        right += weighted @ (target[part] - mean)
    squares = share @ (target - mean) ** 2
    observations = share.sum() ** 2 / (share**2).sum()
    ridge = _Ridge.fit(left, right, squares, observations)
    content = replace(
        found,
        map=np.vstack([mean, ridge.weights]).astype(np.float32),
        left=np.minimum(ridge.errors / np.maximum(squares, 1e-9), 1).astype(np.float32),
    )
    return _Fit(content, ridge, float(share.sum()))


def _design(
    described: Sequence[Attribute], matrix: NDArray[np.floating], pairs: NDArray[np.int32]
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Columns and products (N, A + P), and which of them are known."""
    known = known_of(described, matrix)
    first, second = pairs.T
    return (
        np.column_stack([matrix, matrix[:, first] * matrix[:, second]]),
        np.column_stack([known, known[:, first] & known[:, second]]),
    )


def _pairs(described: Sequence[Attribute], matrix: Doubles, weight: Doubles) -> NDArray[np.int32]:
    """The pairs of columns that the most weight has both of, (P, 2). Two values of one category
    and two knots of one number say nothing together."""
    of = of_columns(described)
    kinds = np.array([each.kind for each in described])
    together = (matrix * weight[:, None]).T @ matrix
    is_list = (kinds == "list")[of] if len(of) else np.zeros(0, bool)
    together[(of[:, None] == of) & ~is_list] = 0
    first, second = np.nonzero(np.triu(together, 1))
    order = np.argsort(-together[first, second], kind="stable")[:PRODUCTS]
    return np.column_stack([first[order], second[order]]).astype(np.int32)
