"""The items of a run on a plane, and what lies near to each: what a report lets people walk
through."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from cfcli.core.runs.run import SEEN, Run
from cfcli.core.serving import similar as neighbors

GRID = 10_000  # whole numbers that a coordinate may have
GENRES = 8  # that get a colour
BLOCK = 500  # items whose neighbours are found at once


def item_map(run: Run, most: int, n: int = 10) -> dict[str, Any]:
    """Places, titles and neighbours of the ``most`` rated items, those with most ratings first; of
    equals, in the order of their index.

    Returns:
        Lists with an entry for each item: ``id``; ``title`` and ``genres``, where the run has them;
        ``n``, training ratings; ``mean`` of those; ``x``, ``y`` from 0 to 9999, the first two
        principal components of the embeddings; ``colour``, the place in ``legend`` of the rarest of
        its genres that are among the most frequent, or -1; ``near``, pairs of an item's place in
        these lists and 1000 times its similarity, the nearest first, as
        :func:`cfcli.core.serving.similar.similar` finds them, less those that nobody rated together
        with it. Further ``legend``, the most frequent genres, and ``items``, how many there are in
        all.
    """
    ratings = run.items["n_ratings"].to_numpy()
    items = np.argsort(-ratings.astype(np.int64), kind="stable")[:most]
    items = items[ratings[items] > 0]
    table = run.items[items]
    x, y = _plane(run.tensors["item_embedding.weight"][items])
    found: dict[str, Any] = {"id": table[run.info.columns.item].to_list()}
    if "title" in table.columns:
        found["title"] = table["title"].fill_null("").to_list()
    if "genres" in table.columns:
        found["genres"] = table["genres"].fill_null("").to_list()
    found["legend"], found["colour"] = _colours(found.get("genres", [""] * len(items)))
    near, score = nearest_to_all(run, items, n)
    return found | {
        "n": ratings[items].tolist(),
        "mean": [round(mean, 2) for mean in table["mean"]],
        "x": x.tolist(),
        "y": y.tolist(),
        "near": [
            [
                int(v)
                for pair in zip(of, np.round(1000 * s), strict=True)
                for v in pair
                if pair[1] > 0
            ]
            for of, s in zip(near, score, strict=True)
        ],
        "items": run.items.height,
    }


def nearest_to_all(
    run: Run, items: NDArray[np.int64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each of M items, places in ``items`` of the ``n`` others that are nearest by cosine and
    overlap, the nearest first, and those similarities: both (M, n), or narrower where there are not
    so many."""
    vectors = run.tensors["item_embedding.weight"][items]
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    ratings = run.items["n_ratings"].to_numpy()[items]
    n = min(n, len(items) - 1)
    near, score = np.zeros((len(items), n), np.int64), np.zeros((len(items), n))
    together = _rated_by(run, items)
    for start in range(0, len(items), BLOCK):
        part = slice(start, start + BLOCK)
        both = None if together is None else (together[:, part].T @ together).toarray()
        found = unit[part] @ unit.T * neighbors.shrunk(both, ratings[part, None], ratings)
        rows = np.arange(len(found))
        found[rows, start + rows] = -np.inf
        best = np.argpartition(-found, n - 1, axis=1)[:, :n] if n else near[part]
        order = np.take_along_axis(
            best, np.argsort(-np.take_along_axis(found, best, 1), axis=1, kind="stable"), 1
        )
        near[part], score[part] = order, np.take_along_axis(found, order, 1)
    return near, score


def _rated_by(run: Run, items: NDArray[np.int64]) -> csr_matrix | None:
    """Which users rated which of the items, (U, M)."""
    if SEEN not in run.info.files:
        return None
    place = np.full(run.items.height, -1)
    place[items] = np.arange(len(items))
    pairs = run.seen_pairs()
    column = place[pairs["item"].to_numpy()]
    there = column >= 0
    ones = np.ones(int(there.sum()), np.float32)
    return csr_matrix(
        (ones, (pairs["user"].to_numpy()[there], column[there])),
        shape=(run.users.height, len(items)),
    )


def _plane(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """The first two principal components (2, M) of vectors (M, D), as whole numbers of one
    scale."""
    centred = vectors - vectors.mean(0)
    _, axes = np.linalg.eigh(np.cov(centred, rowvar=False, bias=True).reshape(centred.shape[1], -1))
    first = axes[:, ::-1][:, :2]
    first = first * np.where(first[np.abs(first).argmax(0), np.arange(first.shape[1])] < 0, -1, 1)
    plane = np.pad(centred @ first, ((0, 0), (0, 2 - first.shape[1])))  # (M, 2)
    low = plane.min(0)
    size = float((plane.max(0) - low).max()) or 1.0
    whole: NDArray[np.int64] = np.round((plane - low) / size * (GRID - 1)).astype(np.int64)
    return whole.T


def _colours(genres: list[str]) -> tuple[list[str], list[int]]:
    sets = [
        [genre for genre in text.split("|") if genre and not genre.startswith("(")]
        for text in genres
    ]
    counts = Counter(genre for of in sets for genre in of)
    legend = [genre for genre, _ in counts.most_common(GENRES)]
    place = {genre: k for k, genre in enumerate(legend)}
    return legend, [
        max((place[genre] for genre in of if genre in place), default=-1) for of in sets
    ]
