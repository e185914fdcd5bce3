"""Charts on a terminal, small, in Unicode: what :mod:`cfcli.core.reporting.charts` says, in
characters."""

from typing import TYPE_CHECKING, TextIO

from rich.console import Group, RenderableType
from rich.text import Text

if TYPE_CHECKING:
    from cfcli.core.reporting.charts import Chart, Series

WIDTH, HEIGHT = 50, 7  # characters
STYLES = ("cyan", "yellow", "green")
DOTS = (
    (0x01, 0x02, 0x04, 0x40),
    (0x08, 0x10, 0x20, 0x80),
)  # of a Braille character: column by column, downwards
EIGHTHS = " ▁▂▃▄▅▆▇█"


def can_draw(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can show them."""
    return stream.isatty() and stream.encoding.lower().startswith("utf")


def chart(spec: "Chart") -> RenderableType:
    """Bars side by side where the horizontal axis has labels, else lines."""
    styles = iter(STYLES)
    of = [("bright_black" if series.muted else next(styles)) for series in spec.series]
    legend = Text.assemble(
        f"{spec.title}: ", *((f"■ {s.name}  ", c) for s, c in zip(spec.series, of, strict=True))
    )
    return Group(legend, *(_bars(spec, of) if spec.labels is not None else _lines(spec, of)))


def _lines(spec: "Chart", styles: list[str]) -> list[Text]:
    points = [_points(series) for series in spec.series]
    xs, ys = ([point[k] for series in points for point in series] for k in (0, 1))
    (left, right), (low, high) = (min(xs), max(xs)), (min(ys), max(ys))
    cells = [[0] * WIDTH for _ in range(HEIGHT)]
    colours = [[""] * WIDTH for _ in range(HEIGHT)]
    for series, style in zip(points, styles, strict=True):
        for column in range(2 * WIDTH):
            x = left + (right - left) * column / (2 * WIDTH - 1)
            if series[0][0] <= x <= series[-1][0]:
                y = _interpolated(series, x)
                row = round((high - y) / ((high - low) or 1) * (4 * HEIGHT - 1))
                cells[row // 4][column // 2] |= DOTS[column % 2][row % 4]
                colours[row // 4][column // 2] = style
    ends = [f"{high:.4g}", *[""] * (HEIGHT - 2), f"{low:.4g}"]
    rows = [
        Text.assemble(
            f"{end:>8} ", *((chr(0x2800 + c), style) for c, style in zip(cell, colour, strict=True))
        )
        for end, cell, colour in zip(ends, cells, colours, strict=True)
    ]
    return [*rows, Text(f"{'':>9}{left:<{WIDTH // 2}g}{f'{spec.x} {right:g}':>{WIDTH // 2}}")]


def _bars(spec: "Chart", styles: list[str]) -> list[Text]:
    from cfcli.core.reporting.charts import short

    most = max(value or 0 for series in spec.series for value in series.y) or 1
    labels = [label.partition("\n")[0] for label in spec.labels or ()]
    width = max(2 * len(styles), *map(len, labels))
    rows = []
    for row in reversed(range(HEIGHT)):
        text = Text(
            f"{short(most if row == HEIGHT - 1 else 0, most):>8} "
            if row in (0, HEIGHT - 1)
            else " " * 9
        )
        for k in range(len(labels)):
            for series, style in zip(spec.series, styles, strict=True):
                filled = round((series.y[k] or 0) / most * HEIGHT * 8) - 8 * row
                text.append(EIGHTHS[min(max(filled, 0), 8)] * 2, style)
            text.append(" " * (width - 2 * len(styles) + 1))
        rows.append(text)
    return [*rows, Text(" " * 9 + " ".join(f"{label:<{width}}" for label in labels))]


def _points(series: "Series") -> list[tuple[float, float]]:
    x = series.x if series.x is not None else range(len(series.y))
    return [(place, value) for place, value in zip(x, series.y, strict=True) if value is not None]


def _interpolated(points: list[tuple[float, float]], x: float) -> float:
    after = next(k for k, point in enumerate(points) if point[0] >= x)
    (x0, y0), (x1, y1) = points[max(after - 1, 0)], points[after]
    return y1 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
