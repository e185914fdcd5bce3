"""Charts as PNG, with Matplotlib (the extra ``plot``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcli.core.errors import MachineError
from cfcli.core.reporting.charts import Chart, short
from cfcli.core.storage import publishing

COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
)  # told apart by the colour-blind: Okabe and Ito (2008)
MUTED = "#8a8f98"
WIDTH, HEIGHT, DPI = 6, 4, 120  # inches of a panel, and their pixels
MANY = 12  # labels of an axis that need room for themselves


class NoMatplotlib(MachineError):
    """There is nothing to draw with."""


def write(charts: Sequence[Chart], folder: Path) -> None:
    """A file for each chart, by its name.

    Raises:
        NoMatplotlib: it is not installed.
        MachineError: a file cannot be written.
    """
    for chart in charts:
        draw([chart], folder / f"{chart.name}.png")


def draw(charts: Sequence[Chart], path: Path) -> None:
    """Charts side by side.

    Raises:
        NoMatplotlib: it is not installed.
        MachineError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise NoMatplotlib(
            "Matplotlib is not installed; install it with: pip install 'cfcli[plot]'"
        ) from None
    figure = Figure(figsize=(WIDTH * len(charts), HEIGHT), layout="constrained")
    for axes, chart in zip(figure.subplots(1, len(charts), squeeze=False)[0], charts, strict=True):
        _panel(axes, chart)
    with publishing.file(path) as stream:
        figure.savefig(stream, format="png", dpi=DPI)


def _panel(axes: Any, chart: Chart) -> None:
    colours = iter(COLOURS)
    bars = [series for series in chart.series if series.kind == "bars"]
    for series in chart.series:
        colour = MUTED if series.muted else next(colours)
        x = list(range(len(series.y))) if series.x is None else list(series.x)
        y = _numbers(series.y)
        if series.kind == "bars":
            width = 0.8 / len(bars)
            places = [place + width * (bars.index(series) - (len(bars) - 1) / 2) for place in x]
            axes.bar(places, y, width * 0.95, color=colour, label=series.name)
        else:
            marker = "o" if series.kind == "points" or len(y) < 2 else ""
            axes.plot(
                x,
                y,
                color=colour,
                marker=marker,
                label=series.name,
                lw=1 if series.muted else 2,
                zorder=2.5,
            )
        if series.low is not None and series.high is not None:
            spread = [y - _numbers(series.low), _numbers(series.high) - y]
            axes.errorbar(x, y, yerr=spread, fmt="none", color=colour, capsize=4)
    if chart.mark:
        axes.axvline(chart.mark[0], color=MUTED, ls=":", label=chart.mark[1])
    if chart.labels is not None:
        axes.set_xticks(range(len(chart.labels)), chart.labels)
        if len(chart.labels) * max(map(len, "\n".join(chart.labels).split("\n"))) > 5 * MANY:
            axes.tick_params(axis="x", labelrotation=35, labelsize="small")
    elif chart.x in ("epoch", "step"):
        axes.xaxis.get_major_locator().set_params(integer=True)
    if chart.zero:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: short(value, axes.get_ylim()[1]))
    axes.set_title(chart.title, fontsize="medium", loc="left")
    axes.set_xlabel(chart.x)
    axes.set_ylabel(chart.y)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(chart.series) > 1 or chart.mark:
        axes.legend(frameon=False, fontsize="small")


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values])
