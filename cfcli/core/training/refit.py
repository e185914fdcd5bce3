"""Training on with rows that were held out before."""

import math
import time
from dataclasses import replace

import numpy as np

from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import StoppedError
from cfcli.core.models.warm_start import WarmStart
from cfcli.core.pair import Pair
from cfcli.core.training.fit import fit
from cfcli.core.training.job import TrainingData
from cfcli.core.training.plan import sizing
from cfcli.core.training.trained import TrainedModel

# Of the epochs of the sampler's first part; as many again where an epoch has all sweeps. Gradient
# descent takes half of those that were best: less gains less, and as many gain little more.
SHARE, DESCENT_SHARE = 0.35, 0.5


def refit(
    model: TrainedModel, data: TrainingData, config: TrainConfig, until: float | None = None
) -> TrainedModel | None:
    """Trains a model on with more rows, beginning from its parameters.

    Nothing says when to stop by then, so the number of epochs follows from how many the model was
    trained for. The sampler's new mean contains the old one as a part.

    Args:
        model: that was trained on some of the rows and stopped early by the others.
        data: all rows, none of them for validation.
        config: the settings that the model was trained with.
        until: when to be done, by ``time.perf_counter``.

    Returns:
        The model with its history, and with new parameters; None where the time does not suffice.

    Raises:
        StoppedError: a signal came.
        GateError: the training diverged.
        MachineError: no space.
    """
    rows = data.n
    epochs = _epochs(model, config, rows)
    expected = epochs * rows / np.median([row.ratings_per_second for row in model.history])
    if config.resolved_solver == "gibbs":
        rank = sizing.sampler_rank(config, rows)
        expected *= sizing.sweeps_per_epoch(rows, rank)
    if until is not None and time.perf_counter() + expected > until:
        return None
    draw = None
    if model.samples is not None:
        draws = Pair(model.samples["users"], model.samples["items"])
        draw = draws.map(lambda sides: sides[-1].astype(np.float32))
    start = WarmStart(model.tensors, draw, model.noise, None, is_part=True, times=model.times)
    again = fit(data, replace(config, epochs=epochs, max_time=None), warm_start=start)
    if again.stopped_by:
        raise StoppedError("stopped while it trained on all rows", again.stopped_by)
    return replace(
        model,
        tensors=again.tensors,
        noise=again.noise,
        samples=again.samples,
        times=again.times,
        seconds=model.seconds + again.seconds,
    )


def _epochs(model: TrainedModel, config: TrainConfig, rows: int) -> int:
    if config.resolved_solver != "gibbs":
        return math.ceil(model.best.epoch * DESCENT_SHARE)
    steps = sizing.sweeps_per_epoch(rows, sizing.sampler_rank(config, rows))
    return max(2, math.ceil(len(model.history) * max(SHARE, steps / sizing.SWEEPS)))
