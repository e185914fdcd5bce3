"""Which model may take the place of another, on errors that are worked by hand."""

import math
from pathlib import Path

import pytest
from fake_run import make_run

from cfcli.core.data.dataset import Dataset
from cfcli.core.retraining import gate
from cfcli.core.retraining.gate import Policy
from cfcli.core.runs.run import Run
from cfcli.core.runs.verdict import BestRun

# Five users rated item 1 with 1 to 5; the rows held out are all 3, by users 1 to 4 for item 2.
TRAIN = "user,item,rating\n" + "".join(f"{u},1,{u}\n" for u in range(1, 6)) + "5,2,3\n"
TEST = "user,item,rating\n" + "".join(f"{u},2,3\n" for u in range(1, 5))
ANY = Policy(min_gain_over="none")


def runs(folder: Path, *errors: float, test: str = TEST) -> tuple[list[Run], Dataset]:
    """Runs that predict 3 plus an error for every pair, so that it is their RMSE; and the
    dataset."""
    made = []
    for k, error in enumerate(errors):
        share = (3 + error - 1) / 4  # 1 + 4 * sigmoid(score) is the rating
        score = math.log(share / (1 - share))
        run = make_run(folder / f"{k}", TRAIN, [[score]] * 5, [[1.0]] * 2, test=test)
        run.path.rename(folder / f"run-{k}")
        made.append(Run.load(folder / f"run-{k}"))
    return made, Dataset.load(folder / "0" / "data")


@pytest.mark.parametrize(
    ("new", "old", "tolerance", "reason"),
    [
        (0.5, 0.5, 0.0, ""),
        (0.4, 0.5, 0.0, ""),
        (0.504, 0.5, 0.01, ""),
        (0.506, 0.5, 0.01, "RMSE 0.5060 is more than 1.0% above that of the model in use, 0.5000"),
        (0.504, 0.5, 0.0, "RMSE 0.5040 is more than 0.0% above that of the model in use, 0.5000"),
        (0.506, 0.5, 0.02, ""),
    ],
)
def test_a_new_model_may_be_worse_by_the_tolerance(
    new: float, old: float, tolerance: float, reason: str, tmp_path: Path
) -> None:
    (candidate, champion), data = runs(tmp_path, new, old)
    judged = gate.compare(candidate, champion, [], data, Policy(tolerance, "none"))
    why, found = judged.reason, judged.found
    assert why == reason
    assert found.n == 4
    assert found.model.rmse == pytest.approx(new, rel=1e-5)
    assert found.champion.mse == pytest.approx(old**2, rel=1e-5)
    assert found.mse_difference.value == pytest.approx(new**2 - old**2, abs=1e-6)
    assert math.isnan(found.mse_difference.low)  # so few users give no interval
    assert found.best == BestRun("run-1", found.champion.rmse)


def test_many_small_steps_are_one_large(tmp_path: Path) -> None:
    (new, champion, first), data = runs(tmp_path, 0.508, 0.504, 0.5)
    assert gate.compare(new, champion, [], data, ANY).reason == ""
    judged = gate.compare(new, champion, [first], data, ANY)
    why, found = judged.reason, judged.found
    assert why == "RMSE 0.5080 is more than 1.0% above that of run-2, in use before, 0.5000"
    assert found.best.run == "run-2"


@pytest.mark.parametrize(
    ("error", "baseline", "why"),
    [
        (
            0.1,
            "mean",
            "RMSE 0.1000 is not below that of the baseline 'mean', 0.0000",
        ),  # the mean is 3: nothing is better
        (0.1, "user_mean", ""),  # 1.2247, the root of (4 + 1 + 0 + 1) / 4
        (1.3, "user_mean", "RMSE 1.3000 is not below that of the baseline 'user_mean', 1.2247"),
    ],
)
def test_it_must_be_better_than_a_baseline(
    error: float, baseline: str, why: str, tmp_path: Path
) -> None:
    (new,), data = runs(tmp_path, error)
    judged = gate.compare(new, None, [], data, Policy(min_gain_over=baseline))
    reason, found = judged.reason, judged.found
    assert reason == why
    assert found.champion is found.best is None


def test_what_either_was_trained_on_does_not_count(tmp_path: Path) -> None:
    """Tonight's rows are split otherwise: user 5's of item 2, which both were trained on, is held
    out."""
    (new, champion), _ = runs(tmp_path, 0.1, 0.2)
    train, test = TRAIN.replace("5,2,3", "1,2,3"), TEST.replace("1,2,3", "5,2,1")
    other = make_run(tmp_path / "other", train, [[0.1]] * 5, [[1.0]] * 2, test=test)
    data = Dataset.load(tmp_path / "other" / "data")
    assert data.info.test == 4
    judged = gate.compare(new, champion, [], data, ANY)
    why, found = judged.reason, judged.found
    assert (why, found.n) == ("", 3)
    assert found.model.rmse == pytest.approx(0.1, rel=1e-5)  # user 5's would be far off
    assert gate.compare(new, other, [], data, ANY).found.n == 3
    assert gate.compare(other, None, [], data, ANY).found.n == 4
    alone = make_run(
        tmp_path / "alone", train, [[0.1]] * 5, [[1.0]] * 2, test="user,item,rating\n5,2,1\n"
    )
    assert alone.path.exists()
    data = Dataset.load(tmp_path / "alone" / "data")
    assert (
        gate.compare(new, champion, [], data, ANY).reason
        == "no rows to judge by that neither model was trained on"
    )


def test_a_model_that_knows_fewer_is_refused(tmp_path: Path) -> None:
    (champion,), data = runs(tmp_path, 0.5)
    fewer = TRAIN.replace("4,1,4\n", "").replace(
        "5,1,5\n5,2,3\n", "3,2,3\n5,1,5\n"
    )  # without user 4
    new = make_run(tmp_path / "fewer", fewer, [[0.1]] * 4, [[1.0]] * 2)
    judged = gate.compare(new, champion, [], data, ANY)
    why, found = judged.reason, judged.found
    assert (found.model.coverage, found.champion.coverage, found.n) == (
        pytest.approx(2 / 3),
        1.0,
        3,
    )
    assert why == "knows user and item of 66.7% of the rows, the model in use of 100.0%"
