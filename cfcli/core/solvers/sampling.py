"""Gibbs sampling under Lightning's Trainer: a sweep a step, some sweeps an epoch, no gradients."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcli.core.config import TrainConfig
from cfcli.core.epochs import Epoch, Progress
from cfcli.core.predictor import Predictor
from cfcli.core.solvers.gibbs import Sampler

BURN_IN = 3  # epochs before samples are kept
THIN = 5  # sweeps for each that is kept
MANY_ROWS = 500_000
SAMPLES, SAMPLE_BYTES = 16, 256 << 20  # kept with a run, to tell how sure a prediction is


class Sampling(lightning.LightningModule):
    """Draws samples, and validates their running mean.

    Args:
        train, val: columns ``user``, ``item``, ``rating``.
        users, items: numbers of them.
        bounds: of predictions.
    """

    SWEEPS = 10  # an epoch

    def __init__(
        self, train: pl.DataFrame, val: pl.DataFrame, users: int, items: int, config: TrainConfig, progress: Progress,
        bounds: tuple[float, float],
    ) -> None:  # fmt: skip
        super().__init__()
        self.automatic_optimization = False
        self.config, self.progress, self.bounds = config, progress, bounds
        self.history: list[Epoch] = []
        # One more, for the bias, makes a multiple of 8, which vector instructions like.
        rank = max(
            config.sampler_rank or (31 if train.height >= MANY_ROWS else 15),
            config.dim if not config.sampler_rank else 1,
        )
        columns = [train[name].to_numpy() for name in ("user", "item", "rating")]
        self.sampler = Sampler(
            columns[0].astype(np.int64), columns[1].astype(np.int64), columns[2], users, items, rank, config.seed
        )
        self.val = [torch.from_numpy(val[name].to_numpy().astype(np.int64)) for name in ("user", "item")]
        self.val_rating = torch.from_numpy(val["rating"].to_numpy().copy())
        self.val_sum = torch.zeros(val.height)

    def on_train_epoch_start(self) -> None:
        self.begin, self.squares, self.sweeps = time.perf_counter(), 0.0, 0

    def training_step(self, batch: Any, index: int) -> None:
        self.sampler.sweep()
        self.squares += self.sampler.mse
        self.sweeps += 1
        if self.current_epoch >= BURN_IN and index % THIN == THIN - 1:
            self.sampler.keep()
            self.val_sum += self.sampler.predict(*self.val)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.progress.batch(batch_idx + 1)

    def validation_step(self, batch: Any, index: int) -> None:
        n = len(self.sampler.kept)
        self.error = self._error(self.val_sum / n if n else self.sampler.predict(*self.val))
        self.log("val_mse", self.error.square().mean(), batch_size=1)

    def on_train_epoch_end(self) -> None:
        mse = self.squares / max(self.sweeps, 1)
        seconds = time.perf_counter() - self.begin
        row = Epoch(
            epoch=self.current_epoch + 1,
            train_mse=mse,
            train_rmse=mse**0.5,
            val_mse=None,
            val_rmse=None,
            val_mae=None,
            learning_rate=0.0,
            seconds=seconds,
            ratings_per_second=len(self.sampler.z) * self.sweeps / seconds,
        )
        if len(self.val_rating):
            row = _judged(row, self.error)
        self.history.append(row)
        self.progress.epoch(row)

    def configure_optimizers(self) -> None:
        return None

    def result(self) -> tuple[dict[str, NDArray[np.float32]], Epoch]:
        """The posterior mean as one MF, and the last epoch with the validation errors of that MF."""
        tensors = self.sampler.tensors(self.config.dim)
        if not len(self.val_rating):
            return tensors, self.history[-1]
        user, item = (column.numpy() for column in self.val)
        prediction = Predictor("mf", tensors, *self.bounds, "identity").predict(user, item)
        return tensors, _judged(self.history[-1], self._error(torch.from_numpy(prediction)))

    def samples(self) -> dict[str, NDArray[np.float16]] | None:
        """What a run keeps of the posterior, or None where it would be too much or there is none."""
        one = 2 * (self.sampler.users.vectors.numel() + self.sampler.items.vectors.numel())
        n = min(SAMPLES, SAMPLE_BYTES // one, len(self.sampler.kept))
        return self.sampler.samples(n) if n > 1 else None

    def _error(self, prediction: Tensor) -> Tensor:
        return prediction.clamp(*self.bounds) - self.val_rating


def _judged(row: Epoch, error: Tensor) -> Epoch:
    mse = float(error.square().mean())
    return replace(row, val_mse=mse, val_rmse=mse**0.5, val_mae=float(error.abs().mean()))
