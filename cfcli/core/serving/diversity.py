"""Lists of items that are less alike."""

import numpy as np
from numpy.typing import NDArray

from cfcli.core.models.heads import Floats
from cfcli.core.serving.similar import unit_vectors

CANDIDATES = 10  # for each place of a list
USERS = 64  # at once
ABSENT = -1e9  # relevance of a place without an item


def diversified(
    items: NDArray[np.int64], scores: Floats, vectors: Floats, n: int, share: float
) -> NDArray[np.int64]:
    """Reorders the best items of each user by maximal marginal relevance: the next item is the one
    with the highest ``(1 - share) * score - share * similarity``, where the similarity is the
    largest cosine with an item that is on the list already, and scores go from 0 to 1 among the
    candidates.

    Source: Carbonell and Goldstein (1998), "The use of MMR, diversity-based reranking for
    reordering documents and producing summaries".

    Args:
        items: candidates, best first, (B, M).
        scores: theirs, (B, M); minus infinity where there is none.
        vectors: of all items, (I, K).
        n: items for each user, at most M.
        share: weight of the similarity, from 0 to 1.

    Returns:
        Places among the candidates, (B, n).
    """
    parts = [
        _chosen(
            unit_vectors(vectors[items[start : start + USERS]]),
            scores[start : start + USERS],
            n,
            share,
        )
        for start in range(0, len(items), USERS)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, n), np.int64)


def _chosen(unit: Floats, scores: Floats, n: int, share: float) -> NDArray[np.int64]:
    """The places (B, n) for candidates with vectors (B, M, K) of length 1."""
    there = np.isfinite(scores)
    lowest = np.where(there, scores, np.inf).min(axis=1, keepdims=True)
    lowest = np.where(np.isfinite(lowest), lowest, 0)
    span = np.maximum(np.where(there, scores, lowest).max(axis=1, keepdims=True) - lowest, 1e-12)
    relevance = np.where(there, (np.where(there, scores, 0) - lowest) / span, ABSENT)
    row = np.arange(len(scores))
    taken = np.zeros(scores.shape, bool)
    nearest = np.full(scores.shape, -1.0)  # to what is on the list
    found = np.empty((len(scores), n), np.int64)
    for place in range(n):
        wanted = np.where(there, (1 - share) * relevance, ABSENT)
        gain = wanted - share * nearest if place else relevance
        best = np.where(taken, -np.inf, gain).argmax(axis=1)
        found[:, place] = best
        cosine = np.einsum("bmk,bk->bm", unit, unit[row, best])
        nearest = np.maximum(nearest, cosine)
        taken[row, best] = True
    return found
