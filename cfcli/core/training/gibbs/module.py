"""Gibbs sampling under Lightning's Trainer: a sweep a step, some sweeps an epoch, no gradients."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from cfcli.core.config.train import TrainConfig
from cfcli.core.models.scoring import Predictor
from cfcli.core.models.warm_start import WarmStart
from cfcli.core.training.epochs import Epoch, Progress
from cfcli.core.training.gibbs.sampler import Sampler
from cfcli.core.training.plan import sizing
from cfcli.core.training.resuming import Resumable

BURN_IN, WARM_BURN_IN = 3, 1  # epochs before samples are kept
BURN_IN_SWEEPS = 6  # at least, without a warm start
THIN = 5  # sweeps for each that is kept; at most one epoch
LEAST_GAIN = 3e-3  # of the validation error, with such fewer sweeps


class Sampling(Resumable):
    """Draws samples, and validates their running mean.

    Args:
        table: what :func:`cfcli.core.training.gibbs.sampler.table_of` makes of the training rows;
            left standardised.
        val: columns ``user``, ``item``, ``rating``.
        bounds: of predictions.
        device: for the tensors.
        start: what to begin with, if not at random.
    """

    def __init__(
        self, table: csr_matrix, val: pl.DataFrame, config: TrainConfig, progress: Progress,
        bounds: tuple[float, float], device: str, start: WarmStart | None = None,
    ) -> None:  # fmt: skip
        super().__init__(config, progress)
        self.automatic_optimization = False
        self.bounds = bounds
        rank = sizing.sampler_rank(config, table.nnz)
        self.steps = sizing.sweeps_per_epoch(table.nnz, rank)
        if (
            self.steps < sizing.SWEEPS
        ):  # the mean of samples gets better for ever, but by less and less
            self.least_gain = LEAST_GAIN
        self.sampler = Sampler(table, rank, config.dim, config.seed, device)
        self.burn_in = max(BURN_IN, -(-BURN_IN_SWEEPS // self.steps))
        if start is not None:
            self.sampler.begin_from(start)
            self.burn_in = WARM_BURN_IN
        self.val = [
            torch.from_numpy(val[name].to_numpy().astype(np.int64)).to(device)
            for name in ("user", "item")
        ]
        self.val_rating = torch.from_numpy(val["rating"].to_numpy().copy()).to(device)
        self.val_sum = torch.zeros_like(self.val_rating)

    def state(self) -> dict[str, Any]:
        return {"sampler": self.sampler.state(), "val_sum": self.val_sum}

    def load_state(self, state: dict[str, Any]) -> None:
        self.sampler.load_state(state["sampler"])
        self.val_sum = state["val_sum"].to(self.val_sum)

    def on_train_epoch_start(self) -> None:
        self.begin = time.perf_counter()
        self.drawn: list[tuple[int, float]] = []  # number and training error of each sample

    def training_step(self, batch: Any, index: int) -> None:
        self.sampler.sweep()
        self.drawn.append((self.current_epoch * self.steps + index + 1, self.sampler.mse))
        if self.current_epoch >= self.burn_in and (index + 1) % min(THIN, self.steps) == 0:
            products = self.sampler.keep()
            for product in products:
                self.val_sum += self.sampler.predict(product, *self.val) / len(products)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.progress.batch(batch_idx + 1)

    def validation_step(self, batch: Any, index: int) -> None:
        n, sampler = self.sampler.posterior.kept, self.sampler
        now = (
            self.val_sum / n
            if n
            else sampler.predict((sampler.users.vectors, sampler.items.vectors), *self.val)
        )
        self.error = self._error(now)

    def on_train_epoch_end(self) -> None:
        mse = sum(found for _, found in self.drawn) / max(len(self.drawn), 1)
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
            ratings_per_second=self.sampler.n * len(self.drawn) / seconds,
        )
        if len(self.val_rating):
            row = _judged(row, self.error)
        self.finish(row, self.drawn)

    def configure_optimizers(self) -> None:
        return None

    def result(self) -> tuple[dict[str, NDArray[np.float32]], Epoch]:
        """The posterior mean as one MF, and the last epoch with the validation errors of that MF.
        Ends the sampling."""
        self.sampler.users.blocks = (
            self.sampler.items.blocks
        ) = []  # room for the products' decomposition
        tensors = self.sampler.tensors(self.config.dim)
        if not len(self.val_rating):
            return tensors, self.history[-1]
        user, item = (column.cpu().numpy() for column in self.val)
        prediction = Predictor("mf", tensors, *self.bounds, "identity").predict(user, item)
        return tensors, _judged(
            self.history[-1], self._error(torch.from_numpy(prediction).to(self.val_rating))
        )

    def _error(self, prediction: Tensor) -> Tensor:
        return prediction.clamp(*self.bounds) - self.val_rating


def _judged(row: Epoch, error: Tensor) -> Epoch:
    mse = float(error.square().mean())
    return replace(row, val_mse=mse, val_rmse=mse**0.5, val_mae=float(error.abs().mean()))
