"""The time of what an epoch consists of."""

import time

import polars as pl

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.blocks import Summary
from cfcli.core.models.base import Shape
from cfcli.core.training import resources
from cfcli.core.training.batches import Rows
from cfcli.core.training.device import choose_device
from cfcli.core.training.epochs import Silent
from cfcli.core.training.fit import _by_adam, _quiet


def time_apart(
    train: pl.DataFrame, users: int, items: int, config: TrainConfig, passes: int
) -> tuple[list[float], list[float]]:
    """Seconds of passes over what an epoch of adam consists of: over the loader alone, and over the
    steps alone, with batches that are there already. One of each comes before that is not counted.

    Raises:
        MachineError: no such device.
    """
    device = choose_device(config.device)
    summary = Summary.of(train, users, items)
    shape = Shape(users, items, summary.low, summary.high, summary.mean)
    module = _by_adam(Rows.of(train), summary, shape, config, Silent(), device).to(device)
    module.on_train_epoch_start()
    optimizers = module.configure_optimizers()
    loader, steps = [], []
    with _quiet(), resources.fast(config, module.batch_size * config.dim):
        for _ in range(1 + passes):
            times = [time.perf_counter()]
            batches = list(module.batches)
            times.append(time.perf_counter())
            batches = [[column.to(device) for column in batch] for batch in batches]
            times.append(time.perf_counter())
            for batch in batches:
                module.learn(optimizers, batch)
            float(module.learned[-1][1])  # waits for a device that works beside this
            times.append(time.perf_counter())
            loader.append(times[1] - times[0])
            steps.append(times[3] - times[2])
    return loader[1:], steps[1:]
