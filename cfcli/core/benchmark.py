"""How fast an epoch is, by batch size and by loader: the notebook's two sweeps, through the public ``fit``."""

import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from cfcli.core import lightly, publishing
from cfcli.core.config import TrainConfig
from cfcli.core.dataset import Dataset

Sweep = Literal["batch-size", "num-workers"]
WARM_UP = 1  # epochs that are not counted: the first pays for caches, threads and workers


def bench(
    dataset: Dataset,
    config: TrainConfig,
    *,
    sweeps: Sequence[Sweep],
    batch_sizes: Sequence[int],
    num_workers: Sequence[int],
    sample: int,
    repeats: int,
    watch: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Times training epochs (without validation) on the first ``sample`` training rows.

    The sweep over batch sizes uses the resident loader; the one over workers uses PyTorch's DataLoader, row by row, at
    batches of 4,096 as the notebook did, beside the resident loader at the same size.

    Args:
        repeats: epochs timed of each setting, after one that is not counted.
        watch: called with each result as it comes.

    Returns:
        ``device``, ``rows``, ``results`` (seconds of an epoch: min, median, max) and the fastest as ``best``.
    """
    train = dataset.split("train").head(sample)
    settings: list[tuple[str, dict[str, Any]]] = []
    if "batch-size" in sweeps:
        settings += [("batch-size", {"batch_size": b, "num_workers": 0, "loader": "resident"}) for b in batch_sizes]
    if "num-workers" in sweeps:
        settings.append(("num-workers", {"batch_size": 4096, "num_workers": 0, "loader": "resident"}))
        settings += [
            ("num-workers", {"batch_size": 4096, "num_workers": w, "loader": "dataloader"}) for w in num_workers
        ]
    results: list[dict[str, Any]] = []
    device: str = config.device
    for sweep, setting in settings:
        seconds, device = _epochs(dataset, train, dataclasses.replace(config, **setting), repeats)
        median = statistics.median(seconds)
        row = {
            "sweep": sweep,
            **setting,
            "seconds_min": min(seconds),
            "seconds_median": median,
            "seconds_max": max(seconds),
            "ratings_per_second": round(train.height / median),
        }
        results.append(row)
        watch(row)
    best = max(results, key=lambda row: row["ratings_per_second"])
    keys = ("batch_size", "num_workers", "loader")
    return {"device": device, "rows": train.height, "results": results, "best": {key: best[key] for key in keys}}


def write_csv(result: dict[str, Any], path: Path) -> None:
    """Writes the results, one row each."""
    with publishing.file(path) as stream:
        pl.DataFrame(result["results"]).write_csv(stream)


def write_config(result: dict[str, Any], path: Path) -> None:
    """Writes the fastest setting as a file that ``train --config`` takes."""
    best = result["best"]
    text = (
        f"# the fastest over {result['rows']:,} ratings on {result['device']}; large batches learn less in an epoch\n"
        f"[train]\nbatch_size = {best['batch_size']}\nnum_workers = {best['num_workers']}\n"
        f'loader = "{best["loader"]}"\n'
    )
    with publishing.file(path) as stream:
        stream.write(text.encode())


def _epochs(dataset: Dataset, train: pl.DataFrame, config: TrainConfig, repeats: int) -> tuple[list[float], str]:
    training = lightly.training()
    config = dataclasses.replace(config, solver="adam", epochs=WARM_UP + repeats)
    with tempfile.TemporaryDirectory() as folder:
        fitted = training.fit(train, train.clear(), dataset.info["users"], dataset.info["items"], config, Path(folder))
    if fitted.stopped_by:
        training.raise_stopped(fitted.stopped_by)
    return [row.seconds for row in fitted.history[WARM_UP:]], fitted.device
