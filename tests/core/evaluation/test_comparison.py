"""Runs are compared on the same rows, and chance is told from difference."""

from pathlib import Path

import numpy as np
import planted
import pytest
from fake_run import make_run, text_source

from cfcli.core.errors import ArtifactError, ConfigError, InputError
from cfcli.core.evaluation.comparison import compare
from cfcli.core.evaluation.evaluate import evaluate
from cfcli.core.runs.run import Run

TRAIN = "user,item,rating\na,1,5\na,2,3\nb,1,4\nb,3,2\n"
TEST = "user,item,rating\na,3,4\nb,2,2\n"
VECTORS = [[1], [2]], [[0], [1], [-1]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A run that learned tastes on a checkerboard, and one that had no time to."""
    folder = tmp_path_factory.mktemp("compared")
    data = planted.dataset(folder, planted.checkerboard())
    good = planted.run(data, folder / "good", solver="gibbs", dim=2, epochs=4)
    bad = planted.run(data, folder / "bad", solver="adam", dim=2, epochs=1, learning_rate=1e-6)
    return Run.load(bad), Run.load(good)


def test_numbers_worked_by_hand(tmp_path: Path) -> None:
    first = make_run(tmp_path / "one", TRAIN, *VECTORS, test=TEST)
    other = make_run(tmp_path / "two", TRAIN, [[0], [0]], VECTORS[1], test=TEST)  # predicts 3
    found = compare([first, other])
    prediction = 1 + 4 / (1 + np.exp([1.0, -2.0]))  # a,3: 1*-1; b,2: 2*1
    mse = ((prediction - [4, 2]) ** 2).mean()
    assert found.n == 2
    assert found.runs[0].model.mse == pytest.approx(mse)
    assert found.runs[1].mse_difference is not None
    assert found.runs[1].mse_difference.value == pytest.approx(1 - mse)
    assert found.runs[1].rmse_difference is not None
    assert found.runs[1].rmse_difference.value == pytest.approx(1 - mse**0.5)
    assert found.runs[1].verdict is not None
    assert found.runs[1].verdict.startswith("too few users to tell (RMSE ")


def test_a_run_is_no_different_from_itself(runs: tuple[Run, Run]) -> None:
    _, run = runs
    one, itself = compare([run, run]).runs
    assert (one.mse_difference, one.verdict) == (None, None)
    for difference in (itself.mse_difference, itself.rmse_difference, itself.ndcg_difference):
        assert difference is not None
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert itself.verdict is not None
    assert itself.verdict.count("no difference can be told") == 2


def test_a_run_that_is_clearly_better_is_called_so(runs: tuple[Run, Run]) -> None:
    bad, good = runs
    found = compare([bad, good])
    difference = found.runs[1].mse_difference
    assert difference is not None
    assert difference.high < -1
    mse = [evaluate(run, lists=None).evaluation.model.mse for run in runs]
    assert difference.value == pytest.approx(mse[1] - mse[0])
    assert difference.low < difference.value < difference.high
    verdict = found.runs[1].verdict
    assert verdict is not None
    assert verdict.startswith("better by ")
    back = compare([good, bad]).runs[1]
    assert back.verdict is not None
    assert back.verdict.startswith("worse by ")
    lists = [evaluate(run).evaluation.lists for run in runs]
    assert [one.lists for one in found.runs] == [one.list for one in lists if one]


def test_runs_of_other_rows_need_ratings_for_both(runs: tuple[Run, Run], tmp_path: Path) -> None:
    run = runs[1]
    data = planted.dataset(tmp_path, planted.checkerboard(seed=5), seed=1)
    other = Run.load(planted.run(data, tmp_path / "run", dim=2, epochs=1, interest=False))
    with pytest.raises(ArtifactError, match="its test rows are not those of"):
        compare([run, other])
    new = text_source("userId,movieId,rating\n" + "".join(f"new,{k},5\n" for k in range(80, 99)))
    notes: list[str] = []
    found = compare([run, other], source=new, note=notes.append)
    assert found.n == 19
    assert found.runs[0].lists is None
    assert any("lists are not compared" in text for text in notes)
    everything = text_source((tmp_path / "ratings.csv").read_text())
    notes.clear()
    found = compare([run, other], source=everything, note=notes.append)
    assert 0 < found.n < data.info.ratings
    assert any("was trained on" in text for text in notes)


def test_a_run_of_all_ratings_is_judged_by_its_twin(runs: tuple[Run, Run], tmp_path: Path) -> None:
    keys = {"dim": 2, "epochs": 2, "interest": False, "refit": "all"}
    run = Run.load(planted.run(runs[0].dataset(), tmp_path / "all", **keys))
    assert run.twin is not None
    notes: list[str] = []
    found = compare([runs[1], run], note=notes.append)
    assert [one.judged for one in found.runs] == ["run", "twin"]
    assert found.runs[1].model == evaluate(run, lists=None).evaluation.model
    lists = evaluate(run.twin).evaluation.lists
    assert lists is not None
    assert found.runs[1].lists == lists.list
    assert any("trained on different rows" in text for text in notes)


def test_what_cannot_be_compared(runs: tuple[Run, Run]) -> None:
    with pytest.raises(ConfigError, match="two runs or more"):
        compare(runs[:1])
    with pytest.raises(InputError, match="was trained on the val rows"):
        compare(runs, split="val")
