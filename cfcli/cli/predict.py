"""``cfcli predict``."""

import sys
from typing import Annotated, Literal

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, counted
from cfcli.cli.output.progress import SECONDS, Bar


@options.takes(options.FORM_KEYS, options.FORM_PANEL, brief=False)
def predict(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Run directory.", show_default="runs/latest"),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Argument(
            metavar="[PAIRS]",
            help="Table with a user and an item column; stdin if not given.",
        ),
    ] = None,
    out: Annotated[
        str, typer.Option(metavar="FILE", help=options.OUT_HELP, show_default=False)
    ] = "-",
    unknown: Annotated[
        Literal["fallback", "nan", "skip", "error"],
        typer.Option(
            metavar="NAME",
            help="For unknown ids: fallback to the side that is known, nan (leave empty), skip the "
            "row, or error.",
        ),
    ] = "fallback",
    std: Annotated[
        bool,
        typer.Option("--std", help="Add std, the expected error (runs of solver gibbs)."),
    ] = False,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities",
            help="Add p_1, p_2 ..., the probability of each rating (runs of solver gibbs).",
        ),
    ] = False,
    ratings: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Ratings of new users, or new ones of known users.",
        ),
    ] = None,
    items: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Attributes of new items."),
    ] = None,
    users: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Attributes of new users."),
    ] = None,
    excel_safe: options.ExcelSafe = False,
    flags: options.Flags = options.NO_FLAGS,
    json: options.JsonRows = False,
    quiet: options.Quiet = False,
) -> None:
    """Predict ratings for pairs of users and items.

    Keeps the rows, their order and all their columns.

    Creates a table with two more columns: prediction, and source, which says
    what it rests on: model, folded_in (--ratings), item_attributes or
    user_attributes (--items, --users), user_bias, item_bias or mean.

    Examples:
        cfcli predict pairs.csv --out predicted.csv
        cfcli predict models/current - < pairs.csv | head
    """
    where, pairs = options.run_and_rest(run, pairs)

    from cfcli.cli.output.results import Written
    from cfcli.core.inputs.sources import Source
    from cfcli.core.pair import Entity
    from cfcli.core.runs.newcomers import with_source
    from cfcli.core.runs.run import Run
    from cfcli.core.serving import predict as predicting
    from cfcli.core.serving.outputs import is_json, with_texts, write
    from cfcli.core.storage.schema import to_json

    console = Out(json, quiet)
    source = options.piped(pairs, "PAIRS")
    out = options.rows_file(out, [source, ratings, items, users])
    loaded = Run.load(where)
    form = loaded.form(flags)
    files: dict[Entity, str | None] = {"item": items, "user": users}
    for entity, file in files.items():
        if file:
            loaded = with_source(loaded, Source.of(file), entity, form, console.note)
    is_drawn = out == "-" and sys.stdout.isatty()  # whose rows a bar would break
    bar = Bar(Out(json, quiet or is_drawn), "predicting", after=SECONDS)
    blocks = predicting.predict(
        loaded,
        bar.reading([Source.of(source)])[0],
        unknown,
        std=std,
        probabilities=probabilities,
        ratings=Source.of(ratings) if ratings else None,
        form=form,
        note=console.note,
    )
    if json or is_json(out):
        added = 2 + std + (len(loaded.ordinal.steps) if probabilities else 0)
        blocks = (
            with_texts(block, predicting.find_pair_columns(block[:, :-added].schema, form, source))
            for block in blocks
        )
    with bar:
        rows = write(blocks, out, json=json, safe=excel_safe)
    if out != "-":
        console.say(counted(rows, "row"))
        console.result(out, to_json(Written(out, rows)))
