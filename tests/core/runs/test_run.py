"""Runs on disk: what is in them, and what is noticed when they are harmed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import planted
import polars as pl
import pytest

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import resolve, to_toml
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.prepare import prepare
from cfcli.core.errors import ArtifactError, ConfigError, GateError, LockedError
from cfcli.core.evaluation.evaluate import evaluate
from cfcli.core.inputs.ratings import Source
from cfcli.core.runs import train as fitting
from cfcli.core.runs import writing
from cfcli.core.runs.run import FILES, Run
from cfcli.core.serving.similar import similar
from cfcli.core.storage import manifests, publishing
from cfcli.core.storage.schema import to_json
from cfcli.core.training import interest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return planted.dataset(
        tmp_path_factory.mktemp("runs"), planted.checkerboard(12, 10), titles=True
    )


@pytest.fixture(scope="module")
def whole(data: Dataset) -> Path:
    keys = {"epochs": 3, "hidden": (8,), "model": "ncf", "refit": "none"}
    return planted.run(data, data.path.parent / "whole", **keys)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy to harm."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_a_run_is_what_its_manifest_says(whole: Path, data: Dataset) -> None:
    run = Run.load(whole)
    assert {p.name for p in whole.iterdir()} == {
        *FILES, "seen.parquet", "steps.csv", "run.json", "interest.safetensors",
    }  # fmt: skip
    for name in FILES:
        listed = run.info.files[name]
        assert listed.bytes == (whole / name).stat().st_size
        assert listed.sha256 == manifests.sha256(whole / name)
    assert run.tensors["user_embedding.weight"].shape == (12, 5)
    assert run.tensors["network.0.weight"].shape == (8, 10)
    expected = {
        "model": "ncf",
        "solver": "adam",
        "status": "finished",
        "epochs": 3,
        "device": "cpu",
        "batch_size": 32,
    }
    info = to_json(run.info)
    assert expected.items() <= info.items()
    shape = run.info.shape
    assert (shape.users, shape.items, shape.low, shape.high) == (12, 10, 1.0, 5.0)
    best = run.history.row(run.info.best_epoch - 1, named=True)
    assert info["val"] == pytest.approx({k: best[f"val_{k}"] for k in ("mse", "rmse", "mae")})
    assert best["val_mse"] == run.history["val_mse"].min()
    wanted = TrainConfig.of(learning_rate=0.02, epochs=3, device="cpu", hidden=(8,), model="ncf")
    wanted = wanted.replace(solver="adam", refit="none")
    assert resolve(TrainConfig, file=whole / "config.toml") == wanted
    assert run.dataset().info == data.info


def test_the_tables_count_the_training_rows_alone(whole: Path, data: Dataset) -> None:
    run = Run.load(whole)
    train = data.split("train")
    for table, column in ((run.users, "user"), (run.items, "item")):
        stats = train.group_by(column).agg(pl.len(), pl.col("rating").mean()).sort(column)
        assert table["n_ratings"].to_list() == stats["len"].to_list()
        assert table["mean"].to_list() == pytest.approx(stats["rating"].to_list())
    assert run.users.columns == ["userId", "n_ratings", "mean", "bias"]
    assert run.items.columns == ["movieId", "n_ratings", "title", "genres", "mean", "bias"]
    base = run.baseline()
    assert base.mean == pytest.approx(train["rating"].mean())
    np.testing.assert_array_equal(base.item_bias, run.items["bias"].to_numpy())
    np.testing.assert_array_equal(base.user_mean, run.users["mean"].to_numpy())
    users, items = run.ids
    assert users.ids.to_list() == [str(n) for n in range(89, 101)]  # by number, not by text
    assert items.id(pl.Series([0])).to_list() == ["91"]


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_noticed_and_its_file_named(name: str, copy: Path) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"{name}: damaged"):
        Run.load(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name: str, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: missing"):
        Run.load(copy)


def rewrite(folder: Path, **changes: object) -> None:
    """Changes a manifest so that its checksums are right."""
    planted.reseal(folder / "run.json", **{"files": manifests.listing(folder, FILES), **changes})


@pytest.mark.parametrize("entity", ["users", "items"])
def test_tensors_that_do_not_fit_the_ids_are_refused(entity: str, copy: Path) -> None:
    path = copy / f"{entity}.parquet"
    pl.read_parquet(path)[1:].write_parquet(path)
    rewrite(copy)
    with pytest.raises(ArtifactError, match=rf"{entity}.parquet has \d+ rows, not \d+"):
        Run.load(copy)


def test_what_is_no_run_is_refused(copy: Path, tmp_path: Path, data: Dataset) -> None:
    with pytest.raises(ArtifactError, match="no run there; make one with 'cfcli train'"):
        Run.load(tmp_path / "nothing")
    with pytest.raises(ArtifactError, match="no run there"):
        Run.load(data.path)
    rewrite(copy, format=99)
    with pytest.raises(ArtifactError, match="another version of cfcli"):
        Run.load(copy)
    (copy / "run.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged: not a run's manifest"):
        Run.load(copy)
    (copy / "model.safetensors").write_bytes(b"no tensors")
    (copy / "run.json").write_text("{}")
    with pytest.raises(ArtifactError, match="damaged"):
        Run.load(copy)


def test_tensors_that_are_none_are_refused_though_listed(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"no tensors at all")
    rewrite(copy)
    with pytest.raises(ArtifactError, match=r"model\.safetensors: damaged"):
        Run.load(copy)


def test_a_file_that_the_manifest_does_not_list_is_missed(copy: Path) -> None:
    rewrite(
        copy, files=manifests.listing(copy, [name for name in FILES if name != "items.parquet"])
    )
    with pytest.raises(ArtifactError, match=r"does not list items\.parquet"):
        Run.load(copy)


def test_another_dataset_in_the_old_place_is_refused(whole: Path, tmp_path: Path) -> None:
    other = planted.dataset(tmp_path, planted.checkerboard(12, 10, seed=9))
    with pytest.raises(ArtifactError, match=r"is not the dataset that .* was trained on"):
        Run.load(whole).dataset(other.path)


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_a_run_is_never_overwritten(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    {"folder": out.mkdir, "file": out.touch, "dangling link": lambda: out.symlink_to("gone")}[
        kind
    ]()
    with (
        pytest.raises(ConfigError, match="exists; a run is never overwritten"),
        writing.create_run(out, TrainConfig()),
    ):
        pytest.fail("the block must not start")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


class Meanwhile:
    """Does something when a training begins."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.start = lambda *_: action()
        self.named = self.stage = self.batch = self.epoch = lambda *_: None


def test_a_folder_that_appears_while_a_run_is_trained_is_kept(
    data: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "run"

    def appear() -> None:
        out.mkdir()
        (out / "theirs").touch()

    config = TrainConfig.of(epochs=2, device="cpu")
    staging = tmp_path / ".run.part"
    with pytest.raises(LockedError, match=f"the new one is {staging}"):
        fitting.train(data, config, out, Meanwhile(appear))
    assert [path.name for path in out.iterdir()] == ["theirs"]
    assert Run.load(staging).info.epochs == 2


def make(out: Path | None = None) -> Path:
    with writing.create_run(out, TrainConfig()) as new:
        (new.staging / "x").write_text("x")
        assert not new.path.exists()
    writing.point_latest(new.path)
    return new.path


def test_the_pointer_moves_with_every_run_but_not_for_one_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("elsewhere"))
    assert not Path("runs").exists()
    first, second = make(), make()  # within one second, perhaps
    assert first != second
    assert Path("runs/latest").resolve() == second.resolve()
    third = make(tmp_path / "runs" / "mine")
    assert Path("runs/latest").resolve() == third
    assert not Path("runs/latest").readlink().is_absolute()
    make(tmp_path / "other" / "run")
    assert Path("runs/latest").resolve() == third
    assert sorted(p.name for p in Path("runs").iterdir()) == sorted(
        [first.name, second.name, "mine", "latest"]
    )
    assert first.name.endswith("-mf")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConfigError, ZeroDivisionError])
def test_a_failure_leaves_nothing(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = make()
    with pytest.raises(error), writing.create_run(None, TrainConfig.of(model="ncf")) as new:
        (new.staging / "half").write_text("x")
        raise error
    assert sorted(p.name for p in Path("runs").iterdir()) == sorted([before.name, "latest"])
    assert Path("runs/latest").resolve() == before.resolve()


def test_a_trained_run_knows_the_tastes(tmp_path: Path) -> None:
    """Judging, neighbours and baselines of weights that were learned, not given."""
    data = planted.dataset(tmp_path, planted.checkerboard(40, 20), titles=True)
    run = Run.load(planted.run(data, tmp_path / "run", epochs=25, refit="none"))
    report, rows = evaluate(run)
    rating = rows["rating"].to_numpy()
    train = data.split("train")["rating"].cast(pl.Float64)
    assert report.baselines["mean"].mse == pytest.approx(((rating - train.mean()) ** 2).mean())
    assert report.n == data.info.test == report.warm.n + report.cold.n
    assert report.model.rmse < 0.75 < 1.8 < report.baselines["bias"].rmse
    difference = report.mse_difference_to_bias
    assert difference.low < difference.value < difference.high < 0
    for item in range(20):
        near = similar(run, item, n=9)
        assert {k % 2 for k in near["item"]} == {item % 2}
        assert near["score"].min() > 0  # type: ignore[operator]
    every = similar(run, 0, n=100)
    assert (every.height, every["score"][-1] < -0.1) == (19, True)  # the other taste comes last


@pytest.mark.parametrize("keys", [{"biases": False}, {"model": "ncf"}], ids=str)
def test_the_manifest_and_evaluate_agree_on_the_validation_error(
    keys: dict[str, object], tmp_path: Path
) -> None:
    """Also where validation rows have users that training has not, and initial parameters are
    large."""
    train, val = planted.halves(planted.checkerboard(20, 10))
    for name, part in (("train.csv", train.filter(pl.col("user") > 5)), ("val.csv", val)):
        planted.write_csv(tmp_path / name, part)
    sources, config = [Source.of(tmp_path / "train.csv")], PrepareConfig(test_size=0)
    data, _ = prepare(sources, tmp_path / "data", config, val=Source.of(tmp_path / "val.csv"))
    run = Run.load(
        planted.run(data, tmp_path / "run", epochs=3, init_scale=1.0, refit="none", **keys)
    )
    report, _ = evaluate(run, split="val")
    assert report.cold.n == val.filter(pl.col("user") <= 5).height > 0
    for key in ("mse", "rmse", "mae"):
        assert getattr(report.model, key) == pytest.approx(getattr(run.info.val, key), abs=1e-4)


def test_a_run_without_validation_rows_says_so(tmp_path: Path) -> None:
    data = planted.dataset(tmp_path, planted.checkerboard(12, 10), val_size=0)
    run = Run.load(planted.run(data, tmp_path / "run", epochs=2))
    assert to_json(run.info)["val"] == {"mse": None, "rmse": None, "mae": None}
    assert (run.info.best_epoch, run.history.height) == (2, 2)


@pytest.mark.parametrize(("stop", "number"), [(SystemExit(143), 15), (KeyboardInterrupt(), 2)])
def test_a_signal_during_the_interest_model_keeps_the_rating_model(
    stop: BaseException, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: object, **settings: object) -> None:
        raise stop

    data = planted.dataset(tmp_path, planted.checkerboard())
    monkeypatch.setattr(interest, "fit", stopped)
    found = fitting.train(data, TrainConfig.of(epochs=2), tmp_path / "run")
    assert found is not None
    assert found.stopped_by == number
    run = Run.load(tmp_path / "run")
    assert run.interest is None
    assert run.info.interest is not None
    assert run.info.interest.reason == "a signal came before it was fitted"
    with pytest.raises(type(stop)):  # a night is begun again
        fitting.train(data, TrainConfig.of(epochs=2), tmp_path / "night", whole=True)
    assert not (tmp_path / "night").exists()


def test_a_setting_that_is_refused_leaves_what_a_killed_training_left(tmp_path: Path) -> None:
    """So that it can be resumed as it was begun."""
    left = publishing.staging_of(tmp_path / "run")
    (left / "checkpoints").mkdir(parents=True)
    (left / "checkpoints" / "last.ckpt").write_bytes(b"x")
    (left / "config.toml").write_text(before := to_toml(TrainConfig.of(epochs=9)))
    with (
        pytest.raises(ConfigError),
        writing.create_run(tmp_path / "run", TrainConfig.of(epochs=2), keep=True),
    ):
        raise ConfigError("epochs: 2 is below the 9 that its checkpoint has")
    assert (left / "config.toml").read_text() == before
    assert (left / "checkpoints" / "last.ckpt").exists()
    with (
        pytest.raises(GateError),
        writing.create_run(tmp_path / "run", TrainConfig.of(epochs=9), keep=True),
    ):
        raise GateError("the loss diverged")
    assert not left.exists()
