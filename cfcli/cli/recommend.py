"""``cfcli recommend``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, add_ids, counted, safe
from cfcli.cli.output.progress import SECONDS, Bar
from cfcli.core.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from cfcli.core.runs.run import Run

NUMBERS = ("rank", "score", "prediction", "ratings")
CHOICE_PANEL, ORDER_PANEL = "Which items", "In which order"
ROOMY = 100  # characters that titles and reasons need to stand beside each other
SHOWN = 20  # users at most whose rows are drawn as tables


@options.takes(options.FORM_KEYS, options.FORM_PANEL, brief=False)
def recommend(
    run: options.RunArgument = Path("runs/latest"),
    user: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="User id; repeatable.")
    ] = None,
    users: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Users: one id per line, or a table; - is stdin."),
    ] = None,
    all_users: Annotated[
        bool, typer.Option("--all", help="Recommend to all users of the run.")
    ] = False,
    n: Annotated[
        int, typer.Option("-n", metavar="N", help="Number of items per user.", min=1)
    ] = 10,
    items: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Choose among these items only: one id per line, or a table. New items count by "
            "their attributes there.",
            rich_help_panel=CHOICE_PANEL,
        ),
    ] = None,
    by: Annotated[
        Literal["list", "interest", "rating"],
        typer.Option(
            metavar="NAME",
            help="Order by interest (what the user would choose), rating (as predicted), or list: "
            "both together.",
            rich_help_panel=ORDER_PANEL,
        ),
    ] = "list",
    min_ratings: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Leave out items with fewer ratings in training.",
            min=1,
            rich_help_panel=CHOICE_PANEL,
        ),
    ] = 1,
    why: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Name the N rated items that speak most for each item.",
            min=0,
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = 0,
    diversify: Annotated[
        float,
        typer.Option(
            metavar="X",
            help="Prefer items unlike those above in the list: 0 not at all, 1 only.",
            min=0,
            max=1,
            rich_help_panel=ORDER_PANEL,
        ),
    ] = 0.0,
    include_seen: Annotated[
        bool,
        typer.Option(
            "--include-seen", help="Include what the user rated.", rich_help_panel=CHOICE_PANEL
        ),
    ] = False,
    seen: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Leave out the pairs of this file (and of --ratings), not those of the dataset.",
            rich_help_panel=CHOICE_PANEL,
        ),
    ] = None,
    ratings: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Ratings of new users, or new ones of known users.",
        ),
    ] = None,
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help=options.OUT_HELP,
            show_default=False,
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = "-",
    excel_safe: options.ExcelSafe = False,
    flags: options.Flags = options.NO_FLAGS,
    json: options.JsonRows = False,
    quiet: options.Quiet = False,
) -> None:
    """List the best items for users.

    These are the items that the user is likely to choose and then to like,
    without those that the user rated.

    Creates a table of the user id, the item id, rank, score (what the order is
    by), prediction (the rating), ratings (how many the item has), and the title
    if known.

    Examples:
        cfcli recommend --user 1 -n 5
        cfcli recommend models/current --all --out lists.parquet
        cfcli recommend --ratings new_users.csv --json
    """
    ways = sum([bool(user), bool(users), all_users])
    if ways > 1 or (ways == 0 and not ratings):
        # Who writes 'recommend 4' means a user: RUN is a folder.
        meant = ways == 0 and len(run.parts) == 1 and not run.exists()
        hint = f" ('{run}' is not the folder of a run; for a user: --user {run})" if meant else ""
        raise ConfigError(
            f"choose users by one of --user ID, --users FILE, --all or --ratings FILE{hint}"
        )
    if all_users and ratings:
        raise ConfigError(
            "--all means all users of the run; leave it out for all users in --ratings"
        )

    import polars as pl

    from cfcli.cli.output.results import Written
    from cfcli.core.inputs.sources import Source
    from cfcli.core.runs.newcomers import read_newcomers
    from cfcli.core.runs.run import Run
    from cfcli.core.serving import recommend as recommending
    from cfcli.core.serving.outputs import is_json, with_texts, write
    from cfcli.core.serving.users import known_alone
    from cfcli.core.storage.schema import to_json

    console = Out(json, quiet)
    out = options.rows_file(out, [users, items, seen, ratings])
    loaded = Run.load(run)
    columns, form = loaded.info.columns, loaded.form(flags)
    ids = pl.Series(user, dtype=pl.String) if user else None
    candidates = None
    if items:
        loaded, candidates = read_newcomers(loaded, Source.of(items), "item", form, console.note)
    if users:
        source = Source.of(users)
        loaded, ids = read_newcomers(loaded, source, "user", form, console.note)
        if not ratings:  # which may be of users whom the run does not know
            ids, unknown = known_alone(loaded, ids)
            for note in unknown:
                console.note(f"{source.name}: {note}; left out")
    choice = recommending.Choice(
        n=n,
        by=by,
        items=candidates,
        include_seen=include_seen,
        min_ratings=min_ratings,
        why=why,
        diversify=diversify,
    )
    found = recommending.recommend(
        loaded,
        ids,
        choice,
        ratings=Source.of(ratings) if ratings else None,
        seen=Source.of(seen) if seen else None,
        form=form,
    )
    for note in found.notes:
        console.note(note)
    if out == "-" and not json and sys.stdout.isatty() and found.users <= SHOWN:
        titles = _titles(loaded)
        rows = 0
        for block in found.blocks:
            rows += block.height
            for (who,), part in block.group_by(columns["user"], maintain_order=True):
                table = _table(who, part.drop(columns["user"]), titles, console.stdout.width)
                console.show(table)
        if rows:
            console.show(_caption(loaded, by))
    else:
        blocks = found.blocks
        if json or is_json(out):
            blocks = (with_texts(block, list(columns)) for block in blocks)
        is_drawn = out == "-" and sys.stdout.isatty()  # whose rows a bar would break
        bar = Bar(Out(json, quiet or is_drawn), "recommending", found.users, after=SECONDS)
        with bar:
            counted_off = bar.over(blocks, lambda block: block[columns["user"]].n_unique())
            rows = write(counted_off, out, json=json, safe=excel_safe)
    if rows < n * found.users:
        console.note(
            f"{counted(rows, 'item')} on lists with room for {n * found.users:,}: there are no "
            "more to choose from"
        )
    if out != "-":
        console.say(f"{counted(rows, 'row')} for {counted(found.users, 'user')}")
        console.result(out, to_json(Written(out, rows, found.users)))


def _titles(run: "Run") -> dict[str, str]:
    """Titles by item id, where the run knows them."""
    if "title" not in run.items.columns:
        return {}
    known = run.items.select(run.info.columns.item, "title").drop_nulls()
    return {str(item): title for item, title in known.iter_rows()}


def _caption(run: "Run", by: str) -> str:
    """What the scores below tables are, which may lie outside the scale of ratings."""
    found, shape = run.info.interest, run.info.shape
    if by == "rating" or found is None or found.method is None:
        scale = f"{shape.low:g} to {shape.high:g}"
        return f"score: the predicted rating before it is brought to the scale, {scale}"
    if by == "interest":
        return "score: interest alone; it has no unit"
    return "score: interest, predicted rating and popularity together; it has no unit"


def _table(user: object, rows: "pl.DataFrame", titles: dict[str, str], width: int) -> "Table":
    """The items for one user.

    Args:
        user: the id.
        rows: the items.
        titles: by item id.
        width: of the terminal, in characters; where it is small, reasons stand below titles.
    """
    from rich.table import Table

    columns = rows.columns
    is_joined = width < ROOMY and {"title", "because"} <= {*columns}
    if is_joined:
        columns = [name for name in columns if name != "because"]
    table = Table(title=f"recommendations for user {safe(user)}", title_justify="left")
    add_ids(table, columns[0], rows.to_series(0))
    for name in columns[1:]:
        justify: Literal["right", "left"] = "right" if name in NUMBERS else "left"
        heading = "title, and because of" if name == "title" and is_joined else name
        table.add_column(safe(heading), justify=justify, overflow="fold")
    for row in rows.iter_rows(named=True):
        rating = None if row["prediction"] is None else f"{row['prediction']:.2f}"
        cells = row | {"score": f"{row['score']:.3f}", "prediction": rating}
        shown = {name: safe("-" if cells[name] is None else cells[name]) for name in columns}
        if "because" in row:
            reasons = [safe(f"- {titles.get(str(item), item)}") for item in row["because"]]
            above = [shown["title"]] if is_joined else []
            shown["title" if is_joined else "because"] = "\n".join([*above, *reasons])
        table.add_row(*shown.values())
    return table
