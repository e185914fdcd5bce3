"""``cfcli export-embeddings``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, counted

TABLE_PANEL = "The table"


def export_embeddings(
    run: options.RunArgument = Path("runs/latest"),
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File to write, or a folder with --entity both; if not given, "
            "embeddings/items.parquet in the run.",
        ),
    ] = None,
    entity: Annotated[
        Literal["items", "users", "both"],
        typer.Option(help="Whose embeddings; both writes two files."),
    ] = "items",
    format: Annotated[
        Literal["parquet", "csv", "tsv", "jsonl", "arrow", "npy", "word2vec", "projector"] | None,
        typer.Option(
            help="parquet, csv, tsv, jsonl, arrow, npy, word2vec, or projector for TensorBoard; if "
            "not given, as the name of --out says.",
            metavar="NAME",
        ),
    ] = None,
    layout: Annotated[
        Literal["columns", "list"],
        typer.Option(
            help="One column per dimension, or one list column.", rich_help_panel=TABLE_PANEL
        ),
    ] = "columns",
    vectors: Annotated[
        Literal["rating", "interest", "list"],
        typer.Option(
            metavar="NAME",
            help="Vectors of the rating model, of the interest model, or list: of both, whose "
            "inner products order items as 'cfcli recommend' does.",
        ),
    ] = "rating",
    titles: Annotated[
        bool,
        typer.Option("--titles", help="Add a column of titles.", rich_help_panel=TABLE_PANEL),
    ] = False,
    biases: Annotated[
        bool,
        typer.Option(
            "--biases",
            help="Add a column 'bias' with the biases of the model.",
            rich_help_panel=TABLE_PANEL,
        ),
    ] = False,
    align_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Rotate the vectors of an mf onto this earlier Parquet export of items, so that "
            "the two are comparable; inner products stay the same.",
            rich_help_panel=TABLE_PANEL,
        ),
    ] = None,
    excel_safe: options.ExcelSafe = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the embeddings of items or users with their ids.

    Creates a table sorted by id: the id under its own column name, then
    column_0, column_1, ... (float32). Prints its path.

    Examples:
        cfcli export-embeddings --titles --out items.csv
        cfcli export-embeddings --entity both --vectors list --out vectors
    """
    from cfcli.cli.output.results import Exported
    from cfcli.core.runs.run import Run
    from cfcli.core.serving import embeddings
    from cfcli.core.storage.schema import to_json

    console = Out(json, quiet)
    loaded = Run.load(run)
    paths = embeddings.export(
        loaded,
        out,
        entity=entity,
        format=format,
        layout=layout,
        titles=titles,
        vectors=vectors,
        biases=biases,
        excel_safe=excel_safe,
        align_to=align_to,
        note=console.note,
    )
    dim = embeddings.width(loaded, vectors)
    heights = {"items": loaded.items.height, "users": loaded.users.height}
    written = heights if entity == "both" else {entity: heights[entity]}
    for name, rows in written.items():
        console.say(f"{counted(rows, name.removesuffix('s'))} of dimension {dim}")
    names = [str(path) for path in paths]
    found = Exported(names, sum(written.values()), dim, entity)
    console.result("\n".join(names[: len(written)]), to_json(found))
