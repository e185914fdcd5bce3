"""``cfcli similar``."""

from pathlib import Path
from typing import Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, safe
from cfcli.core.errors import ConfigError, InputError


def similar(
    run: options.RunArgument = Path("runs/latest"),
    item_id: Annotated[list[str] | None, typer.Argument(metavar="[ITEM_ID]...", help="Items by id.")] = None,
    title: Annotated[str | None, typer.Option(help="The item by part of its title.")] = None,
    n: Annotated[int, typer.Option("-n", help="Neighbours of each.", min=1)] = 10,
    min_ratings: Annotated[int, typer.Option(help="Training ratings that a neighbour must have.", min=0)] = 1,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List the items nearest to an item: cosine of the embeddings, held down where ratings are few.

    Creates nothing.

    Example: cfcli similar runs/latest --title "toy story"
    """
    if bool(item_id) == bool(title):
        raise ConfigError("name items by ITEM_ID or by --title" + (", not both" if title else ""))

    from rich.table import Table

    from cfcli.core import neighbors
    from cfcli.core.runs import Run

    loaded = Run.load(run)
    console = Out(json, quiet)
    if title:
        hits = neighbors.find_title(loaded, title)
        indices = [hits["item"][0]]
        if hits.height > 1:
            console.note(f"{hits.height} titles hold '{title}'; took {hits['title'][0]}, which has most ratings")
    else:
        index = loaded.id_maps()[1]
        import polars as pl

        found = index.index(pl.Series(item_id or (), dtype=pl.String))
        if found.null_count():
            unknown = next(i for i, k in zip(item_id or (), found, strict=True) if k is None)
            raise InputError(f"item '{unknown}' is not in {loaded.path}")
        indices = found.to_list()
    name = loaded.info["columns"]["item"]
    has_titles = "title" in loaded.items.columns
    for index in indices:
        query = loaded.items.row(index, named=True)
        rows = [
            {"query": query[name], name: (other := loaded.items.row(row["item"], named=True))[name], "rank": row["rank"],
             "score": round(row["score"], 6), "n_ratings": other["n_ratings"],
             **({"title": other["title"]} if has_titles else {})}
            for row in neighbors.similar(loaded, index, n, min_ratings).iter_rows(named=True)
        ]  # fmt: skip
        table = Table(title=f"nearest to {safe(query.get('title') or query[name])}", title_justify="left")
        for column in ("rank", "score", name, "title", "ratings")[: 5 if has_titles else 3]:
            table.add_column(safe(column), justify="left" if column in (name, "title") else "right")
        for row in rows:
            cells = [str(row["rank"]), f"{row['score']:.3f}", safe(row[name])]
            table.add_row(*cells, *([safe(row["title"] or "-"), f"{row['n_ratings']:,}"] if has_titles else []))
        for row in rows if json else ():
            console.result("", row)
        if not json:
            console.table(table, None)
