"""A sampler that has nothing left to do when it is resumed."""

from pathlib import Path

import numpy as np
import planted
import pytest

from cfcli.core.config.train import TrainConfig
from cfcli.core.runs import train as fitting
from cfcli.core.runs.run import Run
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
