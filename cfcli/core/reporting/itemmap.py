"""The items of a run on a plane, and what is near to each: the map that a report shows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from cfcli.core.runs.run import SEEN, Run
from cfcli.core.serving import similar as neighbors

GRID = 10_000  # whole numbers that a coordinate may have
GENRES = 8  # that get a colour
BLOCK = 500  # items whose neighbours are found at once


@dataclass(frozen=True)
class ItemMap:
    """Items as a map shows them, those with most training ratings first. M is how many there are.

    Attributes:
        id: the ids, (M,).
        title: the titles, (M,); None if the run has none.
        genres: the genres with ``|`` between them, (M,); None if the run has none.
        n: training ratings, (M,).
        mean: mean of the training ratings, (M,).
        x, y: the first two principal components of the embeddings, in whole numbers from 0 to 9999
            of the same scale, (M,).
        legend: the most frequent genres, the most frequent first.
        colour: the place in ``legend`` of the rarest of an item's genres, or -1, (M,).
        near: for each item (M,) its neighbours, the nearest first, as
            :func:`cfcli.core.serving.similar.similar` finds them, without those that nobody rated
            together with it. For each neighbour two numbers: its place in these lists, and 1000
            times the similarity.
        items: how many items the run has in all.
    """

    id: list[str]
    title: list[str] | None
    genres: list[str] | None
    n: list[int]
    mean: list[float]
    x: list[int]
    y: list[int]
    legend: list[str]
    colour: list[int]
    near: list[list[int]]
    items: int


def item_map(run: Run, most: int, n: int = 10) -> ItemMap:
    """Places the most rated items on a plane.

    Args:
        run: whose items and embeddings to take.
        most: how many items at most; those without training ratings are left out. Of items with as
            many ratings, those with the lower index come first.
        n: how many neighbours each gets at most.
    """
    ratings = run.items["n_ratings"].to_numpy()
    items = np.argsort(-ratings.astype(np.int64), kind="stable")[:most]
    items = items[ratings[items] > 0]
    table = run.items[items]
    texts = {
        name: table[name].fill_null("").to_list() if name in table.columns else None
        for name in ("title", "genres")
    }
    legend, colour = _colours(texts["genres"] or [""] * len(items))
    x, y = _plane(run.tensors["item_embedding.weight"][items])
    places, similarities = nearest_to_all(run, items, n)
    return ItemMap(
        id=table[run.info.columns.item].to_list(),
        title=texts["title"],
        genres=texts["genres"],
        n=ratings[items].tolist(),
        mean=[round(mean, 2) for mean in table["mean"]],
        x=x.tolist(),
        y=y.tolist(),
        legend=legend,
        colour=colour,
        near=_whole_pairs(places, np.round(1000 * similarities).astype(np.int64)),
        items=run.items.height,
    )


def nearest_to_all(
    run: Run, items: NDArray[np.int64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest neighbours of many items among themselves, by the similarity ``cosine`` of
    :mod:`cfcli.core.serving.similar`.

    Args:
        run: whose embeddings and ratings to take.
        items: indices of the items, (M,).
        n: how many neighbours each gets; M - 1 if that is less.

    Returns:
        Places of the neighbours in ``items``, the nearest first, (M, n), and their similarities,
        (M, n).
    """
    unit = neighbors.unit_vectors(run.tensors["item_embedding.weight"][items])
    directions = neighbors.interest_directions(run)
    if directions is not None:
        directions = directions[items]
    ratings = run.items["n_ratings"].to_numpy()[items]
    n = min(n, len(items) - 1)
    near = np.zeros((len(items), max(n, 0)), np.int64)
    similarity = np.zeros(near.shape)
    if n < 1:
        return near, similarity
    rated = _rated_by(run, items)
    for start in range(0, len(items), BLOCK):
        part = slice(start, start + BLOCK)
        both = None if rated is None else (rated[:, part].T @ rated).toarray()
        found = unit[part] @ unit.T
        rows = np.arange(len(found))
        if directions is None or both is None:
            found = found * neighbors.shrunk(both, ratings[part, None], ratings)
        else:
            interest = directions[part] @ directions.T
            for side in (found, interest, both):
                side[rows, start + rows] = 0
            found = neighbors.joined(run, found, interest, both, ratings[part, None], ratings)
        found[rows, start + rows] = -np.inf  # an item is no neighbour of itself
        best = np.argpartition(-found, n - 1, axis=1)[:, :n]
        order = np.argsort(-np.take_along_axis(found, best, axis=1), axis=1, kind="stable")
        near[part] = np.take_along_axis(best, order, axis=1)
        similarity[part] = np.take_along_axis(found, near[part], axis=1)
    return near, similarity


def _rated_by(run: Run, items: NDArray[np.int64]) -> csr_matrix | None:
    """Which users rated which of the items: ones and zeros, (U, M); None if the run does not
    tell."""
    if SEEN not in run.info.files:
        return None
    place = np.full(run.items.height, -1)
    place[items] = np.arange(len(items))
    pairs = run.seen_pairs().filter("trained")
    column = place[pairs["item"].to_numpy()]
    on_map = column >= 0
    ones = np.ones(int(on_map.sum()), np.float32)
    positions = (pairs["user"].to_numpy()[on_map], column[on_map])
    return csr_matrix((ones, positions), shape=(run.users.height, len(items)))


def _whole_pairs(places: NDArray[np.int64], similarities: NDArray[np.int64]) -> list[list[int]]:
    """In a row for each item, place and similarity of each neighbour by turns, as long as the
    similarity is above 0.

    Args:
        places: (M, n).
        similarities: in thousandths, (M, n).
    """
    pairs = np.stack([places, similarities], axis=2)
    return [row[row[:, 1] > 0].ravel().tolist() for row in pairs]


def _plane(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """The first two principal components of vectors (M, D), as whole numbers of one scale,
    (2, M). The sign of each is such that its largest weight is positive."""
    centred = vectors - vectors.mean(0)
    covariance = np.cov(centred, rowvar=False, bias=True).reshape(centred.shape[1], -1)
    _, axes = np.linalg.eigh(covariance)  # the largest eigenvalue last
    first = axes[:, ::-1][:, :2]
    largest = first[np.abs(first).argmax(0), np.arange(first.shape[1])]
    first = first * np.where(largest < 0, -1, 1)
    plane = np.pad(centred @ first, ((0, 0), (0, 2 - first.shape[1])))
    low = plane.min(0)
    size = float((plane.max(0) - low).max()) or 1.0
    whole: NDArray[np.int64] = np.round((plane - low) / size * (GRID - 1)).astype(np.int64)
    return whole.T


def _colours(genres: Sequence[str]) -> tuple[list[str], list[int]]:
    """The most frequent genres, and for each item the place among them of its rarest, or -1.

    Args:
        genres: of each item, with ``|`` between them; those in brackets count as none, like
            MovieLens' ``(no genres listed)``.
    """
    sets = []
    for text in genres:
        sets.append([genre for genre in text.split("|") if genre and genre[0] != "("])
    counts = Counter(genre for names in sets for genre in names)
    legend = [genre for genre, _ in counts.most_common(GENRES)]
    place = {genre: k for k, genre in enumerate(legend)}
    colour = [max((place.get(genre, -1) for genre in names), default=-1) for names in sets]
    return legend, colour
