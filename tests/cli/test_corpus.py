"""Artifacts of version 0.1, as people have them on their disks: every command works on them.

tests/corpus/make.py says how they were made. They are never made again: where a test here fails,
the code is wrong.
"""

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from shell import run_cfcli

from cfcli.cli.app import COMMANDS

CORPUS = Path(__file__).parents[1] / "corpus"
SAID = json.loads((CORPUS / "expected.json").read_text())  # by version 0.1
FINISHED = ("mf", "adam", "ncf")
STOPPED = ("stopped-adam", "stopped-gibbs")
BAR = 0.6  # an RMSE that shows that the two tastes were learned: damped biases have 1.1


def copied(to: Path) -> Path:
    """A copy of the corpus to work on."""
    shutil.copytree(CORPUS, to, symlinks=True, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return to


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that all tests share which leave its artifacts as they are."""
    return copied(tmp_path_factory.mktemp("corpus") / "copy")


def cfcli(place: Path, *args: object, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """What a command says in a folder. Its name stands first, for the last test of this file."""
    done = run_cfcli(*args, cwd=place)
    assert done.returncode == code, done.stderr
    return done


def told(done: "subprocess.CompletedProcess[str]") -> Any:
    """The JSON object on standard output."""
    return json.loads(done.stdout)


def rows(done: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    """The JSON objects on standard output, one a line."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_holds(found: Any, expected: Any, where: str = "") -> None:
    """Asserts that all that version 0.1 said is still said. There may be more by now."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert key in found, f"{where}: no {key}"
            assert_holds(found[key], value, f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for k, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_holds(one, other, f"{where}/{k}")
    elif isinstance(expected, float):
        # Another machine adds up in another order.
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5), where
    else:
        assert found == expected, where


def renewed(expected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in the form of version 0.2: ids are texts, and a count of ratings is ``ratings``."""
    names = {"n_ratings": "ratings"}
    ids = "userId", "movieId", "query"
    return [
        {names.get(k, k): str(v) if k in ids else v for k, v in row.items()} for row in expected
    ]


def info_of(run: Path) -> dict[str, Any]:
    """What a run's manifest says."""
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found


@pytest.mark.parametrize("run", FINISHED + STOPPED)
def test_an_old_run_is_judged_as_it_was(run: str, place: Path) -> None:
    found = told(cfcli(place, "evaluate", run, "--no-plots", "--json"))
    assert_holds(found, SAID["evaluate"][run])
    assert found["model"]["rmse"] < BAR


def test_old_runs_are_compared(place: Path) -> None:
    found = told(cfcli(place, "compare", *FINISHED, "--json"))["runs"]
    for name, one in zip(FINISHED, found, strict=True):
        assert_holds(one["model"], SAID["evaluate"][name]["model"])


def test_the_old_dataset_is_cut_into_folds(place: Path) -> None:
    flags = ("--dim", "4", "--epochs", "6", "--no-interest", "--json")
    found = told(cfcli(place, "cross-validate", "--data", "data", "--folds", "2", *flags))
    ratings = json.loads((place / "data" / "dataset.json").read_text())["ratings"]
    assert sum(one["n"] for one in found["evaluations"]) == ratings
    assert found["model"]["rmse"]["mean"] < BAR


@pytest.mark.parametrize("run", FINISHED + STOPPED)
def test_an_old_run_predicts_what_it_predicted(run: str, place: Path) -> None:
    found = rows(cfcli(place, "predict", run, "pairs.csv", "--json"))
    assert_holds(found, of_known(SAID["predict"][run]))
    assert [row["source"] for row in found[:4]] == ["model"] * 4


def test_an_old_sampled_run_knows_how_sure_it_is(place: Path) -> None:
    found = rows(cfcli(place, "predict", "mf", "pairs.csv", "--std", "--json"))
    assert_holds(found, of_known(SAID["predict --std"]["mf"]))
    assert all(row["std"] > 0 for row in found)


def of_known(said: list[dict[str, object]]) -> list[dict[str, object]]:
    """Predictions as they are since 0.2: damped biases have given way to vectors where one side is
    unknown, with a ``std`` of their own."""
    new = {"prediction", "std"}
    return [
        row if row["source"] == "model" else {k: v for k, v in row.items() if k not in new}
        for row in said
    ]


@pytest.mark.parametrize("run", FINISHED)
def test_an_old_run_recommends_what_it_recommended(run: str, place: Path) -> None:
    users = ("--user", "1", "--user", "60")
    found = rows(cfcli(place, "recommend", run, *users, "-n", "2", "--json"))
    assert_holds(found, renewed(SAID["recommend"][run]))


def test_an_old_sampled_run_recommends_to_new_users(place: Path) -> None:
    lines = [f"new,{item},{5 if item % 2 else 1}" for item in range(1, 21)]
    (place / "new.csv").write_text("\n".join(["userId,movieId,rating", *lines]) + "\n")
    found = rows(cfcli(place, "recommend", "mf", "--ratings", "new.csv", "-n", "3", "--json"))
    assert [row["userId"] for row in found] == ["new"] * 3
    assert all(int(row["movieId"]) % 2 and int(row["movieId"]) > 20 for row in found)


@pytest.mark.parametrize("run", FINISHED)
def test_an_old_run_has_the_neighbours_that_it_had(run: str, place: Path) -> None:
    found = rows(cfcli(place, "similar", run, "7", "-n", "3", "--json"))
    assert_holds(found, renewed(SAID["similar"][run]))


def test_the_titles_of_an_old_run_are_found(place: Path) -> None:
    by_title = ("--title", 'film, "number" 7 (1999)', "-n", "3")
    found = rows(cfcli(place, "similar", "mf", *by_title, "--json"))
    assert_holds(found, renewed(SAID["similar"]["mf"]))


def test_the_vectors_of_an_old_run_are_exported(place: Path) -> None:
    cfcli(place, "export-embeddings", "mf", "--out", "vectors.parquet")
    found = pl.read_parquet(place / "vectors.parquet").to_dicts()
    expected = [{k: float(v) for k, v in row.items()} for row in SAID["export-embeddings"]["mf"]]
    assert_holds(found[: len(expected)], expected)


def test_old_runs_are_reported_beside_each_other(place: Path) -> None:
    found = told(cfcli(place, "report", *FINISHED, "--out", "report.html", "--json"))
    assert [run["items"] for run in found["runs"]] == [40, 40, 40]
    page = (place / "report.html").read_text()
    for run in FINISHED:
        assert f"{SAID['evaluate'][run]['model']['rmse']:.4f}" in page


@pytest.mark.parametrize("name", SAID["verify"])
def test_old_artifacts_are_whole(name: str, place: Path) -> None:
    digest = SAID["verify"][name]
    found = told(cfcli(place, "verify", name, "--expect-sha256", digest, "--json"))
    assert found["sha256"] == digest


def test_a_training_on_the_old_dataset_is_planned(place: Path) -> None:
    dataset = json.loads((place / "data" / "dataset.json").read_text())
    args = ("--data", "data", "--config", "adam/config.toml", "--json")
    found = told(cfcli(place, "plan", *args))
    assert (found["fits"], found["solver"], found["dim"]) == (True, "adam", 4)
    assert (found["users"], found["items"]) == (60, 40)
    assert (found["rows"], found["val"]) == (dataset["train"], dataset["val"])


def test_the_old_dataset_is_trained_on_beginning_with_an_old_run(place: Path) -> None:
    flags = ("--data", "data", "--dim", "4", "--epochs", "6", "--no-plots", "--json")
    found = told(cfcli(place, "train", *flags, "--warm-start", "mf", "--out", "warm"))
    assert found["val"]["rmse"] < BAR
    begun = info_of(place / "warm")["warm_start"]
    assert (begun["run"], begun["new_users"], begun["new_items"]) == ("mf", 0, 0)


def test_the_settings_of_an_old_run_make_its_like(place: Path) -> None:
    flags = ("--data", "data", "--config", "mf/config.toml", "--no-plots", "--json")
    found = told(cfcli(place, "train", *flags, "--out", "alike"))
    before = info_of(place / "mf")
    for name in ("model", "solver", "dim", "epochs", "status"):
        assert found[name] == before[name], name
    assert found["val"]["rmse"] == pytest.approx(before["val"]["rmse"], abs=0.05)


def test_old_configuration_files_are_taken(place: Path) -> None:
    flags = ("--data", "data", "--no-plots", "--quiet")
    cfcli(place, "train", *flags, "--config", "train.toml", "--out", "by-hand")
    found = info_of(place / "by-hand")["config"]
    assert (found["solver"], found["dim"], found["epochs"]) == ("adam", 3, 4)
    assert (found["adam"]["learning_rate"], found["adam"]["l2"]) == (0.01, 0.5)
    once = ("--epochs", "1", "--out", "fast")
    cfcli(place, "train", *flags, "--config", "fast.toml", *once)
    found = info_of(place / "fast")["config"]
    assert (found["adam"]["batch_size"], found["adam"]["loader"]) == (256, "resident")
    assert found["device"] == "cpu"


@pytest.mark.parametrize("run", STOPPED)
def test_an_old_stopped_run_goes_on_or_is_refused_with_the_reason(run: str, place: Path) -> None:
    last = info_of(place / run)["epochs"] + 2
    out = place / f"resumed-{run}"
    args = ("--resume", run, "--data", "data", "--epochs", last, "--out", out, "--no-plots")
    done = run_cfcli("train", *args, "--json", cwd=place)
    if done.returncode == 7:
        error = done.stderr.splitlines()[-1]
        assert re.search(r"\b0\.1\b", json.loads(error)["message"]), done.stderr
        assert not out.exists()
        return
    assert done.returncode == 0, done.stderr
    found = told(done)
    assert (found["status"], found["epochs"]) == ("finished", last)
    assert not (out / "checkpoints").exists()
    former = pl.read_csv(place / run / "metrics.csv")["val_mse"].head(5)
    assert pl.read_csv(out / "metrics.csv")["val_mse"].head(5).to_list() == former.to_list()
    assert found["val"]["rmse"] < BAR


def test_epochs_on_the_old_dataset_are_timed(place: Path) -> None:
    sweep = ("--sweep", "batch-size", "--batch-sizes", "256", "--repeats", "1")
    found = told(cfcli(place, "bench", "--data", "data", *sweep, "--json"))
    assert [row["batch_size"] for row in found["results"]] == [256, None]
    assert [row["solver"] for row in found["results"]] == ["adam", "gibbs"]
    assert found["rows"] == info_of(place / "mf")["dataset"]["train"]


def test_the_old_dataset_is_prepared_again(tmp_path: Path) -> None:
    """The same pairs are held out, or a run from before would be judged by what it learned."""
    place = copied(tmp_path / "copy")
    before = json.loads((place / "data" / "dataset.json").read_text())
    held = pl.read_parquet(place / "data" / "test.parquet").sort("user", "item")
    (place / "few.csv").write_text("".join((place / "ratings.csv").open().readlines()[:100]))
    refused = cfcli(place, "prepare", "few.csv", "--force", code=3)
    assert f"data: has {before['ratings']:,} ratings, the new input 99" in refused.stderr
    again = ("ratings.csv", "--items", "movies.csv", "--force", "--json")
    found = told(cfcli(place, "prepare", *again))
    counts = ("ratings", "users", "items", "train", "val", "test", "mean")
    assert_holds(found, {name: before[name] for name in counts})
    now = pl.read_parquet(place / "data" / "test.parquet").sort("user", "item")
    columns = ["user", "item", "rating"]
    assert now.select(columns).equals(held.select(columns))


def test_the_old_store_has_its_next_night_and_goes_back_across_it(tmp_path: Path) -> None:
    place = copied(tmp_path / "copy")
    store = ("--store", "store")
    old = SAID["status"]["current"]
    state = told(cfcli(place, "status", *store, "--json"))
    assert state["current"] == old
    nights = {night["run"]: night["model"]["rmse"] for night in state["runs"]}
    assert_holds(nights, SAID["status"]["rmse"])
    assert all(night["published"] for night in state["runs"])

    # How good the new one is to the last percent is another test's matter.
    night = ("ratings.csv", "--items", "movies.csv", *store, "--tolerance", "0.1")
    found = told(cfcli(place, "retrain", *night, "--dim", "4", "--epochs", "6", "--json"))
    why = "the run in use was trained with no attributes, not attributes items' genres"
    assert (found["status"], found["start"]) == ("published", f"full: {why}")
    assert Path(found["previous"]).name == old
    assert (found["new_users"], found["new_items"]) == (4, 0)
    assert found["champion"]["rmse"] < BAR
    assert found["model"]["rmse"] < BAR
    new = Path(found["run"]).name
    assert new.startswith("000004-")
    assert told(cfcli(place, "status", *store, "--json"))["current"] == new

    back = told(cfcli(place, "rollback", *store, "--json"))
    assert (Path(back["run"]).name, Path(back["previous"]).name) == (old, new)
    state = told(cfcli(place, "status", *store, "--json"))
    assert (state["current"], state["refused_since"]) == (old, 1)
    cfcli(place, "verify", "store/current", "--expect-sha256", SAID["verify"]["store/current"])
    cfcli(place, "doctor", "--store", "store")


def test_every_command_is_run_here() -> None:
    """A new command is to be tried on old artifacts, too."""
    named = {
        argument.value
        for call in ast.walk(ast.parse(Path(__file__).read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        if call.func.id in ("cfcli", "run_cfcli")
        for argument in call.args[:2]
        if isinstance(argument, ast.Constant)
    }
    assert named == set(COMMANDS)
