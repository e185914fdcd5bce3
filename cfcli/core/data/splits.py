"""How rows are split into training, validation and test."""

import math
from fractions import Fraction

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.ids import hash_pairs

TRAIN, VAL, TEST = "train", "val", "test"
NAMES = (TRAIN, VAL, TEST)
Sides = NDArray[np.uint8]  # one per rating: its side's place in NAMES
FOLD_SALT = 0xF01D  # folds must not follow the split, which hashes the same ids


def by_hash(
    user_hash: NDArray[np.uint64],
    item_hash: NDArray[np.uint64],
    val_size: float,
    test_size: float,
    seed: int,
) -> Sides:
    """Sides by a hash of (user, item, seed): a rating stays where it is when others come, go or
    change places.

    Args:
        user_hash, item_hash: shape (N,), one per rating, from :func:`cfcli.core.data.ids.hash_ids`.
        val_size, test_size: shares of the rows, between 0 and 1.
        seed: of the hash.
    """
    place = hash_pairs(user_hash, item_hash, seed)
    return (place < test_size + val_size).astype(np.uint8) + (place < test_size)


def at_random(n: int, val_size: float, test_size: float, seed: int) -> Sides:
    """scikit-learn's ``train_test_split`` twice, as notebooks do: held out against training, then
    test against validation.

    Args:
        n: number of rows.
        val_size, test_size: shares of the rows, between 0 and 1.
        seed: of the random numbers.
    """
    from sklearn.model_selection import train_test_split

    held, test = held_out(n, val_size, test_size)
    rest = np.arange(n)
    if held < n:
        rest = train_test_split(rest, test_size=held, random_state=seed)[1] if held else rest[:0]
    if 0 < test < held:
        val, tests = train_test_split(rest, test_size=test, random_state=seed)
    else:
        val, tests = (rest, rest[:0]) if test == 0 else (rest[:0], rest)
    sides = np.zeros(n, np.uint8)
    sides[val], sides[tests] = 1, 2
    return sides


def by_time(timestamp: pl.Series, val_size: float, test_size: float) -> Sides:
    """Sides by time: the newest rows are the test, those before them the validation. Of equal
    times, the later row of the input counts as newer.

    Args:
        timestamp: shape (N,), null where unknown, which counts as the oldest.
        val_size, test_size: shares of the rows, between 0 and 1.
    """
    held, test = held_out(len(timestamp), val_size, test_size)
    time = _ticks(timestamp)
    return _newest(time, held).astype(np.uint8) + _newest(time, test)


def by_user_last(
    user: pl.Series, timestamp: pl.Series | None, val_size: float, test_size: float
) -> Sides:
    """Sides by the last rows of each user: the last one is the test and the one before it the
    validation, as long as at least one is left to train on.

    Args:
        user: shape (N,), codes.
        timestamp: shape (N,), null where unknown, which counts as the oldest; None where there are
            no times, so that the order of the input decides.
        val_size, test_size: a side with share 0 gets no rows.
    """
    users = user.to_numpy()
    keys = (users,) if timestamp is None else (_ticks(timestamp), users)
    order = np.lexsort(keys)  # stable: equal times stay in the order of the input
    last = np.flatnonzero(np.diff(users[order], append=np.nan))
    n = np.diff(last, prepend=-1)
    tests = 1 if test_size > 0 else 0
    sides = np.zeros(len(users), np.uint8)
    if val_size > 0:
        sides[order[last[n > tests + 1] - tests]] = 1
    if tests:
        sides[order[last[n > 1]]] = 2
    return sides


def folds_by_hash(
    user_hash: NDArray[np.uint64], item_hash: NDArray[np.uint64], n: int, seed: int
) -> NDArray[np.int64]:
    """The fold of each rating, by a hash of (user, item, seed) that has nothing to do with that of
    :func:`by_hash`.

    Args:
        user_hash, item_hash: shape (N,), one per rating, from :func:`cfcli.core.data.ids.hash_ids`.
        n: number of folds.
        seed: of the hash.

    Returns:
        From 0 to n - 1, shape (N,).
    """
    return (hash_pairs(user_hash, item_hash, seed ^ FOLD_SALT) * n).astype(np.int64)


def slices_by_time(timestamp: pl.Series, n: int) -> NDArray[np.int64]:
    """The slice of time of each rating; all slices have the same number of ratings, within one. Of
    equal times, the later row counts as newer.

    Args:
        timestamp: shape (N,), null where unknown, which counts as the oldest.
        n: number of slices.

    Returns:
        From 0, the oldest, to n - 1, shape (N,).
    """
    order = np.argsort(_ticks(timestamp), kind="stable")
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(len(order)) * n // max(len(order), 1)
    return found


def held_out(n: int, val_size: float, test_size: float) -> tuple[int, int]:
    """How many rows are held out, and how many of those are the test. Both are rounded up, as
    scikit-learn does, but from the decimal shares, so that 0.2 + 0.1 is 0.3.

    Args:
        n: number of rows.
        val_size, test_size: shares of the rows, between 0 and 1.
    """
    val, test = Fraction(str(val_size)), Fraction(str(test_size))
    held = math.ceil((val + test) * n)
    return held, math.ceil(held * test / (val + test)) if held else 0


def _ticks(timestamp: pl.Series) -> NDArray[np.int64]:
    """Times as integers; rows without one are the oldest."""
    return timestamp.cast(pl.Int64).fill_null(np.iinfo(np.int64).min).to_numpy()


def _newest(time: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """Which are the ``n`` newest; of equal times, those that come last."""
    if n == 0:
        return np.zeros(len(time), bool)
    edge = np.partition(time, len(time) - n)[len(time) - n]
    mask: NDArray[np.bool_] = time > edge
    ties = np.flatnonzero(time == edge)
    mask[ties[len(ties) - (n - int(mask.sum())) :]] = True
    return mask
