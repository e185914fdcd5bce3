"""A dataset that another one replaces while it is trained on, or read."""

import os
from pathlib import Path

import planted
import polars as pl
import pytest

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.prepare import prepare
from cfcli.core.errors import ArtifactError, ReplacedError
from cfcli.core.evaluation.evaluate import evaluate
from cfcli.core.inputs.sources import Source
from cfcli.core.runs import train as fitting
from cfcli.core.runs.run import CHECKPOINT, PINNED, Run
from cfcli.core.runs.verify import verify
from cfcli.core.storage import publishing
from cfcli.core.training.epochs import Epoch, Silent

CONFIG = TrainConfig.of(dim=3, epochs=4, device="cpu")


def replaced(folder: Path) -> None:
    """Another dataset of the same counts in its place, with other ids and ratings."""
    rows = planted.checkerboard(40, 24, seed=5).with_columns(
        pl.col("user") + 1000, rating=6 - pl.col("rating")
    )
    planted.write_csv(folder / "other.csv", rows)
    prepare(
        [Source.of(folder / "other.csv")],
        folder / "data",
        PrepareConfig(),
        force=True,
        accept_shrink=True,
    )


class Replacing(Silent):
    """Replaces the dataset once an epoch is over."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, False

    def epoch(self, row: Epoch) -> None:
        if not self.done:
            self.done = True
            replaced(self.folder)


def test_a_training_reads_what_it_opened(tmp_path: Path) -> None:
    data = planted.dataset(tmp_path, planted.checkerboard(40, 24))
    fitting.train(data, CONFIG, tmp_path / "calm")
    fitting.train(data, CONFIG, tmp_path / "run", Replacing(tmp_path))
    assert Dataset.load(data.path).info.fingerprint != data.info.fingerprint
    run, calm = Run.load(tmp_path / "run"), Run.load(tmp_path / "calm")
    verify(run.path)
    assert run.info.dataset == calm.info.dataset
    for name in ("users.parquet", "items.parquet", "seen.parquet"):
        assert (run.path / name).read_bytes() == (calm.path / name).read_bytes()
    assert not (run.path / PINNED).exists()
    with pytest.raises(ArtifactError, match="is not the dataset that"):
        evaluate(run)


def test_where_files_cannot_be_held_the_training_ends_and_its_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*args: object, **keys: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    data = planted.dataset(tmp_path, planted.checkerboard(40, 24))
    monkeypatch.setattr(os, "link", no_links)
    out = tmp_path / "run"
    with pytest.raises(ReplacedError, match="was replaced by another dataset"):
        fitting.train(data, CONFIG, out, Replacing(tmp_path))
    assert not out.exists()
    assert (publishing.staging_of(out) / CHECKPOINT).exists()


def test_what_is_read_after_a_replacement_is_refused(tmp_path: Path) -> None:
    data = planted.dataset(tmp_path, planted.checkerboard(40, 24))
    replaced(tmp_path)
    with pytest.raises(ReplacedError):
        data.split("test")
