"""Charts as PNG files: the picture of :mod:`cfcli.core.reporting.svg`, drawn by resvg.

Matplotlib drew these pictures once more, from the same charts. resvg draws the SVG that the report
shows: 13 ms a picture where Matplotlib took 75 ms and another 280 ms to import, and 3 MB on disk
instead of 80 MB with what Matplotlib depends on. It needs no library of the system. The text is set
in the font beside this file's assets (Roboto, reduced to Latin letters), so it looks the same on a
machine without fonts.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import resvg_py
from markupsafe import Markup

from cfcli.core.reporting import svg
from cfcli.core.reporting.charts import Chart
from cfcli.core.storage import publishing

ASSETS = Path(__file__).parent / "assets"
FONT = ASSETS / "Roboto-Latin.ttf"
HEAD = 40  # pixels above a chart, for its title and legend
HEIGHT = HEAD + svg.HEIGHT
ZOOM = 1.5  # pixels of the file for one of the SVG
LETTER = 6.0  # pixels that a letter of the legend takes at most


def write(charts: Sequence[Chart], folder: Path) -> None:
    """Writes each chart into a file of its own.

    Args:
        charts: what to draw.
        folder: where ``NAME.png`` is written for each; it is made if need be.

    Raises:
        MachineError: a file cannot be written.
    """
    for chart in charts:
        draw([chart], folder / f"{chart.name}.png")


def draw(charts: Sequence[Chart], path: Path) -> None:
    """Writes charts into one file, side by side.

    Args:
        charts: what to draw, from left to right; each is 720 by 480 pixels.
        path: the file.

    Raises:
        MachineError: the file cannot be written.
    """
    width = svg.WIDTH * len(charts)
    panels = [_panel(chart, svg.WIDTH * place) for place, chart in enumerate(charts)]
    picture = Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}">{}</svg>').format(
        width, HEIGHT, Markup("").join(panels)
    )
    content = resvg_py.svg_to_bytes(
        svg_string=picture,
        style_sheet=_style_sheet(),
        background="white",
        width=round(ZOOM * width),
        skip_system_fonts=True,
        font_files=[str(FONT)],
        font_family="Roboto",
    )
    with publishing.file(path) as stream:
        stream.write(content)


def _panel(chart: Chart, left: int) -> Markup:
    """A chart below its title and legend, ``left`` pixels from the left end."""
    parts = [Markup('<text class="title" x="{}" y="16">{}</text>').format(svg.LEFT, chart.title)]
    if len(chart.series) > 1:
        parts.append(_legend(chart))
    parts.append(Markup('<g transform="translate(0 {})">{}</g>').format(HEAD, svg.marks(chart)))
    return Markup('<g transform="translate({} 0)">{}</g>').format(left, Markup("").join(parts))


def _legend(chart: Chart) -> Markup:
    """The names of the series beside their colours, in a row."""
    entry = Markup(
        '<rect class="{} fill" x="{}" y="26" width="10" height="7"/><text x="{}" y="33">{}</text>'
    )
    x = float(svg.LEFT)
    entries = []
    for series, style in zip(chart.series, svg.styles(chart), strict=True):
        entries.append(entry.format(style, x, x + 14, series.name))
        x += 30 + LETTER * len(series.name)
    return Markup("").join(entries)


def _style_sheet() -> str:
    """The rules for marks, in the colours that the report has on paper: resvg knows no variables
    of CSS, so each class gets its colour by name."""
    page = (ASSETS / "report.css").read_text(encoding="utf-8")
    on_paper = page.partition("@media print")[2]
    colours = dict(re.findall(r"--(\w+): (#\w+)", on_paper))
    rules = [
        f"text {{ font-family: Roboto; font-size: 11px; fill: {colours['faint']} }}",
        f".title {{ font-size: 13px; fill: {colours['ink']} }}",
        f".grid {{ stroke: {colours['line']} }}",
        f".mark {{ stroke: {colours['faint']}; stroke-dasharray: 2 3 }}",
        ".stroke { fill: none; stroke-width: 2 }",
    ]
    for name in ("muted", *(f"c{k}" for k in range(1, svg.COLOURS + 1))):
        rules.append(f".{name}.fill {{ fill: {colours[name]} }}")
        rules.append(f".{name}.stroke {{ stroke: {colours[name]} }}")
    rules.append(".muted.stroke { stroke-width: 1.25 }")
    rules.append(".dashed.stroke { stroke-width: 1.25; stroke-dasharray: 4 3 }")
    return "\n".join(rules)
