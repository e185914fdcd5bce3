"""Names for the regions of the map: what the items that lie together have in common."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfcli.core.reporting.layout import Places

FEWEST, MOST = 4, 24  # regions, and items of a region
ITEMS = 80  # that a region has about, on a small map
LEAST_SHARE = 0.25  # of a region's items that have a genre by which it is called
SECOND_LIFT = 1.5  # how much more frequent than elsewhere a second genre has to be
EXAMPLES = 3  # titles that stand for a region


@dataclass(frozen=True)
class Region:
    """A part of the map.

    Attributes:
        name: the genres that are more frequent here than elsewhere, or a typical title.
        x, y: where its name stands, in the numbers of the map.
        items: how many items lie in it.
        examples: places of its most rated items on the map, those of its genres first.
    """

    name: str
    x: int
    y: int
    items: int
    examples: list[int]


def regions(
    plane: Places,
    ratings: Sequence[int],
    titles: Sequence[str],
    genres: Sequence[Sequence[str]],
) -> list[Region]:
    """Divides the map into regions and names them.

    A region is called by the one or two genres that set it apart most: those with the largest
    p log(p / q), where p is their share of the region's items and q that of all items. An item
    counts by the logarithm of its ratings, as it is by the well-known ones that people know a
    region. No name stands twice: larger regions choose first. A region without a frequent genre is
    called by the most rated of the tenth of its items that lie in its middle.

    Args:
        plane: where the items lie, the most rated first, (M, 2).
        ratings: of each item, (M,).
        titles: of each item, (M,); empty where there are none.
        genres: of each item, (M,); an item may have none.

    Returns:
        The regions that have a name, the one with most items first.
    """
    n = min(max(len(plane) // ITEMS, FEWEST), MOST)
    if len(plane) < n * FEWEST:
        return []
    from sklearn.cluster import KMeans  # late, as in the layout

    labels = KMeans(n, n_init=3, random_state=0).fit_predict(plane)
    groups: list[list[int]] = [np.flatnonzero(labels == label).tolist() for label in range(n)]
    groups.sort(key=len, reverse=True)
    everywhere = _shares(range(len(plane)), ratings, genres)
    found: dict[str, Region] = {}
    for members in groups:
        middle = np.median(plane[members], axis=0)
        called = _by_genres(_shares(members, ratings, genres), everywhere)
        names = [" & ".join(sorted(part)) for part in (called, called[:1], called[1:]) if part]
        if not names and titles:
            names = [f"around {titles[_typical(plane, members, middle)]}"]
        name = next((name for name in names if name not in found), None)
        if name is not None:
            fit = sorted(members, key=lambda k: -len({*called} & {*genres[k]}))
            x, y = (round(place) for place in middle)
            found[name] = Region(name, x, y, len(members), fit[:EXAMPLES])
    return list(found.values())


def _shares(
    items: Iterable[int], ratings: Sequence[int], genres: Sequence[Sequence[str]]
) -> dict[str, float]:
    """The share of items that have each genre; each counts by the logarithm of its ratings."""
    total = 0.0
    weights: dict[str, float] = defaultdict(float)
    for k in items:
        weight = math.log2(1 + ratings[k])
        total += weight
        for genre in genres[k]:
            weights[genre] += weight
    return {genre: weight / total for genre, weight in weights.items()}


def _by_genres(here: Mapping[str, float], everywhere: Mapping[str, float]) -> list[str]:
    """The one or two genres that set a region apart, the first one most; none where none has a fair
    share."""
    frequent = [genre for genre, share in here.items() if share >= LEAST_SHARE]
    frequent.sort(key=lambda genre: -here[genre] * math.log(here[genre] / everywhere[genre]))
    second = [genre for genre in frequent[1:2] if here[genre] >= SECOND_LIFT * everywhere[genre]]
    return frequent[:1] + second


def _typical(plane: Places, members: Sequence[int], middle: NDArray[np.float64]) -> int:
    """The most rated of the tenth of a region's items that lie nearest to its middle."""
    distance = np.linalg.norm(plane[members] - middle, axis=1)
    central: list[int] = np.argsort(distance, kind="stable").tolist()
    return min(members[k] for k in central[: max(len(members) // 10, 1)])
