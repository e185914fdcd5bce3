"""From a dataset to a run on disk."""

import dataclasses
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import (
    CfcliError,
    LostError,
    StoppedError,
    UnwrittenError,
    refuse_few_addresses,
)
from cfcli.core.models.warm_start import WarmStart
from cfcli.core.runs import warm_start
from cfcli.core.runs.dimension import check_dim, choose
from cfcli.core.runs.finish import Finish, Models
from cfcli.core.runs.info import RunInfo
from cfcli.core.runs.run import CHECKPOINT, DATASET, PINNED, RUNS, TWIN, Run
from cfcli.core.runs.writing import create_run, point_latest, write_config, write_run, write_twin
from cfcli.core.storage import publishing
from cfcli.core.training.distributed import ranks
from cfcli.core.training.epochs import Progress, Silent
from cfcli.core.training.plan.advice import refuse, settled
from cfcli.core.training.plan.machine import available
from cfcli.core.training.plan.sizing import Job
from cfcli.core.training.signals import number_of

if TYPE_CHECKING:
    from cfcli.core.training.trained import TrainedModel

ADDRESSES = 2 << 30  # bytes


@dataclass(frozen=True)
class TrainedRun:
    """What came of a training.

    Attributes:
        path: the folder of the run.
        info: its manifest.
        stopped_by: number of the signal that stopped the training early, if one did.
    """

    path: Path
    info: RunInfo
    stopped_by: int | None


def train(
    dataset: Dataset,
    config: TrainConfig,
    out: Path | None = None,
    progress: Progress | None = None,
    *,
    resume: Path | None = None,
    keep: bool = False,
    replace: bool = False,
    whole: bool = False,
) -> TrainedRun | None:
    """Train a model and write the run. Where several processes train it together, each calls this.

    Args:
        dataset: to train on.
        config: the settings.
        out: folder of the run; by default a new one in ``runs``.
        progress: hears of every batch and epoch.
        resume: the checkpoint to go on from.
        keep: take over the folder that a killed process left for ``out``.
        replace: the stopped run at ``out``, which goes on.
        whole: write no run that a signal stopped early, but leave what is there to be resumed;
            keep no checkpoint in one that was ended by ``max_time``; keep a twin of each refit and
            the test rows, so that it can be judged beside others in any night.

    Returns:
        What came of it; None in processes but the first, which writes the run.

    Raises:
        ConfigError: something is at ``out`` already, the run to begin with has another model, or
            there are no validation rows to choose a dimension by.
        InputError: ratings that hold nothing to learn.
        MachineError: no such device, no space, no permission.
        LockedError: another process is writing to ``out``.
        ArtifactError: a checkpoint that is damaged, or of other data; the dataset was replaced
            where its files cannot be held.
        GateError: the loss diverged.
        StoppedError: a signal came and the run was to be ``whole``, or before its first epoch, or
            while the run was written.
        LostError: another process of the training ended before its time.
    """
    refuse_few_addresses(
        ADDRESSES,
        "'ulimit -v' leaves this process {has} MB of addresses; training needs at least {needs}, "
        "and its libraries may hang on less",
    )
    begin = time.perf_counter()
    config = config.with_solver_named()
    check_dim(dataset, config)
    ranks.follow_the_first()
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
    with create_run(out, config, keep=keep, replace=replace) as new:
        if progress:
            progress.named(new.path)
        checkpoint = new.staging / CHECKPOINT
        (new.staging / DATASET).write_text(str(dataset.path.resolve()), encoding="utf-8")
        if config.processes.ranks == 1:
            dataset = dataset.pinned(new.staging / PINNED)
        tried = None
        try:
            if config.dim == "auto":
                chosen = choose(
                    dataset,
                    config,
                    lambda trial, dims: _fit(dataset, trial, None, progress, None, None, dims),
                    progress or Silent(),
                )
                config, model, tried = chosen.config, chosen.model, chosen.tried
                write_config(new.staging, config)
            else:
                model = _fit(dataset, config, checkpoint.parent, progress, start, resume)
        except (KeyboardInterrupt, SystemExit) as signal:  # a second one, or while it loads
            if whole or not checkpoint.exists():
                raise
            raise _unwritten(new.path, checkpoint, number_of(signal)) from None
        except LostError as error:
            if not checkpoint.exists():
                raise
            hint = f"'cfcli train --resume {new.path}' goes on from its last checkpoint"
            raise LostError(f"{error}; {hint}") from error
        from cfcli.core.training import resources  # imports torch, which is loaded by now

        resources.free()
        stopped_by = model.stopped_by
        if whole and stopped_by:
            goes_on = "goes on from there" if checkpoint.exists() else "begins anew"
            raise StoppedError(f"stopped by a signal; the next training {goes_on}", stopped_by)
        limit = config.max_seconds()
        until = None if limit is None else begin + limit
        models = [Models(model, ("train",), "the training was stopped")]
        try:
            with dataset.unchanged():
                if not stopped_by:
                    models = Finish(
                        dataset, config, model, progress or Silent(), until, keeps_twin=whole
                    ).models()
        except (KeyboardInterrupt, SystemExit, StoppedError) as signal:  # the model is whole
            if whole:
                raise
            stopped_by = number_of(signal)
            stopped = dataclasses.replace(model, stopped_by=stopped_by)
            models = [Models(stopped, ("train",), "a signal came before it was fitted")]
        # Of a process that was killed.
        publishing.sweep(new.staging)
        shutil.rmtree(new.staging / TWIN, ignore_errors=True)
        try:
            with dataset.unchanged():
                if len(models) > 1:
                    write_twin(new, dataset, config, models[0])
                info = write_run(new, dataset, config, models[-1], keep_test=whole, tried=tried)
        except (KeyboardInterrupt, SystemExit) as signal:
            by = None if whole else new.path
            raise _unwritten(by, checkpoint, number_of(signal)) from None
        is_complete = model.is_whole and not stopped_by and not models[-1].lacks_time
        if whole or is_complete:
            shutil.rmtree(checkpoint.parent, ignore_errors=True)
        if not checkpoint.exists():
            (new.staging / DATASET).unlink()
        shutil.rmtree(new.staging / PINNED, ignore_errors=True)
    if not stopped_by:
        point_latest(new.path)
    return TrainedRun(new.path, info, stopped_by)


def _unwritten(path: Path | None, checkpoint: Path, number: int) -> UnwrittenError:
    """What a signal that came before the run was written is answered with.

    Args:
        path: of the run; None where the next training goes on from the checkpoint by itself.
        checkpoint: of the run, which may be there or not.
        number: of the signal.
    """
    who = f"'cfcli train --resume {path}'" if path else "the next training"
    hint = f"{who} goes on from its checkpoint" if checkpoint.exists() else "train again"
    return UnwrittenError(f"stopped before it was written; {hint}", number)


def affordable(
    dataset: Dataset, config: TrainConfig, out: Path | None, *, settle: bool = True
) -> TrainConfig:
    """The configuration, with the optimizer that fits this machine in the place of ``auto``.

    Args:
        dataset: to train on.
        config: the settings.
        out: folder of the run; by default one in ``runs``.
        settle: whether to replace ``auto``.

    Raises:
        MachineError: the training needs more memory or disk than there is.
    """
    job = Job.of(dataset.info)
    machine = available(config, (out or RUNS).parent)
    config = settled(config, job, machine) if settle else config
    refuse(config, job, machine)
    return config


def _fit(
    dataset: Dataset,
    config: TrainConfig,
    folder: Path | None,
    progress: Progress | None,
    start: WarmStart | None,
    resume: Path | None,
    smaller: Sequence[int] = (),
) -> "TrainedModel":
    """Trains on the dataset."""
    # Imported after all that can fail fast: PyTorch takes a second.
    from cfcli.core.training.fit import fit
    from cfcli.core.training.job import Ratings, TrainingData

    info, half_life = dataset.info, config.half_life_seconds()
    streams = config.adam.loader == "stream"
    train: Ratings = (
        dataset.training_blocks(half_life)
        if streams
        else dataset.training_rows(["train"], half_life, times=config.gibbs.times)
    )
    data = TrainingData(
        train,
        dataset.blocks("val") if streams else dataset.split("val", times=config.gibbs.times),
        info.users,
        info.items,
        scale=info.rating_scale,
        fingerprint=info.fingerprint,
        attributes=dataset.attributes,
    )
    return fit(
        data,
        config,
        folder,
        progress,
        warm_start=start,
        resume=resume,
        keeps_checkpoint=config.has_more_to_fit,
        smaller=smaller,
    )
