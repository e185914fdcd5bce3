"""A training goes on wherever one is, under its own name."""

import json
import re
from pathlib import Path

import pytest
from shell import run_cfcli, write_ratings

LONG = "--epochs", "99999", "--patience", "99999", "--no-interest", "--no-plots"


@pytest.fixture(params=["gibbs", "adam"])
def stopped(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with a run that ``--max-time`` stopped."""
    write_ratings(tmp_path / "ratings.csv")
    run_cfcli("prepare", "ratings.csv", "--out", "mine", cwd=tmp_path)
    how = "--solver", request.param, "--max-time", "1s", *LONG
    done = run_cfcli("train", "--data", "mine", "--out", "r", *how, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_it_finds_its_dataset_from_another_folder_and_keeps_its_name(stopped: Path) -> None:
    before = json.loads((stopped / "r" / "run.json").read_text())
    other = stopped / "other"
    other.mkdir()
    done = run_cfcli("train", "--resume", "../r", "--max-time", "1s", "--json", cwd=other)
    assert done.returncode == 0, done.stderr
    assert (other / json.loads(done.stdout)["run"]).resolve() == stopped / "r"
    after = json.loads((stopped / "r" / "run.json").read_text())
    assert after["epochs"] > before["epochs"]
    assert not list(other.iterdir())


def test_fewer_epochs_than_were_done_are_refused_with_their_number(stopped: Path) -> None:
    done = run_cfcli("train", "--resume", "r", "--epochs", "1", cwd=stopped)
    assert done.returncode == 2
    assert re.search(r"epochs: 1 is below the \d+ that its checkpoint has", done.stderr)
    assert (stopped / "r" / "checkpoints" / "last.ckpt").exists()


def test_a_name_is_no_markup_and_no_pattern(stopped: Path) -> None:
    (stopped / "runs[").mkdir()
    (stopped / "r").rename(stopped / "runs[" / "x]")
    done = run_cfcli("train", "--resume", "runs[/x]", "--max-time", "1s", "--no-plots", cwd=stopped)
    assert (done.returncode, done.stdout) == (0, "runs[/x]\n"), done.stderr
    assert "resuming runs[/x]\n" in done.stderr
