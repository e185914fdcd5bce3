"""Fitting a model on PyTorch Lightning's Trainer. The only module that imports Lightning (it takes
seconds)."""

import contextlib
import logging
import shutil
import signal
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytorch_lightning as lightning
import torch

from cfcli.core.config.train import Link, TrainConfig
from cfcli.core.data.blocks import Blocks, Summary
from cfcli.core.errors import ArtifactError, GateError, InputError, MachineError, StoppedError
from cfcli.core.models.base import Shape
from cfcli.core.models.warm_start import Start
from cfcli.core.storage.publishing import machine_errors
from cfcli.core.training import descent, lightly, resources
from cfcli.core.training.batches import ALONE, Batches, Rows, Share
from cfcli.core.training.callbacks import CheckpointFiles, Checkpoints, StopOnSignal
from cfcli.core.training.device import choose_device
from cfcli.core.training.distributed import collectives, ranks, sharded
from cfcli.core.training.epochs import Progress, Silent
from cfcli.core.training.gibbs.module import Sampling
from cfcli.core.training.gibbs.sampler import table_of
from cfcli.core.training.streaming import InOrder
from cfcli.core.training.trained import TrainedModel

CHECKPOINT = "last.ckpt"
HELD = 1 << 16  # validation ratings at once


def fit(
    train: pl.DataFrame | Blocks,
    val: pl.DataFrame | Blocks,
    users: int,
    items: int,
    config: TrainConfig,
    folder: Path | None,
    progress: Progress | None = None,
    *,
    start: Start | None = None,
    resume: Path | None = None,
    fingerprint: str = "",
    rating_range: tuple[float, float] | None = None,
) -> TrainedModel:
    """Trains a model until the validation error stops falling, and returns its best epoch.

    Args:
        train, val: columns ``user``, ``item``, ``rating``, in memory or, for adam, on the disk;
            without validation rows the last epoch is the best.
        users, items: numbers of them.
        folder: for the checkpoint, which is removed unless a signal or ``max_time`` ended the fit;
            None on all ranks but the first.
        start: what to begin with, if not at random.
        resume: the checkpoint to go on from, made with the same data and settings; ends and device
            may differ.
        fingerprint: of the data, which a checkpoint must share.
        rating_range: declared for the data, where the configuration has none; else lowest and
            highest of ``train``.

    Raises:
        InputError: ratings that hold nothing to learn.
        MachineError: no such device, no space.
        ArtifactError: a checkpoint that is damaged, or of other data.
        GateError: the loss diverged.
        LostError: another rank ended before its time.
    """
    begin = time.perf_counter()
    # Ranks that have parts of the tables take all ratings; others have parts of the ratings.
    share = ALONE if config.shard_embeddings else Share(ranks.rank(config), config.ranks)
    progress = progress or Silent()
    summary = Summary.of(train, users, items)
    if min(np.count_nonzero(summary.user_n), np.count_nonzero(summary.item_n)) < 2:
        raise InputError(
            "too little to train on: needs at least 2 users and 2 items with training ratings"
        )
    low, high = config.rating_range or rating_range or (summary.low, summary.high)
    if low >= high:
        raise InputError(
            f"all training ratings are {low:g}: nothing to learn; set rating_range if that is right"
        )
    at = config.initial_rating if config.initial_rating is not None else summary.mean
    shape = Shape(users, items, low, high, at)
    solver = config.fitted_by()
    module: descent.Descent | Sampling
    batches: Any
    held: Any = None
    with resources.fast(config, summary.n * config.dim):
        if solver == "gibbs":
            assert isinstance(train, pl.DataFrame)
            assert isinstance(val, pl.DataFrame)
            # Not every decomposition is there on MPS: only where it is asked for.
            on_cpu = config.device == "auto" and not torch.cuda.is_available()
            device = choose_device("cpu" if on_cpu else config.device)
            batch_size = train.height
            user, item, rating = (train[name].to_numpy() for name in ("user", "item", "rating"))
            table = table_of(user, item, rating, users, items)
            del (
                train,
                user,
                item,
                rating,
            )  # which would be a fifth of all memory, where ratings are many
            with resources.sparing(config):  # features take several times their size on the way
                module = Sampling(table, val, config, progress, (low, high), device, start)
            del table  # too, once the sampler has it by users and by items
            batches, held = range(module.steps), range(1) if val.height else None
            del val
        else:
            device = choose_device(config.device)
            if isinstance(val, Blocks):
                held = InOrder(val, HELD, share) if len(val) else None
            elif val.height:
                held = Batches(Rows.of(val).part(share.of(val.height)).to(device), HELD)
            rows = train if isinstance(train, Blocks) else Rows.of(train)
            del train, val
            module = _by_adam(rows, summary, shape, config, progress, device, share)
            del rows
            batches, batch_size = module.batches, module.batch_size
            if start is not None and not share.rank:
                module.model.begin_from(
                    {name: torch.from_numpy(value) for name, value in start.tensors.items()}
                )
    progress.start(device, module.steps, config.epochs)
    stop = StopOnSignal(config.ranks)
    path = folder / CHECKPOINT if folder else None
    strategy: Any = "auto"
    checkpoints = Checkpoints(path)
    if config.shard_embeddings:
        strategy, checkpoints = (
            sharded.TensorParallel(config.ranks),
            sharded.FolderCheckpoints(path),
        )
    elif config.ranks > 1:
        strategy = collectives.Replicas()
    module.fingerprint = fingerprint
    with (
        _quiet(),
        machine_errors(folder or Path()),
        resources.fast(config, batch_size * config.dim),
    ):
        trainer = lightning.Trainer(
            accelerator={"cuda": "gpu"}.get(device, device),
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy=strategy,
            max_epochs=config.epochs,
            min_epochs=0,  # the module sees to it; Lightning's would hold up max_time and signals too
            max_time=timedelta(seconds=limit) if (limit := config.max_seconds()) else None,
            callbacks=[stop, checkpoints],
            plugins=[] if config.shard_embeddings else [CheckpointFiles()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        with stop, _told_apart(stop, resume), collectives.losses():
            trainer.fit(module, batches, held, ckpt_path=resume, weights_only=True)
    history = module.history
    if stop.received and not history:
        raise_stopped(stop.received)
    if folder and (module.settled or (not stop.received and len(history) >= config.epochs)):
        shutil.rmtree(folder, ignore_errors=True)
    if isinstance(module, Sampling):
        tensors, best = module.result()
        link: Link = "identity"
        posterior = module.sampler.posterior
        noise, samples = posterior.noise / posterior.kept, posterior.samples()
    else:
        best = history[module.best_epoch - 1]
        link, noise, samples = config.link, best.train_mse, None
        with collectives.losses():
            tensors = sharded.gathered(module.best, folder.parent if folder else None)
    return TrainedModel(
        tensors=tensors,
        shape=shape,
        history=history,
        best=best,
        device=device,
        batch_size=batch_size,
        seconds=time.perf_counter() - begin,
        stopped_by=stop.received or None,
        solver=solver,
        link=link,
        noise=noise,
        samples=samples,
        warm_start=start.metadata if start is not None else None,
        trace=module.trace,
    )


def _by_adam(
    rows: Rows | Blocks, summary: Summary, shape: Shape, config: TrainConfig, progress: Progress, device: str,
    share: Share = ALONE,
) -> descent.Descent:  # fmt: skip
    if config.compiled:
        lightly.remove("torch._dynamo")
    kind = sharded.ShardedDescent if config.shard_embeddings else descent.Descent
    return descent.descent(rows, summary, shape, config, progress, device, share, kind)


def raise_stopped(number: int) -> None:
    """Raises the error that says which signal ended the work."""
    name = signal.Signals(number).name
    raise StoppedError(f"stopped by {name} before the first epoch ended; nothing was kept", number)


@contextlib.contextmanager
def _told_apart(stop: StopOnSignal, resume: Path | None) -> Iterator[None]:
    """What fails before the training starts is the fault of the checkpoint, if there is one; a
    decomposition that fails later is that of numbers that are no longer finite."""
    try:
        yield
    except torch.linalg.LinAlgError as error:
        raise GateError(f"the training diverged: {(str(error).splitlines() or [''])[0]}") from None
    except MachineError:
        raise
    except Exception as error:
        if not resume or stop.started:
            raise
        why = (
            str(error)
            if isinstance(error, ArtifactError)
            else f"damaged: no checkpoint ({type(error).__name__})"
        )
        raise ArtifactError(
            f"{resume}: {why.removeprefix(f'{resume}: ')}; train again without --resume"
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's banner, hints and warnings: this program says itself what there is to
    say."""
    log = logging.getLogger("pytorch_lightning")
    fabric = logging.getLogger("lightning_fabric")
    levels = log.level, fabric.level
    log.setLevel(logging.ERROR)
    fabric.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(levels[0])
        fabric.setLevel(levels[1])
