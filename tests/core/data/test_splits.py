"""Sides are disjoint, complete, and stay put."""

from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from cfcli.core.data import splits
from cfcli.core.data.ids import hash_ids

PAIRS = st.lists(
    st.tuples(st.text(max_size=4), st.text(max_size=4)), unique=True, min_size=1, max_size=80
)
SHARES = st.sampled_from([(0.2, 0.1), (0.0, 0.5), (0.3, 0.0), (0.0, 0.0), (0.45, 0.45)])


def sides_by_pair(
    pairs: list[tuple[str, str]], val: float, test: float
) -> dict[tuple[str, str], str]:
    rows = rows_of(
        splits.by_hash(hash_ids(u for u, _ in pairs), hash_ids(i for _, i in pairs), val, test, 42)
    )
    return {pairs[row]: name for name, part in rows.items() for row in part}


def rows_of(sides: np.ndarray) -> dict[str, np.ndarray]:
    """Row numbers of each side, ascending."""
    return {name: np.flatnonzero(sides == k) for k, name in enumerate(splits.NAMES)}


def assert_whole(rows: dict[str, np.ndarray], n: int) -> None:
    assert sorted(np.concatenate([rows[name] for name in splits.NAMES]).tolist()) == list(range(n))


@settings(max_examples=50, deadline=None)
@given(PAIRS, SHARES, st.randoms(use_true_random=False), st.integers(0, 40))
def test_a_hashed_rating_stays_on_its_side(pairs, shares, random, cut) -> None:  # type: ignore[no-untyped-def]
    whole = sides_by_pair(pairs, *shares)
    assert len(whole) == len(pairs)
    shuffled = random.sample(pairs, len(pairs))
    assert sides_by_pair(shuffled, *shares) == whole
    some = pairs[: max(1, cut)]
    assert sides_by_pair(some, *shares) == {pair: whole[pair] for pair in some}


def test_hashed_shares_are_about_right() -> None:
    users, items = hash_ids(map(str, range(100))), hash_ids(map(str, range(100)))
    rows = rows_of(splits.by_hash(np.repeat(users, 100), np.tile(items, 100), 0.2, 0.1, 7))
    assert_whole(rows, 10_000)
    assert abs(len(rows["val"]) - 2000) < 200
    assert abs(len(rows["test"]) - 1000) < 150


@pytest.mark.parametrize("n", [10, 11, 33, 100, 999, 2_544, 25_445])
def test_random_is_scikit_learns_own(n: int) -> None:
    train, held = train_test_split(np.arange(n), test_size=0.3, random_state=42)
    val, test = train_test_split(held, test_size=1 / 3, random_state=42)
    rows = rows_of(splits.at_random(n, 0.2, 0.1, 42))
    for name, expected in (("train", train), ("val", val), ("test", test)):
        np.testing.assert_array_equal(rows[name], np.sort(expected))


@pytest.mark.parametrize(("val", "test"), [(0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.2, 0.1)])
def test_random_without_a_side_is_still_whole(val: float, test: float) -> None:
    rows = rows_of(splits.at_random(20, val, test, 0))
    assert_whole(rows, 20)
    assert [len(rows["val"]), len(rows["test"])] == [20 * val, 20 * test]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_random_with_too_few_rows_leaves_none_to_train(n: int) -> None:
    rows = rows_of(splits.at_random(n, 0.5, 0.4, 0))  # 90 % of so few rounds up to all of them
    assert_whole(rows, n)
    assert len(rows["train"]) == 0
    assert len(rows["test"]) == [1, 1, 2][n - 1]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 400), SHARES)
def test_random_and_time_round_alike(n: int, shares: tuple[float, float]) -> None:
    random = rows_of(splits.at_random(n, *shares, seed=3))
    time = rows_of(splits.by_time(pl.Series([datetime(2020, 1, 1)] * n), *shares))
    for rows in (random, time):
        assert_whole(rows, n)
    assert {name: len(rows) for name, rows in random.items()} == {
        name: len(rows) for name, rows in time.items()
    }
    assert time["test"].tolist() == list(
        range(n - len(time["test"]), n)
    )  # equal times go by the input's order


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.none() | st.integers(1, 9)), min_size=1, max_size=60),
    SHARES,
)
def test_user_last_leaves_every_user_a_row_to_train(table, shares) -> None:  # type: ignore[no-untyped-def]
    users = [user for user, _ in table]
    days = [day and datetime(2020, 1, day) for _, day in table]
    rows = rows_of(
        splits.by_user_last(pl.Series(users), pl.Series(days, dtype=pl.Datetime), *shares)
    )
    assert_whole(rows, len(table))
    assert {users[row] for row in rows["train"]} == set(users)
    for name, other in (("train", "val"), ("train", "test"), ("val", "test")):
        for row in rows[name]:
            later = [r for r in rows[other] if users[r] == users[row]]
            assert len(later) <= 1
            assert all(
                (days[row] or datetime.min, row) < (days[r] or datetime.min, r) for r in later
            )


def test_time_holds_out_the_newest() -> None:
    times = pl.Series([datetime(2020, 1, day) for day in (5, 1, 9, 3, 7, 2, 10, 4, 8, 6)])
    rows = rows_of(splits.by_time(times, 0.2, 0.1))
    assert rows["test"].tolist() == [6]
    assert rows["val"].tolist() == [2, 8]
    assert_whole(rows, 10)


def test_time_takes_rows_without_one_for_the_oldest() -> None:
    rows = rows_of(
        splits.by_time(pl.Series([datetime(2020, 1, 2), None, datetime(2020, 1, 1)]), 0.0, 0.3)
    )
    assert rows["test"].tolist() == [0]
    assert rows["train"].tolist() == [1, 2]


def test_user_last_holds_out_each_users_newest_and_leaves_one_to_train() -> None:
    user = pl.Series([0, 0, 0, 1, 1, 2])
    times = pl.Series([datetime(2020, 1, day) for day in (3, 1, 2, 1, 2, 1)])
    rows = rows_of(splits.by_user_last(user, times, 0.2, 0.1))
    assert {name: part.tolist() for name, part in rows.items()} == {
        "train": [1, 3, 5],
        "val": [2],
        "test": [0, 4],
    }
    rows = rows_of(splits.by_user_last(user, None, 0.0, 0.1))
    assert {name: part.tolist() for name, part in rows.items()} == {
        "train": [0, 1, 3, 5],
        "val": [],
        "test": [2, 4],
    }
