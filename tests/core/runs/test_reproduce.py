"""The commands that a report gives make the same again."""

import shlex
from dataclasses import replace
from pathlib import Path

import planted
import pytest
from shell import run_cfcli, write_ratings

from cfcli.core.config.resolve import as_dict
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.info import Inputs
from cfcli.core.runs.info import TrainedOn
from cfcli.core.runs.reproduce import prepare_command, train_command
from cfcli.core.runs.run import Run


@pytest.mark.parametrize(
    ("prepare", "train"),
    [
        (
            "ratings.csv --items 'my movies.csv' --users users.csv --set 'attributes=[\"age, in years\"]'"
            " --split time --rating-range 0.5,5 --seed 7",
            "--dim 3 --epochs 2",
        ),
        (
            "ratings.csv --val-file val.csv --test-file val.csv --max-bad-rows 1%"
            " --no-rejects-file",
            "--model ncf --hidden 8,4 --epochs 1 --set link=sigmoid --set rating_range=[0,6]"
            " --batch-size 64",
        ),
    ],
)
def test_they_make_the_same_files(prepare: str, train: str, tmp_path: Path) -> None:
    write_ratings(tmp_path / "ratings.csv")
    write_ratings(tmp_path / "val.csv", seed=1)
    (tmp_path / "my movies.csv").write_text("movieId,title\n1,One\n")
    (tmp_path / "users.csv").write_text('userId,"age, in years"\n1,20\n2,30\n3,40\n')

    def give(*words: str) -> None:
        done = run_cfcli(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    give("prepare", *shlex.split(prepare), "--quiet")
    give("train", *shlex.split(train), "--out", "one", "--no-plots", "--quiet")
    run = Run.load(tmp_path / "one")
    dataset = run.dataset()
    again = [
        shlex.split(prepare_command(dataset).replace(str(dataset.path), "again")),
        shlex.split(train_command(run, dataset).replace(str(dataset.path), "again")),
    ]
    assert again[0][0] == again[1][0] == "cfcli"
    give(*again[0][1:])
    give(*again[1][1:], "--out", "two", "--no-plots")
    assert Dataset.load(tmp_path / "again").info.fingerprint == dataset.info.fingerprint
    two = Run.load(tmp_path / "two")
    assert two.info.config == run.info.config
    assert two.info.files["model.safetensors"] == run.info.files["model.safetensors"]


def test_settings_by_default_are_left_out(tmp_path: Path) -> None:
    data = planted.dataset(tmp_path, planted.checkerboard())
    run = Run.load(planted.run(data, tmp_path / "run", epochs=1))
    plain = replace(run.info, config={**as_dict(TrainConfig())}, dataset=TrainedOn("../d", "", 1))
    run = Run(run.path, plain)
    assert train_command(run, data) == f"cfcli train --data {tmp_path}/data"
    assert train_command(run, None) == "cfcli train --data ../d"
    assert prepare_command(data) == f"cfcli prepare {tmp_path}/ratings.csv --out {tmp_path}/data"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Inputs(dataset="sample"), "--dataset sample"),
        (Inputs(ratings=["<stdin>"]), "-"),
        (Inputs(ratings=["a b.csv", "c"], items="i"), "'a b.csv' c --items i"),
    ],
)
def test_inputs_are_named_as_they_were(given: Inputs, words: str, tmp_path: Path) -> None:
    data = planted.dataset(tmp_path, planted.checkerboard())
    data = Dataset(data.path, replace(data.info, input=given))
    assert prepare_command(data) == f"cfcli prepare {words} --out {tmp_path}/data"
