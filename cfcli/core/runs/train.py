"""From a dataset to a run on disk."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import CfcliError, LostError, StoppedError, refuse_few_addresses
from cfcli.core.models.warm_start import WarmStart
from cfcli.core.runs import warm_start
from cfcli.core.runs.run import CHECKPOINT, RUNS, Run
from cfcli.core.runs.writing import create_run, write_run
from cfcli.core.training.distributed import ranks
from cfcli.core.training.epochs import Progress
from cfcli.core.training.plan.advice import refuse, settled
from cfcli.core.training.plan.machine import available
from cfcli.core.training.plan.sizing import Job

if TYPE_CHECKING:
    from cfcli.core.training.trained import TrainedModel

ADDRESSES = 2 << 30  # bytes


def train(
    dataset: Dataset, config: TrainConfig, out: Path | None = None, progress: Progress | None = None, *,
    resume: Path | None = None, keep: bool = False, whole: bool = False,
) -> tuple[Path, dict[str, Any], int | None] | None:  # fmt: skip
    """Trains a model and writes the run. Where several processes train it together, each is to call
    this.

    Args:
        out: its folder; by default one in ``runs``.
        resume: the checkpoint to go on from.
        keep: take over the folder that a killed process left for ``out``.
        whole: write no run that a signal stopped early, but leave what is there to be resumed;
            keep no checkpoint in one that was ended by ``max_time``.

    Returns:
        The run's path, its manifest, and the number of the signal that stopped it early, if one
        did; None in processes but the first, which writes it.

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
    config = config.with_solver_named()
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
    with create_run(out, config, keep=keep) as (path, folder):
        try:
            model = _fit(dataset, config, (folder / CHECKPOINT).parent, progress, start, resume)
        except LostError as error:
            there = (folder / CHECKPOINT).exists()
            hint = (
                f"; 'cfcli train --resume {path}' goes on from its last checkpoint" if there else ""
            )
            raise LostError(f"{error}{hint}") from error
        from cfcli.core.training import resources  # imports torch, which is loaded by now

        resources.free()
        if whole and model.stopped_by:
            raise StoppedError(
                "stopped by a signal; the next training goes on from there", model.stopped_by
            )
        if whole:
            shutil.rmtree((folder / CHECKPOINT).parent, ignore_errors=True)
        info = write_run(folder, path, dataset, config, model)
    return path, info, model.stopped_by


def affordable(
    dataset: Dataset, config: TrainConfig, out: Path | None, *, settle: bool = True
) -> TrainConfig:
    """The configuration, with the optimizer that fits this machine where ``auto`` is to be settled.

    Raises:
        MachineError: the training needs more memory or disk than there is.
    """
    job = Job(*(dataset.info[name] for name in ("users", "items", "train", "val")))
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
) -> "TrainedModel":
    """Trains on the dataset."""
    # Imported after all that can fail fast: PyTorch takes a second.
    from cfcli.core.training.fit import fit
    from cfcli.core.training.job import TrainingData

    rows = dataset.blocks if config.adam.loader == "stream" else dataset.split
    scale = dataset.info["rating_scale"]
    data = TrainingData(
        rows("train"),
        rows("val"),
        dataset.info["users"],
        dataset.info["items"],
        rating_range=(scale["min"], scale["max"]),
        fingerprint=dataset.info["fingerprint"],
    )
    return fit(data, config, folder, progress, warm_start=start, resume=resume)
