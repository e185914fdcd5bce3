"""Timings have the keys of the contract, and the best of them is a configuration."""

from pathlib import Path
from typing import Any

import pytest
import torch
from shell import write_ratings

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import resolve
from cfcli.core.config.train import TrainConfig
from cfcli.core.data import prepare as preparation
from cfcli.core.data.dataset import Dataset
from cfcli.core.inputs.ratings import Source
from cfcli.core.reporting import charts, png
from cfcli.core.training import benchmark
from cfcli.core.training.benchmark import Benchmark, Setting, Timing


def timing(sweep: Any, setting: Setting) -> Timing:
    return Timing(sweep, "adam", setting, 0.5, 1.0, 2.0, 0.2, 0.7, 100)


RESULT = Benchmark(
    "cpu",
    100,
    [
        timing("batch-size", Setting(256, 0, "resident", "auto", "cpu")),
        timing("num-workers", Setting(4096, 1, "dataloader", "auto", "cpu")),
        timing("threads", Setting(256, 0, "resident", 2, "cpu")),
        Timing("solver", "gibbs", Setting(None, 0, None, 2, "cpu"), 0.5, 1.0, 2.0, None, None, 100),
    ],
    Setting(4096, 0, "resident", 2, "cpu"),
)
KEYS = {
    "sweep", "solver", "batch_size", "num_workers", "loader", "threads", "device", "seconds_min",
    "seconds_median", "seconds_max", "seconds_loader", "seconds_steps", "ratings_per_second",
}  # fmt: skip


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    path = write_ratings(tmp_path / "r.csv")
    return preparation.prepare([Source.of(path)], tmp_path / "d", PrepareConfig())[0]


def bench(dataset: Dataset, config: TrainConfig | None = None, **keys: Any) -> Benchmark:
    given = {"batch_sizes": [], "num_workers": [], "sample": 300, "repeats": 1, **keys}
    return benchmark.bench(dataset, config or TrainConfig(), **given)


def test_a_sweep_times_every_setting(dataset: Dataset) -> None:
    seen: list[Timing] = []
    result = bench(
        dataset, sweeps=["batch-size"], batch_sizes=[64, 512], repeats=3, watch=seen.append
    )
    assert (result.device, result.rows) == ("cpu", 300)
    assert result.results == seen
    assert [found.setting.batch_size for found in seen] == [64, 512, None]
    assert set(result.summary()) == {"device", "rows", "results", "best"}
    for found in result.results:
        assert set(found.row()) == KEYS
        assert 0 < found.seconds_min <= found.seconds_median <= found.seconds_max
        assert found.ratings_per_second == round(300 / found.seconds_median)
    for found in result.results[:2]:
        assert found.seconds_loader
        assert found.seconds_steps
    fastest = max(result.results[:2], key=lambda found: found.ratings_per_second)
    assert result.best == fastest.setting


@pytest.mark.parametrize(("model", "solver"), [("mf", "gibbs"), ("ncf", "adam")])
def test_the_last_row_is_the_solver_that_train_would_use(
    model: str, solver: str, dataset: Dataset
) -> None:
    config = TrainConfig.of(model=model, batch_size=64)
    result = bench(dataset, config, sweeps=["threads"])
    assert [found.sweep for found in result.results] == ["threads", "solver"]
    first, last = result.results
    assert (first.solver, first.setting.batch_size) == ("adam", 64)
    assert last.solver == last.label == solver
    assert last.setting.batch_size == (None if solver == "gibbs" else 32)
    assert result.best == first.setting


def test_pytorchs_loader_is_timed_beside_but_is_never_the_best(dataset: Dataset) -> None:
    result = bench(dataset, sweeps=["num-workers"], num_workers=[0, 1])
    labels = [found.label for found in result.results]
    assert labels == ["resident", "0 workers", "1 worker", "gibbs"]
    assert result.best == result.results[0].setting
    assert (result.best.loader, result.best.batch_size) == ("resident", 4096)


def test_the_best_is_written_as_a_configuration(tmp_path: Path) -> None:
    benchmark.write_config(RESULT, tmp_path / "fast.toml")
    notes: list[str] = []
    config = resolve(TrainConfig, file=tmp_path / "fast.toml", note=notes.append)
    assert notes == []
    assert (config.solver, config.threads, config.device) == ("adam", 2, "cpu")
    assert (config.adam.batch_size, config.adam.loader) == (4096, "resident")
    table = RESULT.table()
    assert table["loader"].to_list() == ["resident", "dataloader", "resident", None]
    assert table["threads"].to_list() == ["auto", "auto", "2", "2"]


@pytest.mark.parametrize("sweep", ["threads", "device"])
def test_other_sweeps_change_one_thing_each(sweep: Any, dataset: Dataset) -> None:
    before = torch.get_num_threads()
    result = bench(dataset, sweeps=[sweep], threads=[1, 2])
    assert torch.get_num_threads() == before
    found = [timing.setting for timing in result.results if timing.sweep == sweep]
    assert (found[0].batch_size, found[0].loader) == (32, "resident")
    if sweep == "threads":
        assert [setting.threads for setting in found] == [1, 2]
    else:
        assert (found[-1].threads, found[-1].device) == ("auto", "cpu")


def test_the_sweeps_are_drawn(tmp_path: Path) -> None:
    png.draw(charts.sweeps(RESULT), tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
