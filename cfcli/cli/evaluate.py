"""``cfcli evaluate``."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, safe
from cfcli.cli.terminal import can_draw, chart
from cfcli.core.errors import ConfigError


def evaluate(
    run: options.RunArgument = Path("runs/latest"),
    split: Annotated[
        Literal["test", "val", "train"], typer.Option(help="Rows to judge by.")
    ] = "test",
    ratings: Annotated[
        str | None, typer.Option(metavar="FILE", help="Judge by these ratings instead.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where the run's dataset is now, if it moved.")
    ] = None,
    min_gain_over: Annotated[
        options.Baseline,
        typer.Option(help="Exit with 6 unless the MSE is below that of this baseline."),
    ] = "none",
    max_mse: Annotated[
        float | None, typer.Option(help="Exit with 6 if the MSE is above this.")
    ] = None,
    per_row: Annotated[
        Path | None, typer.Option(help="Write every row's predictions, as CSV or Parquet.")
    ] = None,
    no_plots: options.NoPlots = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Judge a run on rows it was not trained on, beside the baselines: mean, user mean, item mean,
    damped biases.

    Creates pictures in the run's folder plots, and --per-row.

    Example: cfcli evaluate --min-gain-over bias
    """
    if per_row and per_row.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"--per-row {per_row}: the name must end in .csv or .parquet")

    from cfcli.core.evaluation import diagnostics
    from cfcli.core.evaluation import evaluate as evaluation
    from cfcli.core.inputs.sources import Source
    from cfcli.core.reporting import charts
    from cfcli.core.runs.run import Run

    source = Source.of(ratings) if ratings else None
    console = Out(json, quiet)
    loaded = Run.load(run)
    result, rows = evaluation.evaluate(loaded, split=split, source=source, data=data)
    if per_row:
        from cfcli.core.serving import outputs

        outputs.write([rows], str(per_row))
    console.table(_table(result), result)
    to_show = can_draw(sys.stdout) and not (json or quiet)
    if to_show or not no_plots:
        found = charts.of_judgement(diagnostics.diagnose(loaded, rows))
        if to_show:
            console.stdout.print(chart(found[0]))
        if not no_plots:
            console.pictures(found, loaded.path / "plots")
    evaluation.check_bars(result, min_gain_over, max_mse)


def _table(result: dict[str, Any]) -> Any:
    from rich.console import Group
    from rich.table import Table

    from cfcli.core.reporting.charts import LABELS

    table = Table(
        title=f"{safe(result['run'])} on {result['n']:,} rows of {safe(result['split'])}",
        title_justify="left",
    )
    for name in ("", "MSE", "RMSE", "MAE", "R²", "rows"):
        table.add_column(name, justify="left" if not name else "right")

    def row(name: str, part: dict[str, Any], n: int, **style: Any) -> None:
        cells = [
            "-" if part.get(key) is None else f"{part[key]:.4f}" for key in ("mse", "rmse", "mae")
        ]
        table.add_row(
            name, *cells, "" if part.get("r2") is None else f"{part['r2']:.4f}", f"{n:,}", **style
        )

    for name, part in result["baselines"].items():
        row(LABELS[name], part, result["n"], end_section=name == "bias")
    row("model", result["model"], result["n"], style="bold")
    for name, text in (("warm", "  warm rows"), ("cold", "  cold rows")):
        row(text, result[name], result[name]["n"])
    difference = result["mse_difference_to_bias"]
    verdict = (
        "better"
        if difference["high"] < 0
        else "worse"
        if difference["low"] > 0
        else "not told apart"
    )
    return Group(
        table,
        f"MSE against damped biases: {difference['value']:+.4f} "
        f"(95 % interval {difference['low']:+.4f} to {difference['high']:+.4f}: {verdict})",
    )
