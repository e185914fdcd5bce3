"""A training that goes on with the rows that were held out, and the twin that has not seen them."""

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import planted
import polars as pl
import pytest
from fake_run import text_source

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ArtifactError, ConfigError, InputError, StoppedError
from cfcli.core.evaluation import evaluate as evaluation
from cfcli.core.models.warm_start import WarmStart
from cfcli.core.reporting.report import report
from cfcli.core.runs import finish, warm_start
from cfcli.core.runs import train as fitting
from cfcli.core.runs.run import CHECKPOINT, DATASET, TWIN, Run
from cfcli.core.runs.verify import verify
from cfcli.core.runs.writing import resumable
from cfcli.core.storage.publishing import staging_of
from cfcli.core.training import refit
from cfcli.core.training.fit import fit
from cfcli.core.training.job import TrainingData


class Killed(BaseException):
    """The end of a process that can do nothing any more."""


SOLVERS = {
    "gibbs": {"dim": 3, "epochs": 12},
    "adam": {"solver": "adam", "learning_rate": 0.02, "dim": 3, "epochs": 12},
    "ncf": {"model": "ncf", "learning_rate": 0.02, "dim": 3, "hidden": (8,), "epochs": 12},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("refit")
    return planted.dataset(folder, planted.checkerboard(60, 30, share=0.5), val_size=0.3)


@pytest.fixture(scope="module")
def runs(data: Dataset) -> dict[str, Run]:
    """Runs of the sampler by ``refit``."""
    folder = data.path.parent
    made = {}
    for name in finish.SIDES:
        config = TrainConfig.of(refit=name, device="cpu", **SOLVERS["gibbs"])
        fitting.train(data, config, folder / name)
        made[name] = Run.load(folder / name)
    return made


def rmse(run: Run, rows: pl.DataFrame) -> float:
    predicted = run.predictor().predict(rows["user"].to_numpy(), rows["item"].to_numpy())
    return float(np.sqrt(((predicted - rows["rating"].to_numpy()) ** 2).mean()))


@pytest.mark.parametrize("solver", SOLVERS)
def test_more_ratings_make_a_better_model(solver: str, data: Dataset, tmp_path: Path) -> None:
    test = data.split("test")
    errors = {}
    for name in ("none", "val"):
        config = TrainConfig.of(refit=name, device="cpu", interest=False, **SOLVERS[solver])
        fitting.train(data, config, tmp_path / name)
        errors[name] = rmse(Run.load(tmp_path / name), test)
    assert errors["val"] < errors["none"]


def test_it_counts_what_it_was_trained_on(data: Dataset, runs: dict[str, Run]) -> None:
    for name, sides in finish.SIDES.items():
        run = runs[name]
        rows = pl.concat([data.split(side) for side in sides])
        found = run.info.refit
        assert found is not None
        assert (found.rating_rows, run.trained_sides) == (rows.height, sides)
        assert found.interest_rows == rows.height
        assert run.users["n_ratings"].sum() == rows.height
        assert run.baseline().mean == pytest.approx(rows["rating"].mean())
        trained = run.seen_pairs().filter("trained").select("user", "item")
        assert trained.equals(rows.select("user", "item").sort("user", "item"))


def test_validation_errors_are_those_of_the_model_that_has_not_seen_the_rows(
    data: Dataset, runs: dict[str, Run]
) -> None:
    twin = runs["all"].twin
    assert twin is not None
    assert twin.info.val == runs["val"].info.val == runs["all"].info.val
    assert rmse(twin, data.split("val")) == pytest.approx(twin.info.val.rmse, abs=1e-4)
    assert rmse(runs["val"], data.split("val")) < 0.9 * runs["val"].info.val.rmse


def test_a_run_of_all_ratings_is_judged_by_its_twin(data: Dataset, runs: dict[str, Run]) -> None:
    run, twin = runs["all"], runs["all"].twin
    assert twin is not None
    assert set(twin.fitted_sides) == {"train"}
    found = evaluation.evaluate(run).evaluation
    assert (found.judged, found.run) == ("twin", str(run.path))
    assert found.model.rmse == pytest.approx(rmse(twin, data.split("test")), abs=1e-6)
    mean = data.split("train")["rating"].cast(pl.Float64).mean()
    rating = data.split("test")["rating"].cast(pl.Float64)
    assert found.baselines["mean"].mse == pytest.approx(((rating - mean) ** 2).mean())
    assert found.lists is not None
    alone = evaluation.evaluate(twin).evaluation
    assert found.lists == alone.lists
    own = evaluation.evaluate(run, include_trained=True).evaluation
    assert (own.judged, own.lists) == ("run", None)
    assert own.model.rmse == pytest.approx(rmse(run, data.split("test")), abs=1e-6)
    assert own.trained_rows == own.n
    assert evaluation.evaluate(run, split="train").evaluation.judged == "run"


def test_without_a_twin_nothing_is_judged_by_what_was_trained_on(runs: dict[str, Run]) -> None:
    assert runs["val"].twin is None
    assert evaluation.evaluate(runs["val"]).evaluation.judged == "run"
    with pytest.raises(InputError, match=r"was trained on all \d+ rows; --include-trained"):
        evaluation.evaluate(runs["val"], split="val")
    found = evaluation.evaluate(runs["val"], split="val", include_trained=True).evaluation
    assert (found.n, found.judged) == (runs["val"].dataset().info.val, "run")


def test_runs_that_have_seen_more_or_less_stand_in_one_report(runs: dict[str, Run]) -> None:
    made = report([runs["all"], runs["val"], runs["none"]])
    said = "Judged is its twin, the same model without them."
    assert made.page.count(said) == 1
    assert all(part.judgement for part in made.parts)


def test_new_ratings_judge_the_run_itself(data: Dataset, runs: dict[str, Run]) -> None:
    run = runs["all"]
    rated = set(run.seen_pairs().select("user", "item").iter_rows())
    user, item = next((u, i) for u in range(60) for i in range(30) if (u, i) not in rated)
    users, items = run.ids
    old = data.split("test").row(0)
    lines = [(user, item, 5.0), old]
    text = "user,item,rating\n" + "".join(
        f"{users.ids[u]},{items.ids[i]},{rating:g}\n" for u, i, rating in lines
    )
    found = evaluation.evaluate(run, source=text_source(text), lists=None).evaluation
    assert (found.n, found.trained_rows, found.judged) == (1, 1, "run")


def test_a_twin_is_a_part_of_its_run(runs: dict[str, Run], tmp_path: Path) -> None:
    one, two = verify(runs["all"].path), verify(runs["val"].path)
    assert one.files > 2 * two.files - 2
    copy = tmp_path / "copy"
    shutil.copytree(runs["all"].path, copy)
    file = copy / TWIN / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"twin/model\.safetensors: damaged"):
        verify(copy)
    assert Run.load(copy).info == runs["all"].info  # what it serves is whole
    shutil.rmtree(copy / TWIN)
    with pytest.raises(ArtifactError, match="twin: missing, though"):
        verify(copy)
    shutil.copytree(runs["val"].path, copy / TWIN)
    with pytest.raises(ArtifactError, match="is not the twin"):
        verify(copy)


def test_a_warm_start_goes_on_from_the_twin(data: Dataset, runs: dict[str, Run]) -> None:
    config = TrainConfig.of(dim=3)
    twin = runs["all"].twin
    assert twin is not None
    start = warm_start.start(runs["all"], data, config)
    np.testing.assert_array_equal(start.tensors["user_bias"], twin.tensors["user_bias"])
    assert start.origin is not None
    assert start.origin.run == "all"
    with pytest.raises(ConfigError, match="was trained on validation rows"):
        warm_start.start(runs["val"], data, config)


def test_what_an_earlier_run_was_trained_on_is_not_held_out_again(
    runs: dict[str, Run], tmp_path: Path
) -> None:
    """Another split puts some of its training rows into validation and test."""
    rows = planted.checkerboard(60, 30, share=0.5)
    other = planted.dataset(tmp_path, rows, val_size=0.3, seed=7)
    for name in ("none", "all"):
        with pytest.raises(ConfigError, match=r"trained on \d+ of the validation and test rows"):
            warm_start.start(runs[name], other, TrainConfig.of(dim=3))


def test_without_held_out_rows_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    data = planted.dataset(tmp_path, planted.checkerboard(12, 10), val_size=0)
    run = Run.load(planted.run(data, tmp_path / "run", epochs=2))
    assert (run.trained_sides, run.twin) == (("train",), None)


def test_a_run_of_all_ratings_has_a_twin_even_without_test_rows(tmp_path: Path) -> None:
    data = planted.dataset(tmp_path, planted.checkerboard(20, 15), val_size=0.3, test_size=0)
    run = Run.load(planted.run(data, tmp_path / "run", epochs=2, refit="all"))
    assert run.trained_sides == ("train", "val")
    assert evaluation.evaluate(run, split="val").evaluation.judged == "twin"
    assert warm_start.start(run, data, run.config).origin is not None


def test_a_signal_in_the_first_sweeps_of_a_refit_stops_it(data: Dataset) -> None:
    class Stop(Quiet):
        def batch(self, done: int) -> None:
            signal.raise_signal(signal.SIGTERM)

    users, items = data.info.counts
    start = WarmStart(
        {
            "user_embedding.weight": np.ones((users, 3), np.float32),
            "item_embedding.weight": np.ones((items, 3), np.float32),
            "user_bias": np.zeros(users, np.float32),
            "item_bias": np.zeros(items, np.float32),
            "linear.bias": np.zeros(1, np.float32),
        },
        None,
        1.0,
        None,
        is_part=True,
    )
    rows = TrainingData(data.split("train"), data.split("val"), users, items)
    config = TrainConfig.of(device="cpu", **SOLVERS["gibbs"]).with_solver_named()
    found = fit(rows, config, progress=Stop(), warm_start=start)
    assert (found.stopped_by, len(found.history)) == (signal.SIGTERM, 1)
    assert np.isfinite(found.noise)


def test_what_there_is_no_time_for_is_said(data: Dataset, tmp_path: Path) -> None:
    config = TrainConfig.of(max_time="1h", **SOLVERS["gibbs"])
    work = finish.Finish(data, config.with_solver_named(), _judged(data, tmp_path), Quiet(), 0.0)
    [models] = work.models()
    assert models.interest == "--max-time 1h was over"
    assert (models.sides, models.reason) == (("train",), "--max-time 1h is too short for it")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [({"devices": 2}, "several processes"), ({"loader": "stream"}, "--loader stream")],
)
def test_what_cannot_be_refitted_says_why(
    keys: dict[str, object], reason: str, data: Dataset, tmp_path: Path
) -> None:
    config = TrainConfig.of(interest=False, dim=3, **keys).with_solver_named()
    [models] = finish.Finish(data, config, _judged(data, tmp_path), Quiet(), None).models()
    assert models.sides == ("train",)
    assert models.reason is not None
    assert models.reason.startswith(reason)


def test_a_stopped_refit_is_made_up_for_by_resuming(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model so far is kept, and what follows on it comes by ``--resume``."""
    out = tmp_path / "run"
    config = TrainConfig.of(device="cpu", **SOLVERS["gibbs"])
    with monkeypatch.context() as patched:
        patched.setattr(refit, "refit", _stopped)
        found = fitting.train(data, config, out)
    assert found is not None
    assert (found.stopped_by, found.info.status) == (15, "stopped")
    stopped = Run.load(out)
    assert (stopped.trained_sides, stopped.interest) == (("train",), None)
    assert (out / DATASET).exists()
    begun = resumable(out)
    again = fitting.train(data, config, begun.out, resume=begun.folder / CHECKPOINT, replace=True)
    assert again is not None
    assert again.stopped_by is None
    run = Run.load(out)
    assert run.trained_sides == ("train", "val")
    assert run.interest is not None
    assert run.info.val == stopped.info.val
    assert not (out / CHECKPOINT).exists()


@pytest.mark.parametrize("end", [SystemExit(143), Killed()])
def test_a_run_that_was_not_written_to_its_end_can_be_resumed(
    end: BaseException, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was left of its twin counts no more."""

    def stop(*args: object, **keys: object) -> None:
        if isinstance(end, Killed):  # as the system leaves it
            shutil.copytree(staging_of(out), tmp_path / "left")
        raise end

    out = tmp_path / "run"
    config = TrainConfig.of(device="cpu", refit="all", **SOLVERS["gibbs"])
    with monkeypatch.context() as patched:
        patched.setattr(fitting, "write_run", stop)
        with pytest.raises(Killed if isinstance(end, Killed) else StoppedError):
            fitting.train(data, config, out)
    if isinstance(end, Killed):
        (tmp_path / "left" / ".run.json.1.part").touch()
        (tmp_path / "left").rename(staging_of(out))
    begun = resumable(out)
    assert (begun.folder / TWIN).exists()
    config = replace(config, refit="val")
    fitting.train(data, config, begun.out, resume=begun.folder / CHECKPOINT, keep=begun.was_killed)
    run = Run.load(out)
    assert (run.trained_sides, run.twin) == (("train", "val"), None)
    assert not (out / TWIN).exists()
    assert list(out.glob(".*")) == []
    assert not (out / CHECKPOINT).exists()


def _stopped(*args: object) -> None:
    raise SystemExit(143)


class Quiet:
    def named(self, run: Path) -> None: ...
    def start(self, device: str, batches: int, epochs: int) -> None: ...
    def stage(self, text: str) -> None: ...
    def batch(self, done: int) -> None: ...
    def epoch(self, row: object) -> None: ...


def _judged(data: Dataset, folder: Path):  # type: ignore[no-untyped-def]
    """A model trained on the training rows."""
    from cfcli.core.training.fit import fit
    from cfcli.core.training.job import TrainingData

    info = data.info
    rows = TrainingData(data.split("train"), data.split("val"), info.users, info.items)
    return fit(rows, TrainConfig.of(**SOLVERS["gibbs"]), folder / "checkpoints")
