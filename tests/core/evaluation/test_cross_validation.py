"""A cross-validation is what its folds are by hand, also after it was stopped."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import planted
import pytest

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.prepare import prepare
from cfcli.core.errors import ArtifactError, ConfigError, StoppedError
from cfcli.core.evaluation import cross_validation
from cfcli.core.evaluation.cross_validation import CrossValidation, Progress, Spread, cross_validate
from cfcli.core.evaluation.evaluate import evaluate
from cfcli.core.evaluation.folds import Folds, Spec, open_folds
from cfcli.core.inputs.sources import Source
from cfcli.core.runs import train as fitting
from cfcli.core.runs.run import Run
from cfcli.core.runs.train import TrainedRun

PREPARE = PrepareConfig(val_size=0.1)
TRAIN = TrainConfig.of(dim=2, epochs=3, device="cpu", interest=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``r.csv``, and the same rows as folds ``1.base``, ``1.test``, ``2.base`` and ``2.test``."""
    folder = tmp_path_factory.mktemp("folds")
    rows = planted.checkerboard()
    planted.write_csv(folder / "r.csv", rows)
    for k, (one, other) in enumerate([planted.halves(rows), planted.halves(rows, seed=2)], 1):
        planted.write_csv(folder / f"{k}.base", one)
        planted.write_csv(folder / f"{k}.test", other)
    return folder


def given(folder: Path) -> Folds:
    names = [f"{folder}/{k}.base:{folder}/{k}.test" for k in (1, 2)]
    return open_folds(Spec.of(",".join(names)), PREPARE)


def cut(folder: Path, n: int = 2) -> Folds:
    return open_folds(Spec.of(str(n)), PREPARE, sources=[Source.of(folder / "r.csv")])


def without_runs(found: CrossValidation) -> CrossValidation:
    return replace(found, evaluations=[replace(one, run="") for one in found.evaluations])


def test_means_and_deviations_are_those_of_the_folds_by_hand(folder: Path, tmp_path: Path) -> None:
    train = TrainConfig.of(dim=2, epochs=3, device="cpu")
    found = cross_validate(given(folder), train)
    rmse, ndcg = [], []
    for k in (1, 2):
        data, _ = prepare(
            [Source.of(folder / f"{k}.base")],
            tmp_path / f"data{k}",
            PREPARE,
            test=Source.of(folder / f"{k}.test"),
        )
        trained = fitting.train(data, train, tmp_path / f"run{k}")
        assert trained is not None
        one, _ = evaluate(Run.load(trained.path))
        assert one.lists is not None
        rmse.append(one.model.rmse)
        ndcg.append(one.lists.list.liked.ndcg)
    assert found.folds == 2
    assert [one.model.rmse for one in found.evaluations] == rmse
    assert found.model.rmse.mean == pytest.approx(sum(rmse) / 2)
    assert found.model.rmse.std == pytest.approx(abs(rmse[0] - rmse[1]) / 2**0.5)
    assert found.lists is not None
    assert found.lists.list.liked.ndcg.mean == pytest.approx(sum(ndcg) / 2)
    # Tastes tell all, and means nothing.
    assert found.model.rmse.mean < 0.5
    assert all(errors.rmse.mean > 1.9 for errors in found.baselines.values())


def test_a_spread_of_few_folds() -> None:
    assert Spread.of([1.0, 2.0, 6.0]) == Spread(3.0, pytest.approx(7**0.5))
    assert repr(Spread.of([2.0, float("nan")])) == "Spread(mean=2.0, std=nan)"
    assert repr(Spread.of([float("nan")])) == "Spread(mean=nan, std=nan)"


def stopping_after(folds: int) -> Callable[..., Any]:
    """``train``, which Ctrl-C ends after some folds."""
    done = iter(range(folds))

    def train(*args: Any) -> Any:
        if next(done, None) is None:
            raise KeyboardInterrupt
        return fitting.train(*args)

    return train


def stopped(data: object, config: object, out: Path) -> TrainedRun:
    """``train``, which SIGTERM ends early."""
    out.mkdir()
    return TrainedRun(out, None, 15)  # type: ignore[arg-type]


class Stand:
    """Takes the place of the module that trains."""

    def __init__(self, train: Callable[..., Any]) -> None:
        self.train = train


def test_a_stopped_one_goes_on_with_the_next_fold(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cross_validate(cut(folder), TRAIN)
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(cross_validation, "fitting", Stand(stopping_after(1)))
        with pytest.raises(KeyboardInterrupt):
            cross_validate(cut(folder), TRAIN, out=out)
    (out / "fold-2" / "run").mkdir()  # of a process that was killed before it was judged
    told: list[Progress] = []
    with monkeypatch.context() as patch:
        patch.setattr(cross_validation, "fitting", Stand(stopping_after(1)))
        again = cross_validate(cut(folder), TRAIN, out=out, progress=told.append)
    assert without_runs(again) == without_runs(whole)
    assert [one.seconds is None for one in told] == [True, False]
    assert Run.load(out / "fold-2" / "run").info.dim == 2
    (out / "fold-1" / "evaluation.json").write_text("{}")
    with pytest.raises(ArtifactError, match="damaged"):
        cross_validate(cut(folder), TRAIN, out=out)


def test_a_training_that_a_signal_ends_is_no_fold(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_validation, "fitting", Stand(stopped))
    with pytest.raises(StoppedError, match="stopped in fold-1") as error:
        cross_validate(cut(folder), TRAIN, out=tmp_path / "out")
    assert error.value.exit_code == 143
    assert not (tmp_path / "out" / "fold-1" / "run").exists()


def test_one_that_was_begun_otherwise_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(cross_validation, "fitting", Stand(stopping_after(0)))
    with pytest.raises(KeyboardInterrupt):
        cross_validate(cut(folder), TRAIN, out=out)
    before = sorted(out.rglob("*"))
    with pytest.raises(ConfigError, match="out: was begun with dim 2, not 3; choose another --out"):
        cross_validate(cut(folder), TRAIN.replace(dim=3), out=out)
    with pytest.raises(ConfigError, match="was begun with folds 2, not 3"):
        cross_validate(cut(folder, 3), TRAIN, out=out)
    text = (folder / "r.csv").read_text()
    (tmp_path / "r.csv").write_text(text + "new,1,5\n")
    with pytest.raises(ArtifactError, match="out: was begun with other ratings"):
        cross_validate(cut(tmp_path), TRAIN, out=out)
    assert sorted(out.rglob("*")) == before
    with pytest.raises(ConfigError, match="holds other files"):
        cross_validate(cut(folder), TRAIN, out=folder)
    with pytest.raises(ConfigError, match="warm_start: "):
        cross_validate(cut(folder), TRAIN.replace(warm_start="run"))
