"""The seconds that the parts of an epoch of gradient descent take, without Lightning."""

import time
from collections.abc import Iterable

import polars as pl

from cfcli.core.config.train import TrainConfig
from cfcli.core.training import resources
from cfcli.core.training.batches import Batch, SharedBatch
from cfcli.core.training.descent import Descent
from cfcli.core.training.device import choose_device
from cfcli.core.training.epochs import Silent
from cfcli.core.training.fit import job_of
from cfcli.core.training.gradient_descent import GradientDescent, quiet
from cfcli.core.training.job import TrainingData


def untrained(train: pl.DataFrame, users: int, items: int, config: TrainConfig) -> Descent:
    """What an epoch of gradient descent needs, on its device.

    Args:
        train: columns ``user``, ``item``, ``rating``.
        users: how many there are.
        items: how many there are.
        config: of the training; its solver is adam.

    Raises:
        MachineError: no such device.
    """
    device = choose_device(config.device)
    job = job_of(TrainingData(train, train.clear(), users, items), config, Silent())
    return GradientDescent().module(job, device).to(device)


def time_parts(
    descent: Descent, batches: Iterable[Batch | SharedBatch], passes: int
) -> tuple[list[float], list[float]]:
    """Seconds of each pass over the loader alone, and of the steps alone, with batches that are
    there already.

    Args:
        descent: what learns from the batches.
        batches: of the training rows; each pass goes over them once.
        passes: how many; one more comes first that is not counted.
    """
    loader, steps = [], []
    step = _Steps(descent)
    with quiet(), resources.fast(descent.config, descent.batch_size * descent.config.dimension):
        for _ in range(1 + passes):
            begin = time.perf_counter()
            found = list(batches)
            loader.append(time.perf_counter() - begin)
            ready = [_on_device(batch, descent) for batch in found]
            begin = time.perf_counter()
            step.learn(ready)
            steps.append(time.perf_counter() - begin)
    return loader[1:], steps[1:]


def time_epochs(
    descent: Descent, batches: Iterable[Batch | SharedBatch], passes: int
) -> list[float]:
    """Seconds of each pass in which batches are made and learned from.

    Args:
        descent: what learns from the batches.
        batches: of the training rows; each pass goes over them once.
        passes: how many; one more comes first that is not counted.
    """
    seconds = []
    step = _Steps(descent)
    with quiet(), resources.fast(descent.config, descent.batch_size * descent.config.dimension):
        for _ in range(1 + passes):
            begin = time.perf_counter()
            step.learn(_on_device(batch, descent) for batch in batches)
            seconds.append(time.perf_counter() - begin)
    return seconds[1:]


class _Steps:
    """The steps of a training, with its optimizers."""

    def __init__(self, descent: Descent) -> None:
        descent.on_train_epoch_start()
        self.descent, self.optimizers = descent, descent.configure_optimizers()

    def learn(self, batches: Iterable[Batch]) -> None:
        """Learns from all batches, and waits for a device that works beside this process.

        Args:
            batches: on the device, each users, items and ratings, (B,).
        """
        for batch in batches:
            self.descent.learn(self.optimizers, batch)
        float(self.descent.learned[-1][1])


def _on_device(batch: Batch | SharedBatch, descent: Descent) -> Batch:
    """Users, items and ratings of a batch of a training by one process."""
    columns = batch.columns if isinstance(batch, SharedBatch) else batch
    return tuple(column.to(descent.device) for column in columns)
