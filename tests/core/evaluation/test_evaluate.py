"""The report is what a few lines of arithmetic say it is."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fake_run import make_run, text_source

from cfcli.core.errors import ArtifactError, GateError, InputError
from cfcli.core.evaluation import evaluate as evaluation
from cfcli.core.runs.run import Run

TRAIN = "user,item,rating\na,1,5\na,2,3\nb,1,4\n"
TEST = "user,item,rating\nb,2,2\na,3,4\nc,1,5\n"  # one warm row, one unseen item, one unseen user


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path, TRAIN, [[1], [2], [0]], [[0], [1], [-1]], test=TEST)


def test_numbers_worked_by_hand(run: Run) -> None:
    result, rows = evaluation.evaluate(run)
    sigmoid = 1 / (1 + np.exp(-np.array([2.0, -1.0, 0.0])))  # b,2: 2*1; a,3: 1*-1; c,1: 0*0
    prediction, rating = 1 + 4 * sigmoid, np.array([2.0, 4, 5])
    np.testing.assert_allclose(rows["prediction"], prediction, rtol=1e-6)
    squares = (rating - prediction) ** 2
    assert result.n == 3
    assert result.model.mse == pytest.approx(squares.mean(), rel=1e-6)
    assert result.model.rmse == pytest.approx(squares.mean() ** 0.5, rel=1e-6)
    assert result.model.mae == pytest.approx(abs(rating - prediction).mean(), rel=1e-6)
    assert result.model.r2 == pytest.approx(1 - squares.mean() / rating.var(), rel=1e-6)
    assert (result.warm.n, result.cold.n) == (1, 2)
    assert result.warm.mse == pytest.approx(squares[0], rel=1e-6)
    assert result.cold.mse == pytest.approx(squares[1:].mean(), rel=1e-6)

    # Training: mean 4; user means a 4, b 4; item means 1: 4.5, 2: 3.
    assert rows["mean"].to_list() == [4, 4, 4]
    assert rows["user_mean"].to_list() == [4, 4, 4]
    assert rows["item_mean"].to_list() == [3, 4, 4.5]
    # b_1 = (1 + 0) / 27, b_2 = -1 / 26; b_a = (1 - b_1 + -1 - b_2) / 12, b_b = (0 - b_1) / 11.
    b1, b2 = 1 / 27, -1 / 26
    ba, bb = (-b1 - b2) / 12, -b1 / 11
    np.testing.assert_allclose(rows["bias"], [4 + bb + b2, 4 + ba, 4 + b1])
    bias_squares = (rating - rows["bias"].to_numpy()) ** 2
    assert result.mse_difference_to_bias.value == pytest.approx(
        (squares - bias_squares).mean(), rel=1e-6
    )
    assert result.mse_gain_over_mean == pytest.approx(
        ((rating - 4) ** 2).mean() - squares.mean(), rel=1e-6
    )


def test_ratings_of_others_with_ids_that_the_run_has_never_seen(run: Run) -> None:
    result, rows = evaluation.evaluate(
        run,
        source=text_source("user,item,rating\na,1,3\nzz,1,3\na,yy,3\nzz,yy,3\n"),
        include_trained=True,
    )
    assert rows["user"].to_list() == ["a", "zz", "a", "zz"]
    assert rows["warm"].to_list() == [True, False, False, False]
    # What is not known counts as the mean: of the users' vectors, and of the items', weighted by the
    # roots of their numbers of ratings.
    p, q = (run.tensors[f"{name}_embedding.weight"] for name in ("user", "item"))
    counts = run.items["n_ratings"].to_numpy()
    mean = np.average(q, axis=0, weights=counts**0.5)
    index = run.ids.user.index(pl.Series(["a"]))[0], run.ids.item.index(pl.Series(["1"]))[0]
    user = p[(run.users["n_ratings"] > 0).to_numpy()].mean(0)
    expected = [user @ q[index[1]], p[index[0]] @ mean, user @ mean]
    np.testing.assert_allclose(
        rows["prediction"][1:], 1 + 4 / (1 + np.exp(-np.array(expected))), rtol=1e-5
    )
    assert rows["bias"][3] == 4
    assert result.cold.n == 3


@pytest.mark.parametrize("times", [("", "", ""), (",3", ",2", ",1")])
def test_the_last_rating_of_a_pair_is_judged(run: Run, times: tuple[str, str, str]) -> None:
    ratings = [f"zz,1,3{times[0]}", f"a,yy,2{times[1]}", f"zz,1,5{times[2]}"]
    head = "user,item,rating" + (",time" if times[0] else "")
    told: list[str] = []
    _, rows = evaluation.evaluate(
        run, source=text_source("\n".join([head, *ratings, ""])), note=told.append
    )
    assert dict(rows.select("user", "rating").rows()) == {"a": 2, "zz": 3 if times[0] else 5}
    assert rows.height == 2
    assert any("1 rating of pairs rated before; kept: last" in text for text in told)


def test_a_split_without_rows(run: Run) -> None:
    with pytest.raises(InputError, match="split val: no rows"):
        evaluation.evaluate(run, split="val")


def test_bars(run: Run) -> None:
    result, _ = evaluation.evaluate(run)
    evaluation.check_bars(result, "none", None)
    evaluation.check_bars(result, "none", result.model.mse)
    with pytest.raises(GateError, match="above --max-mse"):
        evaluation.check_bars(result, "none", result.model.mse - 0.01)
    with pytest.raises(GateError, match="not below that of the baseline 'item_mean'"):
        evaluation.check_bars(result, "item_mean", None)


def test_a_run_whose_dataset_is_gone_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(ArtifactError, match="data: no dataset there"):
        evaluation.evaluate(run)
    assert evaluation.evaluate(run, data=tmp_path / "moved")[0].n == 3
