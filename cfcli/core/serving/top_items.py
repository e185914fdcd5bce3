"""The best items for many users, by blocked matrix products and partial sorts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cfcli.core.models.heads import Floats
from cfcli.core.models.top import best_columns
from cfcli.core.serving import search
from cfcli.core.serving.diversity import CANDIDATES, diversified
from cfcli.core.serving.order import Order, UserVectors
from cfcli.core.serving.users import Places, Users
from cfcli.core.threads import in_threads, undivided_products

BLOCK = 8 << 20  # scores of all items that are held at once


class Block(NamedTuple):
    """The best items for some users (B).

    Attributes:
        start: place of the first user.
        items: indices, best first, (B, n).
        scores: what they are ordered by, (B, n); minus infinity where there are fewer items.
        ratings: predicted ratings, (B, n); None where the rating model does not know the users.
    """

    start: int
    items: NDArray[np.int64]
    scores: Floats
    ratings: Floats | None


def top_items(
    order: Order, users: Users, n: int, allowed: NDArray[np.bool_], diversify: float = 0.0
) -> Iterator[Block]:
    """Finds the best items block by block.

    Args:
        order: that scores.
        users: whom to recommend to.
        n: items for each user.
        allowed: the items to choose from, (I,).
        diversify: see :class:`Choice`.

    Yields:
        The best items of some users.
    """
    n = min(n, len(allowed))
    alike = order.item_vectors if diversify else None
    places = n if alike is None else min(n * CANDIDATES, len(allowed))
    find: _Products | _AllScores = _AllScores(order, allowed)
    block = max(1, BLOCK // len(allowed))
    if order.item_side is not None:
        find, block = _Products(order, order.item_side, allowed), search.USERS

    def best(start: int) -> Block:
        """The best items for a block of users.

        Args:
            start: place of the first.
        """
        rows = slice(start, min(start + block, len(users.ids)))
        them = users.part(order, rows)
        items, scores = find(them, users.left_out(rows), places)
        if alike is not None:
            chosen = diversified(items, scores, alike, n, diversify)
            items = np.take_along_axis(items, chosen, axis=1)
            scores = np.take_along_axis(scores, chosen, axis=1)
        return Block(start, items, scores, _ratings(order, them, items))

    starts = range(0, len(users.ids), block)
    if len(starts) == 1:
        yield best(0)
        return
    with undivided_products() as threads:
        yield from in_threads(best, starts, threads)


@dataclass(frozen=True)
class _AllScores:
    """Finds the best items by the scores of all. It holds for every model, and :class:`_Products`
    must find the same.

    Attributes:
        order: that scores.
        allowed: the items to choose from, (I,).
    """

    order: Order
    allowed: NDArray[np.bool_]

    def __call__(
        self, users: UserVectors, left_out: Places, n: int
    ) -> tuple[NDArray[np.int64], Floats]:
        """Items and scores, best first, both (B, n).

        Args:
            users: whom to score for (B).
            left_out: rows and items that do not count.
            n: items for each user.
        """
        scores = self.order.scores(users)
        scores[:, ~self.allowed] = -np.inf
        scores[left_out] = -np.inf
        return best_columns(scores, n)


class _Products:
    """Finds the best items by products, see :func:`cfcli.core.serving.search.best_products`.

    Args:
        order: that scores.
        item_side: see :attr:`cfcli.core.serving.order.Order.item_side`.
        allowed: the items to choose from, (I,).
    """

    def __init__(self, order: Order, item_side: Floats, allowed: NDArray[np.bool_]) -> None:
        self.order, self.allowed = order, allowed
        self.side = item_side if allowed.all() else item_side[:, allowed]
        self.items = np.append(np.flatnonzero(allowed), 0)  # the last for where there are none
        self.column = np.cumsum(allowed) - 1  # of each item that is allowed

    def __call__(
        self, users: UserVectors, left_out: Places, n: int
    ) -> tuple[NDArray[np.int64], Floats]:
        """The same as :meth:`_AllScores.__call__`."""
        row, item = left_out
        counts = self.allowed[item]
        places = row[counts], self.column[item[counts]]
        scaled = self.order.scaled(users)
        column, scores = search.best_products(scaled.users, self.side, n, places)
        return self.items[column], scores + scaled.offset


def _ratings(order: Order, users: UserVectors, items: NDArray[np.int64]) -> Floats | None:
    """Predicted ratings of items (B, n); None where the rating model does not know the users."""
    if users.rating is None:
        return None
    theirs = np.repeat(users.rating, items.shape[1], axis=0)
    found = order.predictor.pairs(theirs, order.predictor.vectors("item", items.ravel()))
    return found.reshape(items.shape)
