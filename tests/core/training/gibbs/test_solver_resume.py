"""A sampler that has nothing left to do when it is resumed."""

import os
import signal
from pathlib import Path

import numpy as np
import planted
import pytest

from cfcli.core.config.train import TrainConfig
from cfcli.core.runs import train as fitting
from cfcli.core.runs.run import CHECKPOINT, Run
from cfcli.core.training.epochs import Epoch, Silent
from cfcli.core.training.gibbs import solver


def test_a_chain_that_was_stopped_in_its_last_epoch_ends_with_its_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = planted.dataset(tmp_path, planted.checkerboard())
    config = TrainConfig.of(dim=3, epochs=1)
    kept = tmp_path / "kept.ckpt"

    def copied(job: object, path: Path, chain: solver.Chain, history: object) -> None:
        save(job, path, chain, history)  # type: ignore[arg-type]
        kept.write_bytes(path.read_bytes())

    save = solver._save
    monkeypatch.setattr(solver, "_save", copied)
    fitting.train(data, config, tmp_path / "whole")
    fitting.train(data, config, tmp_path / "again", resume=kept)
    whole, again = (Run.load(tmp_path / name) for name in ("whole", "again"))
    assert again.info.epochs == 1
    scores = [
        run.predictor().scores(run.predictor().user_vectors(np.arange(40)))
        for run in (whole, again)
    ]
    # The one is a mean given the draw, the other the draw itself.
    assert np.corrcoef(scores[0].ravel(), scores[1].ravel())[0, 1] > 0.9


def test_an_epoch_that_a_signal_cut_short_settles_nothing(tmp_path: Path) -> None:
    """Its validation error is that of the epoch before, as no sample was kept in it."""

    class Signal(Silent):
        epochs = 0

        def epoch(self, row: Epoch) -> None:
            self.epochs += 1

        def batch(self, done: int) -> None:
            if (self.epochs, done) == (5, 2):
                os.kill(os.getpid(), signal.SIGTERM)

    data = planted.dataset(tmp_path, planted.checkerboard())
    config = TrainConfig.of(dim=3, epochs=8, min_epochs=5, patience=1, interest=False)
    fitting.train(data, config, tmp_path / "whole")
    stopped = fitting.train(data, config, tmp_path / "run", Signal())
    assert stopped is not None
    assert stopped.stopped_by == signal.SIGTERM
    checkpoint = tmp_path / "run" / CHECKPOINT
    again = fitting.train(data, config, tmp_path / "run", resume=checkpoint, replace=True)
    assert again is not None
    whole = Run.load(tmp_path / "whole")
    assert again.info.epochs == whole.info.epochs > 5
    np.testing.assert_array_equal(
        Run.load(again.path).tensors["user_bias"], whole.tensors["user_bias"]
    )
