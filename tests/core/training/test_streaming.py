"""Rows from the disk: each once, whatever the row groups, the ranks and the workers."""

import dataclasses
from pathlib import Path

import numpy as np
import planted
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.blocks import Blocks, Summary
from cfcli.core.errors import ArtifactError, ConfigError
from cfcli.core.models.biases import BiasModel
from cfcli.core.runs import writing
from cfcli.core.runs.run import Run
from cfcli.core.training.batches import Shard
from cfcli.core.training.cooccurrence import leading, streamed
from cfcli.core.training.fit import fit
from cfcli.core.training.job import TrainingData
from cfcli.core.training.streaming import InOrder, Stream


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocks")


def written(path: Path, rows: pl.DataFrame, group: int) -> Blocks:
    rows.write_parquet(path, row_group_size=group)
    return Blocks(path, 1 << 20, 1 << 20)


def counted(n: int) -> pl.DataFrame:
    return planted.frame(range(n), range(n), [k % 7 for k in range(n)])


def taken(stream: Stream) -> list[list[int]]:
    """The users of each step of a pass, which are the numbers of their rows."""
    found = []
    for (user, item, rating), own, _ in stream:
        assert torch.equal(user, item)
        assert torch.equal(rating, (user % 7).float())
        assert sum(own) == len(user)
        found += [step.tolist() for step in user.split(own)]
    return found


@given(
    st.integers(1, 60),
    st.integers(1, 20),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 3),
    st.integers(1, 30),
)
@settings(deadline=None, max_examples=60)
def test_a_pass_holds_each_row_once(
    folder: Path, n: int, group: int, ranks: int, step: int, steps: int, buffer: int
) -> None:
    blocks = written(folder / "rows.parquet", counted(n), group)
    streams = [
        Stream(blocks, step, steps, 7, Shard(rank, ranks), buffer=buffer) for rank in range(ranks)
    ]
    for _ in range(2):
        passes = [taken(stream) for stream in streams]
        assert sorted(k for steps_of in passes for part in steps_of for k in part) == list(range(n))
        assert {len(steps_of) for steps_of in passes} == {-(-n // step)}
        sizes = [sum(map(len, parts)) for parts in zip(*passes, strict=True)]
        assert max(sizes) - min(sizes) <= ranks
        assert max(sizes) <= step + ranks - 1
    for stream in streams:
        totals = [total for *_, batch in stream for total in batch]
        assert totals == sizes
        assert len(stream) == len(list(stream))
    held = [InOrder(blocks, step, Shard(rank, ranks)) for rank in range(ranks)]
    assert [k for part in held for user, _, _ in part for k in user.tolist()] == list(range(n))
    assert all(len(part) == len(list(part)) for part in held)


def test_the_order_changes_by_pass_is_fixed_by_the_seed_and_needs_no_number_of_workers(
    folder: Path,
) -> None:
    blocks = written(folder / "order.parquet", counted(200), 20)
    one, same, other = (Stream(blocks, 10, 3, seed, buffer=50) for seed in (7, 7, 8))
    first, second = taken(one), taken(one)
    assert first != second
    assert first == taken(same)
    assert first != taken(other)
    by_two = taken(Stream(blocks, 10, 3, 7, workers=2, buffer=50))
    assert sorted(k for step in by_two for k in step) == list(range(200))
    # In a buffer of many row groups they are mixed; ten rows of one step are not of one group.
    assert min(len({k // 20 for k in step}) for step in taken(Stream(blocks, 10, 3, 7))) > 3


def test_damage_is_an_error_that_names_the_file(folder: Path) -> None:
    path = folder / "rows.parquet"
    for rows in (
        planted.frame([1 << 21], [0], [1.0]),
        planted.frame([1], [0], [np.nan]),
        pl.DataFrame({"user": [1]}),
    ):
        with pytest.raises(ArtifactError, match=r"rows\.parquet: damaged"):
            list(written(path, rows, 10))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ArtifactError, match=r"rows\.parquet: damaged"):
        len(Blocks(path, 9, 9))


def test_a_summary_is_what_the_table_says(folder: Path) -> None:
    rows = planted.checkerboard()
    blocks = dataclasses.replace(written(folder / "rows.parquet", rows, 100), users=40, items=24)
    for of in (rows, blocks):
        summary = Summary.of(of, 40, 24)
        assert (summary.n, summary.low, summary.high) == (rows.height, 1, 5)
        rating = rows["rating"].to_numpy().astype(np.float64)
        assert (summary.mean, summary.deviation) == pytest.approx((rating.mean(), rating.std()))
        assert summary.user_n.tolist() == np.bincount(rows["user"], minlength=40).tolist()
        assert summary.item_n.tolist() == np.bincount(rows["item"], minlength=24).tolist()


def test_what_is_made_of_blocks_is_what_is_made_of_the_table(folder: Path) -> None:
    rows = planted.checkerboard(share=0.4)
    blocks = dataclasses.replace(written(folder / "rows.parquet", rows, 33), users=41, items=25)
    columns = [rows[name].to_numpy() for name in ("user", "item", "rating")]
    one, other = BiasModel.fit(*columns, 41, 25), BiasModel.of(writing.Columns([blocks]), 41, 25)
    for name in ("mean", "user_n", "user_mean", "item_mean", "user_bias", "item_bias"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12)
    table = csr_matrix((np.ones(rows.height, np.float32), columns[:2]), shape=(41, 25))
    for found, expected in zip(
        streamed(blocks, Summary.of(rows, 41, 25), 3, 5), leading(table, 3, 5), strict=True
    ):
        torch.testing.assert_close(
            found.abs(), expected.abs(), rtol=1e-3, atol=1e-4
        )  # but for signs


def test_streamed_ratings_train_as_well_as_resident_ones(tmp_path: Path) -> None:
    train, val = planted.halves(planted.checkerboard(120, 60))
    sides = [
        dataclasses.replace(written(tmp_path / f"{name}.parquet", rows, 50), users=120, items=60)
        for name, rows in (("train", train), ("val", val))
    ]
    config = TrainConfig.of(solver="adam", learning_rate=0.02, epochs=15, device="cpu")
    folder = tmp_path / "checkpoints"
    resident = fit(TrainingData(train, val, 120, 60), config, folder)
    config = config.replace(loader="stream")
    streaming = fit(TrainingData(*sides, 120, 60), config, folder)
    assert (resident.best.val_rmse or 9) < 0.4
    assert streaming.best.val_rmse == pytest.approx(resident.best.val_rmse, rel=0.2)
    assert streaming.batch_size == resident.batch_size


def test_a_run_knows_who_rated_what_however_few_rows_are_sorted_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = planted.dataset(tmp_path, planted.checkerboard())
    whole = Run.load(planted.run(data, tmp_path / "whole", epochs=1, refit="none"))
    monkeypatch.setattr(writing, "SORTED_ROWS", 70)
    parts = Run.load(planted.run(data, tmp_path / "parts", epochs=1, loader="stream", refit="none"))
    seen = pl.read_parquet(whole.path / "seen.parquet")
    sides = [data.split(side).select("user", "item") for side in ("train", "val", "test")]
    trained = [side.with_columns(trained=pl.lit(k == 0)) for k, side in enumerate(sides)]
    assert seen.drop("weight").equals(pl.concat(trained).sort("user", "item"))
    in_parts = pl.read_parquet(parts.path / "seen.parquet")
    assert in_parts.drop("weight").equals(seen.drop("weight"))
    np.testing.assert_allclose(in_parts["weight"], seen["weight"], rtol=1e-5)


def test_the_sampler_reads_no_stream() -> None:
    with pytest.raises(ConfigError, match="does not use loader"):
        TrainConfig.of(solver="gibbs", loader="stream")
