"""What a chart shows, however it is drawn: as PNG (:mod:`cfcli.core.reporting.png`), in a report or
on a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from cfcli.core.training.benchmark import Benchmark

SCALE = "on the scale of the ratings"
LABELS = {
    "mean": "global mean",
    "user_mean": "user mean",
    "item_mean": "item mean",
    "bias": "damped biases",
}
RUNNING = 50  # entries of the trace that a line over steps is the mean of, at most a tenth of them
NAME = 12  # letters of a run's name below an axis


@dataclass(frozen=True)
class Series:
    """One set of values.

    Attributes:
        name: for the legend.
        y: values, None where there is none.
        x: places on a numeric axis; else they are those of the chart's labels.
        kind: how it is drawn.
        low, high: ends of an interval around each value.
        muted: stands behind the others.
    """

    name: str
    y: Sequence[float | None]
    x: Sequence[float] | None = None
    kind: Literal["line", "points", "bars"] = "line"
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    muted: bool = False


@dataclass(frozen=True)
class Chart:
    """One pair of axes.

    Attributes:
        name: of its file.
        title: what it shows, in a sentence.
        x, y: what the axes are, with units.
        series: from one on; those that are bars stand side by side.
        labels: of a horizontal axis of categories; a newline in them begins a second line.
        zero: the vertical axis begins at 0.
        mark: a place on the horizontal axis, and what is there.
    """

    name: str
    title: str
    x: str
    y: str
    series: Sequence[Series]
    labels: Sequence[str] | None = None
    zero: bool = False
    mark: tuple[float, str] | None = None


def number(value: float | None) -> str:
    """As people write it: whole where it is large, else five digits of it; nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:,.5g}"


def short(value: float, most: float) -> str:
    """The same, to stand beside an axis that goes up to ``most``: ``5k`` where that is 10,000 or
    more."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value and abs(most) >= max(size, 1e4):
            return f"{value / size:,.6g}{unit}"
    return f"{value:,.6g}"


def loss(history: pl.DataFrame, best: int) -> Chart:
    """The errors of training and validation rows by epoch, of
    :attr:`cfcli.core.runs.run.Run.history`."""
    epochs = history["epoch"].to_list()
    series = [Series("training", history["train_mse"].to_list(), epochs, muted=True)]
    if history["val_mse"].dtype.is_numeric() and history["val_mse"].null_count() < history.height:
        series.append(Series("validation", history["val_mse"].to_list(), epochs))
    return Chart(
        "loss",
        "Loss by epoch",
        "epoch",
        "mean squared error",
        series,
        mark=(best, f"best epoch {best}"),
    )


def steps(trace: pl.DataFrame, history: pl.DataFrame) -> Chart:
    """The errors of training rows by step, of :attr:`cfcli.core.runs.run.Run.trace`, with a running
    mean, and those of validation rows where epochs ended."""
    places, errors = trace["step"].to_list(), trace["train_mse"]
    series = [Series("training", errors.to_list(), places, muted=True)]
    if len(by_epoch := loss(history, 1).series) > 1:
        ends = [places[-1] / history.height * epoch for epoch in history["epoch"]]
        series.append(Series("validation", by_epoch[1].y, ends))
    sums, place = np.append(0.0, np.cumsum(errors)), np.arange(trace.height)
    half = np.minimum(
        min(RUNNING, trace.height // 10) // 2, place
    )  # or a steep beginning would seem flat
    end = np.minimum(place + half + 1, trace.height)
    running = (sums[end] - sums[place - half]) / (end - place + half)
    series.append(Series("training, running mean", running.tolist(), places))
    return Chart("steps", "Training loss by step", "step", "mean squared error", series)


def predictions(of: Mapping[str, list[dict[str, Any]]]) -> Chart:
    """How often ratings and predictions have each value: ``by_rating`` of
    :func:`cfcli.core.evaluation.diagnostics.diagnose`, by the name of the run; of runs that were
    judged by the same rows."""
    rows = next(iter(of.values()))
    series = [Series("ratings", [row["ratings"] for row in rows], kind="bars", muted=True)]
    series += [
        Series(name, [row["predictions"] for row in found], kind="bars")
        for name, found in of.items()
    ]
    title = "Ratings, and predictions by the nearest rating"
    return Chart(
        "predictions", title, "rating", "rows", series, [row["label"] for row in rows], True
    )


def error_by_rating(of: Mapping[str, list[dict[str, Any]]]) -> Chart:
    """Root mean squared errors of biases and models by what the rating was, of the same."""
    return _error(
        "error_by_rating", "Error by the true rating", "rating, and rows with it", of, "ratings"
    )


def error_by_activity(of: Mapping[str, list[dict[str, Any]]], who: str) -> Chart:
    """Root mean squared errors of biases and models by how many training ratings the ``user`` or
    ``item`` has: ``by_user`` or ``by_item``."""
    title = (
        "Error by how much the user has rated"
        if who == "user"
        else "Error by how often the item was rated"
    )
    return _error(
        f"error_by_{who}", title, f"training ratings of the {who}, from; and rows", of, "n"
    )


def calibration(of: Mapping[str, list[dict[str, float]]]) -> Chart:
    """How many ratings lie within the interval that should hold them."""
    expected = [100 * row["level"] for row in next(iter(of.values()))]
    series = [Series("as promised", expected, expected, muted=True)]
    series += [
        Series(name, [100 * row["share"] for row in found], expected) for name, found in of.items()
    ]
    title = "Calibration: ratings inside their predicted intervals"
    return Chart("calibration", title, "interval, %", "ratings inside, %", series, zero=True)


def ladder(
    baselines: Mapping[str, dict[str, float]], models: Mapping[str, dict[str, float]]
) -> Chart:
    """Root mean squared errors with their intervals, of
    :func:`cfcli.core.evaluation.diagnostics.intervals`."""
    rungs = {**baselines, **models}

    def series(name: str, of: Mapping[str, dict[str, float]], muted: bool) -> Series:
        rmse, low, high = (
            [of[rung][key] if rung in of else None for rung in rungs]
            for key in ("rmse", "low", "high")
        )
        return Series(name, rmse, kind="points", low=low, high=high, muted=muted)

    # Each run has the colour that it has in the other charts. Names begin with a time or with what
    # runs have in common.
    found = [series("baselines", baselines, True)] + [
        series(name, {name: models[name]}, False) for name in models
    ]
    labels = [LABELS[name] for name in baselines]
    labels += [name if len(name) <= NAME else "…" + name[1 - NAME :] for name in models]
    return Chart(
        "ladder",
        "RMSE beside the baselines, with 95 % intervals",
        "",
        f"RMSE, {SCALE}",
        found,
        labels,
    )


def of_judgement(diagnosis: dict[str, Any]) -> list[Chart]:
    """The pictures of what :func:`cfcli.core.evaluation.diagnostics.diagnose` returns."""
    rows, levels = {"model": diagnosis["by_rating"]}, diagnosis["calibration"]
    return [predictions(rows), error_by_rating(rows)] + (
        [calibration({"model": levels})] if levels else []
    )


def sweeps(result: Benchmark) -> list[Chart]:
    """The median epoch with its spread, one chart per sweep.

    Args:
        result: what :func:`cfcli.core.training.benchmark.bench` measured.
    """
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
        x = {
            "batch-size": "batch size (resident loader)",
            "num-workers": "loader, at batches of 4,096",
            "solver": "solver that train would use",
        }.get(name, name)
        title = f"One epoch of {result.rows:,} ratings on {result.device}"
        labels = [timing.label for timing in timings]
        charts.append(Chart(name, title, x, "seconds", [series], labels, True))
    return charts


def _error(name: str, title: str, x: str, of: Mapping[str, list[dict[str, Any]]], n: str) -> Chart:
    rows = next(iter(of.values()))
    there = [k for k, row in enumerate(rows) if row["rmse"] is not None]
    series = [
        Series("damped biases", [rows[k]["bias_rmse"] for k in there], kind="points", muted=True)
    ]
    series += [
        Series(run, [found[k]["rmse"] for k in there], kind="points") for run, found in of.items()
    ]
    labels = [f"{rows[k]['label']}\n{_about(rows[k][n])}" for k in there]
    return Chart(name, title, x, f"RMSE, {SCALE}", series, labels, True)


def _about(n: int) -> str:
    return f"{n:,}" if n < 10_000 else short(float(f"{n:.3g}"), n)
