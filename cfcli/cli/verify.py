"""``cfcli verify``."""

from pathlib import Path
from typing import Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out


def verify(
    run: Annotated[
        Path, typer.Argument(metavar="[RUN]", help="Directory of a run, or of a dataset.")
    ] = Path("runs/latest"),
    expect_sha256: Annotated[
        str | None,
        typer.Option(
            metavar="HEX", help="What the manifest's SHA-256 must be, as noted elsewhere."
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Read all of a run or a dataset; exit with 7 when anything in it is not as its manifest says.

    Creates nothing. Prints the SHA-256 of the manifest, which stands for all files: it tells
    damage, not who made it.

    Example: cfcli verify models/current
    """
    from cfcli.core.runs.verify import verify as check
    from cfcli.core.storage.schema import to_json

    found = check(run, expect_sha256)
    console = Out(json, quiet)
    console.say(f"verified: all {found.files} files match the manifest ({found.bytes:,} bytes)")
    console.result(found.sha256, to_json(found))
