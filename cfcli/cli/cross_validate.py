"""``cfcli cross-validate``."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, leave_no_compiler_cache
from cfcli.cli.output.progress import Bar
from cfcli.core.config.resolve import resolve_both

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from cfcli.core.evaluation.cross_validation import (
        CrossValidation,
        ErrorSpread,
        ListSpread,
        Progress,
        Spread,
    )

KEYS = {
    name: key
    for name, key in (options.PREPARE | options.TRAIN).items()
    if name not in ("test_size", "warm_start")
}


@options.takes(KEYS, first=("model", "dim"), brief=False)
def cross_validate(
    ratings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RATINGS...", help="Ratings files or folders of Parquet parts; - is stdin."
        ),
    ] = None,
    *,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Cut all rows of this dataset instead of files."),
    ] = None,
    folds: Annotated[
        str,
        typer.Option(
            metavar="FOLDS",
            help="A number, cut by a hash of user and item; time:N, each trained on all that is "
            "older; or files, as BASE:TEST,...",
        ),
    ] = "5",
    items: options.Items = None,
    users: options.Users = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder that keeps the folds; the same command then goes on with those that are "
            "not finished.",
        ),
    ] = None,
    flags: options.Flags = options.NO_FLAGS,
    config: options.ConfigFile = None,
    set: options.Sets = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train and evaluate a model on several folds.

    Shows the mean and the standard deviation over folds of its errors and of
    its lists, beside the same baselines as 'cfcli evaluate'. Each fold is
    prepared, trained and judged as by the three commands.

    Creates nothing, or with --out a folder with all folds.

    Examples:
        cfcli cross-validate ratings.csv --folds 5 --dim 16
        cfcli cross-validate --data data --folds time:4 --model ncf
    """
    console = Out(json, quiet)
    prepare, train = resolve_both(config, set or (), flags, console.note)

    from cfcli.core.evaluation import cross_validation
    from cfcli.core.evaluation import folds as cutting
    from cfcli.core.inputs.sources import Source
    from cfcli.core.storage.schema import to_json

    spec = cutting.Spec.of(folds)
    if data is not None:
        given = [name for name in options.PREPARE if flags.get(name) is not None]
        cutting.check_keys(given)
    if out is not None:
        cross_validation.check_out(out)
    leave_no_compiler_cache()
    with Bar(console, "reading the ratings") as bar:
        opened = cutting.open_folds(
            spec,
            prepare,
            sources=[source for path in ratings or () for source in Source.all_of(path)],
            data=data,
            items=Source.of(items) if items else None,
            users=Source.of(users) if users else None,
            note=console.note,
        )
        bar.restart(f"fold 1 of {spec.n}", spec.n)

        def report(done: "Progress") -> None:
            console.say(done.line())
            bar.update(done.fold, f"fold {min(done.fold + 1, done.folds)} of {done.folds}")

        found = cross_validation.cross_validate(opened, train, out=out, progress=report)
    console.table(_tables(found), to_json(found))


def _tables(found: "CrossValidation") -> "Group":
    from rich.console import Group
    from rich.table import Table

    from cfcli.core.reporting.charts import LABELS

    rows = sum(one.n for one in found.evaluations)
    title = f"{found.folds} folds, {rows:,} test rows in all"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("MSE", "RMSE", "MAE"):
        table.add_column(name, justify="right")
    for name, errors in found.baselines.items():
        table.add_row(LABELS[name], *_cells(errors), end_section=name == "bias")
    table.add_row("model", *_cells(found.model), style="bold")
    parts: list[Table] = [table]
    if found.lists is not None:
        parts.append(_lists(found.lists))
    return Group(*parts, "each number: mean ± standard deviation over folds")


def _lists(found: "ListSpread") -> "Table":
    """The second table: how good lists are."""
    from rich.table import Table

    from cfcli.core.evaluation.lists import ORDERS

    table = Table(title=f"lists of {found.k} items", title_justify="left")
    for name in ("", "nDCG liked", "nDCG all", "recall liked", "coverage"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for key, name in ORDERS.items():
        one = getattr(found, key)
        if one is None:
            continue
        # Four digits of four measures would not fit beside each other in 80 characters.
        cells = [_shown(spread, 3) for spread in (one.liked.ndcg, one.all.ndcg, one.liked.recall)]
        style = "bold" if one is found.list else ""
        table.add_row(name, *cells, _percents(one.coverage), style=style)
    return table


def _cells(errors: "ErrorSpread") -> list[str]:
    return [_shown(spread) for spread in (errors.mse, errors.rmse, errors.mae)]


def _shown(spread: "Spread", digits: int = 4) -> str:
    """A mean and a deviation, as far as there are any."""
    if math.isnan(spread.mean):
        return "-"
    deviation = "" if math.isnan(spread.std) else f" ± {spread.std:.{digits}f}"
    return f"{spread.mean:.{digits}f}{deviation}"


def _percents(spread: "Spread") -> str:
    """As :func:`_shown`, of a share."""
    if math.isnan(spread.mean):
        return "-"
    deviation = "" if math.isnan(spread.std) else f" ± {spread.std:.1%}"
    return f"{spread.mean:.1%}{deviation}"
