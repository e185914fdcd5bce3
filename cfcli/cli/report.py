"""``cfcli report``."""

from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Run directories.",
            show_default="runs/latest",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="Page to write.")] = Path(
        "report.html"
    ),
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Dataset of the runs, if it has moved.")
    ] = None,
    items: Annotated[
        int,
        typer.Option(metavar="N", help="Items on the map: those with the most ratings.", min=1),
    ] = 10_000,
    show_ids: Annotated[
        bool, typer.Option("--show-ids", help="Name users by id, not 'user A' and so on.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make one HTML page about a run.

    It says whether the run is worth using, and shows recommendations for a few
    users, a map of the items, where the model errs, the training and the data.
    Several runs are compared. The page is a single file that needs no network.

    Creates --out, and prints its path.

    Examples:
        cfcli report && xdg-open report.html
        cfcli report runs/mf runs/ncf --out compared.html
    """
    from cfcli.cli.output.progress import Bar
    from cfcli.cli.output.results import Reported, ReportedRun
    from cfcli.core.reporting import report as reports
    from cfcli.core.runs.run import Run
    from cfcli.core.storage import publishing, targets
    from cfcli.core.storage.schema import to_json

    console = Out(json, quiet)
    targets.check_file(out, suffixes=(".html", ".htm"))
    loaded = [Run.load(path) for path in runs or [Path("runs/latest")]]
    done = count()
    with Bar(console, "", total=reports.steps_of(loaded)) as bar:
        page, parts = reports.report(
            loaded,
            data=data,
            most=items,
            show_ids=show_ids,
            progress=lambda step: bar.update(next(done), step),
        )
    content = page.encode("utf-8", "backslashreplace")
    with publishing.file(out) as stream:
        stream.write(content)
    for part in parts:
        if part.missing:
            console.note(f"{part.name}: not judged on held-out rows: {part.missing}")
    sizes = [len(part.items.id) for part in parts]
    shown_items = " and ".join(f"{size:,}" for size in sizes)
    console.say(f"{len(content) / 1e6:.1f} MB, {shown_items} items on the map")
    shown = [ReportedRun(str(part.run.path), size) for part, size in zip(parts, sizes, strict=True)]
    console.result(str(out), to_json(Reported(str(out), len(content), shown)))
