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
    name = loaded.info["columns"]["item"]
    has_titles = "title" in loaded.items.columns
    if title:
        hits = neighbors.find_title(loaded, title)
        indices = hits[:1]
        if len(hits) > 1:
            best = loaded.items["title"][hits[0]]
            console.note(f"{len(hits)} titles hold '{title}'; took {best}, which has most ratings")
    else:
        import polars as pl

        found = loaded.id_maps()[1].index(pl.Series(item_id or (), dtype=pl.String))
        if found.null_count():
            unknown = next(i for i, k in zip(item_id or (), found, strict=True) if k is None)
            raise InputError(f"item '{unknown}' is not in {loaded.path}")
        indices = found.to_list()
    for index in indices:
        query = loaded.items.row(index, named=True)
        rows = []
        for near in neighbors.similar(loaded, index, n, min_ratings).iter_rows(named=True):
            other = loaded.items.row(near["item"], named=True)
            row = {"query": query[name], name: other[name], "rank": near["rank"], "score": round(near["score"], 6)}
            rows.append(row | {key: other[key] for key in ("n_ratings", "title") if key in other})
        table = Table(title=f"nearest to {safe(query.get('title') or query[name])}", title_justify="left")
        for column in ("rank", "score", name, "title", "ratings")[: 5 if has_titles else 3]:
            table.add_column(safe(column), justify="left" if column in (name, "title") else "right")
        for row in rows:
            cells = [str(row["rank"]), f"{row['score']:.3f}", safe(row[name])]
            table.add_row(*cells, *([safe(row["title"] or "-"), f"{row['n_ratings']:,}"] if has_titles else []))
        if json:
            for row in rows:
                console.result("", row)
        else:
            console.table(table, rows)
