"""Fitting any model by gradients, with Adam (Kingma and Ba 2015), under Lightning's Trainer."""

import math
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from cfcli.core.batches import Batches, Rows
from cfcli.core.config import TrainConfig
from cfcli.core.epochs import Epoch, Progress
from cfcli.core.errors import ArtifactError, MachineError
from cfcli.core.models import build, gradients
from cfcli.core.models.base import Factors, Known, Shape
from cfcli.core.solvers.implicit import implicit_features
from cfcli.core.solvers.resuming import Resumable

FEATURES = 64  # of who rated what: each costs time at every step
STEPS, MANY_RATINGS = 16, 1 << 18  # for each of Lightning's, at most


def auto_batch_size(rows: int) -> int:
    """About 100 steps an epoch, as a power of two from 32 on: Adam moves all parameters at each."""
    return 1 << max(5, round(math.log2(max(rows, 1) / 100)))


def uses_dataloader(config: TrainConfig) -> bool:
    """Whether batches come from PyTorch's DataLoader."""
    return config.loader == "dataloader" or config.num_workers > 0


def descent(
    rows: Rows, deviation: float, shape: Shape, config: TrainConfig, progress: Progress, device: str
) -> "Descent":
    """All that an epoch needs, on a device.

    Raises:
        MachineError: nothing to compile with.
    """
    if config.compiled and device == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        raise MachineError("compiled: no C++ compiler (g++) on this machine; install one, or leave it out")
    batch_size = auto_batch_size(len(rows)) if config.batch_size == "auto" else config.batch_size
    known = _known(rows, deviation, shape, config)
    batches: Any
    if uses_dataloader(config):
        batches = rows.loader(batch_size, config.num_workers)
    else:
        batches = Batches(rows.to(device), batch_size * max(1, min(STEPS, MANY_RATINGS // batch_size)), config.seed)
    torch.manual_seed(config.seed)
    return Descent(build(config, shape, known), config, progress, batches, batch_size)


class Descent(Resumable):
    """Takes steps against the gradient, and validates where they lead.

    Args:
        batches: of the training rows; each is cut into steps of ``batch_size``.
    """

    def __init__(self, model: Factors, config: TrainConfig, progress: Progress, batches: Any, batch_size: int) -> None:
        super().__init__(config, progress)
        self.automatic_optimization = False
        self.model, self.batches, self.batch_size = model, batches, batch_size
        self.steps = -(-len(batches.rows) // batch_size) if isinstance(batches, Batches) else len(batches)
        self.loss = gradients.loss
        if config.compiled:
            self.loss = torch.compile(gradients.loss)
        self.best: dict[str, Tensor] = {}  # what the run will keep, as of the best epoch
        self.best_epoch = 0

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "generator": torch.get_rng_state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        shapes = {name: value.shape for name, value in self.model.folded().items()}
        if {name: value.shape for name, value in self.best.items()} != shapes:
            raise ArtifactError("damaged: its best parameters are not those of the model")
        if not 1 <= self.best_epoch <= len(self.history) or not all(v.isfinite().all() for v in self.best.values()):
            raise ArtifactError("damaged: its best epoch is none")
        torch.set_rng_state(state["generator"])
        if isinstance(self.batches, Batches):
            self.batches.epoch = len(self.history)

    def on_train_epoch_start(self) -> None:
        self.begin = time.perf_counter()
        self.seconds: float | None = None
        self.seen = self.val_seen = 0
        # Of each batch: ratings, and squared errors summed; a number of Python's would wait for the device.
        self.learned: list[tuple[int, Tensor]] = []

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> None:
        self.learn(self.optimizers(use_pl_optimizer=False), batch)

    def learn(self, optimizer: Any, batch: Sequence[Tensor]) -> None:
        """Some steps: Lightning takes half as long over a batch as a step of a small model does."""
        squares = torch.zeros((), device=self.device)
        by_hand = self.device.type == "cpu" and not self.config.compiled
        for user, item, rating in zip(*(torch.split(column, self.batch_size) for column in batch), strict=True):
            if by_hand:
                squares += gradients.backward(self.model, user, item, rating, self.config.l2)
            else:
                optimizer.zero_grad()
                loss, found = self.loss(self.model, user, item, rating, self.config.l2)
                loss.backward()  # type: ignore[no-untyped-call]
                squares += found
            optimizer.step()
        self.seen += len(batch[2])
        self.learned.append((len(batch[2]), squares))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.progress.batch(-(-self.seen // self.batch_size))

    def on_validation_epoch_start(self) -> None:
        self.seconds = time.perf_counter() - self.begin
        self.model.settle_untrained()
        self.tables = self.model.embeddings()
        self.val_squares = torch.zeros((), dtype=torch.float32, device=self.device)
        self.val_absolutes = torch.zeros((), dtype=torch.float32, device=self.device)
        self.val_seen = 0

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> None:
        user, item, rating = batch
        error = self.model.predict(self.tables, user, item) - rating
        self.val_squares += error.square().sum()
        self.val_absolutes += error.abs().sum()
        self.val_seen += len(rating)

    def on_train_epoch_end(self) -> None:
        if self.seconds is None:  # nothing was validated
            self.seconds = time.perf_counter() - self.begin
            self.model.settle_untrained()
        squares = torch.stack([found for _, found in self.learned]).tolist() if self.learned else []
        mse = math.fsum(squares) / max(self.seen, 1)
        val_mse = float(self.val_squares) / self.val_seen if self.val_seen else None
        row = Epoch(
            epoch=self.current_epoch + 1,
            train_mse=mse,
            train_rmse=mse**0.5,
            val_mse=val_mse,
            val_rmse=val_mse**0.5 if val_mse is not None else None,
            val_mae=float(self.val_absolutes) / self.val_seen if val_mse is not None else None,
            learning_rate=self.config.learning_rate,
            seconds=self.seconds,
            ratings_per_second=self.seen / self.seconds,
        )
        self.finish(row, self._steps(squares))
        if not self.best or val_mse is None or val_mse < (self.history[self.best_epoch - 1].val_mse or 0):
            self.best, self.best_epoch = self.model.folded(), row.epoch

    def _steps(self, squares: list[float]) -> list[tuple[int, float]]:
        """The epoch's part of the trace, a row for each batch, of its summed ``squares``."""
        seen, steps = 0, []
        for (n, _), total in zip(self.learned, squares, strict=True):
            seen += n
            steps.append((self.current_epoch * self.steps + -(-seen // self.batch_size), total / n))
        return steps

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters: Iterable[Tensor] = (p for p in self.parameters() if p.requires_grad)
        return torch.optim.Adam(parameters, self.config.learning_rate, fused=self.device.type in ("cpu", "cuda"))


def _known(rows: Rows, deviation: float, shape: Shape, config: TrainConfig) -> Known:
    """What the training rows tell the model before any training."""
    features = None
    if config.implicit:
        pairs = np.ones(len(rows), np.float32), (rows.user.numpy(), rows.item.numpy())
        features = implicit_features(csr_matrix(pairs, shape=(shape.users, shape.items)), config.seed, FEATURES)[:2]
    degrees = torch.bincount(rows.user, minlength=shape.users), torch.bincount(rows.item, minlength=shape.items)
    return Known(deviation or 1.0, degrees, features)
