"""Pictures of train and evaluate, charts on a terminal, and the page."""

import json
import os
import pty
import select
import shutil
import time
from pathlib import Path

import pytest
from shell import run_cfcli, start_cfcli

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def run(project: Path, tmp_path: Path) -> Path:
    """A run of its own, beside its dataset, without pictures."""
    shutil.copytree(project / "base", tmp_path / "run", ignore=shutil.ignore_patterns("plots"))
    shutil.copytree(project / "data", tmp_path / "data")
    return tmp_path / "run"


def on_a_terminal(*args: object, cwd: Path, **env: str) -> str:
    """What a command writes to a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    settings = {"TERM": "xterm-256color", "COLUMNS": "100", "CI": None, "NO_COLOR": None, **env}
    with start_cfcli(*args, cwd=cwd, env=settings, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        text, end = b"", time.monotonic() + 100
        while time.monotonic() < end:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    text += os.read(ours, 1 << 16)
                except OSError:  # the other end is closed
                    break
        assert process.wait(10) == 0, text
    os.close(ours)
    return text.decode(errors="replace")


def test_training_leaves_its_losses(project: Path) -> None:
    found = {
        path.name: path.read_bytes()
        for path in (project / "base" / "plots").iterdir()
        if path.name in ("loss.png", "steps.png")
    }
    assert set(found) == {"loss.png", "steps.png"}
    assert all(content.startswith(PNG) for content in found.values())
    steps = (project / "base" / "steps.csv").read_text().splitlines()
    assert steps[0] == "step,train_mse"
    assert len(steps) > 3


def test_evaluating_leaves_what_it_found(run: Path) -> None:
    done = run_cfcli("evaluate", run, cwd=run.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in (run / "plots").iterdir()} == {
        "predictions.png", "error_by_rating.png", "calibration.png"
    }  # fmt: skip
    assert all(path.read_bytes().startswith(PNG) for path in (run / "plots").iterdir())
    assert run_cfcli("verify", run, cwd=run.parent).returncode == 0


def test_a_benchmark_is_drawn_or_says_why_not(run: Path) -> None:
    words = "bench --sweep batch-size --batch-sizes 512 --repeats 1 --plot".split()
    done = run_cfcli(*words, "x.png", "--quiet", "--json", cwd=run.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert (run.parent / "x.png").read_bytes().startswith(PNG)
    (run.parent / "file").touch()
    done = run_cfcli(*words, "file/y.png", "--json", cwd=run.parent)
    assert done.returncode == 2  # before anything is timed
    assert "file is not a folder" in done.stderr


def test_no_plots_draws_none(run: Path) -> None:
    for args in (
        ["evaluate", run, "--no-plots"],
        ["train", "--epochs", "1", "--out", "new", "--no-plots"],
    ):
        assert run_cfcli(*args, cwd=run.parent).returncode == 0
    assert not (run / "plots").exists()
    assert not (run.parent / "new" / "plots").exists()


def test_a_run_that_takes_no_pictures_is_judged_all_the_same(run: Path) -> None:
    (run / "plots").write_text("in the way")
    done = run_cfcli("evaluate", run, cwd=run.parent)
    assert done.returncode == 0
    assert "damped biases" in done.stdout
    assert "no pictures: " in done.stderr


def test_a_terminal_gets_small_charts(run: Path) -> None:
    text = on_a_terminal("evaluate", run, "--no-plots", cwd=run.parent)
    assert "Ratings, and predictions by the nearest rating" in text
    assert "██" in text
    text = on_a_terminal("train", "--epochs", 3, "--out", "new", "--no-plots", cwd=run.parent)
    for part in ("MSE of the sampler by epoch", "training (one sample)", "validation (mean)"):
        assert part in text
    assert any(0x2800 < ord(char) < 0x2900 for char in text)


@pytest.mark.parametrize(
    ("args", "env"), [(["--quiet"], {}), (["--json"], {}), ([], {"PYTHONIOENCODING": "ascii"})]
)
def test_charts_only_where_they_are_wanted_and_can_be_shown(
    run: Path, args: list[str], env: dict[str, str]
) -> None:
    assert "by the nearest rating" not in on_a_terminal(
        "evaluate", run, "--no-plots", *args, cwd=run.parent, **env
    )


def test_a_page_is_made(run: Path) -> None:
    done = run_cfcli("report", run, cwd=run.parent)
    assert (done.returncode, done.stdout) == (0, "report.html\n")
    assert "60 items on the map" in done.stderr
    assert "Film, number 7 (1999)" in (run.parent / "report.html").read_text()
    done = run_cfcli("report", run, "--items", 5, "--out", "new/x.html", "--json", cwd=run.parent)
    result = json.loads(done.stdout)
    assert result["bytes"] == (run.parent / "new" / "x.html").stat().st_size
    assert result["runs"] == [{"run": "run", "items": 5}]
    (run.parent / "data").rename(run.parent / "moved")
    done = run_cfcli("report", run, "--quiet", cwd=run.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no dataset there" in (run.parent / "report.html").read_text()


def test_a_page_of_no_run(tmp_path: Path) -> None:
    done = run_cfcli("report", "nowhere", cwd=tmp_path)
    assert done.returncode == 7
    assert "nowhere: no run there" in done.stderr
    assert not list(tmp_path.iterdir())
