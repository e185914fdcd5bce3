"""Attributes in a training: features for the prior of vectors, and vectors of what has no
ratings."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcli.core.data.attributes import Encoded
from cfcli.core.data.content import (
    NEW,
    RARE,
    Content,
    known_of,
    of_columns,
    unknown_shares,
    weight_of,
)
from cfcli.core.models.scoring import vectors_of
from cfcli.core.pair import Pair

Counts = NDArray[np.int64]
# Of the features that gradient descent gets of attributes, where those of who rated what have 1.
# Chosen on validation rows of MovieLens 100K and latest-small.
LENGTH = 0.7
FLAT = 1e-6  # variance, relative to the largest, below which a direction is left out


def features(attributes: Pair[Encoded | None], counts: Pair[Counts]) -> Pair[list[Tensor]]:
    """The attributes of users and of items as features of a regression, see :func:`groups_of`.

    Args:
        attributes: of users and of items.
        counts: their numbers of training ratings, (U,) and (I,).
    """
    return Pair(*(groups_of(attributes[entity], n) for entity, n in counts.named()))


def groups_of(encoded: Encoded | None, counts: Counts) -> list[Tensor]:
    """Attributes as features, a group for each attribute.

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
        groups: as :func:`groups_of` gave them, (N, F) each.

    Returns:
        (N, A), each row of the length :data:`LENGTH` or 0, to which all attributes that are known
        contribute the same; None where there are no groups.
    """
    if not groups:
        return None
    parts = [torch.nn.functional.normalize(group, dim=1) for group in groups]
    return LENGTH * torch.nn.functional.normalize(torch.cat(parts, dim=1), dim=1)


def unknown(
    tensors: Mapping[str, NDArray[np.float32]],
    attributes: Pair[Encoded | None],
    counts: Pair[Counts],
) -> Pair[NDArray[np.float64]]:
    """What is not known of new users and items, see
    :func:`cfcli.core.data.content.unknown_shares`.

    Args:
        tensors, attributes, counts: as in :func:`settle`.
    """
    found: list[Content | None] = []
    for entity, n in counts.named():
        encoded = attributes[entity]
        own, weight = vectors_of(tensors, entity), weight_of(entity, n, NEW)
        found.append(None if encoded is None else Content.fit(encoded, own, weight))
    dim = tensors["user_embedding.weight"].shape[1]
    return unknown_shares(Pair(*found), tensors, dim, counts.map(lambda n: n > 0))


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
        table, bias = f"{entity}_embedding.weight", f"{entity}_bias"
        if not untrained.any() or table not in found:  # other ranks have no tables in parts
            continue
        vectors = vectors_of(found, entity)
        encoded = attributes[entity] or Encoded([], np.zeros((len(n), 0), np.float32))
        content = Content.fit(encoded, vectors, weight_of(entity, n, RARE))
        vectors[untrained] = content.vectors(encoded.matrix[untrained])
        found[table] = np.ascontiguousarray(vectors[:, :-1])
        if bias in found:
            found[bias] = np.ascontiguousarray(vectors[:, -1])
    return found
