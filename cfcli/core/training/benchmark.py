"""How fast an epoch is, by what a user can change: the notebook's two sweeps and more, through the
public ``fit``."""

import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from cfcli.core.config.toml import to_toml_value
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.storage import publishing
from cfcli.core.training import lightly

Sweep = Literal["batch-size", "num-workers", "threads", "compile", "device"]
KEYS = (
    "batch_size",
    "num_workers",
    "loader",
    "threads",
    "compiled",
    "device",
)  # that a sweep changes
WARM_UP = (
    1  # epochs that are not counted: the first pays for caches, threads, workers and compilation
)


def bench(
    dataset: Dataset,
    config: TrainConfig,
    *,
    sweeps: Sequence[Sweep],
    batch_sizes: Sequence[int],
    num_workers: Sequence[int],
    threads: Sequence[int] = (1,),
    sample: int,
    repeats: int,
    watch: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Times training epochs of adam (without validation) on the first ``sample`` training rows, and
    beside them what they consist of: the loader alone, and the steps alone.

    The sweep over batch sizes uses the resident loader; the one over workers uses PyTorch's
    DataLoader, row by row, at batches of 4,096 as the notebook did, beside the resident loader at
    the same size. The others use the resident loader at the batch size of ``config``; ``device``
    tries all that this machine has.

    Args:
        repeats: epochs timed of each setting, after one that is not counted.
        watch: called with each result as it comes.

    Returns:
        ``device``, ``rows``, ``results`` (seconds of an epoch: min, median, max; of loader and
        steps: the median) and the fastest as ``best``.

    Raises:
        MachineError: no such device; nothing to compile with.
    """
    training = lightly.training()
    from cfcli.core.training.descent import auto_batch_size
    from cfcli.core.training.device import devices

    train = dataset.split("train").head(sample)
    if config.batch_size == "auto":
        config = dataclasses.replace(config, batch_size=auto_batch_size(train.height))
    choices: dict[Sweep, list[dict[str, Any]]] = {
        "batch-size": [{"batch_size": size} for size in batch_sizes],
        "num-workers": [{"batch_size": 4096}]
        + [{"batch_size": 4096, "num_workers": n, "loader": "dataloader"} for n in num_workers],
        "threads": [{"threads": n} for n in threads],
        "compile": [{"compiled": False}, {"compiled": True}],
        "device": [{"device": name} for name in devices()],
    }
    results: list[dict[str, Any]] = []
    for sweep in sweeps:
        for choice in choices[sweep]:
            setting = dataclasses.replace(config, solver="adam", epochs=WARM_UP + repeats, **choice)
            row = {"sweep": sweep} | _timed(training, dataset, train, setting, repeats)
            results.append(row)
            watch(row)
    best = max(results, key=lambda row: row["ratings_per_second"])
    return {
        "device": best["device"],
        "rows": train.height,
        "results": results,
        "best": {key: best[key] for key in KEYS},
    }


def label(row: dict[str, Any]) -> str:
    """What the sweep changed for a row of the results."""
    if row["sweep"] == "num-workers":
        return "resident" if row["loader"] == "resident" else f"{row['num_workers']} workers"
    labels: dict[str, str] = {
        "batch-size": f"{row['batch_size']:,}",
        "threads": f"{row['threads']} thread" + "s" * (row["threads"] != 1),
        "compile": "compiled" if row["compiled"] else "not compiled",
        "device": str(row["device"]),
    }
    return labels[row["sweep"]]


def write_csv(result: dict[str, Any], path: Path) -> None:
    """Writes the results, one row each."""
    with publishing.file(path) as stream:
        pl.DataFrame(result["results"], infer_schema_length=None, strict=False).write_csv(stream)


def write_config(result: dict[str, Any], path: Path) -> None:
    """Writes the fastest setting as a file that ``train --config`` takes."""
    lines = [
        f"# the fastest over {result['rows']:,} ratings; large batches learn less in an epoch",
        "[train]",
        *(f"{key} = {to_toml_value(value)}" for key, value in result["best"].items()),
    ]
    with publishing.file(path) as stream:
        stream.write("\n".join([*lines, ""]).encode())


def _timed(
    training: Any, dataset: Dataset, train: pl.DataFrame, config: TrainConfig, repeats: int
) -> dict[str, Any]:
    shape = dataset.info.users, dataset.info.items
    with tempfile.TemporaryDirectory() as folder:
        fitted = training.fit(train, train.clear(), *shape, config, Path(folder))
    if fitted.stopped_by:
        training.raise_stopped(fitted.stopped_by)
    from cfcli.core.training.timing import time_apart

    loader, steps = time_apart(train, *shape, config, repeats)
    seconds = [row.seconds for row in fitted.history[WARM_UP:]]
    return {key: getattr(config, key) for key in KEYS} | {
        "device": fitted.device,
        "seconds_min": min(seconds),
        "seconds_median": statistics.median(seconds),
        "seconds_max": max(seconds),
        "seconds_loader": statistics.median(loader),
        "seconds_steps": statistics.median(steps),
        "ratings_per_second": round(train.height / statistics.median(seconds)),
    }
