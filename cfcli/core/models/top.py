"""The best n of scores."""

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
LEAST_GROUP = 8  # columns, below which looking at groups saves nothing


def best_places(scores: Scores, n: int) -> NDArray[np.int64]:
    """Places (n,) of the highest scores, best first; of equal ones, the first.

    Args:
        scores: (N,).
        n: how many; all where there are fewer.
    """
    return np.argsort(-scores, kind="stable")[:n]


def best_columns(scores: Scores, n: int) -> tuple[NDArray[np.int64], Scores]:
    """Finds the highest scores of each row, best first. Which of equal scores are among the n best
    is left open; those that are come in the order of their columns.

    The n best are in the n groups of columns whose best are the highest, so that few columns are
    sorted.

    Args:
        scores: (B, I).
        n: how many of each row, at most I.

    Returns:
        Columns and scores, both (B, n).
    """
    rows, width = scores.shape
    group = int((width / n) ** 0.5)  # looks at the fewest numbers, those of groups and of columns
    groups = width // max(group, 1)
    row = np.arange(rows)[:, None]
    columns: NDArray[np.int64]
    if group >= LEAST_GROUP:
        # A group is every so many-th column: the maximum then runs along the rows in memory.
        best = scores[:, : groups * group].reshape(rows, group, groups).max(axis=1)
        top = np.argpartition(best, groups - n, axis=1)[:, groups - n :]
        columns = (top[:, :, None] + groups * np.arange(group)).reshape(rows, -1)
        rest = np.broadcast_to(np.arange(groups * group, width), (rows, width - groups * group))
        columns = np.concatenate([columns, rest], axis=1)
        found = scores[row, columns]
    else:
        columns, found = np.broadcast_to(np.arange(width), scores.shape), scores
    if n < found.shape[1]:
        part = np.argpartition(found, found.shape[1] - n, axis=1)[:, found.shape[1] - n :]
        columns, found = columns[row, part], found[row, part]
    order = np.lexsort((columns, -found), axis=1)
    return columns[row, order], found[row, order]
