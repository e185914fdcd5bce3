"""Names for the regions of the map: what the items that lie together have in common."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
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
        examples: places of its most rated items on the map.
    """

    name: str
    x: int
    y: int
    items: int
    examples: list[int]


def regions(plane: Places, titles: Sequence[str], genres: Sequence[Sequence[str]]) -> list[Region]:
    """Divides the map into regions and names them.

    A region is called by the genre that sets it apart most: the one with the largest p log(p / q),
    where p is its share of the region's items and q that of all items. Of regions that would have
    one name, the larger gets it. Without genres a region is called by the most rated of the tenth of
    its items that lie in its middle.

    Args:
        plane: where the items lie, the most rated first, (M, 2).
        titles: of each item, (M,); empty where there are none.
        genres: of each item, (M,); an item may have none.

    Returns:
        The regions, the one with most items first.
    """
    n = min(max(len(plane) // ITEMS, FEWEST), MOST)
    if len(plane) < n * FEWEST:
        return []
    from sklearn.cluster import KMeans  # late, as in the layout

    labels = KMeans(n, n_init=3, random_state=0).fit_predict(plane)
    everywhere = _shares(genres)
    found: dict[str, Region] = {}
    for label in range(n):
        members = np.flatnonzero(labels == label)
        inside = members.tolist()
        middle = np.median(plane[members], axis=0)
        name = _by_genres(_shares([genres[k] for k in inside]), everywhere)
        if not name and titles:
            name = f"around {titles[_typical(plane, members, middle)]}"
        region = Region(name, round(middle[0]), round(middle[1]), len(inside), inside[:EXAMPLES])
        if name and (name not in found or found[name].items < region.items):
            found[name] = region
    return sorted(found.values(), key=lambda region: -region.items)


def _shares(genres: Sequence[Sequence[str]]) -> dict[str, float]:
    """The share of items that have each genre."""
    counts = Counter(genre for names in genres for genre in names)
    return {genre: n / len(genres) for genre, n in counts.items()}


def _by_genres(here: Mapping[str, float], everywhere: Mapping[str, float]) -> str:
    """The one or two genres that set a region apart; empty where none has a fair share."""
    frequent = [genre for genre, share in here.items() if share >= LEAST_SHARE]
    frequent.sort(key=lambda genre: -here[genre] * math.log(here[genre] / everywhere[genre]))
    name = frequent[:1]
    for genre in frequent[1:2]:
        if here[genre] >= SECOND_LIFT * everywhere[genre]:
            name.append(genre)
    return " & ".join(name)


def _typical(plane: Places, members: Places, middle: NDArray[np.float64]) -> int:
    """The most rated of the tenth of a region's items that lie nearest to its middle."""
    distance = np.linalg.norm(plane[members] - middle, axis=1)
    central = np.argsort(distance, kind="stable")[: max(len(members) // 10, 1)]
    return int(members[central].min())
