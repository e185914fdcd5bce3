"""A run, written to disk."""

import contextlib
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

import cfcli
from cfcli.core.config.resolve import as_dict, to_toml
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.blocks import COLUMNS, Blocks
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ArtifactError, ConfigError
from cfcli.core.models.biases import BiasModel
from cfcli.core.runs.run import (
    CHECKPOINT,
    FILES,
    FORMAT,
    LATEST,
    MANIFEST,
    RUNS,
    SAMPLES,
    SEEN,
    STEPS,
    short,
)
from cfcli.core.storage import manifests, publishing
from cfcli.core.storage.tables import write_table
from cfcli.core.storage.tensors import save_tensors

if TYPE_CHECKING:
    from cfcli.core.training.trained import TrainedModel

SORTED_ROWS, SORTED_FILES = 1 << 23, 500  # at once, and at most, which are open then
PACKAGES = ("torch", "pytorch-lightning", "polars", "numpy", "scikit-learn")


def new_path(model: str) -> Path:
    """``runs/<UTC time>-<model>``, with a number where two start in one second."""
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{model}"
    path, number = RUNS / name, 1
    while path.exists() or publishing.staging_of(path).exists():
        number += 1
        path = RUNS / f"{name}-{number}"
    return path


def resumable(run: Path) -> tuple[Path, Path | None]:
    """Where the checkpoint of a run lies that was stopped (its own folder) or killed (what it
    left), and, for a killed one, the name that it was to get.

    Raises:
        ArtifactError: there is none, or the run is damaged.
    """
    run = run.resolve()
    if (run / MANIFEST).exists():
        manifests.read(run / MANIFEST, "run", FORMAT)
    for folder, out in ((run, None), (publishing.staging_of(run), short(run))):
        if (folder / CHECKPOINT).exists() and (folder / "config.toml").exists():
            return folder, out
    raise ArtifactError(
        f"{short(run)}: no checkpoint there: it ran to its end, or was stopped before its first epoch"
    )


@contextlib.contextmanager
def create_run(
    out: Path | None, config: TrainConfig, *, keep: bool = False
) -> Iterator[tuple[Path, Path]]:
    """The final path of a new run and the folder to write_run it into, which takes that name when
    the block ends well; ``runs/latest`` then points at it, if it lies in ``runs``. With ``keep``
    the folder of a killed process is taken over.

    Raises:
        ConfigError: something is there already.
    """
    path = out or new_path(config.model)
    if path.is_symlink() or path.exists():
        raise ConfigError(
            f"{path}: exists; a run is never overwritten: choose another --out or remove it"
        )
    with publishing.directory(path, keep) as folder:
        (folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
        yield path, folder
    if path.resolve().parent == RUNS.resolve():
        publishing.point(LATEST, path)


def write_run(
    folder: Path, path: Path, dataset: Dataset, config: TrainConfig, model: "TrainedModel"
) -> dict[str, Any]:
    """Writes all files of a run into ``folder``, which will be ``path``; returns the manifest."""
    blocks = dataset.blocks("train")
    bias = BiasModel.of(Columns(blocks), model.shape.users, model.shape.items)
    columns = dataset.info["columns"]
    for table, name, n, mean, b in (
        (dataset.users, "users", bias.user_n, bias.user_mean, bias.user_bias),
        (dataset.items, "items", bias.item_n, bias.item_mean, bias.item_bias),
    ):
        known = {
            "n_ratings": pl.Series(n, dtype=pl.UInt32),
            "mean": pl.Series(mean),
            "bias": pl.Series(b),
        }
        write_table(table.with_columns(**known), folder / f"{name}.parquet")
    save_tensors(model.tensors, folder / "model.safetensors")
    _write_seen(blocks, bias.user_n, folder / SEEN)
    (folder / "metrics.csv").write_text(
        pl.DataFrame([asdict(row) for row in model.history]).write_csv()
    )
    trace = pl.DataFrame(model.trace, {"step": pl.Int64, "train_mse": pl.Float64}, orient="row")
    (folder / STEPS).write_text(trace.write_csv())
    best = model.best
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 if sys.platform == "linux" else 1024
    )
    info: dict[str, Any] = {
        "format": FORMAT,
        "cfcli": cfcli.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": "stopped" if model.stopped_by else "finished",
        "model": config.model,
        "solver": model.solver,
        "optimizer": config.resolved_optimizer,
        "link": model.link,
        "noise": model.noise,
        "dim": config.dim,
        "shape": asdict(model.shape),
        "columns": columns,
        "integer_ids": dataset.info["integer_ids"],
        "dataset": {
            "path": os.path.relpath(dataset.path.resolve(), path.resolve()),
            "fingerprint": dataset.info["fingerprint"],
            "train": len(blocks),
        },
        "train_mean": bias.mean,
        "warm_start": model.warm_start,
        "epochs": len(model.history),
        "best_epoch": best.epoch,
        "val": {"mse": best.val_mse, "rmse": best.val_rmse, "mae": best.val_mae},
        "seconds": round(model.seconds, 3),
        "ratings_per_second": round(
            float(np.median([row.ratings_per_second for row in model.history]))
        ),
        "batch_size": model.batch_size,
        "device": model.device,
        "peak_rss_mb": round(peak / 1024),
        "config": as_dict(config),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}",
    }
    if model.samples is not None:
        save_tensors(model.samples, folder / SAMPLES)
    names = [*FILES, STEPS, SEEN, *([SAMPLES] if model.samples is not None else [])]
    return manifests.write(folder / MANIFEST, info, manifests.listing(folder, names))


class Columns:
    """Blocks as arrays, as often as they are asked for."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks

    def __iter__(self) -> Iterator[tuple[NDArray[Any], ...]]:
        return (
            tuple(block[name].to_numpy() for name in ("user", "item", "rating"))
            for block in self.blocks
        )


def _write_seen(blocks: Blocks, user_n: NDArray[np.int64], path: Path) -> None:
    """Who rated what, by user and item. The rows go to files by user first, that have no name, and
    each of which fits into memory."""
    import pyarrow.parquet as pq

    most = max(SORTED_ROWS, len(blocks) // SORTED_FILES)
    before = np.cumsum(user_n) - user_n
    first = np.flatnonzero(np.diff(before // most, prepend=-1))  # users of each file
    columns = {name: COLUMNS[name] for name in ("user", "item")}
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for _ in first]
        for block in blocks:
            rows = block.select(*columns).sort("user")
            cuts = np.searchsorted(rows["user"].to_numpy(), [*first[1:]])
            for file, part in zip(files, np.split(rows.to_numpy(), cuts), strict=True):
                file.write(np.ascontiguousarray(part).data)
        writer = None
        for file in files:
            file.seek(0)
            found = (
                pl.DataFrame(np.fromfile(file, np.uint32).reshape(-1, 2), columns)
                .sort("user", "item")
                .to_arrow()
            )
            writer = writer or stack.enter_context(
                pq.ParquetWriter(path, found.schema, compression="zstd")
            )
            writer.write_table(found)
