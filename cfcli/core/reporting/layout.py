"""Where items lie on the map: t-SNE of their vectors, so that near items stay near.

``benchmarks/item_map.py`` measures what share of the ten nearest neighbours the map keeps, for the
choices that are made here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from cfcli.core.models.heads import Floats
from cfcli.core.runs.run import Run
from cfcli.core.serving.similar import interest_directions, unit_vectors

INTEREST = 0.5
PERPLEXITY = 20.0  # about so many neighbours decide where an item lies
ITERATIONS = 400
ANGLE = 1.0  # how coarsely t-SNE sees what is far away; 0.5 takes longer for the same share
LEAST = 8  # items that t-SNE can place; fewer are drawn by their principal components
BLOCK = 500  # items whose neighbours are found at once
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Neighbours:
    """The nearest neighbours of items (M) among themselves, nearest first.

    Attributes:
        places: where the neighbours stand among the items, (M, n).
        cosines: of the vectors of both, (M, n).
    """

    places: Places
    cosines: Floats


def item_vectors(run: Run, items: Places, interest: float = INTEREST) -> Floats:
    """Vectors of length 1 whose inner product tells how alike two items are: the mean of the
    cosines by both models.

    Args:
        run: whose vectors. Without an interest model it is the rating model alone.
        items: indices of the items, (M,).
        interest: what the interest model counts, from 0 to 1.

    Returns:
        Float32, (M, D); zeros for an item without any vector.
    """
    rating = unit_vectors(run.tensors["item_embedding.weight"][items])
    directions = interest_directions(run)
    if directions is None:
        return rating
    parts = (np.sqrt(interest) * directions[items], np.sqrt(1 - interest) * rating)
    return np.hstack(parts).astype(np.float32)


def nearest(vectors: Floats, n: int) -> Neighbours:
    """The nearest neighbours of all items by cosine.

    Args:
        vectors: of length 1, (M, D).
        n: how many neighbours each gets; M - 1 if that is less.
    """
    n = max(min(n, len(vectors) - 1), 0)
    places = np.zeros((len(vectors), n), np.int64)
    cosines = np.zeros((len(vectors), n), np.float32)
    if n == 0:
        return Neighbours(places, cosines)
    for start in range(0, len(vectors), BLOCK):
        part = slice(start, start + BLOCK)
        found = vectors[part] @ vectors.T
        rows = np.arange(len(found))
        found[rows, start + rows] = -np.inf  # an item is no neighbour of itself
        best = np.argpartition(-found, n - 1, axis=1)[:, :n]
        order = np.argsort(-np.take_along_axis(found, best, axis=1), axis=1, kind="stable")
        places[part] = np.take_along_axis(best, order, axis=1)
        cosines[part] = np.take_along_axis(found, places[part], axis=1)
    return Neighbours(places, cosines)


def graph_size(items: int, perplexity: float = PERPLEXITY) -> int:
    """How many neighbours of each item :func:`tsne` needs.

    Args:
        items: how many there are.
        perplexity: see :func:`tsne`.
    """
    return min(items - 1, int(3 * perplexity) + 2)


def principal(vectors: Floats) -> Floats:
    """The first two principal components of vectors.

    Args:
        vectors: (M, D).

    Returns:
        (M, 2). The sign of each is such that its largest weight is positive.
    """
    centred = vectors - vectors.mean(0)
    covariance = np.cov(centred, rowvar=False, bias=True).reshape(centred.shape[1], -1)
    _, axes = np.linalg.eigh(covariance)  # the largest eigenvalue last
    first = axes[:, ::-1][:, :2]
    largest = first[np.abs(first).argmax(0), np.arange(first.shape[1])]
    first = first * np.where(largest < 0, -1, 1)
    return np.pad(centred @ first, ((0, 0), (0, 2 - first.shape[1]))).astype(np.float32)


def tsne(
    vectors: Floats,
    near: Neighbours,
    *,
    perplexity: float = PERPLEXITY,
    iterations: int = ITERATIONS,
    angle: float = ANGLE,
) -> Floats:
    """Places items on a plane so that neighbours stay neighbours, by scikit-learn's t-SNE.

    It starts from the principal components, so that the large shape means something and two runs of
    it give the same map. Of vectors of length 1 the squared distance is 2 - 2 cosine, so that
    cosine and Euclidean distance come to the same.

    Args:
        vectors: of length 1, (M, D).
        near: their neighbours, at least :func:`graph_size` of each.
        perplexity: about how many neighbours decide where an item lies.
        iterations: steps of the descent, 250 of them with exaggerated nearness.
        angle: how coarsely far items are seen, from 0.2 to 1.

    Returns:
        (M, 2).
    """
    start = principal(vectors)
    items, width = near.places.shape
    spread = float(start[:, 0].std())
    if items < LEAST or spread == 0:
        return start
    from sklearn.manifold import TSNE  # late: a second, and only reports need it

    distances = np.sqrt(np.maximum(2 - 2 * near.cosines, 1e-9))
    bounds = np.arange(0, items * width + 1, width)
    graph = csr_matrix((distances.ravel(), near.places.ravel(), bounds), shape=(items, items))
    model = TSNE(
        metric="precomputed",
        init=start / spread * 1e-4,
        perplexity=min(perplexity, (width - 2) / 3),
        max_iter=iterations,
        angle=angle,
        learning_rate=max(items / 48, 50),  # as "auto" has it, which is not for a graph
        random_state=0,
    )
    found: Floats = model.fit_transform(graph)
    return found
