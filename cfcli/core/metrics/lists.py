"""Quality of lists of recommendations: what stands on them, and for whom.

A list has K places. Relevant are the held-out items that it should show. Only users with a relevant
item are judged.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfcli.core.metrics.ratings import Floats
from cfcli.core.storage.schema import Measure

K = 10  # places of a list, by default
LIKED = 0.25  # share of the scale below its top from which on a rating says that one liked it


@dataclass(frozen=True)
class Quality:
    """Means over the users judged; not a number where there are none.

    Attributes:
        ndcg: normalised discounted cumulative gain, see :func:`ndcg`.
        recall: share of the relevant items that are on the list, see :func:`recall`.
    """

    ndcg: Measure
    recall: Measure


def liked_from(low: float, high: float) -> float:
    """The lowest rating of what a user liked: a quarter below the top of the scale.

    Args:
        low: the lowest rating of the scale.
        high: the highest.
    """
    return high - LIKED * (high - low)


def ndcg(hits: NDArray[np.bool_], relevant: NDArray[np.integer]) -> Floats:
    """Normalised discounted cumulative gain of each list, with binary relevance.

    A relevant item at rank r gains 1 / log2(r + 1). The sum is divided by that of a list which
    begins with min(K, relevant) relevant items. A list without relevant items to find has no value.

    Source: Järvelin and Kekäläinen (2002), "Cumulated gain-based evaluation of IR techniques".

    Args:
        hits: whether the item at each place is relevant, best place first, (B, K).
        relevant: how many relevant items each user has, also beyond the list, (B,).

    Returns:
        From 0 to 1, (B,); not a number for users without relevant items.
    """
    places = hits.shape[1]
    discount = 1 / np.log2(np.arange(2, places + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(relevant, places)]
    with np.errstate(invalid="ignore"):
        found: Floats = hits @ discount / ideal
    return found


def recall(hits: NDArray[np.bool_], relevant: NDArray[np.integer]) -> Floats:
    """Share of each user's relevant items that are on the list.

    Args:
        hits: whether the item at each place is relevant, (B, K).
        relevant: how many relevant items each user has, also beyond the list, (B,).

    Returns:
        From 0 to 1, (B,); not a number for users without relevant items.
    """
    with np.errstate(invalid="ignore"):
        found: Floats = hits.sum(axis=1) / relevant
    return found


def judged(
    top: NDArray[np.integer], there: NDArray[np.bool_], relevant: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """:func:`ndcg` and :func:`recall` of each list.

    Args:
        top: the items on the lists, best first, (B, K).
        there: which places have an item at all, (B, K).
        relevant: which items are relevant, (B, I).

    Returns:
        Both (B,).
    """
    hits, n = np.take_along_axis(relevant, top, axis=1) & there, relevant.sum(axis=1)
    return ndcg(hits, n), recall(hits, n)


def mean_quality(ndcgs: Floats, recalls: Floats) -> Quality:
    """Means over the users who have relevant items.

    Args:
        ndcgs: of each user, (B,), see :func:`ndcg`.
        recalls: of each user, (B,), see :func:`recall`.
    """
    judged = ~np.isnan(ndcgs)
    if not judged.any():
        return Quality(np.nan, np.nan)
    return Quality(float(ndcgs[judged].mean()), float(recalls[judged].mean()))


def coverage(shown: NDArray[np.integer], items: int) -> float:
    """Share of all items that stand on at least one list.

    Args:
        shown: how many lists each item is on, (I,).
        items: how many items there are to recommend.
    """
    return float(np.count_nonzero(shown)) / max(items, 1)


def novelty(shown: NDArray[np.integer], raters: NDArray[np.number], users: int) -> float:
    """Mean self-information of the items on the lists, in bits: how surprising it is that a user
    knows them. An item that every user rated has 0, one that half of them rated has 1.

    Source: Zhou et al. (2010), "Solving the apparent diversity-accuracy dilemma of recommender
    systems".

    Args:
        shown: how many lists each item is on, (I,).
        raters: how many users rated each item in training, (I,); none counts as one.
        users: how many users there are.

    Returns:
        Not a number where nothing is shown.
    """
    if not shown.sum():
        return float("nan")
    surprise = np.log2(max(users, 1) / np.maximum(raters, 1))
    return float(shown @ surprise / shown.sum())
