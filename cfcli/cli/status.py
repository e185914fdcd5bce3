"""``cfcli status``."""

from typing import Annotated, Any

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, safe
from cfcli.core.config.fields import seconds_of


def status(
    *,
    store: options.Store,
    max_age: Annotated[
        str | None,
        typer.Option(
            metavar="36h", help="Exit with 8 when the model in use was trained longer ago."
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """What is in use in a store, how old it is, and what became of each training.

    Creates nothing. A cron job that never runs sends no mail: let another one ask for --max-age.

    Example: cfcli status --store models --max-age 36h
    """
    limit = seconds_of(max_age, "--max-age") if max_age else None

    from cfcli.core.retraining.store import Store, check_age

    state = Store(store).status()
    Out(json, quiet).table(_table(state), state)
    if limit:
        check_age(state, limit)


def _table(state: dict[str, Any]) -> Any:
    from rich.table import Table

    from cfcli.core.retraining.store import hours

    title = f"{safe(state['store'])}: {safe(state['current'])} in use, {hours(state['age_seconds'])} old"
    table = Table(title=title, title_justify="left")
    for name in ("run", "decided", "RMSE", "in use", "biases", "verdict"):
        table.add_column(name, justify="right" if name in ("RMSE", "in use", "biases") else "left")
    for row in reversed(state["runs"]):
        errors = [row.get("model"), row.get("champion"), (row.get("baselines") or {}).get("bias")]
        cells = [f"{part['rmse']:.4f}" if part else "-" for part in errors]
        verdict = (
            "not judged yet"
            if "published" not in row
            else "published"
            if row["published"]
            else "refused"
        )
        if reason := row.get("reason"):
            verdict = reason if reason.startswith("rolled back") else f"{verdict}: {reason}"
        style = "bold" if row["run"] == state["current"] else ""
        table.add_row(
            safe(row["run"]), safe(row.get("decided", ""))[:16], *cells, safe(verdict), style=style
        )
    return table
