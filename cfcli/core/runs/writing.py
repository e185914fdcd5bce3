"""A run, written to disk."""

import contextlib
import itertools
import math
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.config.prepare import INHERITED, PrepareConfig
from cfcli.core.config.resolve import as_dict, to_toml
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.blocks import Blocks
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.info import PlainConfig
from cfcli.core.data.splits import NAMES as SIDES
from cfcli.core.errors import ArtifactError, ConfigError
from cfcli.core.metrics.ratings import Errors
from cfcli.core.models.biases import BiasModel
from cfcli.core.models.interest import choice_weights
from cfcli.core.pair import Pair
from cfcli.core.runs.content import fit_content
from cfcli.core.runs.finish import Models
from cfcli.core.runs.info import FORMAT, InterestInfo, Refit, RunInfo, Shape, TrainedOn, Tried
from cfcli.core.runs.run import (
    CHECKPOINT,
    CONTENT,
    DATASET,
    FILES,
    INTEREST,
    LATEST,
    MANIFEST,
    RUNS,
    SAMPLES,
    SEEN,
    STEPS,
    TEST,
    TIMES,
    TRACE,
    TWIN,
    short,
)
from cfcli.core.storage import manifests, publishing
from cfcli.core.storage.schema import to_json
from cfcli.core.storage.tables import write_table
from cfcli.core.storage.tensors import save_tensors
from cfcli.version import __version__

if TYPE_CHECKING:
    from cfcli.core.training.epochs import Epoch
    from cfcli.core.training.interest import FittedInterest

SORTED_ROWS, SORTED_FILES = 1 << 22, 500  # at once, and at most, which are open then
ITEM_BITS = 32  # of the number that stands for a pair, below those of the user
SHOWN = 5  # killed trainings in a message
PACKAGES = ("torch", "pytorch-lightning", "polars", "numpy", "scikit-learn")


def new_path(model: str) -> Path:
    """A new name, ``runs/<UTC time>-<model>``, with a number where two start in one second.

    Args:
        model: mf or ncf.
    """
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{model}"
    path, number = RUNS / name, 1
    while path.exists() or publishing.staging_of(path).exists():
        number += 1
        path = RUNS / f"{name}-{number}"
    return path


@dataclass(frozen=True)
class Resumable:
    """A training that can go on.

    Attributes:
        folder: where its checkpoint and its configuration are.
        out: the name of the run.
        was_killed: whether its process was killed, so that ``folder`` has not got that name yet.
        data: the dataset that it is trained on; None where nothing says so.
    """

    folder: Path
    out: Path
    was_killed: bool
    data: Path | None


def resumable(run: Path) -> Resumable:
    """Find the checkpoint of a run that was stopped, or of a training that was killed.

    Args:
        run: the run, or what the run of the killed training was to be called.

    Raises:
        ArtifactError: there is none, or the run is damaged.
    """
    run = run.resolve()
    if (run / MANIFEST).exists():
        manifests.read(run / MANIFEST, "run", FORMAT)
    left = publishing.staging_of(run)
    for folder in (left, run):  # what a resumed training left is newer
        if (folder / CHECKPOINT).exists() and (folder / "config.toml").exists():
            return Resumable(folder, short(run), folder == left, _dataset_of(folder))
    if not run.exists() and not left.exists():
        raise ArtifactError(f"{short(run)}: no run there{_killed_ones(run)}")
    raise ArtifactError(
        f"{short(run)}: no checkpoint there: it ran to its end, or was stopped before its first "
        "epoch or while it tried dimensions"
    )


def _killed_ones(run: Path) -> str:
    """The trainings that were killed and can be resumed, for a message; empty where none is.

    Args:
        run: what was asked for; they are looked for beside it and in ``runs``.
    """
    places = {run.parent, RUNS.resolve()}
    found = {
        str(short(left.with_name(left.name[1:].removesuffix(".part"))))
        for place in places
        for left in place.glob(".*.part")
        if (left / CHECKPOINT).exists()
    }
    if not found:
        return ""
    return f"; killed trainings that can be resumed: {', '.join(sorted(found)[:SHOWN])}"


def _dataset_of(folder: Path) -> Path | None:
    """The dataset that a training which was not finished reads."""
    with contextlib.suppress(OSError, ValueError):
        found = Path((folder / DATASET).read_text(encoding="utf-8").strip())
        return short(found) if found.exists() else None
    return None


@dataclass(frozen=True)
class NewRun:
    """A run that is being written.

    Attributes:
        path: its folder once it is whole.
        staging: the folder to write into until then.
    """

    path: Path
    staging: Path


@contextlib.contextmanager
def create_run(
    out: Path | None, config: TrainConfig, *, keep: bool = False, replace: bool = False
) -> Iterator[NewRun]:
    """Make the folder of a new run, which takes its name when the block ends well.

    Args:
        out: its name; by default a new one in ``runs``.
        config: is written into it.
        keep: take over the folder that a killed process left.
        replace: the stopped run of that name, which goes on.

    Raises:
        ConfigError: something is there already.
    """
    path = out or new_path(config.model)
    if not replace and (path.is_symlink() or path.exists()):
        raise ConfigError(
            f"{path}: exists; a run is never overwritten: choose another --out or remove it"
        )
    with publishing.directory(path, keep, CHECKPOINT) as folder:
        settings = folder / "config.toml"
        former = settings.read_bytes() if keep and settings.exists() else None
        write_config(folder, config)
        try:
            yield NewRun(path, folder)
        except ConfigError:  # what was refused is to be resumed as it was
            if former is not None:
                settings.write_bytes(former)
            raise


def write_config(folder: Path, config: TrainConfig) -> None:
    """Write the settings of a run.

    Args:
        folder: where to.
        config: the settings.
    """
    (folder / "config.toml").write_text(to_toml(config), encoding="utf-8")


def point_latest(path: Path) -> None:
    """Make ``runs/latest`` point to a run, if it lies in ``runs``.

    Args:
        path: a run that was finished: what reads the newest run is to find a whole one.

    Raises:
        MachineError: no permission, or no space.
    """
    if path.resolve().parent == RUNS.resolve():
        publishing.point(LATEST, path)


def latest() -> Path | None:
    """The run that ``runs/latest`` points to; None where there is none."""
    try:
        return RUNS / LATEST.readlink().name
    except OSError:
        return None


def write_twin(new: NewRun, dataset: Dataset, config: TrainConfig, models: Models) -> None:
    """Write the run that :func:`write_run` will name as the twin of another.

    Args:
        new: the run that it is the twin of.
        dataset, config, models: see :func:`write_run`.
    """
    folder = new.staging / TWIN
    folder.mkdir(mode=0o775)
    write_config(folder, config)
    write_run(NewRun(new.path / TWIN, folder), dataset, config, models)


def write_run(
    new: NewRun,
    dataset: Dataset,
    config: TrainConfig,
    models: Models,
    *,
    keep_test: bool = False,
    tried: list[Tried] | None = None,
) -> RunInfo:
    """Write all files of a run.

    Args:
        new: where to.
        dataset: that the models were trained on.
        config: the settings of the training.
        models: what came of it.
        keep_test: whether to keep the test rows, so that it can be judged without its dataset.
        tried: the dimensions that this one was chosen from, if it was.

    Returns:
        The manifest.
    """
    folder, model, interest = new.staging, models.rating, models.interest
    blocks = [dataset.blocks(side) for side in models.sides]
    bias = BiasModel.of(Columns(blocks), model.shape.users, model.shape.items)
    _write_entities(
        folder / "users.parquet", dataset.users, bias.user_n, bias.user_mean, bias.user_bias
    )
    _write_entities(
        folder / "items.parquet", dataset.items, bias.item_n, bias.item_mean, bias.item_bias
    )
    save_tensors(model.tensors, folder / "model.safetensors")
    _write_seen(dataset, models, folder / SEEN)
    history = pl.DataFrame([asdict(row) for row in model.history])
    (folder / "metrics.csv").write_text(history.write_csv())
    trace = pl.DataFrame(model.trace, TRACE, orient="row")
    (folder / STEPS).write_text(trace.write_csv())
    names = [*FILES, STEPS, SEEN]
    if model.samples is not None:
        save_tensors(model.samples, folder / SAMPLES)
        names.append(SAMPLES)
    if not isinstance(interest, str):
        save_tensors(interest.tensors, folder / INTEREST)
        names.append(INTEREST)
    if model.times is not None:
        save_tensors(model.times.tensors(), folder / TIMES)
        names.append(TIMES)
    content = fit_content(dataset, config, models, Pair(bias.user_n, bias.item_n))
    kept = {
        f"{entity}_{name}": tensor
        for entity, side in content.named()
        if side is not None
        for name, tensor in side.tensors().items()
    }
    if kept:
        save_tensors(kept, folder / CONTENT)
        names.append(CONTENT)
    if keep_test:
        write_table(dataset.split("test", times=model.times is not None), folder / TEST)
        names.append(TEST)
    twin = folder / TWIN / MANIFEST
    info = RunInfo(
        cfcli=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        status="stopped" if model.stopped_by else "finished",
        model=config.model,
        solver=model.solver,
        optimizer=config.resolved_optimizer,
        link=model.link,
        noise=model.noise,
        dim=config.dimension,
        shape=Shape(**asdict(model.shape)),
        columns=dataset.info.columns,
        integer_ids=dataset.info.integer_ids,
        dataset=TrainedOn(
            path=os.path.relpath((dataset.home or dataset.path).resolve(), new.path.resolve()),
            fingerprint=dataset.info.fingerprint,
            train=dataset.info.train,
        ),
        train_mean=bias.mean,
        warm_start=model.warm_start,
        epochs=len(model.history),
        best_epoch=model.best.epoch,
        val=_validation_errors(model.best),
        seconds=round(model.seconds, 3),
        ratings_per_second=round(
            float(np.median([row.ratings_per_second for row in model.history]))
        ),
        batch_size=model.batch_size,
        device=model.device,
        peak_rss_mb=_peak_rss_mb(),
        config={**as_dict(config)},
        versions=_versions(),
        machine=f"{platform.system()} {platform.machine()}",
        files=manifests.listing(folder, names),
        interest=_interest_info(interest),
        reading=_reading(dataset),
        refit=Refit(
            rating_rows=sum(map(len, blocks)),
            interest_rows=0 if isinstance(interest, str) else interest.rows,
            rating_sides=[*models.sides],
            interest_sides=[] if isinstance(interest, str) else [*interest.fitted_on],
            reason=models.reason,
        ),
        tried=tried,
        twin=manifests.file_of(twin) if twin.exists() else None,
        ordinal=model.ordinal,
        attributes=dataset.info.attributes,
        times=model.times.calendar if model.times is not None else None,
    )
    manifests.write(folder / MANIFEST, to_json(info), info.files)
    return info


def _reading(dataset: Dataset) -> PlainConfig | None:
    """What form the ratings had, where it was not the usual one."""
    usual = as_dict(PrepareConfig())
    found = {name: dataset.info.config.get(name, usual[name]) for name in INHERITED}
    return {name: value for name, value in found.items() if value != usual[name]} or None


def _interest_info(interest: "FittedInterest | str") -> InterestInfo:
    if isinstance(interest, str):
        return InterestInfo(reason=interest)
    return InterestInfo(
        method="ease",
        reason=f"no time for {interest.skipped}" if interest.skipped else None,
        dim=interest.tensors["item"].shape[1],
        seconds=round(interest.seconds, 3),
        val=interest.settings.quality,
        penalty=interest.penalty,
        weights=interest.settings.weights,
        deviation=interest.deviation,
        liked_from=interest.liked_from,
    )


def _write_entities(
    path: Path,
    table: pl.DataFrame,
    n: NDArray[np.int64],
    mean: NDArray[np.float64],
    bias: NDArray[np.float64],
) -> None:
    """Writes the users or items of a dataset with what the training rows say of them. Of the
    attributes, which may say things about people, only genres are kept: reports show them."""
    known = [
        pl.Series("n_ratings", n, dtype=pl.UInt32),
        pl.Series("mean", mean),
        pl.Series("bias", bias),
    ]
    shown = [name for name in table.columns if name in ("n_ratings", "title", "genres")]
    kept = dict.fromkeys([table.columns[0], *shown])
    write_table(table.select(*kept).with_columns(known), path)


def _validation_errors(best: "Epoch") -> Errors:
    """The errors on validation rows, of which there may be none."""
    found = (best.val_mse, best.val_rmse, best.val_mae)
    return Errors(*(math.nan if value is None else value for value in found))


def _peak_rss_mb() -> int:
    """The most memory that this process held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "linux" else 1024  # Linux counts KB, macOS bytes
    return round(peak / unit / 1024)


def _versions() -> dict[str, str]:
    """The versions of Python and of the packages that matter."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        found[name] = metadata.version(name)
    return found


class Columns:
    """Blocks as arrays, as often as they are asked for."""

    def __init__(self, blocks: list[Blocks]) -> None:
        self.blocks = blocks

    def __iter__(self) -> Iterator[tuple[NDArray[Any], ...]]:
        return (
            tuple(block[name].to_numpy() for name in ("user", "item", "rating"))
            for block in itertools.chain(*self.blocks)
        )


def _write_seen(dataset: Dataset, models: Models, path: Path) -> None:
    """Who rated what on any side of the split, by user and item: whether it was trained on, and its
    weight in the interest model. The rows go to files by user first, that have no name, and each of
    which fits into memory."""
    import pyarrow.parquet as pq

    interest = models.interest
    sides = {name: dataset.blocks(name) for name in SIDES}
    user_n = np.zeros(dataset.info.users, np.int64)
    for block in itertools.chain(*sides.values()):
        user_n += np.bincount(block["user"].to_numpy(), minlength=len(user_n))
    most = max(SORTED_ROWS, int(user_n.sum()) // SORTED_FILES)
    before = np.cumsum(user_n) - user_n
    first = np.flatnonzero(np.diff(before // most, prepend=-1))  # users of each file
    record = np.dtype([("pair", np.uint64), ("trained", np.bool_), ("weight", np.float32)])
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for _ in first]
        for name, block in ((name, block) for name, side in sides.items() for block in side):
            block = block.sort("user")
            user, item = (block[column].to_numpy() for column in ("user", "item"))
            rows = np.zeros(block.height, record)
            rows["pair"] = user.astype(np.uint64) << ITEM_BITS | item
            rows["trained"] = name in models.sides
            if not isinstance(interest, str) and name in interest.fitted_on:
                rating, mean = block["rating"].to_numpy(), interest.mean[user]
                rows["weight"] = choice_weights(rating, mean, interest.deviation)
            cuts = np.searchsorted(user, [*first[1:]])
            for file, part in zip(files, np.split(rows, cuts), strict=True):
                file.write(part.tobytes())
        writer = None
        for file in files:
            file.seek(0)
            found = _merged(np.fromfile(file, record)).to_arrow()
            writer = writer or stack.enter_context(
                pq.ParquetWriter(path, found.schema, compression="zstd")
            )
            writer.write_table(found)


def _merged(rows: NDArray[Any]) -> pl.DataFrame:
    """Rows by user and item, one for each pair: a pair may be on two sides.

    Args:
        rows: ``pair``, ``trained`` and ``weight``, at least one.
    """
    order = np.argsort(rows["pair"])
    pair = rows["pair"][order]
    starts = np.flatnonzero(np.concatenate([[True], pair[1:] != pair[:-1]]))
    pair = pair[starts]
    return pl.DataFrame(
        {
            "user": (pair >> ITEM_BITS).astype(np.uint32),
            "item": pair.astype(np.uint32),
            "trained": np.logical_or.reduceat(rows["trained"][order], starts),
            "weight": np.add.reduceat(rows["weight"][order], starts),
        }
    )
