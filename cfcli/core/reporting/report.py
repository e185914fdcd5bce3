"""One HTML page about a run, or about several beside each other. The page is a single file: it
needs no network and opens from disk."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import jinja2
import polars as pl
from markupsafe import Markup

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ArtifactError, InputError
from cfcli.core.evaluation.comparison import Comparison, compare
from cfcli.core.evaluation.diagnostics import diagnose, intervals
from cfcli.core.evaluation.evaluate import BASELINES, Evaluation, evaluate
from cfcli.core.evaluation.lists import ORDERS
from cfcli.core.metrics.intervals import Interval
from cfcli.core.reporting import charts, findings, svg
from cfcli.core.reporting.charts import Chart, Series
from cfcli.core.reporting.examples import Example, examples
from cfcli.core.reporting.findings import Finding
from cfcli.core.reporting.itemmap import ItemMap, item_map
from cfcli.core.runs.reproduce import prepare_command, train_command
from cfcli.core.runs.run import Run
from cfcli.version import __version__

ASSETS = Path(__file__).parent / "assets"
MOST_NUMBERS = 60  # rows of the table below a chart
MOST_STEPS = 400  # entries of the trace that are drawn
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Judgement:
    """How good a run is on its test rows.

    Attributes:
        result: its errors, as ``cfcli evaluate --json`` prints them.
        rows: the test rows (:func:`cfcli.core.evaluation.evaluate.evaluate`).
        run: that was judged: the run, or its twin.
        rungs: the RMSE of each baseline and of ``model``, with intervals.
    """

    result: Evaluation
    rows: pl.DataFrame
    run: Run
    rungs: dict[str, Interval]


@dataclass(frozen=True)
class Part:
    """What a report says about one run.

    Attributes:
        name: what the report calls the run.
        run: the run.
        dataset: what it was trained on; None if that is not there any more.
        judgement: how good the run is; None without its dataset or without test rows.
        missing: why there is no judgement, or an empty text.
        items: the map of its items.
    """

    name: str
    run: Run
    dataset: Dataset | None
    judgement: Judgement | None
    missing: str
    items: ItemMap


@dataclass(frozen=True)
class Compared:
    """Runs beside each other.

    Attributes:
        found: the differences of each run to the first; None where they cannot be compared.
        missing: why they cannot, or an empty text.
    """

    found: Comparison | None = None
    missing: str = ""


class Report(NamedTuple):
    """A report.

    Attributes:
        page: the HTML.
        parts: what it says about each run.
    """

    page: str
    parts: list[Part]


def report(
    runs: Sequence[Run],
    *,
    data: Path | None = None,
    most: int = 10_000,
    show_ids: bool = False,
    progress: Callable[[str], object] | None = None,
) -> Report:
    """Makes a page about runs.

    Args:
        runs: at least one; all are different.
        data: where the runs' dataset is now, if it moved.
        most: how many items the map of each run shows at most, those with most ratings.
        show_ids: call users by their ids instead of "user A" and so on.
        progress: is called :func:`steps_of` times, with what is done next.

    Raises:
        InputError: a run is given twice.
    """
    begin = progress or (lambda _: None)
    names = _names(runs)
    named = list(zip(names, runs, strict=True))
    parts = [_part(name, run, data, most, begin) for name, run in named]
    begin("writing the page" if len(parts) == 1 else "comparing the runs")
    compared = _compared(parts, data)
    css = (ASSETS / "report.css").read_text(encoding="utf-8")
    script = (ASSETS / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    groups = _groups(parts)
    page = _template().render(
        version=__version__,
        css=Markup(css),
        script=Markup(script),
        script_digest=digest,
        parts=parts,
        title=" and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} others",
        findings=_findings(parts, compared),
        compared=compared,
        examples=_examples(parts, data, show_ids),
        groups=groups,
        same_rows=_same_rows(parts),
        figures=_figures(groups, single=len(parts) == 1),
        settings=_settings(parts),
        shown=sorted({(len(part.items.id), part.items.items) for part in parts}),
        both_models=[part.run.interest is not None for part in parts],
        baselines=[(name, charts.LABELS[name]) for name in BASELINES],
        orders=list(ORDERS.items()),
        prepare_command=prepare_command,
        train_command=train_command,
        items=[_for_the_script(part) for part in parts],
        splits=SPLITS,
        histogram=_histogram,
        losses=_losses(parts),
    )
    return Report(page, parts)


def steps_of(runs: Sequence[Run]) -> int:
    """How many steps :func:`report` tells of.

    Args:
        runs: of the report.
    """
    return 2 * len(runs) + 1


def _template() -> jinja2.Template:
    """The template of the page. All that is put into it is escaped, unless it is ``Markup``."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    environment.filters["chart"] = _figure
    return environment.get_template("report.html")


def _for_the_script(part: Part) -> dict[str, object]:
    """The map of a run as the page's script reads it."""
    known = {key: value for key, value in vars(part.items).items() if value is not None}
    known["regions"] = [asdict(region) for region in part.items.regions]
    return {"name": part.name, **known}


def _names(runs: Sequence[Run]) -> list[str]:
    """Model and dimension of each run, such as "mf 16"; where these are the same, with the names of
    the runs' folders and as many parents as it takes to tell them apart."""
    paths = [run.path.resolve().parts for run in runs]
    if len(set(paths)) < len(paths):
        raise InputError(f"{runs[0].path}: given twice; a report compares different runs")
    names = [f"{run.info.model} {run.info.dim}" for run in runs]
    depth = 0
    while len(set(names)) < len(names):
        depth += 1
        folders = ["/".join(path[-depth:]) for path in paths]
        names = [
            f"{run.info.model} {run.info.dim} ({folder})"
            for run, folder in zip(runs, folders, strict=True)
        ]
    return names


def _part(
    name: str, run: Run, data: Path | None, most: int, begin: Callable[[str], object]
) -> Part:
    begin(f"judging {name}")
    dataset, judgement, missing = None, None, ""
    try:
        dataset = run.dataset(data)
        result, rows = evaluate(run, data=data)
        judged = run.judged if result.judged == "twin" else run
        judgement = Judgement(result, rows, judged, intervals(judged, rows))
    except (ArtifactError, InputError) as error:
        missing = str(error)
    begin(f"drawing the map of {name}")
    return Part(name, run, dataset, judgement, missing, item_map(run, most))


def _compared(parts: Sequence[Part], data: Path | None) -> Compared:
    """The runs beside the first, where all were judged by the same rows."""
    if len(parts) < 2 or not _same_rows(parts) or not all(part.judgement for part in parts):
        return Compared()
    try:
        return Compared(compare([part.run for part in parts], data=data))
    except (ArtifactError, InputError) as error:
        return Compared(missing=str(error))


def _findings(parts: Sequence[Part], compared: Compared) -> list[Finding]:
    """What the page says first."""
    if compared.found is not None:
        return findings.of_comparison(compared.found, [part.name for part in parts])
    judgement = parts[0].judgement
    if len(parts) > 1 or judgement is None:
        return []
    return findings.of_run(judgement.result, parts[0].run.items.height)


def _examples(parts: Sequence[Part], data: Path | None, show_ids: bool) -> list[Example]:
    """A few users; none where the runs are of different datasets, or it is gone."""
    if parts[0].dataset is None or not _same_rows(parts):
        return []
    runs = {part.name: part.run for part in parts}
    return examples(runs, data=data, show_ids=show_ids)


def _same_rows(parts: Sequence[Part]) -> bool:
    """Whether all runs are of the same dataset, so that their errors can be compared."""
    return len({part.run.info.dataset.fingerprint for part in parts}) == 1


def _groups(parts: Sequence[Part]) -> list[list[Part]]:
    """The runs that have a judgement, in groups that were trained on the same rows, too: baselines
    and how much a user or an item was rated come from these."""
    groups: dict[object, list[Part]] = {}
    for part in parts:
        if part.judgement:
            judged = part.judgement.run
            key = judged.info.dataset.fingerprint, judged.trained_sides
            groups.setdefault(key, []).append(part)
    return list(groups.values())


def _figures(groups: Sequence[Sequence[Part]], single: bool) -> list[Chart]:
    """The charts about the errors of each group, the ladder first.

    Args:
        groups: the runs that were trained and judged by the same rows.
        single: whether the report is about one run, which the charts then call "model".
    """
    found = []
    for group in groups:
        judged = {"model" if single else part.name: part.judgement for part in group}
        of = {name: judgement for name, judgement in judged.items() if judgement}
        baselines = {name: next(iter(of.values())).rungs[name] for name in BASELINES}
        rungs = {name: judgement.rungs["model"] for name, judgement in of.items()}
        found.append(charts.ladder(baselines, rungs))
        diagnoses = {name: diagnose(one.run, one.rows) for name, one in of.items()}
        by_rating = {name: diagnosis.by_rating for name, diagnosis in diagnoses.items()}
        by_user = {name: diagnosis.by_user for name, diagnosis in diagnoses.items()}
        by_item = {name: diagnosis.by_item for name, diagnosis in diagnoses.items()}
        found.append(charts.predictions(by_rating))
        found.append(charts.error_by_rating(by_rating))
        found.append(charts.error_by_activity(by_user, "user"))
        found.append(charts.error_by_activity(by_item, "item"))
        levels = {name: one.calibration for name, one in diagnoses.items() if one.calibration}
        if levels:
            found.append(charts.calibration(levels))
    return found


def _losses(parts: Sequence[Part]) -> list[Chart]:
    """The charts about the training: of several runs, their curves in one."""
    if len(parts) > 1:
        return [charts.losses({part.name: part.run.history for part in parts})]
    run = parts[0].run
    found = [charts.loss(run.history, run.info.best_epoch)]
    trace = run.trace
    if trace.height:
        every = -(-trace.height // MOST_STEPS)
        found.append(charts.steps(trace.gather_every(every), run.history))
    return found


def _histogram(dataset: Dataset) -> Chart:
    """How often each rating occurs in a dataset."""
    bars = dataset.info.histogram
    return Chart(
        name="histogram",
        title="Ratings",
        x="rating",
        y="rows",
        series=[Series("ratings", [bar.n for bar in bars], kind="bars")],
        labels=[f"{bar.rating:g}" for bar in bars],
        zero=True,
    )


def _settings(parts: Sequence[Part]) -> list[tuple[str, list[str], bool, bool]]:
    """Each setting of training, its value in each run, whether those differ, and whether all are
    the default."""
    configs = [part.run.config.values() for part in parts]
    rows = []
    for name, default in TrainConfig().values().items():
        values = [_shown(config[name]) for config in configs]
        rows.append((name, values, len(set(values)) > 1, set(values) == {_shown(default)}))
    return rows


def _shown(value: object) -> str:
    """The value of a setting as the page shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _figure(chart: Chart) -> Markup:
    """The chart and, for those who want or need them, its numbers."""
    figure = Markup("<figure><figcaption>{}</figcaption>{}{}{}</figure>")
    return figure.format(chart.title, svg.legend(chart), svg.draw(chart), _numbers(chart))


def _numbers(chart: Chart) -> Markup:
    """The values of a chart as a table, with a row for each place on the horizontal axis; nothing
    if there would be too many rows."""
    columns = [_column(chart, series) for series in chart.series]
    places = list(dict.fromkeys(place for column in columns for place in column))
    if len(places) > MOST_NUMBERS:
        return Markup("")
    names = [chart.x, *(series.name for series in chart.series)]
    head = Markup("").join(_cell("th", name) for name in names)
    rows = []
    for place in places:
        first = place.replace("\n", ", ") if isinstance(place, str) else charts.number(place)
        cells = [_cell("th", first), *(_cell("td", column.get(place, "")) for column in columns)]
        rows.append(Markup("<tr>{}</tr>").format(Markup("").join(cells)))
    table = Markup(
        '<details><summary>Numbers</summary><div class="scroll"><table>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div></details>"
    )
    return table.format(head, Markup("").join(rows))


def _column(chart: Chart, series: Series) -> dict[str | float, str]:
    """The text of each value of a series, by its label or its place."""
    places: Sequence[str | float] = chart.labels or series.x or ()
    found = {}
    for k, place in enumerate(places):
        text = charts.number(series.y[k])
        if series.y[k] is not None and series.low is not None and series.high is not None:
            low, high = charts.number(series.low[k]), charts.number(series.high[k])
            text += f" ({low} to {high})"
        found[place] = text
    return found


def _cell(tag: str, text: str) -> Markup:
    return Markup("<{0}>{1}</{0}>").format(tag, text)
