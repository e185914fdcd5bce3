"""Timings have the keys of the contract, and the best of them is a configuration."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from shell import write_ratings

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import resolve
from cfcli.core.config.train import TrainConfig
from cfcli.core.data import prepare as preparation
from cfcli.core.inputs.ratings import Source
from cfcli.core.reporting import charts, png
from cfcli.core.training import benchmark

RESULT = {
    "device": "cpu",
    "rows": 100,
    "results": [
        {"sweep": s, "batch_size": b, "num_workers": w, "loader": loader, "threads": t,
        "compiled": False,
         "device": "cpu", "seconds_min": 0.5, "seconds_median": 1.0, "seconds_max": 2.0,
         "seconds_loader": 0.2,
         "seconds_steps": 0.7, "ratings_per_second": 100}
        for s, b, w, loader, t in (
            ("batch-size", 256, 0, "resident", "auto"), ("num-workers", 4096, 1, "dataloader",
            "auto"),
            ("threads", 256, 0, "resident", 2), ("compile", 256, 0, "resident", 2),
        )
    ],
    "best": {
        "batch_size": 4096, "num_workers": 1, "loader": "dataloader", "threads": 2,
        "compiled": False, "device": "cpu"
    },
}  # fmt: skip


def test_a_sweep_times_every_setting(tmp_path: Path) -> None:
    path = write_ratings(tmp_path / "r.csv")
    dataset, _ = preparation.prepare([Source.of(path)], tmp_path / "d", PrepareConfig())
    seen: list[dict[str, object]] = []
    result = benchmark.bench(
        dataset, TrainConfig(), sweeps=["batch-size"], batch_sizes=[64, 512], num_workers=[],
        sample=300, repeats=3,
        watch=seen.append,
    )  # fmt: skip
    assert (result["device"], result["rows"]) == ("cpu", 300)
    assert result["results"] == seen
    assert [row["batch_size"] for row in seen] == [64, 512]
    assert set(seen[0]) == set(RESULT["results"][0])  # type: ignore[index]
    for row in result["results"]:
        assert 0 < row["seconds_min"] <= row["seconds_median"] <= row["seconds_max"]
        assert row["ratings_per_second"] == round(300 / row["seconds_median"])
        assert row["seconds_loader"] > 0
        assert row["seconds_steps"] > 0
    fastest = max(result["results"], key=lambda row: row["ratings_per_second"])
    assert result["best"]["batch_size"] == fastest["batch_size"]


def test_the_best_is_written_as_a_configuration(tmp_path: Path) -> None:
    benchmark.write_config(RESULT, tmp_path / "fast.toml")
    config = resolve(TrainConfig, file=tmp_path / "fast.toml")
    assert (config.batch_size, config.num_workers, config.loader) == (4096, 1, "dataloader")
    assert (config.threads, config.compiled, config.device) == (2, False, "cpu")
    benchmark.write_csv(RESULT, tmp_path / "b.csv")
    table = pl.read_csv(tmp_path / "b.csv")
    assert table["loader"].to_list() == ["resident", "dataloader", "resident", "resident"]
    assert table["threads"].to_list() == ["auto", "auto", "2", "2"]


@pytest.mark.parametrize("sweep", ["threads", "device"])
def test_other_sweeps_change_one_thing_each(sweep: Any, tmp_path: Path) -> None:
    path = write_ratings(tmp_path / "r.csv")
    dataset, _ = preparation.prepare([Source.of(path)], tmp_path / "d", PrepareConfig())
    before = torch.get_num_threads()
    result = benchmark.bench(
        dataset,
        TrainConfig(),
        sweeps=[sweep],
        batch_sizes=[],
        num_workers=[],
        threads=[1, 2],
        sample=300,
        repeats=1,
    )
    assert torch.get_num_threads() == before
    found = [
        (row["batch_size"], row["loader"], row["threads"], row["device"])
        for row in result["results"]
    ]
    assert found[0][:2] == (32, "resident")
    if sweep == "threads":
        assert [row[2] for row in found] == [1, 2]
    else:
        assert found[-1][2:] == ("auto", "cpu")


def test_the_sweeps_are_drawn(tmp_path: Path) -> None:
    png.draw(charts.sweeps(RESULT), tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
