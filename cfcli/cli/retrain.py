"""``cfcli retrain``."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, is_live, leave_no_compiler_cache, safe
from cfcli.cli.train import Progress
from cfcli.core.config.resolve import resolve_both
from cfcli.core.errors import CfcliError, GateError, LockedError


@options.takes(
    {
        k: cls
        for k, cls in (options.PREPARE | options.TRAIN).items()
        if k not in ("split", "warm_start")
    }
)
def retrain(
    ratings: Annotated[
        list[str],
        typer.Argument(
            metavar="RATINGS...", help="Ratings files, folders of Parquet parts; - is stdin."
        ),
    ],
    *,
    store: options.Store,
    items: options.Items = None,
    tolerance: Annotated[
        float,
        typer.Option(
            help="Publish though the RMSE is above that of the model in use by this share."
        ),
    ] = 0.01,
    min_gain_over: Annotated[
        options.Baseline, typer.Option(help="Publish only what is better than this baseline.")
    ] = "bias",
    keep: Annotated[
        int, typer.Option(help="Runs to keep, beside the one in use and the one before.")
    ] = 7,
    full_every: Annotated[
        int,
        typer.Option(
            metavar="N", help="Begin every Nth training anew, the others with the vectors in use."
        ),
    ] = 7,
    wait: options.Wait = 0,
    accept_shrink: Annotated[
        bool,
        typer.Option(
            "--accept-shrink", help="Even if most former rows or ids are gone, or the scale is new."
        ),
    ] = False,
    metrics_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE.prom", help="Write numbers for Prometheus' textfile collector."),
    ] = None,
    flags: options.Flags,
    config: options.ConfigFile = None,
    set: options.Sets = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Prepare, train, compare with the model in use on rows neither was trained on, and publish
    what is as good.

    Creates a run in --store and moves STORE/current to it, or exits with 6 when it is worse.

    Where nothing changed since last time there is nothing to do. Made for cron: says one line.

    Example: cfcli retrain ratings.csv --store models
    """
    console = Out(json, quiet)
    prepare, train = resolve_both(config, set or (), flags, console.note)

    import time

    from cfcli.core.inputs.sources import Source
    from cfcli.core.retraining import prometheus
    from cfcli.core.retraining.gate import Policy
    from cfcli.core.retraining.retrain import retrain as run
    from cfcli.core.retraining.store import Store
    from cfcli.core.storage.schema import to_json

    leave_no_compiler_cache()
    place = Store(store)
    policy = Policy(tolerance, min_gain_over, keep, full_every)
    begin, code, night = time.perf_counter(), 1, None
    try:
        with contextlib.ExitStack() as stack:
            progress = None
            if is_live() and not quiet:
                progress = stack.enter_context(Progress(console, train, train.chosen_by))
            night = run(
                [source for path in ratings for source in Source.all_of(path)],
                place,
                prepare,
                train,
                policy,
                items=Source.of(items) if items else None,
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
            values = prometheus.gauges(place, night, code, seconds)
            prometheus.write(metrics_file, store, values)
    if is_live():
        for note in night.notes:
            console.note(note)
    console.say(safe(night.line()))
    console.result(str(place.current()), to_json(night))
    if code:
        if quiet:
            raise GateError(f"{night.run}: not published: {night.reason}")
        raise typer.Exit(code)
