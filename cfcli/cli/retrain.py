"""``cfcli retrain``."""

import contextlib
from pathlib import Path
from typing import Annotated, Any

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
    from cfcli.core.retraining.gate import Policy
    from cfcli.core.retraining.retrain import retrain as run
    from cfcli.core.retraining.store import Store

    leave_no_compiler_cache()
    policy = Policy(tolerance, min_gain_over, keep, full_every)
    begin, code, report = time.time(), 1, {}
    try:
        with contextlib.ExitStack() as stack:
            progress = (
                stack.enter_context(Progress(console, train, train.chosen_by))
                if is_live() and not quiet
                else None
            )
            report = run(
                [source for path in ratings for source in Source.all_of(path)],
                Store(store),
                prepare,
                train,
                policy,
                items=Source.of(items) if items else None,
                wait=wait,
                accept_shrink=accept_shrink,
                progress=progress,
            )
        code = 6 if report["status"] == "refused" else 0
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
            _write_metrics(metrics_file, Store(store), begin, code, report)
    if is_live():
        for note in report["notes"]:
            console.note(note)
    console.say(safe(_line(report)))
    console.result(str(Store(store).current()), report)
    if code:
        if quiet:
            raise GateError(f"{report['run']}: not published: {report['reason']}")
        raise typer.Exit(code)


def _line(report: dict[str, Any]) -> str:
    """All that happened as ``key=value``, for people and for grep."""
    from cfcli.core.runs.verdict import now

    def rmse(part: str) -> str:
        return f"{report[part]['rmse']:.4f}" if report.get(part) else "-"

    bias = f"{report['baselines']['bias']['rmse']:.4f}" if report.get("baselines") else "-"
    text = f"{now()} retrain status={report['status']} run={Path(report['run']).name} rmse={rmse('model')} "
    text += f"champion_rmse={rmse('champion')} bias_rmse={bias} rows={report.get('n', '-')} "
    text += " ".join(
        f"{name}={report[name]}" for name in "ratings rejected new_users new_items".split()
    )
    start = (report["start"] or "-").partition(":")[0]
    return f'{text} start={start} seconds={report["seconds"]:.1f} reason="{report["reason"]}"'


def _write_metrics(path: Path, store: Any, begin: float, code: int, report: dict[str, Any]) -> None:
    import time
    from datetime import datetime

    from cfcli.core.errors import ArtifactError
    from cfcli.core.retraining import prometheus

    created, in_use = None, dict[str, Any]()
    with contextlib.suppress(ArtifactError):
        state = store.status()
        created = datetime.fromisoformat(state["created"]).timestamp()
        in_use = next((row for row in state["runs"] if row["run"] == state["current"]), {})
    values = {
        "retrain_timestamp_seconds": time.time(),
        "retrain_exit_code": code,
        "retrain_duration_seconds": time.time() - begin,
        "retrain_published": report.get("published", False),
        "current_created_timestamp_seconds": created,
        "current_rmse": (in_use.get("model") or {}).get("rmse"),
        "model_rmse": (report.get("model") or {}).get("rmse"),
        "champion_rmse": (report.get("champion") or {}).get("rmse"),
        "baseline_rmse": (report.get("baselines") or {}).get("bias", {}).get("rmse"),
        **{
            name: report.get(name)
            for name in "ratings rejected users items new_users new_items".split()
        },
    }
    prometheus.write(path, store.path, values)
