"""Fitting any model by gradients, with Adam (Kingma and Ba 2015) or in less memory, under
Lightning's Trainer."""

import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.blocks import Blocks, Summary
from cfcli.core.errors import ArtifactError
from cfcli.core.models import build, gradients
from cfcli.core.models.base import Factors, Shape, TrainingStatistics
from cfcli.core.models.pair import Pair
from cfcli.core.training import resources
from cfcli.core.training.batches import ALONE, Batch, Batches, Rows, Shard, SharedBatch
from cfcli.core.training.cooccurrence import leading, streamed
from cfcli.core.training.distributed import collectives
from cfcli.core.training.epochs import Epoch, Progress
from cfcli.core.training.plan import sizing
from cfcli.core.training.resuming import Resumable
from cfcli.core.training.rowwise import RowwiseAdagrad
from cfcli.core.training.streaming import Stream


def descent(
    rows: Rows | Blocks, summary: Summary, shape: Shape, config: TrainConfig, progress: Progress, device: str,
    share: Shard = ALONE, kind: "type[Descent] | None" = None,
) -> "Descent":  # fmt: skip
    """All that an epoch needs, on a device.

    Args:
        rows: of all ranks.
        summary: of the rows.
        share: this rank's, which it keeps.
        kind: of what is returned.
    """
    total = len(rows)
    batch_size = sizing.batch_size(config, total)
    with resources.sparing(config):  # features take several times their size on the way
        known = _known(rows, summary, config, share)
    steps = sizing.steps_per_batch(batch_size)
    batches: Any
    if isinstance(rows, Blocks):
        batches = Stream(rows, batch_size, steps, config.seed, share, config.adam.num_workers)
    else:
        rows = rows.part(share.of(total)) if share.ranks > 1 else rows
        batches = Batches(
            rows.to(device), batch_size * steps, config.seed, share, total, batch_size
        )
    torch.manual_seed(config.seed)
    model = build(config, shape, known, "meta" if config.processes.shard_embeddings else None)
    if share.rank:
        torch.manual_seed(config.seed + share.rank)  # no two ranks drop the same units
    return (kind or Descent)(model, config, progress, batches, batch_size, share)


class Descent(Resumable):
    """Takes steps against the gradient, and validates where they lead.

    Args:
        batches: of the training rows; each is cut into steps of ``batch_size``.
        share: this rank's of them; ranks take each step together.
    """

    def __init__(
        self, model: Factors, config: TrainConfig, progress: Progress, batches: Any, batch_size: int,
        share: Shard = ALONE,
    ) -> None:  # fmt: skip
        super().__init__(config, progress)
        self.share = share
        self.automatic_optimization = False
        self.model, self.batches, self.batch_size = model, batches, batch_size
        self.steps = (
            -(-batches.total // batch_size)
            if isinstance(batches, Batches | Stream)
            else len(batches)
        )
        self.best: dict[str, Tensor] = {}  # what the run will keep, as of the best epoch
        self.best_epoch = 0
        self.vectors: Pair[Tensor] | None = None  # what validation predicts by

    def state(self) -> dict[str, Any]:
        # Another number of threads would find the same features but for rounding, which turns those
        # of like size.
        features = {
            name: value for name, value in self.model.named_buffers() if name.endswith("_features")
        }
        state = {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "generator": torch.get_rng_state(),
        }
        return state | {"features": features}

    def load_state(self, state: dict[str, Any]) -> None:
        self.best = state["best"]
        shapes = {name: value.shape for name, value in self.model.folded().items()}
        if {name: value.shape for name, value in self.best.items()} != shapes:
            raise ArtifactError("damaged: its best parameters are not those of the model")
        if not all(value.isfinite().all() for value in self.best.values()):
            raise ArtifactError("damaged: its best parameters are not finite")
        for name, value in state["features"].items():
            self.model.get_buffer(name).copy_(value)
        self.go_on(state)

    def go_on(self, state: dict[str, Any]) -> None:
        """Takes from a :meth:`state` what is not of the size of tables."""
        self.best_epoch = state["best_epoch"]
        if not 1 <= self.best_epoch <= len(self.history):
            raise ArtifactError("damaged: its best epoch is none")
        if not self.share.rank:
            torch.set_rng_state(state["generator"])
        if isinstance(self.batches, Batches | Stream):
            self.batches.epoch = len(self.history)

    def on_train_epoch_start(self) -> None:
        self.begin = time.perf_counter()
        self.seconds: float | None = None
        self.seen = 0
        self.val_sums, self.val_seen = (
            torch.zeros(2, device=self.device),
            0,
        )  # of squared errors and of absolute ones
        # Of each batch: ratings, and squared errors summed; a number of Python's would wait for the
        # device.
        self.learned: list[tuple[int, Tensor]] = []

    def training_step(self, batch: Batch | SharedBatch, index: int) -> None:
        found = self.optimizers(use_pl_optimizer=False)
        self.learn(found if isinstance(found, list) else [found], batch)

    def learn(self, optimizers: Sequence[Any], batch: Sequence[Any]) -> None:
        """Some steps: Lightning takes half as long over a batch as a step of a small model does."""
        user, item, rating, *shared = batch
        sizes, totals = shared or (self.batch_size, itertools.repeat(None))
        steps = zip(*(torch.split(column, sizes) for column in (user, item, rating)), strict=True)
        squares = torch.zeros((), device=self.device)
        sparse = self.config.adam.is_sparse
        by_hand = sparse or (
            self.device.type == "cpu" and not self.config.processes.shard_embeddings
        )
        for (user, item, rating), total in zip(steps, totals, strict=False):
            for optimizer in optimizers:
                optimizer.zero_grad()
            if not len(rating):  # no rating of this step is this rank's
                pass
            elif by_hand:
                squares += gradients.backward(
                    self.model, user, item, rating, self.config.adam.l2, total, sparse
                )
            else:
                loss, found = gradients.loss(
                    self.model, user, item, rating, self.config.adam.l2, total
                )
                loss.backward()  # type: ignore[no-untyped-call]
                squares += found
            if self.share.ranks > 1:
                collectives.sum_gradients(
                    self.model.parameters(), self.model.tables() if sparse else ()
                )
            for optimizer in optimizers:
                optimizer.step()
        self.seen += len(batch[2])
        self.learned.append((len(batch[2]), squares))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.progress.batch(-(-self.seen * self.share.ranks // self.batch_size))

    def on_validation_epoch_start(self) -> None:
        self.seconds = time.perf_counter() - self.begin
        self.model.settle_untrained()
        self.vectors = self.model.embeddings()

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> None:
        user, item, rating = batch
        assert self.vectors is not None
        error = self.model.predict(self.vectors, user, item) - rating
        self.val_sums += torch.stack([error.square().sum(), error.abs().sum()])
        self.val_seen += len(rating)

    def on_train_epoch_end(self) -> None:
        self.vectors = None  # which may be as large as all of the model
        if self.seconds is None:  # nothing was validated
            self.seconds = time.perf_counter() - self.begin
            self.model.settle_untrained()
        squares = torch.stack([found for _, found in self.learned]).tolist() if self.learned else []
        k, values = (
            len(squares),
            [*squares, *(n for n, _ in self.learned), *self.val_sums.tolist(), self.val_seen],
        )
        sums = collectives.sums(values, self.share, self.device)
        squares, counts, (val_squares, val_absolutes, val_seen) = (
            sums[:k],
            sums[k : 2 * k],
            sums[2 * k :],
        )
        seen = sum(counts)
        mse = math.fsum(squares) / max(seen, 1)
        val_mse = val_squares / val_seen if val_seen else None
        row = Epoch(
            epoch=self.current_epoch + 1,
            train_mse=mse,
            train_rmse=mse**0.5,
            val_mse=val_mse,
            val_rmse=val_mse**0.5 if val_mse is not None else None,
            val_mae=val_absolutes / val_seen if val_seen else None,
            learning_rate=self.config.adam.rates[0],
            seconds=self.seconds,
            ratings_per_second=seen / self.seconds,
        )
        self.finish(row, self._steps(squares, counts))
        if (
            not self.best
            or val_mse is None
            or val_mse < (self.history[self.best_epoch - 1].val_mse or 0)
        ):
            self.best_epoch = row.epoch
            self.keep()

    def keep(self) -> None:
        """Takes the parameters as the best so far."""
        self.best = {}  # never two of them at once
        self.best = self.model.folded()

    def _steps(self, squares: list[float], counts: list[float]) -> list[tuple[int, float]]:
        """The epoch's part of the trace, a row for each batch: of its summed squared errors and
        number of ratings."""
        seen, steps = 0, []
        for total, n in zip(squares, counts, strict=True):
            seen += int(n)
            steps.append((self.current_epoch * self.steps + -(-seen // self.batch_size), total / n))
        return steps

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        rate, rate_of_rest = self.config.adam.rates
        tables = self.model.tables() if self.config.adam.is_sparse else []
        own = set(tables)
        rest = [p for p in self.parameters() if p.requires_grad and p not in own]
        # One by one, where some are spread over ranks and others are not.
        how: Any = (
            {"foreach": False}
            if self.config.processes.shard_embeddings
            else {"fused": self.device.type in ("cpu", "cuda")}
        )
        adam = torch.optim.Adam(rest, rate_of_rest, **how)
        if not tables:
            return [adam]
        if self.config.adam.optimizer == "sparse-adam":
            return [torch.optim.SparseAdam(tables, rate), adam]
        return [RowwiseAdagrad(tables, rate), adam]


def _known(
    rows: Rows | Blocks, summary: Summary, config: TrainConfig, share: Shard
) -> TrainingStatistics:
    """What the training rows tell the model before any training. Ranks but the first get the
    features from it when the training starts."""
    features: Pair[Tensor] | None = None
    degrees = Pair(torch.from_numpy(summary.user_n), torch.from_numpy(summary.item_n))
    if config.uses_features:
        shape = len(degrees[0]), len(degrees[1])
        f = sizing.helpful_features(summary.n, *shape, sizing.DESCENT_FEATURES)
        if share.rank:
            features = Pair(torch.zeros(shape[0], f), torch.zeros(shape[1], f))
        elif isinstance(rows, Blocks):
            features = Pair(*streamed(rows, summary, f, config.seed)[:2])
        else:
            pairs = np.ones(len(rows), np.float32), (rows.user.numpy(), rows.item.numpy())
            features = Pair(*leading(csr_matrix(pairs, shape=shape), f, config.seed)[:2])
    return TrainingStatistics(summary.deviation or 1.0, degrees, features)
