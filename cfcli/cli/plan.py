"""``cfcli plan``."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out
from cfcli.core.config.resolve import resolve
from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from cfcli.core.training.plan.advice import Report


@options.takes(options.TRAIN | options.PROCESSES, first=("model", "dim"), brief=False)
def plan(
    *,
    data: options.Data = Path("data"),
    users: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Number of users, instead of a dataset."),
    ] = None,
    items: Annotated[int | None, typer.Option(metavar="N", min=1, help="Number of items.")] = None,
    rows: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Number of ratings to train on.")
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder where the run would be written.")
    ] = Path("runs"),
    config: options.ConfigFile = None,
    set: options.Sets = None,
    flags: options.Flags,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Estimate the memory and disk that a training run needs.

    Compares the estimate with this machine and suggests flags that make it
    fit. The estimate can be wrong by up to a fifth. Takes the flags of
    'cfcli train'.

    Creates nothing. Exits with 4 if the run does not fit.

    Examples:
        cfcli plan --dim 64
        cfcli plan --users 1000000 --items 100000 --rows 100000000
    """
    console = Out(json, quiet)
    settings = resolve(TrainConfig, file=config, sets=set or (), flags=flags, note=console.note)

    from cfcli.core.training.plan.advice import report
    from cfcli.core.training.plan.sizing import Job

    if (users, items, rows) == (None, None, None):
        from cfcli.core.data.dataset import Dataset

        info = Dataset.load(data).info
        job = Job.of(info)
    elif users and items and rows:
        job = Job(users, items, rows, rows * 2 // 7)  # as 'prepare' splits by default
    else:
        raise ConfigError(
            "give --users, --items and --rows together, or none of them to use --data"
        )
    found = report(settings, job, out)
    if not json and not quiet:
        by = f"by {found.optimizer or found.solver}"
        sizes = f"{found.users:,} users, {found.items:,} items, {found.rows:,} ratings to train on"
        print(f"{found.model} of dimension {found.dim} {by}: {sizes}")
    console.table(_table(found), dataclasses.asdict(found))
    if not json and not quiet:
        print(_verdict(found))
    if not found.fits:
        raise typer.Exit(4)


def _table(found: "Report") -> "Table":
    """What the training needs, part by part, beside what there is."""
    from rich.table import Table

    from cfcli.core.training.plan.memory import size

    table = Table()
    for name in ("", "needs", "has"):
        table.add_column(name, justify="right" if name else "left")
    for name, n in found.per_rank.items():
        where = " (on the device)" if name in found.on_device else ""
        if n:
            table.add_row(f"  {name}{where}", size(n), "")
    table.add_section()
    for name in ("memory", "device", "disk"):
        needs, has = getattr(found.needs, name), getattr(found.has, name)
        if not needs and has is None:
            continue
        shown = f"{name} of {found.devices} processes" if _is_shared(found, name) else name
        style = "bold red" if name in found.lacking else ""
        table.add_row(shown, size(needs), "?" if has is None else size(has), style=style)
    return table


def _is_shared(found: "Report", name: str) -> bool:
    """Whether several processes of this machine share what is named."""
    return name == "memory" and found.devices > 1


def _verdict(found: "Report") -> str:
    """Whether it fits, and which flags would make it fit, one per line."""
    if found.fits:
        return "fits in memory and on disk"
    ways = [f"it fits with {' '.join(way.flags)}" for way in found.suggestions]
    lines = [f"it does not fit: not enough {', '.join(found.lacking)}"]
    return "\n".join(lines + (ways or ["no other flags make it fit"]))
