"""``cfcli similar``."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, add_ids, safe
from cfcli.core.errors import ArtifactError, ConfigError, InputError
from cfcli.core.words import counted

if TYPE_CHECKING:
    from rich.table import Table

    from cfcli.core.runs.run import Run

LATEST = Path("runs/latest")
SHOWN = 5  # titles that are listed where several fit
FEW = 5  # ratings below which a vector says next to nothing


@options.takes(options.FORM_KEYS, options.FORM_PANEL, brief=False)
def similar(
    where: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN] [ITEM_ID]...",
            help="Item ids. A folder in first place is the run.",
            show_default=str(LATEST),
        ),
    ] = None,
    title: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Find the item by its title or a part of it; of several, the most rated.",
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", metavar="N", help="Neighbours per item.", min=1)] = 10,
    metric: Annotated[
        Literal["cosine", "dot", "euclidean"],
        typer.Option(
            metavar="NAME",
            help="cosine (weighted by how many users rated both), dot (inner product) or euclidean "
            "(minus the distance).",
        ),
    ] = "cosine",
    min_ratings: Annotated[
        int,
        typer.Option(metavar="N", help="Training ratings that a neighbour has at least.", min=0),
    ] = 1,
    file: Annotated[
        str | None,
        typer.Option("--items", metavar="FILE", help="Attributes of new items."),
    ] = None,
    flags: options.Flags = options.NO_FLAGS,
    json: options.JsonRows = False,
    quiet: options.Quiet = False,
) -> None:
    """List the items nearest to an item.

    Items are near if the same users choose them and rate them alike: cosine
    compares the vectors of both models, weighted by how many users rated both.
    dot and euclidean compare the embeddings of the rating model as they are;
    there, --min-ratings 50 may help.

    Creates a table of query, the item id, rank, score, ratings (how many the item
    has) and the title if known; as CSV in a pipe.

    Examples:
        cfcli similar --title "toy story"
        cfcli similar runs/latest 1 260 -n 5
    """
    run, ids = _run_and_items(where or [], title)

    import polars as pl

    from cfcli.core.inputs.sources import Source
    from cfcli.core.runs.newcomers import with_source
    from cfcli.core.runs.run import Run
    from cfcli.core.serving import similar as neighbours
    from cfcli.core.serving.outputs import write

    loaded = Run.load(run)
    console = Out(json, quiet)
    if file:
        form = loaded.form(flags)
        loaded = with_source(loaded, Source.of(file), "item", form, console.note)
    name = loaded.info.columns.item
    if title:
        items = [_by_title(loaded, title, console)]
    else:
        try:
            items = neighbours.find_items(loaded, pl.Series(ids, dtype=pl.String))
        except InputError as error:
            hint = _by_title_instead(loaded, ids)
            raise InputError(f"{error} (and no folder has that name){hint}") from None
    blocks = []
    for item in items:
        query = loaded.items.row(item, named=True)
        label = query[name]
        if query.get("title"):
            label = f"{query['title']}, {name} {label}"
        if query["n_ratings"] < FEW and not (query["n_ratings"] == 0 and loaded.content.item):
            console.note(
                f"training ratings of {label}: {query['n_ratings']}; its neighbours are mostly "
                "chance"
            )
        found = neighbours.named_neighbours(loaded, item, n, min_ratings, metric)
        if json or not sys.stdout.isatty():
            blocks.append(found)
        elif not quiet:
            console.show(_table(f"nearest to {safe(label)}", name, found.to_dicts()))
    if blocks:
        write([pl.concat(blocks)], "-", json=json)


def _run_and_items(where: list[str], title: str | None) -> tuple[Path, list[str]]:
    if title:
        if len(where) > 1:
            raise ConfigError("name items by ITEM_ID or by --title, not both")
        run = Path(where[0]) if where else LATEST
        # One word that is no folder may be meant as an item.
        if where and len(run.parts) == 1 and not run.exists():
            raise ArtifactError(
                f"{run}: no run there; to name an item, give ITEM_ID or --title, not both"
            )
        return run, []
    first = Path(where[0]) if where else LATEST
    # What looks like a path can be an id only where there is a run to have it.
    is_run = bool(where) and (first.is_dir() or (len(first.parts) > 1 and not LATEST.exists()))
    run, items = (first, where[1:]) if is_run else (LATEST, where)
    if not items:
        # An item whose id is also a folder's name was taken for a run.
        hint = (
            f" ('{first}' is a folder, so it is read as RUN)" if is_run and first.is_dir() else ""
        )
        raise ConfigError(f"name items by ITEM_ID or by --title{hint}")
    return run, items


def _by_title_instead(run: "Run", ids: list[str]) -> str:
    """What to write where unknown ids may be the words of a title; empty where the run knows no
    titles."""
    import polars as pl

    if "title" not in run.items.columns:
        return ""
    is_unknown = run.ids.item.index(pl.Series(ids, dtype=pl.String)).is_null()
    words = " ".join(text for text, unknown in zip(ids, is_unknown, strict=True) if unknown)
    return f"; if it is a title, write --title {shlex.quote(words)}"


def _by_title(run: "Run", title: str, console: Out) -> int:
    """Index of the item with this title; if several match, prints them."""
    from cfcli.core.serving import similar as neighbours

    hits = neighbours.find_title(run, title)
    if hits.height > 1:
        exact = hits["exact"].sum()
        why = "the exact title" if exact == 1 else "the one with the most ratings"
        console.note(f"{hits.height} titles match '{title}'; using {hits['title'][0]}, {why}")
        shown = hits.with_columns(
            id=run.ids.item.id(hits["item"]), is_twin=hits["title"].is_duplicated()
        ).head(SHOWN)
        for row in shown.iter_rows(named=True):
            which = f"{run.info.columns.item} {safe(row['id'])}, " if row["is_twin"] else ""
            console.say(f"  {safe(row['title'])}, {which}{counted(row['n_ratings'], 'rating')}")
        if hits.height > SHOWN:
            console.say(f"  and {hits.height - SHOWN:,} more")
    return int(hits["item"][0])


def _table(head: str, id_column: str, rows: list[dict[str, Any]]) -> "Table":
    """The neighbours of one item."""
    from rich.table import Table

    table = Table(title=head, title_justify="left")
    titles = bool(rows) and "title" in rows[0]
    for name in ("rank", "score"):
        table.add_column(name, justify="right")
    add_ids(table, id_column, [row[id_column] for row in rows])
    if titles:
        table.add_column("title", overflow="fold")
    table.add_column("ratings", justify="right")
    for row in rows:
        cells = [str(row["rank"]), f"{row['score']:.3f}", safe(row[id_column])]
        if titles:
            cells.append(safe(row["title"] or "-"))
        table.add_row(*cells, f"{row['ratings']:,}")
    return table
