"""``cfcli compare``."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, safe

if TYPE_CHECKING:
    from rich.console import Group

    from cfcli.core.evaluation.comparison import Comparison
    from cfcli.core.metrics.intervals import Interval

NUMBERS = 52  # characters of a row without the name of the run


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
    console.table(_table(found, console.stdout.width), to_json(found))


def _table(found: "Comparison", width: int) -> "Group":
    """A row for each run, and what each differs by in words.

    Args:
        found: the runs.
        width: of the terminal, in characters.
    """
    from rich.cells import cell_len
    from rich.console import Group
    from rich.table import Table

    title = f"{found.n:,} rows of {safe(found.split)}"
    if found.users:
        title += f"; lists for {found.users:,} users; liked: {found.liked_from:g} or more"
    names = [safe(one.run) for one in found.runs]
    shown, verdicts = names, []
    if max(map(cell_len, names)) > width - NUMBERS:
        # The lines below the table have the names, which are there to be copied, in one piece.
        shown = [f"run {k}" for k in range(1, len(names) + 1)]
        names = [f"{short} = {name}" for short, name in zip(shown, names, strict=True)]
        verdicts.append(names[0])
    table = Table(title=title, title_justify="left")
    table.add_column("run", no_wrap=True)
    for heading in ("RMSE", "difference", "nDCG liked", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    for short, one in zip(shown, found.runs, strict=True):
        ndcg = one.lists.liked.ndcg if one.lists else math.nan
        table.add_row(
            short,
            f"{one.model.rmse:.4f}",
            _shown(one.rmse_difference),
            "-" if math.isnan(ndcg) else f"{ndcg:.4f}",
            _shown(one.ndcg_difference),
        )
    for name, one in zip(names, found.runs, strict=True):
        if one.verdict:
            verdicts.append(f"{name}: {one.verdict}")
    return Group(table, *verdicts)


def _shown(found: "Interval | None") -> str:
    """A difference, if there is one. The verdict has its interval."""
    return "" if found is None or math.isnan(found.value) else f"{found.value:+.4f}"
