"""``cfcli evaluate``."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, counted, safe
from cfcli.cli.terminal import can_draw, chart
from cfcli.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from cfcli.core.evaluation.evaluate import Evaluation
    from cfcli.core.evaluation.lists import ListEvaluation
    from cfcli.core.metrics.ratings import Errors

BARS_PANEL = "Bars for scripts"
LATEST = Path("runs/latest")


@options.takes(options.FORM_KEYS, options.FORM_PANEL, brief=False)
def evaluate(
    run: options.RunArgument = Path("runs/latest"),
    split: Annotated[
        Literal["test", "val", "train"], typer.Option(help="Rows to evaluate on.")
    ] = "test",
    ratings: Annotated[
        str | None, typer.Option(metavar="FILE", help="Evaluate on these ratings instead.")
    ] = None,
    include_trained: Annotated[
        bool,
        typer.Option(
            "--include-trained",
            help="Judge the run itself, also by rows that it was trained on.",
            hidden=True,
            rich_help_panel="Rows",
        ),
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Dataset of the run, if it has moved.",
            hidden=True,
            rich_help_panel="Rows",
        ),
    ] = None,
    min_gain_over: Annotated[
        options.Baseline,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Exit with 6 unless the MSE is below that of mean, user_mean, item_mean or bias.",
            rich_help_panel=BARS_PANEL,
        ),
    ] = "none",
    max_mse: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Exit with 6 if the MSE is above this.", rich_help_panel=BARS_PANEL
        ),
    ] = None,
    min_ndcg_over: Annotated[
        Literal["popular", "rating", "none"],
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Exit with 6 unless the lists are better for liked rows than the order by "
            "popular (most rated) or rating.",
            rich_help_panel=BARS_PANEL,
        ),
    ] = "none",
    top: Annotated[
        int, typer.Option(metavar="N", help="Places of a list.", min=1, rich_help_panel="Lists")
    ] = 10,
    liked: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Lowest rating of what a user liked; if not given, a quarter below the top of the "
            "scale.",
            rich_help_panel="Lists",
        ),
    ] = None,
    no_lists: Annotated[
        bool, typer.Option("--no-lists", help="Do not judge lists.", rich_help_panel="Lists")
    ] = False,
    per_row: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the prediction of each row."),
    ] = None,
    no_plots: options.NoPlots = False,
    flags: options.Flags = options.NO_FLAGS,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Evaluate a run on rows that it was not trained on.

    Compares its errors with four baselines: the mean, each user's mean, each
    item's mean, and damped biases. Compares its lists with the most rated items.

    Creates pictures in the folder plots of the run, and --per-row.

    Examples:
        cfcli evaluate
        cfcli evaluate runs/latest --ratings new.csv
        cfcli evaluate --min-gain-over bias && ./deploy.sh
    """
    if no_lists and min_ndcg_over != "none":
        raise ConfigError("--min-ndcg-over cannot be combined with --no-lists")
    for name, number in (("--max-mse", max_mse), ("--liked", liked)):
        if number is not None and not math.isfinite(number):
            raise ConfigError(f"{name}: {number} is not a number")
    if per_row:
        options.rows_file(str(per_row), [ratings])

    from cfcli.core.evaluation import diagnostics, worth
    from cfcli.core.evaluation import evaluate as evaluation
    from cfcli.core.inputs.sources import Source
    from cfcli.core.reporting import charts
    from cfcli.core.runs.run import Run
    from cfcli.core.storage.schema import to_json

    source = Source.of(ratings) if ratings else None
    console = Out(json, quiet)
    loaded = Run.load(run)
    lists = None if no_lists else evaluation.ListOptions(top, liked)
    evaluated, rows = evaluation.evaluate(
        loaded,
        split=split,
        source=source,
        data=data,
        lists=lists,
        form=loaded.form(flags),
        include_trained=include_trained,
        note=console.note,
    )
    if per_row:
        from cfcli.core.serving import outputs

        outputs.write([rows], str(per_row))
    if evaluated.trained_rows and include_trained:
        console.note(
            f"the run was trained on {counted(evaluated.trained_rows, 'row')} of these: errors on "
            "them say little"
        )
    elif evaluated.trained_rows:
        console.note(
            f"{counted(evaluated.trained_rows, 'row')} left out: the run was trained on them "
            "(--include-trained judges them, too)"
        )
    console.table(_table(evaluated), to_json(evaluated))
    if evaluated.judged == "twin":
        console.note(
            "judged: twin, the same model without the held-out rows; the run itself was trained on "
            "them"
        )
    if evaluated.lists is not None:
        warning = worth.warn_of_same_lists(evaluated.lists, loaded.items.height)
        if warning:
            console.note(warning)
    elif lists is not None:
        console.note(
            "lists are not judged by rows that a model was fitted on or does not know, nor, with "
            "--ratings, by rows of its dataset"
        )
    to_show = can_draw(sys.stdout) and not (json or quiet)
    if to_show or not no_plots:
        judged = loaded.judged if evaluated.judged == "twin" else loaded
        found = charts.of_judgement(diagnostics.diagnose(judged, rows))
        if to_show:
            console.stdout.print(chart(found[0]))
        if not no_plots:
            console.pictures(found, loaded.path / "plots")
    evaluation.check_bars(evaluated, min_gain_over, max_mse, min_ndcg_over)
    user = loaded.users[loaded.info.columns.user][0]
    own = () if run == LATEST else (run,)
    console.next("cfcli", "recommend", *own, "--user", user)


def _table(found: "Evaluation") -> "Group":
    from rich.console import Group
    from rich.table import Table

    from cfcli.core.evaluation import worth
    from cfcli.core.reporting.charts import LABELS

    title = f"{safe(found.run)} on {found.n:,} rows of {safe(found.split)}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("MSE", "RMSE", "MAE", "R²", "rows"):
        table.add_column(name, justify="right")
    for name, errors in found.baselines.items():
        cells = [*_cells(errors), "", f"{found.n:,}"]
        table.add_row(LABELS[name], *cells, end_section=name == "bias")
    model = found.model
    table.add_row("model", *_cells(model), _shown(model.r2, ""), f"{found.n:,}", style="bold")
    for text, group in (("  warm rows", found.warm), ("  cold rows", found.cold)):
        table.add_row(text, *_cells(group), "", f"{group.n:,}")
    if found.lists is None:
        return Group(table, worth.of_ratings(found))
    lists = _lists(found.lists)
    return Group(table, lists, worth.of_ratings(found), worth.of_lists(found.lists))


def _lists(found: "ListEvaluation") -> "Table":
    """The second table: how good lists are."""
    from rich.table import Table

    from cfcli.core.evaluation.lists import ORDERS

    title = (
        f"lists of {found.k} items for {found.users:,} users; liked: {found.liked_from:g} or more"
    )
    table = Table(title=title, title_justify="left")
    names = ("", "nDCG liked", "nDCG all", "recall liked", "coverage", "novelty")
    for name in names:
        table.add_column(name, justify="right" if name else "left")
    for key, name in ORDERS.items():
        one = getattr(found, key)
        if one is None:
            continue
        values = (one.liked.ndcg, one.all.ndcg, one.liked.recall)
        cells = [*(_shown(value, "-") for value in values), f"{one.coverage:.1%}"]
        style = "bold" if one is found.list else ""
        table.add_row(name, *cells, f"{one.novelty:.1f}", style=style)
    return table


def _cells(errors: "Errors") -> list[str]:
    return [_shown(value, "-") for value in (errors.mse, errors.rmse, errors.mae)]


def _shown(value: float, nothing: str) -> str:
    """A number with four digits; other text where there is none."""
    return nothing if math.isnan(value) else f"{value:.4f}"
