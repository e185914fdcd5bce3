"""``cfcli export-embeddings``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, counted


def export_embeddings(
    run: options.RunArgument = Path("runs/latest"),
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write, or a folder with --entity both.",
            show_default="embeddings/items.parquet in the run",
        ),
    ] = None,
    entity: Annotated[
        Literal["items", "users", "both"],
        typer.Option(help="Whose embeddings to write; both writes two files."),
    ] = "items",
    format: Annotated[
        Literal["parquet", "csv", "tsv", "jsonl", "arrow", "npy", "word2vec", "projector"] | None,
        typer.Option(
            help="Format: parquet, csv, tsv, jsonl, arrow, npy, word2vec, or projector for "
            "TensorBoard.",
            metavar="FORMAT",
            show_default="what the name of --out says, or else parquet",
        ),
    ] = None,
    layout: Annotated[
        Literal["columns", "list"],
        typer.Option(help="One column per dimension, or one list column."),
    ] = "columns",
    vectors: Annotated[
        Literal["rating", "interest", "list"],
        typer.Option(
            help="Vectors of the rating model, of the interest model, or of both: with list, inner "
            "products order items as 'cfcli recommend' does."
        ),
    ] = "rating",
    titles: Annotated[bool, typer.Option("--titles", help="Add a column of titles.")] = False,
    biases: Annotated[
        bool,
        typer.Option(
            "--biases", help="Add a column 'bias' with the biases of the model (tables only)."
        ),
    ] = False,
    align_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Rotate the vectors of an mf onto this earlier Parquet export of items, so that "
            "the two are comparable. Inner products stay the same; use the same FILE for users.",
        ),
    ] = None,
    excel_safe: options.ExcelSafe = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the embeddings of items or users with their ids.

    Creates a table sorted by id: the id under its own column name, then
    column_0, column_1, ... (float32). Prints its path.

    Example: cfcli export-embeddings --entity items --format parquet
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
