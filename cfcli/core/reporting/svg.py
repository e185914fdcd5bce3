"""Charts as SVG.

The marks have classes instead of colours: the page's style sheet colours them, in light, in dark
and on paper, and :mod:`cfcli.core.reporting.png` does for files.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from cfcli.core.reporting.charts import Chart, Series, number, short

WIDTH, HEIGHT = 480, 280  # pixels of a chart
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 58  # margins, for the axes
FLOOR = HEIGHT - BOTTOM  # where the horizontal axis is
TICKS = 5  # about so many on an axis
COLOURS = 6  # classes c1 to c6 of the style sheet
# The height of a line of text and the width of a letter, as large as they are on a phone.
LINE, LETTER = 13, 7.3
MOST_ROWS = 3  # of staggered labels below an axis
FEW = 60  # values of a line up to which each gets a dot


def draw(chart: Chart) -> Markup:
    """A chart as one ``<svg>`` element for a page.

    Args:
        chart: what to draw; its title becomes the label that screen readers read.

    Returns:
        The element. Each mark has a ``<title>`` that names its value.
    """
    frame = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return frame.format(WIDTH, HEIGHT, chart.title, marks(chart))


def marks(chart: Chart) -> Markup:
    """What is inside of the frame: axes, series and the marked place.

    Args:
        chart: what to draw.

    Returns:
        SVG elements within 0 to ``WIDTH`` and 0 to ``HEIGHT``.
    """
    plot = _plot(chart)
    parts = [_vertical_axis(plot), _horizontal_axis(plot)]
    n_bars = sum(series.kind == "bars" for series in chart.series)
    bar = itertools.count()
    for series, style in zip(chart.series, styles(chart), strict=True):
        if series.kind == "bars":
            parts.append(_bars(plot, series, style, next(bar), n_bars))
        else:
            parts.append(_line(plot, series, style))
    if chart.mark:
        parts.append(_mark(plot, *chart.mark))
    return Markup("").join(parts)


def legend(chart: Chart) -> Markup:
    """The names of the series beside their colours, as an HTML list: a name may be long, and a page
    knows how to break lines.

    Args:
        chart: whose series to name.

    Returns:
        The list; nothing for a single series.
    """
    if len(chart.series) < 2:
        return Markup("")
    entry = Markup('<li><i class="{}"></i>{}</li>')
    entries = [
        entry.format(style, series.name)
        for series, style in zip(chart.series, styles(chart), strict=True)
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(entries))


def styles(chart: Chart) -> list[str]:
    """The class of each series, which gives it its colour.

    Args:
        chart: whose series to colour.

    Returns:
        ``muted`` for muted series, and ``c1``, ``c2``, ... in turn for the others; for dashed ones
        the class of the series before, and ``dashed``.
    """
    colours = itertools.cycle(range(1, COLOURS + 1))
    found: list[str] = []
    for series in chart.series:
        if series.dashed:
            found.append(f"{found[-1]} dashed")
        else:
            found.append("muted" if series.muted else f"c{next(colours)}")
    return found


def ticks(low: float, high: float, least: float = 0.0) -> list[float]:
    """About five round numbers: multiples of 1, 2 or 5 times a power of 10.

    Args:
        low, high: the range that they lie in.
        least: the smallest step between two of them.

    Returns:
        The numbers, ascending; ``low`` alone for an empty range.
    """
    if not high > low:
        return [low]
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    steps = (power, 2 * power, 5 * power, 10 * power)
    step = max(least, next(step for step in steps if step >= 0.7 * rough))
    # What rounding moves by a billionth of a step still counts as a multiple.
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


@dataclass(frozen=True)
class _Scale:
    """Turns values into pixels.

    Attributes:
        low, high: the values at both ends.
        begin, end: their pixels.
    """

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        return self.begin + (value - self.low) * self.per_unit

    @property
    def per_unit(self) -> float:
        return (self.end - self.begin) / ((self.high - self.low) or 1)


@dataclass(frozen=True)
class _Plot:
    """A chart with its scales.

    Attributes:
        chart: what is drawn.
        x, y: the scales of the horizontal and the vertical axis.
        y_ticks: numbers beside the vertical axis.
    """

    chart: Chart
    x: _Scale
    y: _Scale
    y_ticks: list[float]


def _plot(chart: Chart) -> _Plot:
    """Chooses the scales so that all values have room."""
    xs: list[float] = []
    ys: list[float] = [0.0] if chart.zero else []
    for series in chart.series:
        for values in (series.y, series.low, series.high):
            for x, y in zip(_places(chart, series), values or (), strict=False):
                if y is not None:
                    xs.append(x)
                    ys.append(y)
    if chart.labels is not None:
        xs = [-0.5, len(chart.labels) - 0.5]
    y_ticks = ticks(min(ys, default=0.0), max(ys, default=1.0))
    x_scale = _Scale(min(xs, default=0.0), max(xs, default=1.0), LEFT, WIDTH - RIGHT)
    y_scale = _Scale(min([y_ticks[0], *ys]), max([y_ticks[-1], *ys]), FLOOR, TOP)
    return _Plot(chart, x_scale, y_scale, y_ticks)


def _places(chart: Chart, series: Series) -> Sequence[float]:
    """Where the values of a series are on the horizontal axis."""
    if series.x is None or chart.labels is not None:
        return range(len(series.y))
    return series.x


def _vertical_axis(plot: _Plot) -> Markup:
    parts = []
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
    for value in plot.y_ticks:
        y = plot.y(value)
        parts.append(line.format(LEFT, WIDTH - RIGHT, y, y))
        parts.append(_text(LEFT - 6, y + 4, short(value, plot.y_ticks[-1]), "end"))
    title = Markup(
        '<text class="axis" transform="translate(12 {}) rotate(-90)" text-anchor="middle">{}</text>'
    )
    parts.append(title.format((TOP + FLOOR) / 2, plot.chart.y))
    return Markup("").join(parts)


def _horizontal_axis(plot: _Plot) -> Markup:
    chart = plot.chart
    if chart.labels is None:
        rows = 1
        least = 1.0 if chart.whole else 0.0
        parts = [
            _label(plot, value, 1, short(value, plot.x.high))
            for value in ticks(plot.x.low, plot.x.high, least)
        ]
    else:
        rows, parts = _labels(plot, chart.labels)
    below = min(FLOOR + LINE * (rows + 1) + 9, HEIGHT - 4)
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, below, chart.x, "middle", "axis"))
    return Markup("").join(parts)


def _labels(plot: _Plot, labels: Sequence[str]) -> tuple[int, list[Markup]]:
    """The labels of categories, and how many rows of text they take.

    Labels that have no room beside each other are staggered over up to ``MOST_ROWS`` rows; where
    that does not suffice, only every second, third, ... is shown.
    """
    lines = [label.split("\n") for label in labels]
    tallest = max(map(len, lines), default=1)
    widest = max((len(line) for label in lines for line in label), default=0)
    every = max(1, math.ceil(LETTER * widest / plot.x.per_unit))
    staggered = tallest == 1 and 1 < every <= MOST_ROWS
    parts = []
    for k, label in enumerate(lines):
        if not staggered and k % every:
            continue
        first_row = k % every if staggered else 0
        for row, line in enumerate(label, first_row + 1):
            parts.append(_label(plot, k, row, line))
    return (every if staggered else tallest), parts


def _label(plot: _Plot, place: float, row: int, text: str) -> Markup:
    """A text below the horizontal axis, moved to the left if it would not end within the chart."""
    x = min(plot.x(place), WIDTH - LETTER * len(text) / 2)
    return _text(x, FLOOR + LINE * row + 3, text, "middle")


def _bars(plot: _Plot, series: Series, style: str, place: int, among: int) -> Markup:
    """Bars of one series, which stand side by side with those of others.

    Args:
        plot: the chart with its scales.
        series: the values.
        style: the class of its colour.
        place: of this series among those that are bars, from 0 on.
        among: how many those are.
    """
    width = 0.8 / among
    bar = Markup(
        '<rect class="{} fill" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">{}</rect>'
    )
    parts = []
    for k, value in enumerate(series.y):
        if value is None:
            continue
        x = plot.x(k - 0.4 + width * place)
        y = plot.y(value)
        title = _title(plot.chart, series, k, value)
        parts.append(bar.format(style, x, y, width * plot.x.per_unit - 1, plot.y(0) - y, title))
    return Markup("").join(parts)


def _line(plot: _Plot, series: Series, style: str) -> Markup:
    """A series as a line, as points, or as points with their intervals."""
    places = _places(plot.chart, series)
    values = [(k, plot.x(places[k]), y) for k, y in enumerate(series.y) if y is not None]
    parts = []
    if series.kind == "line" or not (series.low or series.high):
        path = " ".join(f"{x:.1f},{plot.y(y):.1f}" for _, x, y in values)
        parts.append(Markup('<polyline class="{} stroke" points="{}"/>').format(style, path))
    interval = Markup('<line class="{} stroke" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    for place, low, high in zip(places, series.low or (), series.high or (), strict=False):
        if low is not None and high is not None:
            x = plot.x(place)
            parts.append(interval.format(style, x, x, plot.y(low), plot.y(high)))
    if series.kind == "points" or len(values) < FEW:
        radius = 4 if series.kind == "points" else 2.5
        dot = Markup('<circle class="{} fill" cx="{:.1f}" cy="{:.1f}" r="{}">{}</circle>')
        for k, x, y in values:
            title = _title(plot.chart, series, k, y)
            parts.append(dot.format(style, x, plot.y(y), radius, title))
    return Markup("").join(parts)


def _mark(plot: _Plot, place: float, text: str) -> Markup:
    """A vertical line with a text on the side that has more room."""
    x = plot.x(place)
    line = Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>')
    if x > WIDTH / 2:
        label = _text(x - 4, TOP + 10, text, "end")
    else:
        label = _text(x + 4, TOP + 10, text, "start")
    return line.format(x, TOP, FLOOR) + label


def _title(chart: Chart, series: Series, k: int, value: float) -> Markup:
    """What a pointer over the mark of the ``k``-th value shows."""
    if chart.labels is not None:
        place = chart.labels[k].partition("\n")[0]
    else:
        place = number(_places(chart, series)[k])
    return Markup("<title>{}</title>").format(f"{series.name}, {place}: {number(value)}")


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> Markup:
    """A line of text; ``anchor`` says which part of it is at ``x``: start, middle or end."""
    attribute = Markup(' class="{}"').format(style) if style else ""
    element = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>')
    return element.format(x, y, anchor, attribute, text)
