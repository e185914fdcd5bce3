"""``cfcli prepare``."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, counted, is_live, safe
from cfcli.cli.output.progress import Bar
from cfcli.core.config.prepare import CHECKS_PANEL, SPLIT_PANEL, PrepareConfig
from cfcli.core.config.resolve import resolve
from cfcli.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from cfcli.core.data.info import Attribute, DatasetInfo, Scale
    from cfcli.core.inputs.sources import Source
    from cfcli.core.pair import Pair

# Of the manifest, what --json prints.
KEYS = (
    "ratings", "users", "items", "train", "val", "test", "rejected", "duplicates", "rating_scale",
    "mean", "fingerprint", "cold",
)  # fmt: skip


@options.takes(options.PREPARE)
def prepare(
    *,
    ratings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RATINGS...", help="Ratings files or folders of Parquet parts; - is stdin."
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Instead of files: sample, or a MovieLens set like ml-1m.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory of the dataset.", envvar="CFCLI_DATA")
    ] = Path("data"),
    items: options.Items = None,
    users: options.Users = None,
    flags: options.Flags,
    test_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The test ratings.", hidden=True, rich_help_panel=SPLIT_PANEL
        ),
    ] = None,
    val_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The validation ratings.", hidden=True, rich_help_panel=SPLIT_PANEL
        ),
    ] = None,
    config: options.ConfigFile = None,
    set: options.Sets = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing dataset at --out.")
    ] = False,
    accept_shrink: Annotated[
        bool,
        typer.Option(
            "--accept-shrink",
            help="With --force, replace it even if most rows or ids are gone or the scale changed.",
            hidden=True,
            rich_help_panel=CHECKS_PANEL,
        ),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Turn ratings files into a dataset.

    Maps ids, resolves duplicates and splits the rows into train, val and test.
    Creates --out with dataset.json and a Parquet table for each, and prints its
    path.

    Examples:
        cfcli prepare ratings.csv --items movies.csv
        cfcli prepare ratings.tsv.gz --split time --rating-range 1,5
        cfcli prepare --dataset ml-latest-small
    """
    settings = resolve(PrepareConfig, file=config, sets=set or (), flags=flags)
    if bool(ratings) == bool(dataset):
        raise ConfigError(
            "give RATINGS files or --dataset NAME" + (", not both" if ratings else "")
        )

    import time

    from cfcli.core.data import prepare as preparation
    from cfcli.core.inputs.sources import Source
    from cfcli.core.pair import Pair
    from cfcli.core.storage import targets
    from cfcli.core.storage.schema import to_json

    console = Out(json, quiet)
    targets.check_folder(out)
    begin = time.perf_counter()
    files = Pair(*(Source.of(path) if path else None for path in (users, items)))
    with contextlib.ExitStack() as stack:
        if dataset:
            sources, own = _movielens(dataset, console)
            files = Pair(files.user or own.user, files.item or own.item)
        else:
            sources = [source for path in ratings or () for source in Source.all_of(path)]
        bar = stack.enter_context(Bar(console, "reading"))
        sources = bar.reading(sources)
        made, notes = preparation.prepare(
            sources,
            out,
            settings,
            items=files.item,
            users=files.user,
            val=Source.of(val_file) if val_file else None,
            test=Source.of(test_file) if test_file else None,
            force=force,
            accept_shrink=accept_shrink,
            progress=bar.restart,
        )
    for note in notes:
        console.note(note)
    console.say(_summary(made.info))
    info = to_json(made.info)
    data: dict[str, object] = {"dataset": str(out)}
    for key in KEYS:
        data[key] = info[key]
    if "attributes" in info:
        data["attributes"] = info["attributes"]
    data["seconds"] = round(time.perf_counter() - begin, 3)
    console.result(str(out), data)
    named = () if out == Path("data") else ("--data", out)
    console.next("cfcli", "train", *named)


def _movielens(name: str, console: Out) -> "tuple[list[Source], Pair[Source | None]]":
    from cfcli.core.inputs import movielens

    if name == "sample":
        return movielens.sample()
    if name not in movielens.DATASETS:
        movielens.members(name)  # raises, with the nearest name
    console.say(movielens.LICENCE_NOTICE)
    if console.quiet or not is_live():
        archive = movielens.fetch(name)
    else:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console.stderr, transient=True) as bar:
            task = bar.add_task(name, total=None)
            archive = movielens.fetch(
                name, progress=lambda done, total: bar.update(task, completed=done, total=total)
            )
    return movielens.sources(name, archive)


def _summary(info: "DatasetInfo") -> "Table":
    from rich.table import Table

    from cfcli.core.storage.schema import to_json

    table = Table(
        title="Dataset", title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0)
    )
    names = to_json(info.columns)
    table.add_row("columns", ", ".join(f"{role} = {safe(name)}" for role, name in names.items()))
    table.add_row(
        "ratings",
        f"{info.ratings:,} by {counted(info.users, 'user')} of {counted(info.items, 'item')}",
    )
    table.add_row("density", f"{info.ratings / info.users / info.items:.3%}")
    table.add_row("scale", f"{_scale(info.rating_scale)}; mean {info.mean:.4f} (of train)")
    most = max(bar.n for bar in info.histogram)
    for k, bar in enumerate(info.histogram):
        drawn = "█" * round(30 * bar.n / most)
        table.add_row("histogram" if k == 0 else "", f"{bar.rating:>6g} {drawn} {bar.n:,}")
    for side in ("train", "val", "test"):
        rows, cold = info.rows(side), info.cold.get(side)
        part = f", {cold:,} cold (user or item not in train)" if cold else ""
        table.add_row(side, f"{rows:,} ({rows / info.ratings:.1%}){part}")
    for entity, described in info.attributes.named() if info.attributes else ():
        for each in described:
            table.add_row(f"{entity} attribute", safe(_attribute(each)))
    for reason, n in info.rejected.items():
        table.add_row("rejected", f"{n:,}: {safe(reason)}")
    return table


def _scale(scale: "Scale") -> str:
    """The ratings that there are, in words."""
    if scale.step and scale.min + scale.step == scale.max:
        return f"{scale.min:g} and {scale.max:g}"
    step = f" in steps of {scale.step:g}" if scale.step else ""
    return f"{scale.min:g} to {scale.max:g}{step}"


def _attribute(attribute: "Attribute") -> str:
    """One attribute in words."""
    text = f"{attribute.name}: {attribute.kind}"
    if attribute.values is not None:
        text += f", {len(attribute.values):,} values"
    elif attribute.knots:
        text += f", about {attribute.knots[0]:g} to {attribute.knots[-1]:g}"
    return text + (f", {attribute.missing:,} missing" if attribute.missing else "")
