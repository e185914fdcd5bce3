"""``cfcli export-embeddings``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cfcli.cli import options
from cfcli.cli.console import Out


def export_embeddings(
    run: options.RunArgument = Path("runs/latest"),
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="embeddings/items.parquet in the run")
    ] = None,
    entity: Annotated[Literal["items", "users"], typer.Option(help="Whose embeddings.")] = "items",
    format: Annotated[
        Literal["parquet", "csv", "npy", "word2vec", "projector"],
        typer.Option(help="Form of the file."),
    ] = "parquet",
    layout: Annotated[
        Literal["columns", "list"], typer.Option(help="One column per dimension, or one list column.")
    ] = "columns",
    titles: Annotated[bool, typer.Option("--titles", help="Add a column with the titles.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the embeddings of items or users with their ids, for use elsewhere.

    Creates a table sorted by id: the id under its own column name, then column_0, ... (float32). Prints its path.

    Example: cfcli export-embeddings --entity items --format parquet
    """
    from cfcli.core import embeddings
    from cfcli.core.runs import Run

    loaded = Run.load(run)
    paths = embeddings.export(loaded, out, entity=entity, format=format, layout=layout, titles=titles)
    rows = (loaded.items if entity == "items" else loaded.users).height
    console = Out(json, quiet)
    console.say(f"{rows:,} {entity} of dimension {loaded.info['dim']}")
    data = {"files": [str(path) for path in paths], "rows": rows, "dim": loaded.info["dim"], "entity": entity}
    console.result(str(paths[0]), data)
