"""``cfcli status``."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, safe
from cfcli.core.config.fields import seconds_of

if TYPE_CHECKING:
    from rich.console import Group

    from cfcli.core.retraining.store import StoreStatus
    from cfcli.core.runs.verdict import Verdict

WIDE = 77  # characters that all columns need


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
    console = Out(json, quiet)
    console.table(_table(found, console.stdout.width), to_json(found))
    if limit:
        check_age(found, limit)


def _table(status: "StoreStatus", width: int) -> "Group":
    """A row for each run, and the reasons for what was decided.

    Args:
        status: of the store.
        width: of the terminal, in characters.
    """
    from rich.console import Group
    from rich.table import Table

    from cfcli.core.retraining.store import hours

    age = hours(status.age_seconds)
    title = f"{safe(status.store)}: {safe(status.current)} in use, {age} old"
    table = Table(title=title, title_justify="left")
    for name in ("run", "UTC"):
        table.add_column(name, no_wrap=True)
    errors = ("RMSE", "before", "biases")[: 3 if width >= WIDE else 1]
    for name in errors:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    reasons = []
    for row in reversed(status.runs):
        is_used = row.run == status.current
        name, word = safe(row.run), _word(row.verdict, is_used)
        cells = _cells(row.verdict)[: 1 + len(errors)]
        table.add_row(name, *cells, word, style="bold" if is_used else "")
        if row.verdict and row.verdict.reason:
            reasons.append(f"{name}: {_decision(row.verdict, word)}")
    return Group(table, *reasons)


def _cells(verdict: "Verdict | None") -> list[str]:
    """When a run was judged, and three errors."""
    if verdict is None:
        return ["", "-", "-", "-"]
    bias = verdict.baselines["bias"] if verdict.baselines else None
    errors = [
        f"{part.rmse:.4f}" if part else "-" for part in (verdict.model, verdict.champion, bias)
    ]
    return [safe(_short(verdict.decided)), *errors]


def _short(decided: str) -> str:
    """A time of ISO 8601 to the minute; of this year without the year, of others without the
    minute."""
    year, _, rest = decided.partition("-")
    this_year = str(datetime.now(UTC).year)
    return rest[:11].replace("T", " ") if year == this_year else decided[:10]


def _word(verdict: "Verdict | None", is_used: bool) -> str:
    """What was decided, in a word or two."""
    if is_used:
        return "in use"
    if verdict is None:
        return "not judged yet"
    if verdict.reason.startswith("rolled back"):
        return "rolled back"
    return "published" if verdict.published else "refused"


def _decision(verdict: "Verdict", word: str) -> str:
    """What was decided and why, in a line."""
    reason = safe(verdict.reason)
    return reason if reason.startswith(word) else f"{word}: {reason}"
