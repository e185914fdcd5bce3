"""``cfcli rollback``."""

from typing import Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, safe


def rollback(
    *,
    store: options.Store,
    to: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Name of the run to use, also one that was refused."),
    ] = None,
    wait: options.Wait = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Go back to the previous run of a store, or to any other.

    The run that was in use is not published again.

    Creates nothing: moves STORE/current. Prints the run that is now in use.

    Examples:
        cfcli rollback --store models
        cfcli rollback --store models --to 20260722-020000-mf
    """
    from cfcli.core.retraining.store import Store
    from cfcli.core.storage.schema import to_json

    found = Store(store).rollback(to, wait)
    console = Out(json, quiet)
    console.say(safe(f"in use: {found.run.name}, before: {found.previous.name}"))
    console.result(str(found.run), to_json(found))
