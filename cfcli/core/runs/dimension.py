"""``dim = "auto"``: trains with dimensions that double, and keeps the one that validation chooses.

The sampler needs one training for several dimensions: they only say to which rank the mean of its
samples is cut.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ConfigError, StoppedError
from cfcli.core.metrics.ratings import errors
from cfcli.core.models.times import seconds_of
from cfcli.core.runs.info import Tried
from cfcli.core.training.epochs import Progress
from cfcli.core.training.plan import sizing
from cfcli.core.training.signals import number_of

if TYPE_CHECKING:
    from cfcli.core.training.trained import TrainedModel

LIMIT = 3600.0  # seconds after which no further dimension is tried, without ``max_time``,
SHARE = 0.5  # and the share of ``max_time``: the rest is for what follows
PATIENCE = 2  # larger dimensions that are tried without gain: one may fail by chance
GROWTH = 2.0  # times what the last training took, which the next one may take
LEAST_GAIN = 2e-3  # of the validation MSE: another seed of ncf changes it by so much

Floats = NDArray[np.float64]
Fit = Callable[[TrainConfig, Sequence[int]], "TrainedModel"]


@dataclass(frozen=True)
class Chosen:
    """The dimension that validation chose.

    Attributes:
        config: the settings, with that number.
        model: of that dimension.
        tried: all that were tried, in that order.
    """

    config: TrainConfig
    model: "TrainedModel"
    tried: list[Tried]


@dataclass(frozen=True)
class Candidate:
    """One dimension.

    Attributes:
        model: of that dimension.
        squared: squared errors of the validation rows, (N,).
        tried: what is told of it.
    """

    model: "TrainedModel"
    squared: Floats
    tried: Tried


def check_dim(dataset: Dataset, config: TrainConfig) -> None:
    """Refuses to choose a dimension where nothing can choose it.

    Args:
        dataset: to train on.
        config: the settings.

    Raises:
        ConfigError: the dataset has no validation rows.
    """
    if config.dim == "auto" and not dataset.info.val:
        raise ConfigError(
            f"--dim auto: {dataset.path} has no validation rows to choose by; give a number, or "
            "prepare it with a --val-size above 0"
        )


def choose(dataset: Dataset, config: TrainConfig, fit: Fit, progress: Progress) -> Chosen:
    """Tries dimensions until the validation error no longer falls, or the time is over.

    That is where :data:`PATIENCE` dimensions gained no more than noise, see :func:`smallest`.

    Args:
        dataset: to train on.
        config: the settings.
        fit: trains with given settings, and makes models of smaller dimensions, too, where the
            sampler is asked for some.
        progress: hears what is tried.

    Returns:
        The smallest dimension whose error is at most by :data:`LEAST_GAIN` above the lowest. After
        a signal, it is one of those that were tried.

    Raises:
        StoppedError: a signal came before there was any.
    """
    begin = time.perf_counter()
    limit = config.max_seconds()
    until = begin + (LIMIT if limit is None else SHARE * limit)
    val = dataset.split("val", times=config.gibbs.times)
    user = val["user"].to_numpy()
    found: list[Candidate] = []
    trial, stopped_by = config, None
    for dims in _groups(config, dataset.info.train):
        start = time.perf_counter()
        if found:
            if start + GROWTH * found[-1].tried.seconds > until:
                progress.stage(f"no time to try dimension {dims[0]}")
                break
            if limit is not None:
                trial = config.replace(max_time=f"{until - start:.3f}s")
        progress.stage(f"trying dimension {', '.join(map(str, dims))}")
        try:
            model = fit(trial.replace(dim=dims[-1]), dims[:-1])
        except (KeyboardInterrupt, SystemExit, StoppedError) as signal:  # in its first epoch
            if not found:
                raise
            stopped_by = number_of(signal)
            break
        stopped_by = model.stopped_by
        seconds = round(time.perf_counter() - start, 3)
        for dim, of_dim in (model.smaller | {dims[-1]: replace(model, smaller={})}).items():
            found.append(_judged(config, dim, of_dim, val, seconds))
            progress.stage(f"dimension {dim}: val RMSE {found[-1].tried.val.rmse:.4f}")
        sure = smallest([one.squared for one in found], user)
        if stopped_by or sure + PATIENCE < len(found):
            break
    least = min(one.tried.val.mse for one in found)
    best = next(one for one in found if one.tried.val.mse <= least * (1 + LEAST_GAIN))
    progress.stage(f"chose dimension {best.tried.dim}")
    whole = replace(best.model, seconds=time.perf_counter() - begin, stopped_by=stopped_by)
    return Chosen(config.replace(dim=best.tried.dim), whole, [one.tried for one in found])


def smallest(squared: Sequence[Floats], user: NDArray[np.integer]) -> int:
    """Which of several dimensions is the smallest that may be as good as the best one.

    Its mean squared error is higher by at most one standard error of the difference (Breiman et al.
    1984, "Classification and Regression Trees"), or by :data:`LEAST_GAIN`. Differences are paired
    row by row, and rows of one user count as one draw, as they are alike.

    Args:
        squared: squared errors of the same rows by each dimension, ascending, (N,) each.
        user: index of the user of each row, (N,).

    Returns:
        Its place.
    """
    means = [float(one.mean()) for one in squared]
    best = int(np.argmin(means))
    for place, (one, mean) in enumerate(zip(squared, means, strict=True)):
        excess = one - squared[best] - (mean - means[best])
        noise = float(np.linalg.norm(np.bincount(user, excess))) / len(user)
        if mean - means[best] <= max(noise, LEAST_GAIN * means[best]):
            return place
    return best


def _groups(config: TrainConfig, rows: int) -> Iterator[tuple[int, ...]]:
    """The dimensions that each training serves: those that the sampler draws the same samples
    for."""
    if config.resolved_solver != "gibbs":
        yield from ((dim,) for dim in config.dims)
        return
    of_rank = itertools.groupby(
        config.dims, lambda dim: sizing.sampler_rank(config.replace(dim=dim), rows)
    )
    yield from (tuple(dims) for _, dims in of_rank)


def _judged(
    config: TrainConfig, dim: int, model: "TrainedModel", val: pl.DataFrame, seconds: float
) -> Candidate:
    """A dimension with its errors on the validation rows, which become those of its model."""
    user, item, rating = (val[name].to_numpy() for name in ("user", "item", "rating"))
    offset = None
    if model.times is not None and "timestamp" in val.columns:
        offset = model.times.offset(user, item, seconds_of(val["timestamp"]))
    prediction = model.predictor(config.model).predict(user, item, offset).astype(np.float64)
    rating = rating.astype(np.float64)
    found = errors(rating, prediction)
    best = replace(model.best, val_mse=found.mse, val_rmse=found.rmse, val_mae=found.mae)
    tried = Tried(dim=dim, val=found, seconds=seconds)
    return Candidate(replace(model, best=best), (rating - prediction) ** 2, tried)
