"""``cfcli doctor``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, safe

if TYPE_CHECKING:
    from rich.table import Table

    from cfcli.core.retraining.doctor import Facts, Value


def doctor(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", help="Directory of a run or a dataset; else runs/latest, if any."
        ),
    ] = None,
    store: Annotated[Path | None, options.STORE] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what a bug report should say about this machine.

    Versions, processors, memory, devices, the file system of the store or the
    run (else of the folder for runs), and whether it is whole. No ids; your
    home folder is shown as ~.

    Creates nothing: what it tries in a hidden folder there, it removes. Exits
    with 4 if locks or renames do not work there, and with 7 if the run, or the
    one in use in the store, is missing or damaged.

    Examples:
        cfcli doctor
        cfcli doctor --store models --json
    """
    from cfcli.core.retraining.doctor import check, diagnose

    found = diagnose(run, store)
    topics = found.facts | {"problems": found.problems}
    Out(json, quiet).table(_table(topics), topics)
    check(found)


def _table(topics: "dict[str, Facts]") -> "Table":
    from rich.table import Table

    table = Table(show_header=False)
    for wrap in (True, True, False):
        table.add_column(no_wrap=wrap, overflow="fold")
    for topic, facts in topics.items():
        for name, value in facts.items():
            shown = name.removesuffix("_bytes").removesuffix("_seconds")
            table.add_row(topic, safe(shown), safe(_shown(name, value)))
            topic = ""
        table.add_section()
    return table


def _shown(name: str, value: "Value") -> str:
    """A value as people read it; its name says its unit."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if name.endswith("_bytes"):
        return f"{value / 1e9:,.1f} GB"
    return f"{value / 3600:,.1f} h" if name.endswith("_seconds") else f"{value:g}"
