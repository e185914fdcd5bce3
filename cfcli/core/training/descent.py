"""Gradient descent on any model, with Adam (Kingma and Ba 2015) or in less memory, as a module for
Lightning's Trainer."""

import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import pytorch_lightning as lightning
import torch
from torch import Tensor

from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ArtifactError
from cfcli.core.models import gradients
from cfcli.core.models.base import Factors
from cfcli.core.pair import Pair
from cfcli.core.training import checkpoints
from cfcli.core.training.batches import ALONE, Batch, Batches, Shard, SharedBatch
from cfcli.core.training.callbacks import VAL_ERROR
from cfcli.core.training.checkpoints import Identity, State
from cfcli.core.training.distributed import collectives
from cfcli.core.training.epochs import Epoch, History, TracePoint
from cfcli.core.training.rowwise import RowwiseAdagrad
from cfcli.core.training.streaming import Stream


class Loader(Protocol):
    """Batches of the training rows; each pass over it is an epoch."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Batch | SharedBatch]: ...


class Descent(lightning.LightningModule):
    """Takes steps against the gradient, and validates where they lead.

    Args:
        model: with its initial parameters.
        config: of optimizer, learning rate and L2 term.
        batches: of the training rows; each is cut into steps.
        batch_size: ratings of a step (B) of all ranks together.
        history: takes the epochs.
        identity: what checkpoints must share.
        shard: this rank's part of the rows; ranks take each step together.

    Attributes:
        steps: of an epoch.
        best: what the run will keep, as of the best epoch.
        best_epoch: its number, from 1.
    """

    def __init__(
        self,
        model: Factors,
        config: TrainConfig,
        batches: Loader,
        batch_size: int,
        history: History,
        identity: Identity,
        shard: Shard = ALONE,
    ) -> None:
        super().__init__()
        # Lightning takes half as long over a batch as a small model's step does. So a batch is
        # several steps, which only a module that steps by itself can take.
        self.automatic_optimization = False
        self.model, self.config = model, config
        self.batches, self.batch_size = batches, batch_size
        self.history, self.identity = history, identity
        self.shard = shard
        self.steps = len(batches)
        if isinstance(batches, Batches | Stream):
            self.steps = math.ceil(batches.total / batch_size)
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0
        self.vectors: Pair[Tensor] | None = None  # what validation predicts by

    # One epoch

    def on_train_epoch_start(self) -> None:
        self.begin = time.perf_counter()
        self.seconds: float | None = None  # of the steps; None until they are over
        self.seen = 0  # ratings of this rank
        self.val_sums = torch.zeros(2, device=self.device)  # of squared and of absolute errors
        self.val_seen = 0
        # Of each batch: ratings, and squared errors summed. The latter stay tensors, as to read
        # them would wait for the device.
        self.learned: list[tuple[int, Tensor]] = []

    def training_step(self, batch: Batch | SharedBatch, index: int) -> None:
        found = self.optimizers(use_pl_optimizer=False)
        self.learn(found if isinstance(found, list) else [found], batch)

    def learn(
        self, optimizers: Sequence[torch.optim.Optimizer], batch: Batch | SharedBatch
    ) -> None:
        """Takes the steps of a batch.

        Args:
            optimizers: as :meth:`configure_optimizers` made them.
            batch: users, items, ratings and perhaps weights, each (N,).
        """
        sizes: int | list[int] = self.batch_size
        totals: Iterable[int | None] = itertools.repeat(None)
        if isinstance(batch, SharedBatch):
            columns, sizes, totals = batch
        else:
            columns = batch
        squares = torch.zeros((), device=self.device)
        steps = zip(*(torch.split(column, sizes) for column in columns), strict=True)
        for (user, item, rating, *weight), total in zip(steps, totals, strict=False):
            for optimizer in optimizers:
                optimizer.zero_grad()
            if len(rating):  # else no rating of this step is this rank's
                squares += self._set_gradients(user, item, rating, total, *weight)
            if self.shard.ranks > 1:
                tables = self.model.tables() if self.config.adam.is_sparse else ()
                collectives.sum_gradients(self.model.parameters(), tables)
            for optimizer in optimizers:
                optimizer.step()
        n = len(columns[0])
        self.seen += n
        self.learned.append((n, squares))

    def _set_gradients(
        self,
        user: Tensor,
        item: Tensor,
        rating: Tensor,
        total: int | None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Those of a step; returns the sum of its squared errors."""
        l2, sparse = self.config.adam.l2, self.config.adam.is_sparse
        if sparse or (self.device.type == "cpu" and not self.config.processes.shard_embeddings):
            return gradients.backward(self.model, user, item, rating, l2, total, sparse, weight)
        loss, squares = gradients.loss(self.model, user, item, rating, l2, total, weight)
        loss.backward()  # type: ignore[no-untyped-call]
        return squares

    def on_train_batch_end(self, *args: object) -> None:
        self.history.progress.batch(math.ceil(self.seen * self.shard.ranks / self.batch_size))

    def on_validation_epoch_start(self) -> None:
        self._end_steps()
        self.vectors = self.model.embeddings()

    def validation_step(self, batch: Batch, index: int) -> None:
        user, item, rating = batch
        assert self.vectors is not None
        error = self.model.predict(self.vectors, user, item) - rating
        self.val_sums += torch.stack([error.square().sum(), error.abs().sum()])
        self.val_seen += len(rating)

    def on_train_epoch_end(self) -> None:
        self.vectors = None  # which may be as large as all of the model
        if self.seconds is None:  # nothing was validated
            self._end_steps()
        row, steps = self._results()
        self.history.add(row, steps)
        if row.val_mse is not None:
            self.log(VAL_ERROR, row.val_mse, batch_size=1)
        if self._is_best(row):
            self.best_epoch = row.epoch
            self.keep()

    def _end_steps(self) -> None:
        self.seconds = time.perf_counter() - self.begin
        self.model.settle_untrained()

    def _results(self) -> tuple[Epoch, list[TracePoint]]:
        """The row of the epoch and its part of the trace, a point for each batch, of all ranks."""
        k = len(self.learned)
        errors = torch.stack([found for _, found in self.learned]).tolist() if k else []
        ratings = [n for n, _ in self.learned]
        own = [*errors, *ratings, *self.val_sums.tolist(), self.val_seen]
        total = collectives.sums(own, self.shard, self.device)
        squares, counts = total[:k], total[k : 2 * k]
        val_squares, val_absolutes, val_seen = total[2 * k :]
        seen = sum(counts)
        mse = math.fsum(squares) / max(seen, 1)
        val_mse = val_squares / val_seen if val_seen else None
        assert self.seconds is not None
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
        return row, self._trace(squares, counts)

    def _trace(self, squares: Sequence[float], counts: Sequence[float]) -> list[TracePoint]:
        """The points of batches with these summed squared errors and numbers of ratings."""
        seen, points = 0, []
        for total, n in zip(squares, counts, strict=True):
            seen += int(n)
            step = self.current_epoch * self.steps + math.ceil(seen / self.batch_size)
            points.append(TracePoint(step, total / n))
        return points

    def _is_best(self, row: Epoch) -> bool:
        if not self.best or row.val_mse is None:
            return True
        return row.val_mse < (self.history.epochs[self.best_epoch - 1].val_mse or 0)

    def keep(self) -> None:
        """Takes the parameters as the best so far."""
        self.best = {}  # never two of them at once
        self.best = self.model.folded()

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: State) -> None:
        checkpoint[checkpoints.KEY] = checkpoints.record(self.identity, self.history, self.state())

    def on_load_checkpoint(self, checkpoint: State) -> None:
        self.load_state(checkpoints.restore(checkpoint, self.identity, self.history))
        checkpoints.refuse_fewer(self.trainer.max_epochs or 0, self.history)
        if not checkpoint.get("callbacks"):  # early stopping counts on from there
            raise ArtifactError("damaged: it lacks the state of early stopping")

    def state(self) -> State:
        """What a checkpoint must hold beside the parameters."""
        # Features are kept, as another number of threads would find the same but for rounding,
        # which turns those of like size.
        features = {
            name: value for name, value in self.model.named_buffers() if name.endswith("_features")
        }
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "generator": torch.get_rng_state(),
            "features": features,
        }

    def load_state(self, state: State) -> None:
        """Goes on from a :meth:`state`; the history is there already.

        Args:
            state: of the checkpoint.

        Raises:
            ArtifactError: it is not a state of this model.
        """
        self.best = state["best"]
        shapes = {name: value.shape for name, value in self.model.folded().items()}
        if {name: value.shape for name, value in self.best.items()} != shapes:
            raise ArtifactError("damaged: its best parameters are not those of the model")
        if not all(value.isfinite().all() for value in self.best.values()):
            raise ArtifactError("damaged: its best parameters are not finite")
        for name, value in state["features"].items():
            self.model.get_buffer(name).copy_(value)
        self.go_on(state)

    def go_on(self, state: State) -> None:
        """Takes what is not of the size of tables from a :meth:`state`.

        Args:
            state: of the checkpoint.

        Raises:
            ArtifactError: its best epoch is not in the history.
        """
        self.best_epoch = state["best_epoch"]
        if not 1 <= self.best_epoch <= len(self.history.epochs):
            raise ArtifactError("damaged: its best epoch is not in its history")
        if not self.shard.rank:
            torch.set_rng_state(state["generator"])
        if isinstance(self.batches, Batches | Stream):
            self.batches.epoch = len(self.history.epochs)

    # Optimizers

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        rate, rate_of_rest = self.config.adam.rates
        tables = self.model.tables() if self.config.adam.is_sparse else []
        own = set(tables)
        rest = [p for p in self.parameters() if p.requires_grad and p not in own]
        if self.config.processes.shard_embeddings:
            # One by one, as some are spread over ranks and others are not.
            adam = torch.optim.Adam(rest, rate_of_rest, foreach=False)
        else:
            fused = self.device.type in ("cpu", "cuda")
            adam = torch.optim.Adam(rest, rate_of_rest, fused=fused)
        if not tables:
            return [adam]
        if self.config.adam.optimizer == "sparse-adam":
            return [torch.optim.SparseAdam(tables, rate), adam]
        return [RowwiseAdagrad(tables, rate), adam]
