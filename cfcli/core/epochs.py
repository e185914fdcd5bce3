"""What the epochs of a training came to, and who watches them."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to. Errors are per rating, on the scale of the ratings, without the L2 term; those of the
    training rows are the mean over the epoch while the parameters moved."""

    epoch: int
    train_mse: float
    train_rmse: float
    val_mse: float | None
    val_rmse: float | None
    val_mae: float | None
    learning_rate: float
    seconds: float
    ratings_per_second: float


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
