"""Charts as SVG that a page's style sheet colours: in light and dark, and on paper."""

import itertools
import math
from collections.abc import Sequence

from markupsafe import Markup

from cfcli.core.reporting.charts import Chart, Series, number, short

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 58  # margins, for the axes
TICKS = 5  # about, an axis
COLOURS = 6  # that the style sheet has
LINE, LETTER = (
    13,
    7.3,
)  # height of a line of text, width of a letter, as large as they are on a phone
ROWS = 3  # of labels below an axis


def draw(chart: Chart) -> Markup:
    """One ``<svg>``. Marks have what they show as their title."""
    places = [_places(chart, series) for series in chart.series]
    points = [
        (x, value)
        for series, xs in zip(chart.series, places, strict=True)
        for ends in (series.y, series.low or (), series.high or ())
        for x, value in zip(xs, ends, strict=False)
        if value is not None
    ]
    ys = [y for _, y in points] + [0.0] * chart.zero
    xs = [x for x, _ in points] if chart.labels is None else [-0.5, len(chart.labels) - 0.5]
    y_ticks = ticks(min(ys, default=0.0), max(ys, default=1.0))
    low, high = min([y_ticks[0], *ys]), max([y_ticks[-1], *ys])
    across = _Scale(min(xs, default=0.0), max(xs, default=1.0), LEFT, WIDTH - RIGHT)
    up = _Scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [_axes(chart, across, up, y_ticks)]
    bars = [series for series in chart.series if series.kind == "bars"]
    for series, x, style in zip(chart.series, places, _styles(chart), strict=True):
        if series.kind == "bars":
            parts.append(_bars(chart, series, style, across, up, bars.index(series), len(bars)))
        else:
            parts.append(_line(chart, series, style, x, across, up))
    if chart.mark:
        place, text = across(chart.mark[0]), chart.mark[1]
        end = "end" if place > WIDTH / 2 else "start"
        parts.append(
            Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(
                place, TOP, HEIGHT - BOTTOM
            )
            + Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
                place + (4 if end == "start" else -4), TOP + 10, end, text
            )
        )
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        WIDTH, HEIGHT, chart.title
    )
    return head + Markup("").join(parts) + Markup("</svg>")


def legend(chart: Chart) -> Markup:
    """What has which colour, as a list: a name may be long, and a page knows how to break lines."""
    if len(chart.series) < 2:
        return Markup("")
    entries = [
        Markup('<li><i class="{}"></i>{}</li>').format(style, series.name)
        for series, style in zip(chart.series, _styles(chart), strict=True)
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(entries))


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers from ``low`` to ``high``: multiples of 1, 2 or 5 times a power of
    10."""
    if not high > low:
        return [low]
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * 0.7)
    return [
        k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


class _Scale:
    """From values to pixels."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self.low, self.begin = low, begin
        self.size = (end - begin) / ((high - low) or 1)

    def __call__(self, value: float) -> float:
        return self.begin + (value - self.low) * self.size


def _styles(chart: Chart) -> list[str]:
    """The classes of the series' colours."""
    colours = itertools.cycle(range(1, COLOURS + 1))
    return ["muted" if series.muted else f"c{next(colours)}" for series in chart.series]


def _places(chart: Chart, series: Series) -> Sequence[float]:
    return series.x if series.x is not None and chart.labels is None else range(len(series.y))


def _axes(chart: Chart, across: _Scale, up: _Scale, y_ticks: list[float]) -> Markup:
    parts = []
    for value in y_ticks:
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                LEFT, WIDTH - RIGHT, up(value), up(value)
            )
            + _text(LEFT - 6, up(value) + 4, short(value, y_ticks[-1]), "end")
        )
    bottom, rows = HEIGHT - BOTTOM, 1
    if chart.labels is None:
        low = across.low
        high = low + (WIDTH - RIGHT - LEFT) / across.size
        for value in ticks(low, high):
            parts.append(_text(across(value), bottom + LINE + 3, short(value, high), "middle"))
    else:
        lines = [label.split("\n") for label in chart.labels]
        widest = max((len(line) for label in lines for line in label), default=0)
        every = max(1, math.ceil(LETTER * widest / (across(1) - across(0))))
        staggered = (
            every > 1 and max(map(len, lines)) == 1 and every <= ROWS
        )  # rather than left out
        rows = max([every if staggered else 1, *map(len, lines)])
        for k, label in enumerate(lines):
            if staggered or k % every == 0:
                first = k % every if staggered else 0
                for row, line in enumerate(label, first + 1):
                    x = min(across(k), WIDTH - LETTER * len(line) / 2)
                    parts.append(_text(x, bottom + LINE * row + 3, line, "middle"))
    below = min(bottom + LINE * (rows + 1) + 9, HEIGHT - 4)
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, below, chart.x, "middle", "axis"))
    parts.append(
        Markup(
            '<text class="axis" transform="translate(12 {}) rotate(-90)" text-anchor="middle">{}</text>'
        ).format((TOP + bottom) / 2, chart.y)
    )
    return Markup("").join(parts)


def _bars(
    chart: Chart, series: Series, style: str, across: _Scale, up: _Scale, place: int, among: int
) -> Markup:
    width = 0.8 / among
    parts = []
    for k, value in enumerate(series.y):
        if value is None:
            continue
        x = across(k - 0.4 + width * place)
        parts.append(
            Markup(
                '<rect class="{} fill" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">{}</rect>'
            ).format(
                style,
                x,
                up(value),
                across(width) - across(0) - 1,
                up(0) - up(value),
                _title(chart, series, k, value),
            )
        )
    return Markup("").join(parts)


def _line(
    chart: Chart, series: Series, style: str, xs: Sequence[float], across: _Scale, up: _Scale
) -> Markup:
    found = [
        (k, across(x), value)
        for k, (x, value) in enumerate(zip(xs, series.y, strict=True))
        if value is not None
    ]
    parts = []
    if series.kind == "line" or not (series.low or series.high):
        path = " ".join(f"{x:.1f},{up(value):.1f}" for _, x, value in found)
        parts.append(Markup('<polyline class="{} stroke" points="{}"/>').format(style, path))
    for x, low, high in zip(xs, series.low or (), series.high or (), strict=False):
        if low is not None and high is not None:
            parts.append(
                Markup(
                    '<line class="{} stroke" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>'
                ).format(style, across(x), across(x), up(low), up(high))
            )
    if series.kind == "points" or len(found) < 60:
        radius = 4 if series.kind == "points" else 2.5
        for k, x, value in found:
            parts.append(
                Markup('<circle class="{} fill" cx="{:.1f}" cy="{:.1f}" r="{}">{}</circle>').format(
                    style, x, up(value), radius, _title(chart, series, k, value)
                )
            )
    return Markup("").join(parts)


def _title(chart: Chart, series: Series, k: int, value: float) -> Markup:
    place = (
        chart.labels[k].partition("\n")[0]
        if chart.labels is not None
        else number((series.x or range(k + 1))[k])
    )
    return Markup("<title>{}</title>").format(f"{series.name}, {place}: {number(value)}")


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>').format(
        x, y, anchor, Markup(' class="{}"').format(style) if style else "", text
    )
