"""Training: checks the data, picks a solver and runs it.

A new solver touches four files: a module of its own with a class that has the method of
:class:`cfcli.core.training.job.Solver`; its line in ``SOLVERS`` below; its name and its settings in
:mod:`cfcli.core.config.train`; and the memory it takes in :mod:`cfcli.core.training.plan.memory`.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.info import Scale
from cfcli.core.errors import InputError
from cfcli.core.models.base import Shape
from cfcli.core.models.warm_start import WarmStart
from cfcli.core.training.epochs import Progress, Silent
from cfcli.core.training.job import Solver, TrainingData, TrainingJob
from cfcli.core.training.trained import TrainedModel


def _gradient_descent() -> Solver:
    from cfcli.core.training.gradient_descent import GradientDescent  # imports Lightning: seconds

    return GradientDescent()


def _gibbs_sampling() -> Solver:
    from cfcli.core.training.gibbs.solver import GibbsSampling

    return GibbsSampling()


SOLVERS: dict[str, Callable[[], Solver]] = {"adam": _gradient_descent, "gibbs": _gibbs_sampling}


def fit(
    data: TrainingData,
    config: TrainConfig,
    folder: Path | None = None,
    progress: Progress | None = None,
    *,
    warm_start: WarmStart | None = None,
    resume: Path | None = None,
    keeps_checkpoint: bool = False,
    smaller: Sequence[int] = (),
) -> TrainedModel:
    """Trains a model until the validation error stops falling, and returns its best epoch.

    Args:
        data: the ratings, which the solver takes over.
        config: the settings.
        folder: for checkpoints, which are removed unless a signal or ``max_time`` ended the
            training; None for none, and on all ranks but the first.
        progress: hears of each step and epoch.
        warm_start: the earlier model to begin with, or None to begin at random.
        resume: the checkpoint to go on from, made with the same data and settings; ends and device
            may differ.
        keeps_checkpoint: leave one of the end in ``folder`` in any case, as more is to be fitted.
        smaller: dimensions below that of ``config`` that the sampler makes models of, too, at no
            cost; gradient descent does not.

    Raises:
        InputError: ratings that hold nothing to learn.
        MachineError: no such device, no space.
        ArtifactError: a checkpoint that is damaged, or of other data.
        GateError: the loss diverged.
        StoppedError: a signal came before the first epoch ended.
        LostError: another rank ended before its time.
    """
    job = job_of(
        data,
        config,
        progress or Silent(),
        folder=folder,
        warm_start=warm_start,
        resume=resume,
        keeps_checkpoint=keeps_checkpoint,
        smaller=smaller,
    )
    solver = SOLVERS[config.resolved_solver]()
    return solver.fit(job)


def job_of(
    data: TrainingData,
    config: TrainConfig,
    progress: Progress,
    *,
    folder: Path | None = None,
    warm_start: WarmStart | None = None,
    resume: Path | None = None,
    keeps_checkpoint: bool = False,
    smaller: Sequence[int] = (),
) -> TrainingJob:
    """Checks the ratings and brings together what a solver needs.

    Args:
        data, config, progress, folder, warm_start, resume, keeps_checkpoint, smaller: see
            :func:`fit`.

    Raises:
        InputError: ratings that hold nothing to learn.
    """
    begin = time.perf_counter()
    summary = data.summary()
    users_rated, items_rated = np.count_nonzero(summary.user_n), np.count_nonzero(summary.item_n)
    if min(users_rated, items_rated) < 2:
        raise InputError(
            "too little to train on: needs at least 2 users and 2 items with training ratings"
        )
    scale = data.scale or Scale(summary.low, summary.high)
    low, high = config.rating_range or (scale.min, scale.max)
    if low >= high:
        raise InputError(
            f"all training ratings are {low:g}: nothing to learn; set rating_range if that is right"
        )
    initial = summary.mean if config.adam.initial_rating is None else config.adam.initial_rating
    return TrainingJob(
        data=data,
        summary=summary,
        shape=Shape(data.users, data.items, low, high, initial),
        config=config,
        progress=progress,
        begin=begin,
        folder=folder,
        warm_start=warm_start,
        resume=resume,
        keeps_checkpoint=keeps_checkpoint,
        smaller=smaller,
    )
