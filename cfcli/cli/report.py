"""``cfcli report``."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, is_live

PATIENCE = 2  # seconds after which a person is told what takes so long


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="One or several run directories.",
            show_default="runs/latest",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="Page to write.")] = Path(
        "report.html"
    ),
    data: Annotated[Path | None, typer.Option(help="Dataset of the runs, if it has moved.")] = None,
    items: Annotated[
        int,
        typer.Option(
            metavar="N", help="Number of items on the map: those with the most ratings.", min=1
        ),
    ] = 10_000,
    show_ids: Annotated[
        bool,
        typer.Option("--show-ids", help="Name users by their ids, not 'user A' and so on."),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make one HTML page about a run.

    It says whether the run is worth using, and shows recommendations for a few
    users, a map of the items, where the model errs, the training and the data.
    Several runs are compared. The page is a single file that needs no network.

    Creates --out, and prints its path.

    Example: cfcli report && xdg-open report.html
    """
    from cfcli.core.reporting import report as reports
    from cfcli.core.runs.run import Run
    from cfcli.core.storage import publishing, targets

    console = Out(json, quiet)
    targets.check_file(out, suffixes=(".html", ".htm"))
    loaded = [Run.load(path) for path in runs or [Path("runs/latest")]]
    with _progress(console, reports.steps_of(loaded)) as tell:
        page, parts = reports.report(
            loaded, data=data, most=items, show_ids=show_ids, progress=tell
        )
    content = page.encode("utf-8", "backslashreplace")
    with publishing.file(out) as stream:
        stream.write(content)
    for part in parts:
        if part.missing:
            console.note(f"{part.name}: no errors on held-out rows: {part.missing}")
    counts = [len(part.items.id) for part in parts]
    console.say(f"{len(content) / 1e6:.1f} MB, {sum(counts):,} items on the map")
    summary = [
        {"run": str(part.run.path), "items": count}
        for part, count in zip(parts, counts, strict=True)
    ]
    console.result(str(out), {"report": str(out), "bytes": len(content), "runs": summary})


@contextmanager
def _progress(console: Out, steps: int) -> Iterator[Callable[[str], object]]:
    """Gives a function that is told what is done next: a bar on a terminal; elsewhere a line for
    each step that begins after the first seconds."""
    if not is_live() or console.quiet:
        begin = time.monotonic()

        def tell(step: str) -> None:
            if time.monotonic() - begin > PATIENCE:
                print(step, file=sys.stderr)

        yield (lambda _: None) if console.quiet else tell
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console.stderr, transient=True) as bar:
        task = bar.add_task("", total=steps)
        done = iter(range(steps))
        yield lambda step: bar.update(task, description=step, completed=next(done, steps))
