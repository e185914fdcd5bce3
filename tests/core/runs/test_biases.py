"""Damped biases on validation rows, as an evaluation has them."""

import json
from pathlib import Path

import pytest
from shell import run_cfcli

from cfcli.core.data.dataset import Dataset
from cfcli.core.runs.biases import bias_errors
from cfcli.core.runs.run import Run


def test_they_are_those_of_an_evaluation_on_the_same_rows(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    quick = ("--epochs", "1", "--no-interest", "--refit", "none", "--no-plots", "-q")
    assert run_cfcli("train", "--out", out, *quick, cwd=project).returncode == 0
    args = ("evaluate", out, "--split", "val", "--no-lists", "--no-plots", "--json")
    expected = json.loads(run_cfcli(*args, cwd=project).stdout)["baselines"]["bias"]
    found = bias_errors(Dataset.load(project / "data"), Run.load(out).info.shape)
    assert (found.mse, found.rmse, found.mae) == pytest.approx(tuple(expected.values()))
