"""``cfcli verify``."""

from pathlib import Path
from typing import Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out


def verify(
    run: Annotated[
        Path, typer.Argument(metavar="[RUN]", help="Directory of a run or a dataset.")
    ] = Path("runs/latest"),
    expect_sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="SHA-256 that the manifest must have."),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Check a run or a dataset against its manifest.

    Reads all bytes of all files, and exits with 7 if anything differs.

    Creates nothing. Prints the SHA-256 of the manifest, which covers all files.
    It detects damage, but does not tell who made them.

    Examples:
        cfcli verify models/current
        cfcli verify data --json
    """
    from cfcli.core.runs.verify import verify as check
    from cfcli.core.storage.schema import to_json

    found = check(run, expect_sha256)
    console = Out(json, quiet)
    console.say(f"verified: all {found.files} files match the manifest ({found.bytes:,} bytes)")
    console.result(found.sha256, to_json(found))
