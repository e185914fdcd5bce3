"""``cfcli retrain``."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, is_live, leave_no_compiler_cache, safe
from cfcli.cli.output.progress import TrainingProgress
from cfcli.core.config.resolve import resolve_both
from cfcli.core.errors import CfcliError, GateError, LockedError

GATE_PANEL, NIGHT_PANEL = "Whether to publish", "Every night"


@options.takes(
    {
        k: cls
        for k, cls in (options.PREPARE | options.TRAIN).items()
        if k not in ("split", "warm_start")
    },
    first=("model", "dim"),
    brief=False,
)
def retrain(
    ratings: Annotated[
        list[str],
        typer.Argument(
            metavar="RATINGS...", help="Ratings files or folders of Parquet parts; - is stdin."
        ),
    ],
    *,
    store: options.Store,
    items: options.Items = None,
    users: options.Users = None,
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="X",
            help="Publish if the RMSE is at most this share above the one in use.",
            rich_help_panel=GATE_PANEL,
        ),
    ] = 0.01,
    tolerance_lists: Annotated[
        float,
        typer.Option(
            metavar="X",
            help="Publish if the nDCG of the lists is at most this much below the one in use.",
            rich_help_panel=GATE_PANEL,
        ),
    ] = 0.02,
    min_gain_over: Annotated[
        options.Baseline,
        typer.Option(
            metavar="NAME",
            help="Publish only a run that is better than this: mean, user_mean, item_mean, bias or "
            "none.",
            rich_help_panel=GATE_PANEL,
        ),
    ] = "bias",
    keep: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Runs to keep besides the one in use and the previous one.",
            rich_help_panel=NIGHT_PANEL,
        ),
    ] = 7,
    full_every: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Train every Nth run from scratch, the others from the vectors in use.",
            rich_help_panel=NIGHT_PANEL,
        ),
    ] = 7,
    wait: options.Wait = 0,
    accept_shrink: Annotated[
        bool,
        typer.Option(
            "--accept-shrink",
            help="Continue even if most rows or ids are gone or the scale changed.",
            rich_help_panel=GATE_PANEL,
        ),
    ] = False,
    metrics_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.prom",
            help="Write metrics for the textfile collector of Prometheus.",
            rich_help_panel=NIGHT_PANEL,
        ),
    ] = None,
    flags: options.Flags,
    config: options.ConfigFile = None,
    set: options.Sets = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Retrain a model, and publish it if it is good enough.

    Prepares the ratings, trains, and compares the new run with the one in use
    on rows that neither was trained on. Made for cron: prints one line, and
    does nothing if ratings and settings have not changed.

    Creates a run in --store and points STORE/current to it, or exits with 6 if
    the new run is worse.

    Examples:
        cfcli retrain ratings.csv --store models --items movies.csv
        cfcli retrain ratings/*.csv --store models --dim 16 --metrics-file cf.prom
    """
    console = Out(json, quiet)
    prepare, train = resolve_both(config, set or (), flags, console.note)

    import time

    from cfcli.core.inputs.sources import Source
    from cfcli.core.retraining import prometheus
    from cfcli.core.retraining.gate import Policy
    from cfcli.core.retraining.retrain import retrain as run
    from cfcli.core.retraining.store import Store
    from cfcli.core.storage import targets
    from cfcli.core.storage.schema import to_json

    targets.check_store(store)
    if metrics_file:
        targets.check_file(metrics_file, [*ratings, items, users, config], [".prom"])
    leave_no_compiler_cache()
    place = Store(store)
    policy = Policy(tolerance, min_gain_over, keep, full_every, tolerance_lists)
    begin, code, night = time.perf_counter(), 1, None
    unwritten = None
    try:
        with contextlib.ExitStack() as stack:
            progress = None
            if is_live() and not quiet:
                progress = stack.enter_context(
                    TrainingProgress(
                        console, train, train.chosen_by, first="reading the ratings ..."
                    )
                )
            night = run(
                [source for path in ratings for source in Source.all_of(path)],
                place,
                prepare,
                train,
                policy,
                items=Source.of(items) if items else None,
                users=Source.of(users) if users else None,
                wait=wait,
                accept_shrink=accept_shrink,
                progress=progress,
            )
        code = GateError.exit_code if night.status == "refused" else 0
    except CfcliError as error:
        code = error.exit_code
        if isinstance(error, LockedError):
            metrics_file = None  # the other process writes it
        raise
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        raise
    finally:
        if metrics_file:
            seconds = time.perf_counter() - begin
            try:
                values = prometheus.gauges(place, night, code, seconds)
                prometheus.write(metrics_file, store, values)
            except CfcliError as error:  # the night's own outcome comes first
                if code:
                    console.note(str(error))
                else:
                    unwritten = error
    if is_live():
        for note in night.notes:
            console.note(note)
    console.say(safe(night.line()))
    current = place.current()
    if current or json:  # a first model that was refused leaves nothing to print
        console.result(str(current), to_json(night))
    if unwritten:
        raise unwritten
    if code:
        if quiet:
            raise GateError(f"{night.run}: not published: {night.reason}")
        raise typer.Exit(code)
