"""``cfcli plan`` and what ``train`` makes of it, through the installed console script."""

import json
import subprocess
import sys
from pathlib import Path

from shell import run_cfcli

HUGE = ("--users", 10**12, "--items", 1000, "--rows", 1000)


def test_a_dataset_that_fits(project: Path) -> None:
    done = run_cfcli("plan", "--dim", 16, cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("fits in memory and on disk\n")
    assert "mf of dimension 16 by gibbs" in done.stdout
    assert "memory" in done.stdout


def test_json_has_the_keys_of_the_contract(project: Path) -> None:
    done = run_cfcli("plan", "--dim", 16, "--solver", "adam", "--devices", 2, "--json", cwd=project)
    found = json.loads(done.stdout)
    assert set(found) == {
        "fits", "lacking", "model", "solver", "optimizer", "dim", "devices", "num_nodes", "users",
        "items", "rows",
        "val", "per_rank", "on_device", "needs", "has", "suggestions",
    }  # fmt: skip
    assert (found["fits"], found["lacking"], found["optimizer"], found["suggestions"]) == (
        True,
        [],
        "adam",
        [],
    )
    assert found["needs"]["memory"] == 2 * sum(found["per_rank"].values())
    assert found["has"]["disk"] > 0


def test_what_does_not_fit_exits_with_4_and_names_flags_that_do(tmp_path: Path) -> None:
    job = ("plan", *HUGE, "--dim", 64, "--solver", "adam", "--json")
    done = run_cfcli(*job, cwd=tmp_path)
    assert done.returncode == 4
    has = json.loads(done.stdout)["has"]
    # A table of half of what is there: too much for Adam, and for two copies of it not.
    users = int(min(has["memory"], has["disk"] / 2) * 0.3 / (4 * 65))
    job = (
        "plan",
        "--users",
        users,
        "--items",
        1000,
        "--rows",
        1000,
        "--dim",
        64,
        "--set",
        "implicit=false",
    )
    done = run_cfcli(*job, "--optimizer", "adam", cwd=tmp_path)
    assert done.returncode == 4
    lines = done.stdout.splitlines()
    ways = [
        line.removeprefix("it fits with ") for line in lines if line.startswith("it fits with ")
    ]
    assert ways[0] == "--optimizer rowwise-adagrad"
    assert any(way.startswith("--dim ") for way in ways)
    assert run_cfcli(*job, *ways[0].split(), cwd=tmp_path).returncode == 0
    assert (
        json.loads(run_cfcli(*job, "--json", cwd=tmp_path).stdout)["optimizer"] == "rowwise-adagrad"
    )  # by itself


def test_sizes_are_all_given_or_none(tmp_path: Path) -> None:
    done = run_cfcli("plan", "--users", 10, cwd=tmp_path)
    assert done.returncode == 2
    assert "give --users, --items and --rows together" in done.stderr


def test_it_needs_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from cfcli.cli.app import app\n"
        "size = ['--users', '9', '--items', '9', '--rows', '9']\n"
        "done = CliRunner().invoke(app, ['plan', *size, '--device', 'cpu'])\n"
        "assert done.exit_code == 0, done.output\n"
        "assert not {'torch', 'polars', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
