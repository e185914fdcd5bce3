"""Small charts on a terminal, in Unicode characters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from cfcli.core.reporting.charts import Chart, Series

WIDTH, HEIGHT = 50, 7  # characters
MARGIN = 9  # characters left of a chart, for the ends of the vertical axis
MUTED, STYLES = "bright_black", ("cyan", "yellow", "green")
# Bits of a Braille character, whose code is 0x2800 and up: two columns of four dots, downwards.
BRAILLE = 0x2800
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
EIGHTHS = " ▁▂▃▄▅▆▇█"


def can_draw(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can show these charts.

    Args:
        stream: standard output or standard error.
    """
    return stream.isatty() and stream.encoding.lower().startswith("utf")


def chart(spec: "Chart") -> "RenderableType":
    """A chart for Rich to print: bars if the horizontal axis has categories, lines otherwise.

    Args:
        spec: what the chart shows, in up to three series that are not muted.
    """
    from rich.console import Group
    from rich.text import Text

    colours = iter(STYLES)
    styles = [MUTED if series.muted else next(colours) for series in spec.series]
    legend = Text(f"{spec.title}: ")
    for series, style in zip(spec.series, styles, strict=True):
        legend.append(f"■ {series.name}  ", style)
    if spec.labels is not None:
        return Group(legend, *_bars(spec, spec.labels, styles))
    return Group(legend, *_lines(spec, styles))


def _lines(spec: "Chart", styles: Sequence[str]) -> "list[Text]":
    """Rows of Braille characters; each series is interpolated at every column of dots."""
    from rich.text import Text

    lines = [_points(series) for series in spec.series]
    xs = [x for points in lines for x, _ in points]
    ys = [y for points in lines for _, y in points]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    dots = [[0] * WIDTH for _ in range(HEIGHT)]
    colours = [[""] * WIDTH for _ in range(HEIGHT)]
    for points, style in zip(lines, styles, strict=True):
        for column in range(2 * WIDTH):
            x = left + (right - left) * column / (2 * WIDTH - 1)
            if not points[0][0] <= x <= points[-1][0]:
                continue
            depth = (high - _interpolated(points, x)) / ((high - low) or 1)
            row = round(depth * (4 * HEIGHT - 1))
            dots[row // 4][column // 2] |= DOTS[column % 2][row % 4]
            colours[row // 4][column // 2] = style
    ends = [f"{high:.4g}", *[""] * (HEIGHT - 2), f"{low:.4g}"]
    rows = []
    for end, row_dots, row_colours in zip(ends, dots, colours, strict=True):
        text = Text(f"{end:>{MARGIN - 1}} ")
        for bits, style in zip(row_dots, row_colours, strict=True):
            text.append(chr(BRAILLE + bits), style)
        rows.append(text)
    last = f"{spec.x} {right:g}"
    return [*rows, Text(f"{'':{MARGIN}}{left:<{WIDTH // 2}g}{last:>{WIDTH // 2}}")]


def _bars(spec: "Chart", labels: Sequence[str], styles: Sequence[str]) -> "list[Text]":
    """Rows of blocks: in each category, a bar of two characters for each series."""
    from rich.text import Text

    from cfcli.core.reporting.charts import short

    most = max(value or 0 for series in spec.series for value in series.y) or 1
    names = [label.partition("\n")[0] for label in labels]
    width = max(2 * len(styles), *map(len, names))
    ends = {HEIGHT - 1: short(most, most), 0: short(0, most)}
    rows = []
    for row in reversed(range(HEIGHT)):
        text = Text(f"{ends.get(row, ''):>{MARGIN - 1}} ")
        for k in range(len(names)):
            for series, style in zip(spec.series, styles, strict=True):
                eighths = round((series.y[k] or 0) / most * HEIGHT * 8) - 8 * row
                text.append(EIGHTHS[min(max(eighths, 0), 8)] * 2, style)
            text.append(" " * (width - 2 * len(styles) + 1))
        rows.append(text)
    below = " ".join(f"{name:<{width}}" for name in names)
    return [*rows, Text(f"{'':{MARGIN}}{below}")]


def _points(series: "Series") -> list[tuple[float, float]]:
    """The places and values of a series, without those that are missing."""
    x = series.x if series.x is not None else range(len(series.y))
    return [(place, value) for place, value in zip(x, series.y, strict=True) if value is not None]


def _interpolated(points: list[tuple[float, float]], x: float) -> float:
    """The value at ``x`` on the line through points, which ascend and reach from below to above
    ``x``."""
    after = next(k for k, point in enumerate(points) if point[0] >= x)
    x0, y0 = points[max(after - 1, 0)]
    x1, y1 = points[after]
    return y1 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
