"""What the epochs of a training came to, and who watches them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to. Errors are per rating, on the scale of the ratings, without the L2
    term; those of the training rows are the mean over the epoch while the parameters moved."""

    epoch: int
    train_mse: float
    train_rmse: float
    val_mse: float | None
    val_rmse: float | None
    val_mae: float | None
    learning_rate: float
    seconds: float
    ratings_per_second: float


def is_settled(errors: Sequence[float], first: int, patience: int, least: float = 0.0) -> bool:
    """Whether validation errors stopped falling: in ``patience`` epochs none was lower, by more
    than the share ``least``, than the lowest before. Those before epoch ``first`` (from 1) do not
    count: what validation does while a model settles tells little."""
    best, waited = math.inf, 0
    for error in errors[max(first, 1) - 1 :]:
        if error < best * (1 - least) or best == math.inf:
            best, waited = error, 0
        else:
            waited += 1
    return waited >= patience


class Progress(Protocol):
    """Whoever wants to watch a fit."""

    def start(self, device: str, batches: int, epochs: int) -> None: ...
    def batch(self, done: int) -> None: ...
    def epoch(self, row: Epoch) -> None: ...


class Silent:
    """Watches nothing."""

    def start(self, device: str, batches: int, epochs: int) -> None: ...
    def batch(self, done: int) -> None: ...
    def epoch(self, row: Epoch) -> None: ...
