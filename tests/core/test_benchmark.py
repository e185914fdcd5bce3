"""Timings have the keys of the contract, and the best of them is a configuration."""

from pathlib import Path

import polars as pl
import pytest
from shell import write_ratings

from cfcli.core import benchmark, plots, preparation
from cfcli.core.config import PrepareConfig, TrainConfig, resolve
from cfcli.core.ratings import Source

RESULT = {
    "device": "cpu",
    "rows": 100,
    "results": [
        {"sweep": s, "batch_size": b, "num_workers": w, "loader": loader, "seconds_min": 0.5, "seconds_median": 1.0,
         "seconds_max": 2.0, "ratings_per_second": 100}
        for s, b, w, loader in (("batch-size", 256, 0, "resident"), ("num-workers", 4096, 1, "dataloader"))
    ],
    "best": {"batch_size": 4096, "num_workers": 1, "loader": "dataloader"},
}  # fmt: skip


def test_a_sweep_times_every_setting(tmp_path: Path) -> None:
    path = write_ratings(tmp_path / "r.csv")
    dataset, _ = preparation.prepare([Source.of(path)], tmp_path / "d", PrepareConfig())
    seen: list[dict[str, object]] = []
    result = benchmark.bench(
        dataset, TrainConfig(), sweeps=["batch-size"], batch_sizes=[64, 512], num_workers=[], sample=300, repeats=3,
        watch=seen.append,
    )  # fmt: skip
    assert (result["device"], result["rows"]) == ("cpu", 300)
    assert result["results"] == seen
    assert [row["batch_size"] for row in seen] == [64, 512]
    assert set(seen[0]) == set(RESULT["results"][0])  # type: ignore[index]
    for row in result["results"]:
        assert 0 < row["seconds_min"] <= row["seconds_median"] <= row["seconds_max"]
        assert row["ratings_per_second"] == round(300 / row["seconds_median"])
    fastest = max(result["results"], key=lambda row: row["ratings_per_second"])
    assert result["best"]["batch_size"] == fastest["batch_size"]


def test_the_best_is_written_as_a_configuration(tmp_path: Path) -> None:
    benchmark.write_config(RESULT, tmp_path / "fast.toml")
    config = resolve(TrainConfig, file=tmp_path / "fast.toml")
    assert (config.batch_size, config.num_workers, config.loader) == (4096, 1, "dataloader")
    benchmark.write_csv(RESULT, tmp_path / "b.csv")
    assert pl.read_csv(tmp_path / "b.csv")["loader"].to_list() == ["resident", "dataloader"]


def test_the_sweeps_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures come with the extra 'plot'")
    plots.sweeps(RESULT, tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
