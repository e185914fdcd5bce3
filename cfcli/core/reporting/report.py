"""One HTML file about one run, or about several beside each other: it needs no network and runs
from disk."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import polars as pl
from markupsafe import Markup

import cfcli
from cfcli.core.config.resolve import as_dict
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ArtifactError, InputError
from cfcli.core.evaluation.diagnostics import diagnose, intervals
from cfcli.core.evaluation.evaluate import BASELINES, evaluate
from cfcli.core.metrics.intervals import paired_bootstrap
from cfcli.core.reporting import charts, svg
from cfcli.core.reporting.charts import Chart
from cfcli.core.reporting.itemmap import item_map
from cfcli.core.runs.reproduce import prepare_command, train_command
from cfcli.core.runs.run import Run

ASSETS = Path(__file__).parent / "assets"
MOST_NUMBERS = 60  # rows of a chart's table
MOST_STEPS = 400  # entries of the trace that are drawn
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Part:
    """What a report says of one run.

    Attributes:
        name: of the run among those of the report.
        run: the run.
        dataset: that it was trained on, or None where that is gone.
        result, table: see :func:`cfcli.core.evaluation.evaluate.evaluate`; None without dataset or
            test rows.
        missing: why they are.
        rungs: see :func:`cfcli.core.evaluation.diagnostics.intervals`.
        diagnosis: see :func:`cfcli.core.evaluation.diagnostics.diagnose`.
        items: see :func:`cfcli.core.reporting.itemmap.item_map`.
    """

    name: str
    run: Run
    dataset: Dataset | None
    result: dict[str, Any] | None
    table: pl.DataFrame | None
    missing: str
    rungs: dict[str, dict[str, float]]
    diagnosis: dict[str, Any] | None
    items: dict[str, Any]


def report(
    runs: Sequence[Run], *, data: Path | None = None, most: int = 10_000
) -> tuple[str, list[Part]]:
    """The page, and what is on it.

    Args:
        data: where the runs' dataset is now.
        most: items on the map, of each run; those with most ratings.
    """
    names = _names(runs)
    parts = [_part(name, run, data, most) for name, run in zip(names, runs, strict=True)]
    files = {
        name: (ASSETS / name).read_text(encoding="utf-8") for name in ("report.css", "report.js")
    }
    digest = base64.b64encode(hashlib.sha256(files["report.js"].encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    environment.filters["chart"] = _figure
    page = environment.get_template("report.html").render(
        version=cfcli.__version__,
        css=Markup(files["report.css"]),
        script=Markup(files["report.js"]),
        script_digest=digest,
        parts=parts,
        title=" and ".join(names) if len(parts) < 3 else f"{names[0]} and {len(names) - 1} others",
        groups=_groups(parts),
        same_rows=_same_rows(parts),
        figures=_figures(_groups(parts), len(parts) == 1),
        differences=_differences(parts),
        settings=_settings(parts),
        shown=sorted({(len(part.items["id"]), part.items["items"]) for part in parts}),
        baselines=[(name, charts.LABELS[name]) for name in BASELINES],
        prepare_command=prepare_command,
        train_command=train_command,
        items=[{"name": part.name, "run": str(part.run.path), **part.items} for part in parts],
        splits=SPLITS,
        histogram=_histogram,
        losses=_losses,
    )
    return page, parts


def _names(runs: Sequence[Run]) -> list[str]:
    """Their folders' names, as far up as tells them apart."""
    paths = [run.path.resolve().parts for run in runs]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ["/".join(path[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise InputError(f"{runs[0].path}: given twice; a report compares different runs")


def _part(name: str, run: Run, data: Path | None, most: int) -> Part:
    dataset, result, table, missing = None, None, None, ""
    try:
        dataset = run.dataset(data)
        result, table = evaluate(run, data=data)
    except (ArtifactError, InputError) as error:
        missing = str(error)
    rungs = intervals(run, table) if table is not None else {}
    diagnosis = diagnose(run, table) if table is not None else None
    return Part(name, run, dataset, result, table, missing, rungs, diagnosis, item_map(run, most))


def _same_rows(parts: Sequence[Part]) -> bool:
    """Whether all runs are of the same dataset, so that their errors compare."""
    return len({part.run.info.dataset.fingerprint for part in parts}) == 1


def _groups(parts: Sequence[Part]) -> list[list[Part]]:
    """The runs that were judged, together where by the same rows."""
    judged = [part for part in parts if part.result]
    return [judged] * bool(judged) if _same_rows(parts) else [[part] for part in judged]


def _figures(groups: Sequence[Sequence[Part]], one: bool) -> list[Chart]:
    """What the judgement of each group looks like."""
    found = []
    for group in groups:
        of: dict[str, Any] = {"model" if one else part.name: part.diagnosis for part in group}
        rungs = {"model" if one else part.name: part.rungs["model"] for part in group}
        found.append(charts.ladder({name: group[0].rungs[name] for name in BASELINES}, rungs))
        build: list[tuple[str, Callable[[Mapping[str, Any]], Chart]]] = [
            ("by_rating", charts.predictions),
            ("by_rating", charts.error_by_rating),
            ("by_user", lambda rows: charts.error_by_activity(rows, "user")),
            ("by_item", lambda rows: charts.error_by_activity(rows, "item")),
            ("calibration", charts.calibration),
        ]
        for key, make in build:
            if there := {name: diagnosis[key] for name, diagnosis in of.items() if diagnosis[key]}:
                found.append(make(there))
    return found


def _losses(part: Part) -> list[Chart]:
    history, trace = part.run.history, part.run.trace
    found = [charts.loss(history, part.run.info.best_epoch)]
    if trace.height:
        found.append(charts.steps(trace.gather_every(-(-trace.height // MOST_STEPS)), history))
    return found


def _histogram(part: Part) -> Chart:
    """The ratings of the dataset."""
    assert part.dataset
    bars = part.dataset.info.histogram
    series = charts.Series("ratings", [bar["n"] for bar in bars], kind="bars")
    return Chart(
        "histogram",
        "Ratings",
        "rating",
        "rows",
        [series],
        [f"{bar['rating']:g}" for bar in bars],
        True,
    )


def _differences(parts: Sequence[Part]) -> list[dict[str, float]]:
    """What each later run's MSE is above the first's on the same rows, with a 95 % interval by
    users."""
    if not _same_rows(parts) or any(part.table is None for part in parts):
        return []
    found, first = [], parts[0]
    assert first.table is not None
    group = (
        first.table[first.run.info.columns.user].cast(pl.Categorical).to_physical().to_numpy()
    )
    rating = first.table["rating"].to_numpy()
    squares = [
        (rating - part.table["prediction"].to_numpy()) ** 2
        for part in parts
        if part.table is not None
    ]
    for other in squares[1:]:
        low, high = paired_bootstrap(other - squares[0], group)
        found.append({"value": float(np.mean(other - squares[0])), "low": low, "high": high})
    return found


def _settings(parts: Sequence[Part]) -> list[tuple[str, list[str], bool, bool]]:
    """Each setting of training, its value in each run, whether those differ, and whether all are
    the default."""
    default = as_dict(TrainConfig())
    names = list(dict.fromkeys(name for part in parts for name in part.run.info.config))
    rows = []
    for name in names:
        values = [_shown(part.run.info.config.get(name, default.get(name))) for part in parts]
        rows.append(
            (name, values, len(set(values)) > 1, set(values) == {_shown(default.get(name))})
        )
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool) or value is None:
        return {None: "-", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _figure(chart: Chart) -> Markup:
    """The chart and, for those who want or need them, its numbers."""
    columns = [
        {
            place: k
            for k, place in enumerate(chart.labels if chart.labels is not None else series.x or ())
        }
        for series in chart.series
    ]
    places = list(dict.fromkeys(place for column in columns for place in column))
    table = Markup("")
    if len(places) <= MOST_NUMBERS:
        head = Markup("").join(
            _cell("th", name) for name in (chart.x, *(series.name for series in chart.series))
        )
        body = Markup("").join(_row(chart, place, columns) for place in places)
        table = Markup(
            '<details><summary>Numbers</summary><div class="scroll"><table><thead><tr>{}</tr></thead>'
            "<tbody>{}</tbody></table></div></details>"
        ).format(head, body)
    return Markup("<figure><figcaption>{}</figcaption>{}{}{}</figure>").format(
        chart.title, svg.legend(chart), svg.draw(chart), table
    )


def _row(chart: Chart, place: Any, columns: Sequence[Mapping[Any, int]]) -> Markup:
    cells = [
        _cell("th", place.replace("\n", ", ") if isinstance(place, str) else charts.number(place))
    ]
    for series, column in zip(chart.series, columns, strict=True):
        value = series.y[column[place]] if place in column else None
        text = charts.number(value)
        if value is not None and series.low is not None and series.high is not None:
            text += f" ({charts.number(series.low[column[place]])} to {charts.number(series.high[column[place]])})"
        cells.append(_cell("td", text))
    return Markup("<tr>{}</tr>").format(Markup("").join(cells))


def _cell(tag: str, text: str) -> Markup:
    return Markup("<{0}>{1}</{0}>").format(tag, text)
