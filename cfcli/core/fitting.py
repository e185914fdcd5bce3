"""From a dataset to a run on disk."""

import contextlib
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

import cfcli
from cfcli.core import lightly, manifests, planning, publishing, ranks, warm_start
from cfcli.core.blocks import COLUMNS, Blocks
from cfcli.core.config import TrainConfig, as_dict, to_toml
from cfcli.core.dataset import Dataset, write_table
from cfcli.core.epochs import Progress
from cfcli.core.errors import (
    ArtifactError,
    CfcliError,
    ConfigError,
    LostError,
    StoppedError,
    refuse_few_addresses,
)  # fmt: skip
from cfcli.core.models.bias import BiasModel
from cfcli.core.models.start import Start
from cfcli.core.runs import CHECKPOINT, FILES, FORMAT, LATEST, MANIFEST, RUNS, SAMPLES, SEEN, STEPS, Run, short

if TYPE_CHECKING:
    from cfcli.core.training import TrainedModel

ADDRESSES = 2 << 30  # bytes
SORTED_ROWS, SORTED_FILES = 1 << 23, 500  # at once, and at most, which are open then
PACKAGES = ("torch", "pytorch-lightning", "polars", "numpy", "scikit-learn")


def train(
    dataset: Dataset, config: TrainConfig, out: Path | None = None, progress: Progress | None = None, *,
    resume: Path | None = None, keep: bool = False, whole: bool = False,
) -> tuple[Path, dict[str, Any], int | None] | None:  # fmt: skip
    """Trains a model and writes the run. Where several processes train it together, each is to call this.

    Args:
        out: its folder; by default one in ``runs``.
        resume: the checkpoint to go on from.
        keep: take over the folder that a killed process left for ``out``.
        whole: write no run that a signal stopped early, but leave what is there to be resumed; keep no checkpoint in
            one that was ended by ``max_time``.

    Returns:
        The run's path, its manifest, and the number of the signal that stopped it early, if one did; None in processes
        but the first, which writes it.

    Raises:
        ConfigError: something is at ``out`` already, or the run to begin with has another model.
        InputError: ratings that hold nothing to learn.
        MachineError: no such device, no space, no permission.
        LockedError: another process is writing to ``out``.
        ArtifactError: a checkpoint that is damaged, or of other data.
        GateError: the loss diverged.
        StoppedError: a signal came and the run was to be ``whole``, or before its first epoch.
        LostError: another process of the training ended before its time.
    """
    refuse_few_addresses(
        ADDRESSES,
        "'ulimit -v' leaves this process {has} MB of addresses; training needs at least {needs}, and its libraries may "
        "hang on less",
    )
    if not ranks.rank(config):  # which starts the others, or ends before they have begun
        config = affordable(dataset, config, out, settle=resume is None)
    start = None
    if config.warm_start:
        start = warm_start.start(Run.load(Path(config.warm_start)), dataset, config)
    if rank := ranks.rank(config):
        try:
            _fit(dataset, config, None, None, start, resume)
        except CfcliError as error:
            error.args = (f"process {rank}: {error}",)
            raise
        return None
    with create(out, config, keep=keep) as (path, folder):
        try:
            training, fitted = _fit(dataset, config, (folder / CHECKPOINT).parent, progress, start, resume)
        except LostError as error:
            there = (folder / CHECKPOINT).exists()
            hint = f"; 'cfcli train --resume {path}' goes on from its last checkpoint" if there else ""
            raise LostError(f"{error}{hint}") from error
        training.processor.free()
        if whole and fitted.stopped_by:
            raise StoppedError("stopped by a signal; the next training goes on from there", fitted.stopped_by)
        if whole:
            shutil.rmtree((folder / CHECKPOINT).parent, ignore_errors=True)
        info = write(folder, path, dataset, config, fitted)
    return path, info, fitted.stopped_by


def affordable(dataset: Dataset, config: TrainConfig, out: Path | None, *, settle: bool = True) -> TrainConfig:
    """The configuration, with the optimizer that fits this machine where ``auto`` is to be settled.

    Raises:
        MachineError: the training needs more memory or disk than there is.
    """
    job = planning.Job(*(dataset.info[name] for name in ("users", "items", "train", "val")))
    machine = planning.available(config, (out or RUNS).parent)
    config = planning.settled(config, job, machine) if settle else config
    planning.refuse(config, job, machine)
    return config


def _fit(
    dataset: Dataset, config: TrainConfig, folder: Path | None, progress: Progress | None, start: Start | None,
    resume: Path | None,
) -> "tuple[Any, TrainedModel]":  # fmt: skip
    """The module of training, and what it made of the dataset."""
    # Torch makes its compiler's cache when it is imported, used or not: let it take a folder that is there.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.gettempdir())
    training = lightly.training()  # after all that can fail fast: PyTorch takes a second to import
    scale = dataset.info["rating_scale"]
    rows = dataset.blocks if config.loader == "stream" else dataset.split
    return training, training.fit(
        rows("train"),
        rows("val"),
        dataset.info["users"],
        dataset.info["items"],
        config,
        folder,
        progress,
        start=start,
        resume=resume,
        fingerprint=dataset.info["fingerprint"],
        rating_range=(scale["min"], scale["max"]),
    )


def new_path(model: str) -> Path:
    """``runs/<UTC time>-<model>``, with a number where two start in one second."""
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{model}"
    path, number = RUNS / name, 1
    while path.exists() or publishing.staging_of(path).exists():
        number += 1
        path = RUNS / f"{name}-{number}"
    return path


def resumable(run: Path) -> tuple[Path, Path | None]:
    """Where the checkpoint of a run lies that was stopped (its own folder) or killed (what it left), and, for a killed
    one, the name that it was to get.

    Raises:
        ArtifactError: there is none, or the run is damaged.
    """
    run = run.resolve()
    if (run / MANIFEST).exists():
        manifests.read(run / MANIFEST, "run", FORMAT)
    for folder, out in ((run, None), (publishing.staging_of(run), short(run))):
        if (folder / CHECKPOINT).exists() and (folder / "config.toml").exists():
            return folder, out
    raise ArtifactError(f"{short(run)}: no checkpoint there: it ran to its end, or was stopped before its first epoch")


@contextlib.contextmanager
def create(out: Path | None, config: TrainConfig, *, keep: bool = False) -> Iterator[tuple[Path, Path]]:
    """The final path of a new run and the folder to write it into, which takes that name when the block ends well;
    ``runs/latest`` then points at it, if it lies in ``runs``. With ``keep`` the folder of a killed process is taken
    over.

    Raises:
        ConfigError: something is there already.
    """
    path = out or new_path(config.model)
    if path.is_symlink() or path.exists():
        raise ConfigError(f"{path}: exists; a run is never overwritten: choose another --out or remove it")
    with publishing.directory(path, keep) as folder:
        (folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
        yield path, folder
    if path.resolve().parent == RUNS.resolve():
        publishing.point(LATEST, path)


def write(folder: Path, path: Path, dataset: Dataset, config: TrainConfig, model: "TrainedModel") -> dict[str, Any]:
    """Writes all files of a run into ``folder``, which will be ``path``; returns the manifest."""
    blocks = dataset.blocks("train")
    bias = BiasModel.of(Columns(blocks), model.shape.users, model.shape.items)
    columns = dataset.info["columns"]
    for table, name, n, mean, b in (
        (dataset.users, "users", bias.user_n, bias.user_mean, bias.user_bias),
        (dataset.items, "items", bias.item_n, bias.item_mean, bias.item_bias),
    ):
        known = {"n_ratings": pl.Series(n, dtype=pl.UInt32), "mean": pl.Series(mean), "bias": pl.Series(b)}
        write_table(table.with_columns(**known), folder / f"{name}.parquet")
    _save(model.tensors, folder / "model.safetensors")
    _write_seen(blocks, bias.user_n, folder / SEEN)
    (folder / "metrics.csv").write_text(pl.DataFrame([asdict(row) for row in model.history]).write_csv())
    trace = pl.DataFrame(model.trace, {"step": pl.Int64, "train_mse": pl.Float64}, orient="row")
    (folder / STEPS).write_text(trace.write_csv())
    best = model.best
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "linux" else 1024)
    info: dict[str, Any] = {
        "format": FORMAT,
        "cfcli": cfcli.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": "stopped" if model.stopped_by else "finished",
        "model": config.model,
        "solver": model.solver,
        "optimizer": config.stepped_by(),
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
        "ratings_per_second": round(float(np.median([row.ratings_per_second for row in model.history]))),
        "batch_size": model.batch_size,
        "device": model.device,
        "peak_rss_mb": round(peak / 1024),
        "config": as_dict(config),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}",
    }
    if model.samples is not None:
        _save(model.samples, folder / SAMPLES)
    names = [*FILES, STEPS, SEEN, *([SAMPLES] if model.samples is not None else [])]
    return manifests.write(folder / MANIFEST, info, manifests.listing(folder, names))


class Columns:
    """Blocks as arrays, as often as they are asked for."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks

    def __iter__(self) -> Iterator[tuple[NDArray[Any], ...]]:
        return (tuple(block[name].to_numpy() for name in ("user", "item", "rating")) for block in self.blocks)


def _write_seen(blocks: Blocks, user_n: NDArray[np.int64], path: Path) -> None:
    """Who rated what, by user and item. The rows go to files by user first, that have no name, and each of which fits
    into memory."""
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
            found = pl.DataFrame(np.fromfile(file, np.uint32).reshape(-1, 2), columns).sort("user", "item").to_arrow()
            writer = writer or stack.enter_context(pq.ParquetWriter(path, found.schema, compression="zstd"))
            writer.write_table(found)


def _save(tensors: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Writes tensors in the safetensors format, one after the other: the library's writer takes the bytes of all at
    once, and some are larger than memory (see :func:`cfcli.core.solvers.sharded.gathered`)."""
    header, end = {}, 0
    for name, value in tensors.items():
        begin, end = end, end + value.nbytes
        kind = {"f": "F", "u": "U", "i": "I"}[value.dtype.kind] + str(8 * value.dtype.itemsize)
        header[name] = {"dtype": kind, "shape": value.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for value in tensors.values():
            file.write(np.ascontiguousarray(value).data)
