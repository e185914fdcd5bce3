"""``cfcli status``."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, add_ids, safe
from cfcli.core.config.fields import seconds_of

if TYPE_CHECKING:
    from rich.table import Table

    from cfcli.core.retraining.store import StoreStatus
    from cfcli.core.runs.verdict import Verdict

NAME = 15  # characters of a run's name, which verdicts hold, too


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
    table.add_column("UTC", no_wrap=True)
    for name in ("RMSE", "before", "biases"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold", min_width=NAME)
    for row in reversed(status.runs):
        is_used = row.run == status.current
        cells = _cells(row.verdict, is_used)
        table.add_row(safe(row.run), *cells, style="bold" if is_used else "")
    return table


def _cells(verdict: "Verdict | None", is_used: bool) -> list[str]:
    """When a run was judged, three errors, and what was decided."""
    if verdict is None:
        return ["", "-", "-", "-", "in use" if is_used else "not judged yet"]
    bias = verdict.baselines["bias"] if verdict.baselines else None
    errors = [
        f"{part.rmse:.4f}" if part else "-" for part in (verdict.model, verdict.champion, bias)
    ]
    return [safe(_short(verdict.decided)), *errors, safe(_decision(verdict, is_used))]


def _short(decided: str) -> str:
    """A time of ISO 8601 to the minute; of this year without the year, of others without the
    minute."""
    year, _, rest = decided.partition("-")
    this_year = str(datetime.now(UTC).year)
    return rest[:11].replace("T", " ") if year == this_year else decided[:10]


def _decision(verdict: "Verdict", is_used: bool) -> str:
    if verdict.reason.startswith("in use" if is_used else "rolled back"):
        return verdict.reason
    word = "published" if verdict.published else "refused"
    if is_used:
        word = "in use"
    return f"{word}: {verdict.reason}" if verdict.reason else word
