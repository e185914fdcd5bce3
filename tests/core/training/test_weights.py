"""Training rows that count more or less than others."""

from pathlib import Path

import numpy as np
import planted
import polars as pl
import pytest

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.blocks import Blocks
from cfcli.core.data.prepare import prepare
from cfcli.core.data.weights import Weighting
from cfcli.core.inputs.sources import Source
from cfcli.core.models.scoring import Predictor
from cfcli.core.runs.run import Run
from cfcli.core.training.fit import fit
from cfcli.core.training.job import TrainingData
from cfcli.core.training.streaming import Stream
from cfcli.core.training.trained import TrainedModel


def trained(rows: pl.DataFrame, solver: str) -> TrainedModel:
    """A model after some epochs, without validation rows."""
    more = {"learning_rate": 0.02, "batch_size": 64} if solver == "adam" else {}
    config = TrainConfig.of(solver=solver, device="cpu", epochs=6, refit="none", **more)  # type: ignore[arg-type]
    data = TrainingData(rows, rows.select("user", "item", "rating").clear(), 40, 24)
    return fit(data, config)


@pytest.mark.parametrize("solver", ["gibbs", "adam"])
def test_of_two_groups_that_contradict_each_other_the_heavier_one_decides(solver: str) -> None:
    """Half of the ratings, by chance, are those of the opposite taste."""
    rows = planted.checkerboard()
    is_opposite = np.random.default_rng(3).random(rows.height) < 0.5
    truth = rows["rating"].to_numpy()
    rating = np.where(is_opposite, 6 - truth, truth)
    for heavy, expected in ((~is_opposite, truth), (is_opposite, 6 - truth)):
        weight = np.where(heavy, 1.8, 0.2).astype(np.float32)
        given = planted.frame(rows["user"], rows["item"], rating).with_columns(weight=weight)
        model = trained(given, solver)
        predictor = Predictor("mf", model.tensors, 1.0, 5.0, model.link)
        found = predictor.predict(rows["user"].to_numpy(), rows["item"].to_numpy())
        assert np.corrcoef(found, expected)[0, 1] > 0.6


@pytest.mark.parametrize("solver", ["gibbs", "adam"])
def test_equal_weights_change_nothing(solver: str) -> None:
    rows = planted.checkerboard()
    weighed = rows.with_columns(weight=pl.lit(1.0, pl.Float32))
    plain, same = trained(rows, solver).tensors, trained(weighed, solver).tensors
    for name, value in plain.items():
        np.testing.assert_array_equal(same[name], value)


def test_with_a_half_life_newer_ratings_decide_also_after_a_refit(tmp_path: Path) -> None:
    """Half of the ratings, by chance, are a year older and of the opposite taste."""
    rows = planted.checkerboard()
    is_old = np.random.default_rng(3).random(rows.height) < 0.5
    truth = rows["rating"].to_numpy()
    table = {
        "user": rows["user"],
        "item": rows["item"],
        "rating": np.where(is_old, 6 - truth, truth),
        "date": np.where(is_old, "2024-01-31", "2025-01-31"),
    }
    pl.DataFrame(table).write_csv(tmp_path / "ratings.csv")
    config = PrepareConfig(val_size=0.1, test_size=0.1)
    data, _ = prepare([Source.of(tmp_path / "ratings.csv")], tmp_path / "data", config)
    run = Run.load(
        planted.run(
            data, tmp_path / "run", solver="gibbs", half_life="30d", refit="all", interest=False
        )
    )
    ids = rows["user"].cast(pl.String), rows["item"].cast(pl.String)
    for each in (run, run.judged):
        user, item = (side.index(own) for side, own in zip(each.ids, ids, strict=True))
        found = each.predictor().predict(user.to_numpy(), item.to_numpy())
        assert np.corrcoef(found, truth)[0, 1] > 0.6


def test_a_stream_brings_the_weight_of_each_rating(tmp_path: Path) -> None:
    n = 90
    rows = planted.frame(range(n), range(n), [1.0] * n).with_columns(
        weight=pl.int_range(1, n + 1).cast(pl.Float32)
    )
    rows.write_parquet(tmp_path / "rows.parquet", row_group_size=20)
    blocks = Blocks(tmp_path / "rows.parquet", n, n, ("weight",), Weighting.of([rows], None))
    seen = {}
    for (user, _, _, weight), _, _ in Stream(blocks, 8, 2, 7, buffer=30):
        seen |= dict(zip(user.tolist(), weight.tolist(), strict=True))
    assert seen == pytest.approx({k: (k + 1) * 2 / (n + 1) for k in range(n)})
