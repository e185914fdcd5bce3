"""Effects of time, by hand: what lies in which window, and what is added to ratings."""

import numpy as np
import polars as pl
import pytest

from cfcli.core.models.times import BINS, Calendar, TimeEffects, seconds_of

DAY = 86_400.0
NONE = float("nan")


def test_a_window_holds_the_ratings_of_one_user_in_one_stretch_of_time() -> None:
    calendar = Calendar(begin=10.0, end=3 * DAY, lengths=[86_400])
    user = np.array([0, 0, 0, 1, 1, 0, 1, 1])
    time = np.array([10.0, DAY - 1, DAY, DAY, 3 * DAY, 9.0, 3 * DAY + 1, NONE])
    found = calendar.windows(86_400, user, time)
    assert found.tolist() == [0, 0, 1, 5, 7, -1, -1, -1]
    users, middles = calendar.middles(86_400, found[:5])
    assert users.tolist() == [0, 0, 0, 1, 1]
    assert calendar.windows(86_400, users, middles).tolist() == found[:5].tolist()


def test_windows_that_say_nothing_new_are_left_out() -> None:
    """Times that are whole days, or in which no two ratings share a minute."""
    user = np.repeat(np.arange(20), 6)
    days = np.tile([0, 0, 0, 5, 5, 5], 20) * DAY
    assert Calendar.of(user, days).lengths == [86_400]
    apart = days + np.tile([0, 200, 400, 0, 200, 400], 20)  # one window of ten minutes a day
    assert Calendar.of(user, apart).lengths == [86_400]
    pairs = days + np.tile([0, 1, 1900, 0, 1, 1900], 20)
    assert Calendar.of(user, pairs).lengths == [86_400, 600]


@pytest.fixture
def effects() -> TimeEffects:
    calendar = Calendar(begin=0.0, end=20 * DAY, lengths=[86_400, 600])
    items = np.zeros((2, BINS), np.float32)
    items[1, 0] = 0.25
    return TimeEffects(
        calendar,
        [np.array([0, 21]), np.array([1])],  # day 0 of users 0 and 1; the second ten minutes
        [np.array([0.5, -0.5], np.float32), np.array([2.0], np.float32)],
        items,
    )


def test_what_time_adds_is_the_sum_of_the_windows_and_of_the_bin_of_the_item(
    effects: TimeEffects,
) -> None:
    user = np.array([0, 0, 1, 1, 0, -1, 0, 0])
    item = np.array([0, 0, 1, 1, 1, 1, 1, 7])
    time = np.array([10.0, 700, 700, 5 * DAY, NONE, 0.0, 40 * DAY, 10])
    expected = [0.5, 2.5, -0.5 + 0.25, 0, 0, 0.25, 0, 0.5]
    np.testing.assert_allclose(effects.offset(user, item, time), expected)


def test_effects_are_read_back_and_refused_where_they_do_not_fit(effects: TimeEffects) -> None:
    tensors = effects.tensors()
    again = TimeEffects.of(effects.calendar, tensors, 2)
    assert again is not None
    assert again.offset(np.array([0]), np.array([0]), np.array([700.0])).tolist() == [2.5]
    assert TimeEffects.of(effects.calendar, tensors, 3) is None
    for wrong in (
        {"keys_600": np.array([1], np.int32)},
        {"keys_86400": np.array([21, 0])},
        {"values_86400": np.array([0.5], np.float32)},
        {"values_600": np.array([np.nan], np.float32)},
    ):
        assert TimeEffects.of(effects.calendar, tensors | wrong, 2) is None


def test_seconds_of_timestamps() -> None:
    column = pl.Series([0, None, 1_500_000], dtype=pl.Datetime("us"))
    np.testing.assert_array_equal(seconds_of(column), [0, NONE, 1.5])
