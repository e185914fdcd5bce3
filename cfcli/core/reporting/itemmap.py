"""The items of a run on a plane, and what is near to each: the map that a report shows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cfcli.core.models.heads import Floats
from cfcli.core.reporting import layout
from cfcli.core.reporting.layout import Neighbours, Places
from cfcli.core.reporting.regions import Region, regions
from cfcli.core.runs.run import Run

GRID = 10_000  # whole numbers that a coordinate may have
GENRES = 8  # that get a colour


@dataclass(frozen=True)
class ItemMap:
    """Items as a map shows them, those with most training ratings first. M is how many there are.

    Attributes:
        id: the ids, (M,).
        title: the titles, (M,); None if the run has none.
        genres: the genres with ``|`` between them, (M,); None if the run has none.
        n: training ratings, (M,).
        mean: mean of the training ratings, (M,).
        x, y: where :func:`cfcli.core.reporting.layout.tsne` places them, in whole numbers from 0 to
            9999 of the same scale, (M,).
        legend: the most frequent genres, the most frequent first.
        colour: the place in ``legend`` of the rarest of an item's genres, or -1, (M,).
        near: for each item (M,) its neighbours by the vectors that the map is made of, the nearest
            first. For each neighbour two numbers: its place in these lists, and 1000 times the
            similarity.
        regions: parts of the map that have a name.
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
    regions: list[Region]
    items: int


def item_map(run: Run, most: int, n: int = 10) -> ItemMap:
    """Places the most rated items on a plane.

    Args:
        run: whose items and embeddings to take.
        most: how many items at most.
        n: how many neighbours each gets at most.
    """
    items = most_rated(run, most)
    table = run.items[items]
    texts = {
        name: table[name].fill_null("").to_list() if name in table.columns else None
        for name in ("title", "genres")
    }
    genres = [_genres(text) for text in texts["genres"] or [""] * len(items)]
    legend, colour = _colours(genres)
    vectors = layout.item_vectors(run, items)
    near = layout.nearest(vectors, max(n, layout.graph_size(len(items))))
    plane = _whole(layout.principal(layout.tsne(vectors, near)))  # the longest way across
    return ItemMap(
        id=table[run.info.columns.item].to_list(),
        title=texts["title"],
        genres=texts["genres"],
        n=table["n_ratings"].to_list(),
        mean=[round(mean, 2) for mean in table["mean"]],
        x=plane[:, 0].tolist(),
        y=plane[:, 1].tolist(),
        legend=legend,
        colour=colour,
        near=_whole_pairs(Neighbours(near.places[:, :n], near.cosines[:, :n])),
        regions=regions(plane, table["n_ratings"].to_list(), texts["title"] or [], genres),
        items=run.items.height,
    )


def most_rated(run: Run, most: int) -> Places:
    """Indices of the items with most training ratings, without those that have none; of items with
    as many ratings, those with the lower index come first.

    Args:
        run: whose items.
        most: how many at most.
    """
    ratings = run.items["n_ratings"].to_numpy()
    items = np.argsort(-ratings.astype(np.int64), kind="stable")[:most]
    return items[ratings[items] > 0]


def _whole_pairs(near: Neighbours) -> list[list[int]]:
    """In a row for each item, place and similarity in thousandths of each neighbour by turns, as
    long as the similarity is above 0."""
    pairs = np.stack([near.places, np.round(1000 * near.cosines).astype(np.int64)], axis=2)
    return [row[row[:, 1] > 0].ravel().tolist() for row in pairs]


def _whole(plane: Floats) -> Places:
    """Points (M, 2) as whole numbers of one scale."""
    low = plane.min(0)
    size = float((plane.max(0) - low).max()) or 1.0
    whole: Places = np.round((plane - low) / size * (GRID - 1)).astype(np.int64)
    return whole


def _genres(text: str) -> list[str]:
    """The genres of an item; those in brackets are none, like MovieLens' ``(no genres listed)``."""
    return [genre for genre in text.split("|") if genre and genre[0] != "("]


def _colours(genres: Sequence[Sequence[str]]) -> tuple[list[str], list[int]]:
    """The most frequent genres, and for each item the place among them of its rarest, or -1.

    Args:
        genres: of each item.
    """
    counts = Counter(genre for names in genres for genre in names)
    legend = [genre for genre, _ in counts.most_common(GENRES)]
    place = {genre: k for k, genre in enumerate(legend)}
    colour = [max((place.get(genre, -1) for genre in names), default=-1) for names in genres]
    return legend, colour
