"""Attributes in a training: features for the prior of vectors, and vectors of what has no ratings."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcli.core.data.attributes import Encoded
from cfcli.core.data.content import RARE, Content, known_of, of_columns, weight_of
from cfcli.core.pair import Pair

Counts = NDArray[np.int64]
# Of the features that gradient descent gets of attributes, where those of who rated what have 1.
# Chosen on validation rows of MovieLens 100K and latest-small.
LENGTH = 0.7
FLAT = 1e-6  # variance, relative to the largest, below which a direction is left out


def features(encoded: Encoded | None, counts: Counts) -> list[Tensor]:
    """The attributes as features of a regression, a group for each attribute.

    Args:
        encoded: the attributes of N users or items, (N, A); None gives no group.
        counts: their numbers of training ratings, (N,).

    Returns:
        Groups (N, F) of orthogonal columns: the principal components of the centred columns, not
        scaled, as what is said of a rare value would then count for more. Rows without ratings are
        0, and so are those where the value is missing.
    """
    if encoded is None:
        return []
    rated = counts > 0
    of = of_columns(encoded.described)
    known = known_of(encoded.described, encoded.matrix) & rated[:, None]
    groups = []
    for k in range(len(encoded.described)):
        there = known[:, of == k]
        value = encoded.matrix[:, of == k].astype(np.float64)
        n = np.maximum(there.sum(0), 1)
        centred = np.where(there, value - np.where(there, value, 0).sum(0) / n, 0)
        size, directions = np.linalg.eigh(centred.T @ centred)
        kept = directions[:, size > FLAT * max(size[-1], 1e-9)]
        if kept.shape[1]:
            groups.append(torch.from_numpy((centred @ kept).astype(np.float32)))
    return groups


def joined(groups: list[Tensor]) -> Tensor | None:
    """The features of all attributes together, for gradient descent.

    Args:
        groups: as :func:`features` gave them, (N, F) each.

    Returns:
        (N, A), each row of the length :data:`LENGTH` or 0, to which all attributes that are known
        contribute the same; None where there are no groups.
    """
    if not groups:
        return None
    parts = [torch.nn.functional.normalize(group, dim=1) for group in groups]
    return LENGTH * torch.nn.functional.normalize(torch.cat(parts, dim=1), dim=1)


def settle(
    tensors: Mapping[str, NDArray[np.float32]],
    attributes: Pair[Encoded | None],
    counts: Pair[Counts],
) -> dict[str, NDArray[np.float32]]:
    """Gives users and items without a training row the vectors that their attributes tell, or else
    the mean; see :class:`cfcli.core.data.content.Content`.

    Args:
        tensors: the parameters of a model by name.
        attributes: of users and items.
        counts: numbers of training ratings of users (U,) and items (I,).
    """
    found = dict(tensors)
    for entity, n in counts.named():
        untrained = n == 0
        names = [f"{entity}_embedding.weight", f"{entity}_bias"]
        tables = [found[name] for name in names if name in found]
        if not untrained.any() or not tables:  # other ranks have no tables in parts
            continue
        vectors = np.column_stack(tables)
        encoded = attributes[entity] or Encoded([], np.zeros((len(n), 0), np.float32))
        content = Content.fit(encoded, vectors, weight_of(entity, n, RARE))
        vectors[untrained] = content.vectors(encoded.matrix[untrained])
        width = tables[0].shape[1]
        found[names[0]] = np.ascontiguousarray(vectors[:, :width])
        if len(tables) > 1:
            found[names[1]] = np.ascontiguousarray(vectors[:, width])
    return found
