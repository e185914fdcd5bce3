"""``train --times`` and what follows: planted moods of days tell what to expect."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cfcli.cli.app import app


def call(*args: object, stdin: bytes | None = None) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(a) for a in args], input=stdin, env={"COLUMNS": "100"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def fill(folder: Path) -> None:
    """50 users on four days each, of which every other one makes all ratings two points lower."""
    random = np.random.default_rng(0)
    lines = ["user_id,item_id,rating,timestamp"]
    for user in range(50):
        for item in range(40):
            day = 18_000 + random.integers(0, 4)
            if random.random() < 0.8:
                rating = (4.5 if day % 2 else 2.5) + random.normal(0, 0.3)
                lines.append(f"u{user},i{item},{rating:.1f},{day * 86_400 + 60 * item}")
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    assert call("prepare", folder / "ratings.csv", "--out", folder / "data", "-q")[0] == 0
    flags = "--times", "--epochs", "10", "--no-plots", "--no-interest", "--quiet"
    assert call("train", "--data", folder / "data", "--out", folder / "run", *flags)[0] == 0


@pytest.fixture
def folder(made_once, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # type: ignore[no-untyped-def]
    path: Path = made_once("time_effects", fill)
    monkeypatch.chdir(tmp_path)
    return path


def predicted(folder: Path, text: str, *flags: str) -> tuple[list[float], str]:
    code, out, err = call("predict", folder / "run", "-", *flags, stdin=text.encode())
    assert code == 0, err
    return [float(row["prediction"]) for row in csv.DictReader(io.StringIO(out))], err


def test_predict_takes_the_time_of_each_pair(folder: Path) -> None:
    good, bad = 18_001 * 86_400, 18_002 * 86_400
    text = f"user_id,item_id,timestamp\nu1,i1,{good}\nu1,i1,{bad}\nu1,i1,\n"
    (high, low, middle), err = predicted(folder, text)
    assert 4 < high < 5
    assert 2 < low < 3
    assert 3 < middle < 4
    assert not err
    (plain,), err = predicted(folder, "user_id,item_id\nu1,i1\n")
    assert plain == pytest.approx(middle)
    assert err.startswith("note: no column of times")
    found, _ = predicted(folder, "user_id,item_id,when\nu1,i1,2019-04-15\n", "--time-col", "when")
    assert found == pytest.approx([high])  # day 18,001
    found, err = predicted(folder, "user_id,item_id,timestamp\nu1,i1,soon\n")
    assert found == pytest.approx([middle])
    assert "times that cannot be read: 1; each counts as the newest one" in err


def test_probabilities_and_errors_know_the_time(folder: Path) -> None:
    good, bad = 18_001 * 86_400, 18_002 * 86_400
    code, out, err = call("evaluate", folder / "run", "--data", folder / "data", "--json")
    assert code == 0, err
    assert json.loads(out)["model"]["rmse"] < 0.5  # moods are a whole point
    text = (
        f"user_id,item_id,rating,timestamp\nu1,i1,4.4,{good}\nu2,i3,2.4,{bad}\nu3,i4,4.6,{good}\n"
    )
    Path("others.csv").write_text(text)
    flags = "--ratings", "others.csv", "--include-trained", "--no-lists", "--json"
    code, out, err = call("evaluate", folder / "run", *flags)
    assert code == 0, err
    assert json.loads(out)["model"]["rmse"] < 0.5


def test_refit_knows_the_times_of_all_rows(folder: Path) -> None:
    """The run was trained on with its validation rows; its manifest says how time is divided."""
    manifest = json.loads((folder / "run" / "run.json").read_text())
    assert manifest["times"]["lengths"][0] == 86_400
    assert "times.safetensors" in manifest["files"]
    assert manifest["refit"]["rating_sides"] == ["train", "val"]


def test_what_times_need_is_said(folder: Path) -> None:
    code, _, err = call("train", "--data", folder / "data", "--times", "--solver", "adam")
    assert code == 2
    assert "solver adam does not use times; only gibbs does" in err
    rows = (folder / "ratings.csv").read_text().splitlines()
    Path("plain.csv").write_text("\n".join(row.rsplit(",", 1)[0] for row in rows))
    assert call("prepare", "plain.csv", "-q")[0] == 0
    code, _, err = call("train", "--times")
    assert (code, "the ratings have no times" in err) == (2, True)
    odd = [f"{row.rpartition(',')[0]},{'when' if k else 'time'}" for k, row in enumerate(rows)]
    Path("odd.csv").write_text("\n".join(odd))
    code, _, err = call("prepare", "odd.csv", "--out", "odd")
    assert (code, "no readable time, such as 'when' (odd.csv:2; see --time-format)" in err) == (
        0,
        True,
    )
    code, _, err = call("train", "--times", "--data", "odd")
    assert (code, "times: none of the ratings has a readable time; prepare" in err) == (2, True)


def test_a_warm_start_needs_the_same_setting(folder: Path) -> None:
    flags = "--data", folder / "data", "--warm-start", folder / "run"
    code, _, err = call("train", *flags)
    assert code == 2
    assert "was trained with times" in err
