"""Where a run errs, by hand."""

from pathlib import Path

import numpy as np
import planted
import polars as pl
import pytest
from fake_run import make_run, text_source

from cfcli.core.evaluation import diagnostics
from cfcli.core.evaluation import evaluate as evaluation
from cfcli.core.runs.run import Run

TRAIN = "user,item,rating\na,1,5\na,2,3\nb,1,4\n"
TEST = "user,item,rating\nb,2,2\na,3,4\nc,1,5\n"  # one warm row, one unseen item, one unseen user


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path, TRAIN, [[1], [2], [0]], [[0], [1], [-1]], test=TEST)


def judged(run: Run) -> pl.DataFrame:
    return evaluation.evaluate(run)[1]


def test_rows_are_counted_by_rating_and_by_the_nearest_prediction(run: Run) -> None:
    # Predictions: b,2: 1 + 4 s(2) = 4.52; a,3: 1 + 4 s(-1) = 2.08; c,1: 1 + 4 s(0) = 3. Ratings: 2,
    # 4, 5.
    rows = diagnostics.diagnose(run, judged(run)).by_rating
    assert [(row.label, row.ratings, row.predictions) for row in rows] == [
        ("2", 1, 1),
        ("4", 1, 1),
        ("5", 1, 1),
    ]
    prediction = 1 + 4 / (1 + np.exp(-np.array([2.0, -1.0, 0.0])))
    np.testing.assert_allclose([row.prediction for row in rows], prediction, rtol=1e-6)
    np.testing.assert_allclose(
        [row.rmse for row in rows], np.abs([2, 4, 5] - prediction), rtol=1e-6
    )


def test_rows_are_grouped_by_training_ratings_of_users_and_items(run: Run) -> None:
    found = diagnostics.diagnose(run, judged(run))
    assert [(row.label, row.n) for row in found.by_user] == [
        ("0", 1),
        ("1+", 2),
    ]  # c; a and b
    assert [(row.label, row.n) for row in found.by_item] == [
        ("0", 1),
        ("1+", 2),
    ]  # 3; 1 and 2
    prediction, rating = 1 + 4 / (1 + np.exp(-np.array([2.0, -1.0, 0.0]))), np.array([2.0, 4, 5])
    squares = (rating - prediction) ** 2
    assert found.by_user[1].rmse == pytest.approx(squares[:2].mean() ** 0.5, rel=1e-6)
    assert found.by_item[1].rmse == pytest.approx(squares[[0, 2]].mean() ** 0.5, rel=1e-6)
    assert found.by_user[0].bias_rmse == pytest.approx(
        abs(5 - (4 + 1 / 27))
    )  # as test_evaluation works it out


def test_ids_that_the_run_does_not_know_have_no_ratings(run: Run) -> None:
    _, table = evaluation.evaluate(run, source=text_source("user,item,rating\nzz,1,3\na,yy,3\n"))
    found = diagnostics.diagnose(run, table)
    assert [(row.label, row.n) for row in found.by_user] == [("0", 1), ("1+", 1)]
    assert found.calibration is None


def test_many_different_ratings_are_put_into_bins(run: Run) -> None:
    ratings = np.linspace(1, 5, 101)
    source = text_source(
        "user,item,rating\n" + "".join(f"u{k},1,{r:.3f}\n" for k, r in enumerate(ratings))
    )
    rows = diagnostics.diagnose(run, evaluation.evaluate(run, source=source)[1]).by_rating
    assert len(rows) == diagnostics.VALUES
    assert sum(row.ratings for row in rows) == sum(row.predictions for row in rows) == 101
    assert rows[0].label == "1 to 1.2"


def test_every_row_is_in_one_group_of_each_kind(tmp_path: Path) -> None:
    run = Run.load(
        planted.run(planted.dataset(tmp_path, planted.checkerboard()), tmp_path / "run", epochs=1)
    )
    table = judged(run)
    found = diagnostics.diagnose(run, table)
    for key, n in (
        ("by_rating", "ratings"),
        ("by_rating", "predictions"),
        ("by_user", "n"),
        ("by_item", "n"),
    ):
        assert sum(getattr(row, n) for row in getattr(found, key)) == table.height, (key, n)
    squares = sum(row.n * row.rmse**2 for row in found.by_user)
    rmse = evaluation.evaluate(run)[0].model.rmse
    assert squares / table.height == pytest.approx(rmse**2)


def test_intervals_hold_what_they_are_of(tmp_path: Path) -> None:
    run = Run.load(
        planted.run(planted.dataset(tmp_path, planted.checkerboard()), tmp_path / "run", epochs=1)
    )
    result, table = evaluation.evaluate(run)
    found = diagnostics.intervals(run, table)
    assert list(found) == [*evaluation.BASELINES, "model"]
    for name, rung in found.items():
        own = result.model if name == "model" else result.baselines[name]
        assert rung.value == pytest.approx(own.rmse)
        assert rung.low <= rung.value <= rung.high


def test_intervals_of_a_run_with_samples_hold_what_they_promise(tmp_path: Path) -> None:
    """Ratings of the very noise that the model has: a normal one, of ratings on a continuous
    scale."""
    random = np.random.default_rng(0)
    user, item = (grid.ravel() for grid in np.indices((120, 60)))
    truth = (
        5
        + random.normal(0, 1, 120)[user]
        + random.normal(0, 1, 60)[item]
        + random.normal(0, 1, len(user))
    )
    data = planted.dataset(tmp_path, planted.frame(user, item, truth))
    run = Run.load(planted.run(data, tmp_path / "run", solver="gibbs", dim=2))
    levels = diagnostics.diagnose(run, judged(run)).calibration
    assert [row.level for row in levels] == list(diagnostics.LEVELS)
    np.testing.assert_allclose([row.share for row in levels], diagnostics.LEVELS, atol=0.07)
