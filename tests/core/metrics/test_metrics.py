"""Errors and their interval, against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from cfcli.core.metrics.intervals import mean_with_interval, paired_bootstrap
from cfcli.core.metrics.ratings import errors, model_errors

NAN = float("nan")


@pytest.mark.parametrize(
    ("rating", "prediction", "expected"),
    [
        # errors 0, 1, -2: squares 0 + 1 + 4; about the mean 2 the ratings have squares 1 + 0 + 1
        ([1, 2, 3], [1, 3, 1], (5 / 3, (5 / 3) ** 0.5, 1.0, 1 - 5 / 2)),
        ([1, 5], [1, 5], (0.0, 0.0, 0.0, 1.0)),
        ([4], [2], (4.0, 2.0, 2.0, NAN)),
        ([], [], (NAN, NAN, NAN, NAN)),
    ],
)
def test_errors(rating: list[float], prediction: list[float], expected: tuple[float, ...]) -> None:
    pair = np.array(rating, dtype=np.float64), np.array(prediction, dtype=np.float64)
    found = model_errors(*pair)
    shown = (found.mse, found.rmse, found.mae, found.r2)
    assert shown == pytest.approx(expected, nan_ok=True)
    plain = errors(*pair)
    assert (plain.mse, plain.rmse, plain.mae) == pytest.approx(expected[:3], nan_ok=True)


@given(st.lists(st.sampled_from([0.5, 1.0, 3.75, 5.0]), min_size=2, max_size=9), st.integers(0, 99))
def test_errors_are_those_of_scikit_learn(rating: list[float], seed: int) -> None:
    true = np.array(rating)
    for prediction in (true, np.random.default_rng(seed).uniform(1, 5, len(true))):
        found = model_errors(true, prediction)
        reference = (
            mean_squared_error(true, prediction),
            mean_squared_error(true, prediction) ** 0.5,
            mean_absolute_error(true, prediction),
            r2_score(true, prediction),
        )
        assert (found.mse, found.rmse, found.mae, found.r2) == pytest.approx(reference)


def test_the_interval_holds_the_mean_and_tells_a_clear_difference_from_none() -> None:
    generator = np.random.default_rng(3)
    group = np.repeat(np.arange(200, dtype=np.uint32), 5)
    noise = generator.normal(0, 1, 1000)
    clear, none = (
        paired_bootstrap(noise - 0.5, group),
        paired_bootstrap(noise - noise.mean(), group),
    )
    assert clear[0] < (noise - 0.5).mean() < clear[1] < 0
    assert none[0] < 0 < none[1]
    assert clear == paired_bootstrap(noise - 0.5, group)  # reproducible
    assert clear != paired_bootstrap(noise - 0.5, group, seed=1)


def test_the_interval_has_the_width_of_theory_and_grows_where_a_users_rows_are_alike() -> None:
    generator = np.random.default_rng(4)
    alone = np.arange(2000, dtype=np.uint32)
    by_user = np.repeat(np.arange(100, dtype=np.uint32), 20)
    alike = np.repeat(generator.normal(0, 1, 100), 20)
    width = {}
    for name, group in (("alone", alone), ("user", by_user)):
        low, high = paired_bootstrap(alike, group)
        width[name] = high - low
    # 2 * 1.96 standard errors, from 2,000 rows or from 100 users
    assert width["alone"] == pytest.approx(3.92 * alike.std() / 2000**0.5, rel=0.1)
    assert width["user"] == pytest.approx(3.92 * alike.std() / 100**0.5, rel=0.1)


def test_users_weigh_by_their_ratings() -> None:
    difference, group = np.array([1.0, 1.0, 1.0, -1.0]), np.array([7, 7, 7, 2], dtype=np.uint32)
    # of the draws, a quarter is user 2 twice (-1), a half one of each ((3 - 1) / 4), a quarter user
    # 7 twice (1)
    assert paired_bootstrap(difference, group, level=0.4) == (0.5, 0.5)
    assert paired_bootstrap(difference, group, level=0.6) == (-1.0, 1.0)


def test_a_single_user_has_no_spread() -> None:
    assert paired_bootstrap(np.array([1.0, 3.0]), np.zeros(2, dtype=np.uint32)) == (2.0, 2.0)


def test_an_interval_needs_ten_users() -> None:
    values, users = np.arange(12.0), np.arange(12, dtype=np.uint32)
    few, enough = mean_with_interval(values, users // 2), mean_with_interval(values, users)
    assert few.value == enough.value == 5.5
    assert np.isnan([few.low, few.high]).all()
    assert enough.low < 5.5 < enough.high
