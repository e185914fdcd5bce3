"""Which rows train, which choose, which judge."""

import math
from fractions import Fraction

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.ids import hash_pairs

TRAIN, VAL, TEST = "train", "val", "test"
NAMES = (TRAIN, VAL, TEST)
Sides = NDArray[np.uint8]  # one per rating: its side's place in NAMES


def by_hash(
    user_hash: NDArray[np.uint64], item_hash: NDArray[np.uint64], val_size: float, test_size: float, seed: int
) -> Sides:
    """Sides by a hash of (user, item, seed): a rating stays where it is when others come, go or change places.

    Args:
        user_hash, item_hash: shape (N,), one per rating, from :func:`cfcli.core.ids.hash_ids`.
    """
    place = hash_pairs(user_hash, item_hash, seed)
    return (place < test_size + val_size).astype(np.uint8) + (place < test_size)


def at_random(n: int, val_size: float, test_size: float, seed: int) -> Sides:
    """scikit-learn's ``train_test_split`` twice, as notebooks do: held out against training, then test against
    validation."""
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
    """The newest rows are the test, those before them the validation; equal times go by the order of the input."""
    n = len(timestamp)
    held, test = held_out(n, val_size, test_size)
    order = _by_age(timestamp)
    sides = np.zeros(n, np.uint8)
    sides[order[n - held : n - test]], sides[order[n - test :]] = 1, 2
    return sides


def by_user_last(user: pl.Series, timestamp: pl.Series | None, val_size: float, test_size: float) -> Sides:
    """Of each user, the last row is the test and the one before it the validation (a side with share 0 gets none),
    as long as one at least is left to train on. Without times, last means last in the input."""
    order = np.arange(len(user)) if timestamp is None else _by_age(timestamp)
    frame = pl.DataFrame({"row": order, "user": user.gather(order)})
    place = frame.select(
        "row",
        last=pl.int_range(pl.len(), dtype=pl.Int64).reverse().over("user"),  # 0 is the user's newest row
        n=pl.len().over("user"),
    ).filter(pl.col("last") < pl.col("n") - 1)
    row, last = place["row"].to_numpy(), place["last"].to_numpy()
    tests = 1 if test_size > 0 else 0
    vals = 1 if val_size > 0 else 0
    sides = np.zeros(len(user), np.uint8)
    sides[row[last < tests + vals]] = 1
    sides[row[last < tests]] = 2
    return sides


def held_out(n: int, val_size: float, test_size: float) -> tuple[int, int]:
    """How many of ``n`` rows are held out, and how many of those are the test; both rounded up, as scikit-learn does,
    but from the decimal shares, so that 0.2 + 0.1 is 0.3."""
    val, test = Fraction(str(val_size)), Fraction(str(test_size))
    held = math.ceil((val + test) * n)
    return held, math.ceil(held * test / (val + test)) if held else 0


def _by_age(timestamp: pl.Series) -> NDArray[np.int64]:
    frame = timestamp.rename("time").to_frame().with_row_index("row")
    return frame.sort("time", maintain_order=True, nulls_last=False)["row"].to_numpy().astype(np.int64)
