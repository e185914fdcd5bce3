"""``cfcli status``."""

from typing import TYPE_CHECKING, Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, add_ids, safe
from cfcli.core.config.fields import seconds_of

if TYPE_CHECKING:
    from rich.table import Table

    from cfcli.core.retraining.store import StoreStatus
    from cfcli.core.runs.verdict import Verdict


def status(
    *,
    store: options.Store,
    max_age: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Exit with 8 if the model in use is older, such as 36h."),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show the model in use, its age and what came of each night.

    Creates nothing. A cron job that never runs sends no mail, so let another
    job check --max-age.

    Examples:
        cfcli status --store models
        cfcli status --store models --max-age 36h --quiet
    """
    limit = seconds_of(max_age, "--max-age") if max_age else None

    from cfcli.core.retraining.store import Store, check_age
    from cfcli.core.storage.schema import to_json

    found = Store(store).status()
    Out(json, quiet).table(_table(found), to_json(found))
    if limit:
        check_age(found, limit)


def _table(status: "StoreStatus") -> "Table":
    from rich.table import Table

    from cfcli.core.retraining.store import hours

    age = hours(status.age_seconds)
    title = f"{safe(status.store)}: {safe(status.current)} in use, {age} old"
    table = Table(title=title, title_justify="left")
    add_ids(table, "run", [row.run for row in status.runs])
    table.add_column("decided", no_wrap=True)
    for name in ("RMSE", "in use", "biases"):
        table.add_column(name, justify="right")
    table.add_column("verdict", overflow="fold")
    for row in reversed(status.runs):
        style = "bold" if row.run == status.current else ""
        table.add_row(safe(row.run), *_cells(row.verdict), style=style)
    return table


def _cells(verdict: "Verdict | None") -> list[str]:
    """When a run was judged, three errors, and what was decided."""
    if verdict is None:
        return ["", "-", "-", "-", "not judged yet"]
    bias = verdict.baselines["bias"] if verdict.baselines else None
    errors = [
        f"{part.rmse:.4f}" if part else "-" for part in (verdict.model, verdict.champion, bias)
    ]
    return [safe(verdict.decided)[:16], *errors, safe(_decision(verdict))]


def _decision(verdict: "Verdict") -> str:
    if verdict.reason.startswith("rolled back"):
        return verdict.reason
    word = "published" if verdict.published else "refused"
    return f"{word}: {verdict.reason}" if verdict.reason else word
