"""The solver ``adam``: gradient descent under PyTorch Lightning's Trainer, which takes seconds to
import."""

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import Strategy
from scipy.sparse import csr_matrix
from torch import Tensor

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.blocks import Blocks, Summary
from cfcli.core.models import build
from cfcli.core.models.base import TrainingStatistics
from cfcli.core.pair import Pair
from cfcli.core.storage.publishing import machine_errors
from cfcli.core.training import checkpoints, resources
from cfcli.core.training.attributes import features, joined, settle
from cfcli.core.training.batches import ALONE, Batches, Rows, Shard
from cfcli.core.training.callbacks import (
    CheckpointFiles,
    Checkpoints,
    StopOnSignal,
    StopWhenSettled,
    TimeLimit,
)
from cfcli.core.training.cooccurrence import leading, streamed
from cfcli.core.training.descent import Descent, Loader
from cfcli.core.training.device import choose_device
from cfcli.core.training.distributed import collectives, local, ranks, sharded
from cfcli.core.training.epochs import History
from cfcli.core.training.job import Ratings, TrainingJob
from cfcli.core.training.plan import sizing
from cfcli.core.training.signals import raise_stopped
from cfcli.core.training.streaming import InOrder, Stream
from cfcli.core.training.trained import TrainedModel

HELD = 1 << 16  # validation ratings at once


class GradientDescent:
    """Any model, by Adam or by an optimizer of less memory, in one process or several."""

    def fit(self, job: TrainingJob) -> TrainedModel:
        """Descends until the validation error stops falling, see
        :meth:`cfcli.core.training.job.Solver.fit`.

        Args:
            job: what to train, and how.

        Raises:
            MachineError: no such device, no space.
            ArtifactError: the checkpoint is damaged, or belongs to another training.
            GateError: the loss diverged.
            StoppedError: a signal came before the first epoch ended.
            LostError: another rank ended before its time.
        """
        with collectives.left_at_the_end():
            return self._fit(job)

    def _fit(self, job: TrainingJob) -> TrainedModel:
        config = job.config
        device = choose_device(config.device)
        with resources.fast(config, job.summary.n * config.dimension):
            held = _validation_batches(job.data.take_val(), device, _shard(config))
            module = self.module(job, device)
        job.progress.start(device, module.steps, config.epochs)
        stop = StopOnSignal(config.processes.ranks)
        settled = StopWhenSettled(config)
        with (
            quiet(),
            machine_errors(job.folder or Path()),
            resources.fast(config, module.batch_size * config.dimension),
        ):
            trainer = _trainer(job, device, [stop, settled])
            with (
                stop,
                checkpoints.resuming(job.resume, lambda: stop.started),
                collectives.losses(),
            ):
                trainer.fit(module, module.batches, held, ckpt_path=job.resume, weights_only=True)
        epochs = module.history.epochs
        if stop.received and not epochs:
            raise_stopped(stop.received)
        is_done = not stop.received and len(epochs) >= config.epochs
        is_whole = settled.is_settled or is_done
        if is_whole and not job.keeps_checkpoint:
            checkpoints.remove(job.folder)
        best = epochs[module.best_epoch - 1]
        with collectives.losses():
            tensors = sharded.gathered(module.best, job.folder.parent if job.folder else None)
        if any(job.data.attributes):  # else the module has done so, table by table
            tensors = settle(tensors, job.data.attributes, job.summary.counts)
        return TrainedModel(
            tensors=tensors,
            shape=job.shape,
            history=epochs,
            best=best,
            device=device,
            batch_size=module.batch_size,
            seconds=time.perf_counter() - job.begin,
            stopped_by=stop.received or None,
            is_whole=is_whole,
            solver="adam",
            link=config.adam.link,
            noise=best.train_mse,
            warm_start=job.warm_start.origin if job.warm_start else None,
            trace=module.history.trace,
        )

    def module(self, job: TrainingJob, device: str) -> Descent:
        """The model with its optimizer and its batches.

        Args:
            job: whose training rows this takes.
            device: for the batches.
        """
        config = job.config
        shard = _shard(config)
        rows = _rows(job.data.take_train())
        batch_size = sizing.batch_size(config, len(rows))
        with resources.sparing(config):  # features take several times their size on the way
            statistics = _statistics(rows, job, shard)
        batches = _batches(rows, config, batch_size, device, shard)
        torch.manual_seed(config.seed)
        model = build(
            config, job.shape, statistics, "meta" if config.processes.shard_embeddings else None
        )
        if shard.rank:
            torch.manual_seed(config.seed + shard.rank)  # no two ranks drop the same units
        kind = sharded.ShardedDescent if config.processes.shard_embeddings else Descent
        history = History(job.progress)
        module = kind(model, config, batches, batch_size, history, job.identity, shard)
        if job.warm_start is not None and not shard.rank:
            tensors = job.warm_start.tensors.items()
            model.begin_from({name: torch.from_numpy(value) for name, value in tensors})
        return module


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences Lightning's banner, hints and warnings."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _shard(config: TrainConfig) -> Shard:
    """This rank's part of the ratings: all of them where ranks have parts of the tables."""
    return (
        ALONE
        if config.processes.shard_embeddings
        else Shard(ranks.rank(config), config.processes.ranks)
    )


def _rows(ratings: Ratings) -> Rows | Blocks:
    return ratings if isinstance(ratings, Blocks) else Rows.of(ratings)


def _batches(
    rows: Rows | Blocks, config: TrainConfig, batch_size: int, device: str, shard: Shard
) -> Loader:
    """The training rows, each batch enough for several steps."""
    steps = sizing.steps_per_batch(batch_size)
    if isinstance(rows, Blocks):
        return Stream(rows, batch_size, steps, config.seed, shard, config.adam.num_workers)
    total = len(rows)
    if shard.ranks > 1:
        rows = rows.part(shard.of(total))
    return Batches(rows.to(device), batch_size * steps, config.seed, shard, total, batch_size)


def _validation_batches(rows: Ratings, device: str, shard: Shard) -> Batches | InOrder | None:
    if isinstance(rows, Blocks):
        return InOrder(rows, HELD, shard) if len(rows) else None
    if not rows.height:
        return None
    return Batches(Rows.of(rows).part(shard.of(rows.height)).to(device), HELD)


def _statistics(rows: Rows | Blocks, job: TrainingJob, shard: Shard) -> TrainingStatistics:
    """What is known before any training. Ranks other than the first get the features of who rated
    what from it when the training starts."""
    config, summary = job.config, job.summary
    return TrainingStatistics(
        summary.deviation or 1.0,
        summary.counts.map(torch.from_numpy),
        _features(rows, summary, config.seed, shard) if config.uses_features else None,
        features(job.data.attributes, summary.counts).map(joined),
    )


def _features(rows: Rows | Blocks, summary: Summary, seed: int, shard: Shard) -> Pair[Tensor]:
    """Of users (U, F) and items (I, F), see :mod:`cfcli.core.training.cooccurrence`."""
    shape = len(summary.user_n), len(summary.item_n)
    f = sizing.helpful_features(summary.n, *shape, sizing.DESCENT_FEATURES)
    if shard.rank:
        return Pair(torch.zeros(shape[0], f), torch.zeros(shape[1], f))
    if isinstance(rows, Blocks):
        users, items, _ = streamed(rows, summary, f, seed)
    else:
        pairs = np.ones(len(rows), np.float32), (rows.user.numpy(), rows.item.numpy())
        users, items, _ = leading(csr_matrix(pairs, shape=shape), f, seed)
    return Pair(users, items)


def _trainer(job: TrainingJob, device: str, stops: list[Callback]) -> lightning.Trainer:
    config = job.config
    saving: Checkpoints = Checkpoints(job.checkpoint, at_end=job.keeps_checkpoint)
    strategy: Strategy | str = "auto"
    if config.processes.shard_embeddings:
        saving = sharded.FolderCheckpoints(job.checkpoint)
        strategy = sharded.TensorParallel(config.processes.ranks)
    elif config.processes.ranks > 1:
        strategy = collectives.Replicas()
    saved = [saving] if job.checkpoint or config.processes.ranks > 1 else []
    nodes = config.processes.num_nodes
    if nodes == 1 < config.processes.devices:
        local.stay_inside()
    files = [] if config.processes.shard_embeddings else [CheckpointFiles()]
    launcher = [local.Launcher(nodes)] if ranks.is_own_launcher() else []
    limit = config.max_seconds()
    limits = [] if limit is None else [TimeLimit(timedelta(seconds=limit))]
    return lightning.Trainer(
        accelerator="gpu" if device == "cuda" else device,
        devices=config.processes.devices,
        num_nodes=nodes,
        strategy=strategy,
        max_epochs=config.epochs,
        min_epochs=0,  # see StopWhenSettled
        callbacks=[*stops, *limits, *saved],
        plugins=[*files, *launcher],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
