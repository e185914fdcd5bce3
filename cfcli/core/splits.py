"""Which rows train, which choose, which judge."""

import math
from fractions import Fraction

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.ids import hash_pairs

TRAIN, VAL, TEST = "train", "val", "test"
NAMES = (TRAIN, VAL, TEST)
Rows = NDArray[np.int64]


def by_hash(
    user_hash: NDArray[np.uint64], item_hash: NDArray[np.uint64], val_size: float, test_size: float, seed: int
) -> dict[str, Rows]:
    """Sides by a hash of (user, item, seed): a rating stays where it is when others come, go or change places.

    Args:
        user_hash, item_hash: shape (N,), one per rating, from :func:`cfcli.core.ids.hash_ids`.

    Returns:
        Row numbers of each side, ascending.
    """
    place = hash_pairs(user_hash, item_hash, seed)
    sides = {TEST: place < test_size, VAL: (place >= test_size) & (place < test_size + val_size)}
    sides[TRAIN] = ~(sides[TEST] | sides[VAL])
    return {name: np.flatnonzero(sides[name]) for name in NAMES}


def at_random(n: int, val_size: float, test_size: float, seed: int) -> dict[str, Rows]:
    """scikit-learn's ``train_test_split`` twice, as notebooks do: held out against training, then test against
    validation. Rows come in its shuffled order."""
    from sklearn.model_selection import train_test_split

    held, test = held_out(n, val_size, test_size)
    train, rest = np.arange(n), np.arange(0)
    if held == n:
        train, rest = rest, train
    elif held:
        train, rest = train_test_split(train, test_size=held, random_state=seed)
    if 0 < test < held:
        val, tests = train_test_split(rest, test_size=test, random_state=seed)
    else:
        val, tests = (rest, []) if test == 0 else ([], rest)
    return {TRAIN: train, VAL: np.asarray(val, np.int64), TEST: np.asarray(tests, np.int64)}


def by_time(timestamp: pl.Series, val_size: float, test_size: float) -> dict[str, Rows]:
    """The newest rows are the test, those before them the validation; equal times go by the order of the input."""
    held, test = held_out(len(timestamp), val_size, test_size)
    order = _by_age(timestamp)
    n = len(order)
    parts = {TRAIN: order[: n - held], VAL: order[n - held : n - test], TEST: order[n - test :]}
    return {name: np.sort(rows) for name, rows in parts.items()}


def by_user_last(user: pl.Series, timestamp: pl.Series | None, val_size: float, test_size: float) -> dict[str, Rows]:
    """Of each user, the last row is the test and the one before it the validation (a side with share 0 gets none),
    as long as one at least is left to train on. Without times, last means last in the input."""
    order = np.arange(len(user)) if timestamp is None else _by_age(timestamp)
    frame = pl.DataFrame({"row": order, "user": user.gather(order)})
    place = frame.select(
        "row",
        last=pl.int_range(pl.len(), dtype=pl.Int64).reverse().over("user"),  # 0 is the user's newest row
        n=pl.len().over("user"),
    ).filter(pl.col("last") < pl.col("n") - 1)
    tests = 1 if test_size > 0 else 0
    vals = 1 if val_size > 0 else 0
    held = {
        TEST: place.filter(pl.col("last") < tests)["row"].to_numpy(),
        VAL: place.filter(pl.col("last").is_between(tests, tests + vals - 1))["row"].to_numpy(),
    }
    mask = np.ones(len(user), dtype=bool)
    mask[held[TEST]] = mask[held[VAL]] = False
    return {TRAIN: np.flatnonzero(mask), VAL: np.sort(held[VAL]), TEST: np.sort(held[TEST])}


def held_out(n: int, val_size: float, test_size: float) -> tuple[int, int]:
    """How many of ``n`` rows are held out, and how many of those are the test; both rounded up, as scikit-learn does,
    but from the decimal shares, so that 0.2 + 0.1 is 0.3."""
    val, test = Fraction(str(val_size)), Fraction(str(test_size))
    held = math.ceil((val + test) * n)
    return held, math.ceil(held * test / (val + test)) if held else 0


def _by_age(timestamp: pl.Series) -> Rows:
    frame = timestamp.rename("time").to_frame().with_row_index("row")
    return frame.sort("time", maintain_order=True, nulls_last=False)["row"].to_numpy().astype(np.int64)
