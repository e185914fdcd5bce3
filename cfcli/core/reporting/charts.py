"""What charts show, however they are drawn: in a report (:mod:`cfcli.core.reporting.svg`), as PNG
(:mod:`cfcli.core.reporting.png`) or on a terminal (``cfcli.cli.terminal``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.metrics.intervals import Interval
from cfcli.core.training.benchmark import Benchmark

if TYPE_CHECKING:
    from cfcli.core.evaluation.diagnostics import ActivityGroup, Coverage, Diagnosis, RatingGroup

SCALE = "on the scale of the ratings"
LABELS = {
    "mean": "global mean",
    "user_mean": "user mean",
    "item_mean": "item mean",
    "bias": "damped biases",
}
RUNNING = 50  # steps that the running mean is taken over, at most a tenth of all
MOST_LETTERS = 12  # of a run's name below an axis


class _Group(Protocol):
    """Rows that were judged together: what groups by rating and by activity have in common."""

    @property
    def label(self) -> str: ...
    @property
    def rmse(self) -> float | None: ...
    @property
    def bias_rmse(self) -> float | None: ...


@dataclass(frozen=True)
class Series:
    """One set of values.

    Attributes:
        name: the name in the legend.
        y: the values; None where there is none.
        x: places on a numeric axis, as many as values; None if the chart has labels.
        kind: how the values are drawn.
        low, high: the ends of an interval around each value.
        muted: whether the series is drawn in grey, as a background for the others.
        dashed: whether the line is dashed and has the colour of the series before.
    """

    name: str
    y: Sequence[float | None]
    x: Sequence[float] | None = None
    kind: Literal["line", "points", "bars"] = "line"
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    muted: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """One pair of axes.

    Attributes:
        name: the name of its file, without an ending.
        title: what it shows.
        x, y: the titles of the axes, with units.
        series: the values, at least one series; bars of several series stand side by side.
        labels: the categories of the horizontal axis, one for each value of the series. A newline
            begins a second line. None for a numeric axis.
        zero: whether the vertical axis begins at 0.
        mark: a place on the horizontal axis to mark, and the text beside it.
        whole: whether only whole numbers make sense on the horizontal axis.
    """

    name: str
    title: str
    x: str
    y: str
    series: Sequence[Series]
    labels: Sequence[str] | None = None
    zero: bool = False
    mark: tuple[float, str] | None = None
    whole: bool = False


def number(value: float | None) -> str:
    """A number as people write it: without decimals from 100,000 on, else with five digits.

    Args:
        value: the number; None gives an empty text.
    """
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:,.5g}"


def short(value: float, most: float) -> str:
    """A number beside an axis: ``5k`` or ``5M`` on an axis that reaches 10,000 or more.

    Args:
        value: the number.
        most: the largest number on the axis, so that all of them have the same unit.
    """
    if value and abs(most) >= 1e6:
        return f"{value / 1e6:,.6g}M"
    if value and abs(most) >= 1e4:
        return f"{value / 1e3:,.6g}k"
    return f"{value:,.6g}"


def loss(history: pl.DataFrame, best: int) -> Chart:
    """Training and validation error by epoch.

    Args:
        history: one row for each epoch (:attr:`cfcli.core.runs.run.Run.history`).
        best: the epoch whose weights were kept.
    """
    epochs = history["epoch"].to_list()
    training, held_out = "training", "validation"
    # The sampler's training errors are those of single samples, which scatter.
    if not (history["learning_rate"] > 0).any():
        training, held_out = "training (one sample)", "validation (mean)"
    series = [Series(training, history["train_mse"].to_list(), epochs, muted=True)]
    validation = history["val_mse"]
    if validation.dtype.is_numeric() and validation.null_count() < history.height:
        series.append(Series(held_out, validation.to_list(), epochs))
    return Chart(
        name="loss",
        title="Loss by epoch",
        x="epoch",
        y="mean squared error",
        series=series,
        mark=(best, f"best epoch {best}"),
        whole=True,
    )


def losses(histories: Mapping[str, pl.DataFrame]) -> Chart:
    """Validation and training error of several runs by epoch, one over the other.

    Args:
        histories: one row for each epoch (:attr:`cfcli.core.runs.run.Run.history`), by the names of
            the runs.
    """
    series = []
    for name, history in histories.items():
        training, *validation = loss(history, 1).series
        series += [replace(line, name=f"{name}, {line.name}") for line in validation]
        whose = f"{name}, {training.name}"
        line = replace(training, name=whose, muted=False, dashed=bool(validation))
        series.append(line)
    return Chart(
        name="losses",
        title="Loss by epoch",
        x="epoch",
        y="mean squared error",
        series=series,
        whole=True,
    )


def steps(trace: pl.DataFrame, history: pl.DataFrame) -> Chart:
    """Training error by step with its running mean, and validation error where epochs end.

    Args:
        trace: one row for each step that was recorded (:attr:`cfcli.core.runs.run.Run.trace`).
        history: one row for each epoch (:attr:`cfcli.core.runs.run.Run.history`).
    """
    places, errors = trace["step"].to_list(), trace["train_mse"]
    training, *held_out = loss(history, 1).series
    series = [Series(training.name, errors.to_list(), places, muted=True)]
    for validation in held_out:
        ends = [places[-1] / history.height * epoch for epoch in history["epoch"]]
        series.append(Series(validation.name, validation.y, ends))
    running = _running_mean(errors.to_numpy())
    series.append(Series("training, running mean", running.tolist(), places))
    return Chart(
        name="steps",
        title="Training loss by step",
        x="step",
        y="mean squared error",
        series=series,
        whole=True,
    )


def predictions(of: Mapping[str, Sequence["RatingGroup"]]) -> Chart:
    """How often each rating occurs, and how often predictions are nearest to it.

    Args:
        of: the groups of each run by its name; all runs were judged by the same rows.
    """
    groups = next(iter(of.values()))
    series = [Series("ratings", [group.ratings for group in groups], kind="bars", muted=True)]
    for name, found in of.items():
        series.append(Series(name, [group.predictions for group in found], kind="bars"))
    return Chart(
        name="predictions",
        title="Ratings, and predictions by the nearest rating",
        x="rating",
        y="rows",
        series=series,
        labels=[group.label for group in groups],
        zero=True,
    )


def error_by_rating(of: Mapping[str, Sequence["RatingGroup"]]) -> Chart:
    """RMSE of damped biases and of models by the true rating.

    Args:
        of: the groups of each run by its name; all runs were judged by the same rows.
    """
    counts = [group.ratings for group in next(iter(of.values()))]
    return _error(
        name="error_by_rating",
        title="Error by the true rating",
        x="rating, and rows with it",
        of=of,
        counts=counts,
    )


def error_by_activity(
    of: Mapping[str, Sequence["ActivityGroup"]], entity: Literal["user", "item"]
) -> Chart:
    """RMSE of damped biases and of models by the number of training ratings.

    Args:
        of: the groups of each run by its name; all runs were judged by the same rows.
        entity: whose training ratings the groups are by.
    """
    titles = {
        "user": "Error by how much the user has rated",
        "item": "Error by how often the item was rated",
    }
    return _error(
        name=f"error_by_{entity}",
        title=titles[entity],
        x=f"training ratings of the {entity}, from; and rows",
        of=of,
        counts=[group.n for group in next(iter(of.values()))],
    )


def calibration(of: Mapping[str, Sequence["Coverage"]]) -> Chart:
    """How many ratings lie within the intervals that were predicted for them.

    Args:
        of: the shares of each run by its name, all for the same levels.
    """
    expected = [100 * row.level for row in next(iter(of.values()))]
    series = [Series("as promised", expected, expected, muted=True)]
    for name, found in of.items():
        series.append(Series(name, [100 * row.share for row in found], expected))
    return Chart(
        name="calibration",
        title="Calibration: ratings inside their predicted intervals",
        x="interval, %",
        y="ratings inside, %",
        series=series,
        zero=True,
    )


def ladder(baselines: Mapping[str, Interval], models: Mapping[str, Interval]) -> Chart:
    """RMSE of baselines and models with intervals.

    Args:
        baselines: the errors by the names of ``LABELS``.
        models: the errors by the names of the runs. Each run has the colour that it has in the
            other charts.
    """
    rungs = {**baselines, **models}
    series = [_rungs("baselines", baselines, rungs, muted=True)]
    for name, interval in models.items():
        series.append(_rungs(name, {name: interval}, rungs))
    labels = [LABELS[name] for name in baselines]
    for name in models:
        # The beginning goes: it is a time, or what all runs have in common.
        labels.append(name if len(name) <= MOST_LETTERS else "…" + name[1 - MOST_LETTERS :])
    return Chart(
        name="ladder",
        title="RMSE beside the baselines, with 95 % intervals",
        x="",
        y=f"RMSE, {SCALE}",
        series=series,
        labels=labels,
    )


def of_judgement(diagnosis: "Diagnosis") -> list[Chart]:
    """The charts that ``cfcli evaluate`` draws.

    Args:
        diagnosis: where the run is right and where it errs.

    Returns:
        Predictions, errors by rating and, if the model predicts intervals, calibration.
    """
    groups = {"model": diagnosis.by_rating}
    found = [predictions(groups), error_by_rating(groups)]
    if diagnosis.calibration:
        found.append(calibration({"model": diagnosis.calibration}))
    return found


def sweeps(result: Benchmark) -> list[Chart]:
    """The median seconds of an epoch with their range, one chart for each sweep.

    Args:
        result: what :func:`cfcli.core.training.benchmark.bench` measured.
    """
    axes = {
        "batch-size": "batch size (resident loader)",
        "num-workers": "loader, at batches of 4,096",
        "solver": "solver that train would use",
    }
    charts = []
    for name in dict.fromkeys(timing.sweep for timing in result.results):
        timings = [timing for timing in result.results if timing.sweep == name]
        series = Series(
            "median, least to most",
            [timing.seconds_median for timing in timings],
            kind="points",
            low=[timing.seconds_min for timing in timings],
            high=[timing.seconds_max for timing in timings],
        )
        chart = Chart(
            name=name,
            title=f"One epoch of {result.rows:,} ratings on {result.device}",
            x=axes.get(name, name),
            y="seconds",
            series=[series],
            labels=[timing.label for timing in timings],
            zero=True,
        )
        charts.append(chart)
    return charts


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the ``RUNNING`` values around each. Near the beginning fewer count, as many on
    either side, since the mean of a steep descent would hide it."""
    n = len(values)
    place = np.arange(n)
    half = np.minimum(min(RUNNING, n // 10) // 2, place)
    begin = place - half
    end = np.minimum(place + half + 1, n)
    sums = np.append(0.0, np.cumsum(values))
    mean: NDArray[np.float64] = (sums[end] - sums[begin]) / (end - begin)
    return mean


def _error(
    *,
    name: str,
    title: str,
    x: str,
    of: Mapping[str, Sequence[_Group]],
    counts: Sequence[int],
) -> Chart:
    """RMSE of damped biases and of models by group, without groups that have no rows.

    Args:
        name, title, x: of the chart.
        of: the groups of each run by its name.
        counts: the rows in each group.
    """
    groups = next(iter(of.values()))
    filled = [k for k, group in enumerate(groups) if group.rmse is not None]
    biases = [groups[k].bias_rmse for k in filled]
    series = [Series("damped biases", biases, kind="points", muted=True)]
    for run, found in of.items():
        series.append(Series(run, [found[k].rmse for k in filled], kind="points"))
    # The axis says "from": 500+ would leave no room between ten labels.
    labels = [f"{groups[k].label.removesuffix('+')}\n{_about(counts[k])}" for k in filled]
    return Chart(name, title, x, f"RMSE, {SCALE}", series, labels, zero=True)


def _rungs(
    name: str, of: Mapping[str, Interval], rungs: Mapping[str, Interval], muted: bool = False
) -> Series:
    """The errors ``of`` some rungs of the ladder, with gaps at the others."""
    found = [of.get(rung) for rung in rungs]
    return Series(
        name,
        [None if rung is None else rung.value for rung in found],
        kind="points",
        low=[None if rung is None else rung.low for rung in found],
        high=[None if rung is None else rung.high for rung in found],
        muted=muted,
    )


def _about(n: int) -> str:
    """A count in at most four characters: with two digits of precision from 1,000 on."""
    if n < 1000:
        return str(n)
    rounded = float(f"{n:.2g}")
    return f"{rounded / 1e3:g}k" if rounded < 1e6 else f"{rounded / 1e6:g}M"
