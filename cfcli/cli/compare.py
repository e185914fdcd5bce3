"""``cfcli compare``."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, add_ids, safe

if TYPE_CHECKING:
    from rich.console import Group

    from cfcli.core.evaluation.comparison import Comparison
    from cfcli.core.metrics.intervals import Interval


@options.takes(options.FORM_KEYS, options.FORM_PANEL, brief=False)
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN...", help="Runs; the first is what others are compared with."
        ),
    ],
    *,
    split: Annotated[
        Literal["test", "val", "train"], typer.Option(help="Rows to compare on.")
    ] = "test",
    ratings: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Compare on these ratings instead, also across datasets."
        ),
    ] = None,
    flags: options.Flags = options.NO_FLAGS,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare runs on the same rows.

    Shows what the errors of each run, and the nDCG of its lists for liked rows,
    are above those of the first run, with 95 % intervals over users
    that tell difference from chance.

    Creates nothing.

    Examples:
        cfcli compare runs/mf runs/ncf
        cfcli compare runs/mf runs/ncf --ratings new.csv --json
    """
    from cfcli.core.evaluation import comparison
    from cfcli.core.inputs.sources import Source
    from cfcli.core.runs.run import Run
    from cfcli.core.storage.schema import to_json

    console = Out(json, quiet)
    found = comparison.compare(
        [Run.load(path) for path in runs],
        split=split,
        source=Source.of(ratings) if ratings else None,
        form=flags,
        note=console.note,
    )
    console.table(_table(found), to_json(found))


def _table(found: "Comparison") -> "Group":
    from rich.console import Group
    from rich.table import Table

    title = f"{found.n:,} rows of {safe(found.split)}"
    if found.users:
        title += f"; lists for {found.users:,} users; liked: {found.liked_from:g} or more"
    table = Table(title=title, title_justify="left")
    add_ids(table, "run", [one.run for one in found.runs])
    for name in ("RMSE", "difference (95 % interval)", "nDCG liked", "difference (95 % interval)"):
        table.add_column(name, justify="right")
    for one in found.runs:
        ndcg = one.lists.liked.ndcg if one.lists else math.nan
        table.add_row(
            safe(one.run),
            f"{one.model.rmse:.4f}",
            _shown(one.rmse_difference),
            "-" if math.isnan(ndcg) else f"{ndcg:.4f}",
            _shown(one.ndcg_difference),
        )
    verdicts = [f"{safe(one.run)}: {one.verdict}" for one in found.runs if one.verdict]
    return Group(table, *verdicts)


def _shown(found: "Interval | None") -> str:
    """A difference and its interval, as far as there are any."""
    if found is None or math.isnan(found.value):
        return ""
    if math.isnan(found.low):
        return f"{found.value:+.4f}"
    return f"{found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
