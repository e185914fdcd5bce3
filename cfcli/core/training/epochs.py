"""What the epochs of a training came to, and who watches them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from cfcli.core.errors import GateError

TRACED = 100  # entries of the trace that an epoch adds, at most


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch.

    Errors are per rating, on the scale of the ratings, without the L2 term. Those of the training
    rows are the mean over the epoch, while the parameters moved.

    Attributes:
        epoch: its number, from 1.
        train_mse, train_rmse: of the training rows.
        val_mse, val_rmse, val_mae: of the validation rows; None without any.
        learning_rate: of the embeddings; 0 where nothing descends.
        seconds: how long the epoch took.
        ratings_per_second: training ratings by that time.
    """

    epoch: int
    train_mse: float
    train_rmse: float
    val_mse: float | None
    val_rmse: float | None
    val_mae: float | None
    learning_rate: float
    seconds: float
    ratings_per_second: float


class TracePoint(NamedTuple):
    """The training error of some steps.

    Attributes:
        step: number of the last of them, from 1, over all epochs.
        mse: mean squared error of the training rows that they used.
    """

    step: int
    mse: float


class Progress(Protocol):
    """Whoever watches a training."""

    def named(self, run: Path) -> None:
        """The run that is going to be trained has its name.

        Args:
            run: its folder, once it is whole.
        """

    def start(self, device: str, batches: int, epochs: int) -> None:
        """The training begins.

        Args:
            device: where it computes.
            batches: steps of an epoch.
            epochs: how many there may be, at most.
        """

    def stage(self, text: str) -> None:
        """Another part of the work begins, which has no epochs.

        Args:
            text: what it is.
        """

    def batch(self, done: int) -> None:
        """Some steps of the running epoch are over.

        Args:
            done: how many, since the epoch began.
        """

    def epoch(self, row: Epoch) -> None:
        """An epoch is over.

        Args:
            row: its result.
        """


class Silent:
    """Watches nothing."""

    def named(self, run: Path) -> None: ...
    def start(self, device: str, batches: int, epochs: int) -> None: ...
    def stage(self, text: str) -> None: ...
    def batch(self, done: int) -> None: ...
    def epoch(self, row: Epoch) -> None: ...


class History:
    """The epochs of one training so far.

    Args:
        progress: hears of each epoch.

    Attributes:
        epochs: one row per epoch.
        trace: the training error along the steps.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.epochs: list[Epoch] = []
        self.trace: list[TracePoint] = []

    def add(self, row: Epoch, steps: Sequence[TracePoint]) -> None:
        """Takes an epoch that is over.

        Args:
            row: its result.
            steps: its part of the trace; steps that follow on each other are averaged until at
                most ``TRACED`` are left.

        Raises:
            GateError: the error of the epoch is not a finite number.
        """
        self.epochs.append(row)
        size = max(1, math.ceil(len(steps) / TRACED))
        for begin in range(0, len(steps), size):
            part = steps[begin : begin + size]
            mse = math.fsum(point.mse for point in part) / len(part)
            self.trace.append(TracePoint(part[-1].step, mse))
        self.progress.epoch(row)
        error = row.train_mse if row.val_mse is None else row.val_mse
        if not math.isfinite(error):
            raise GateError(f"the loss diverged in epoch {row.epoch}; try a lower --learning-rate")

    @property
    def val_errors(self) -> list[float]:
        """The validation MSE of each epoch; empty without validation rows."""
        return [row.val_mse for row in self.epochs if row.val_mse is not None]


def is_flat(errors: Sequence[float], least: float) -> bool:
    """Whether a mean of samples has little left to gain.

    After n samples its error is that of an endless mean plus c / n, so that what is left to gain is
    what the second half of them gained.

    Args:
        errors: of the mean after each epoch that gave samples.
        least: what is worth going on for, as a share of the last error.
    """
    half = len(errors) // 2
    return half > 1 and errors[half - 1] - errors[-1] < least * errors[-1]


def is_settled(errors: Sequence[float], first: int, patience: int, least: float = 0.0) -> bool:
    """Whether validation errors stopped falling.

    They did if none of the last ``patience`` epochs was better than the best before.

    Args:
        errors: one per epoch.
        first: the epoch, from 1, at which counting begins. What validation does while a model
            settles says little.
        patience: epochs to wait for a better one.
        least: how much lower an error must be to count as better, as a share of the best.
    """
    best, waited = math.inf, 0
    for error in errors[max(first, 1) - 1 :]:
        if best == math.inf or error < best * (1 - least):
            best, waited = error, 0
        else:
            waited += 1
    return waited >= patience
