"""``cfcli train``."""

import dataclasses
import signal
import sys
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, is_live, leave_no_compiler_cache, safe
from cfcli.cli.output.progress import TrainingProgress
from cfcli.cli.terminal import can_draw, chart
from cfcli.core.config.resolve import resolve, resolve_resumed
from cfcli.core.config.train import TRAINING_PANEL, TrainConfig
from cfcli.core.errors import CfcliError

if TYPE_CHECKING:
    from cfcli.core.data.dataset import Dataset
    from cfcli.core.runs.info import InterestInfo, RunInfo
    from cfcli.core.runs.run import Run


KEYS = (
    "model", "solver", "optimizer", "dim", "epochs", "best_epoch", "val", "seconds",
    "ratings_per_second", "device", "peak_rss_mb", "status", "interest", "refit",
)  # fmt: skip
LOSS = 5e-3  # share by which a cut model may be worse than the sampler before a hint is worth it


@options.takes(options.TRAIN | options.PROCESSES, first=("model", "dim", "epochs"))
def train(
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Dataset made by 'cfcli prepare'.",
            envvar="CFCLI_DATA",
            show_default="data",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Run directory.", show_default="runs/<UTC time>-<model>"),
    ] = None,
    config: options.ConfigFile = None,
    set: options.Sets = None,
    flags: options.Flags,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with a run that was stopped or killed.",
            metavar="RUN",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = None,
    no_plots: options.NoPlots = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a model on a dataset.

    Stops when the validation error no longer falls, and keeps the best epoch.
    Creates a run directory (weights, id maps, metrics by epoch, configuration,
    pictures) and prints its path; runs/latest points to the newest.

    Examples:
        cfcli train --dim 16
        cfcli train --model ncf --hidden 64,32 --learning-rate 0.001
    """
    from cfcli.core.data.dataset import Dataset
    from cfcli.core.runs import run as runs
    from cfcli.core.runs import train as fitting
    from cfcli.core.runs.writing import resumable
    from cfcli.core.storage import targets
    from cfcli.core.storage.schema import to_json
    from cfcli.core.training.distributed import ranks

    if out:
        targets.check_folder(out)
    begun, goes_on = None, False
    notes: list[str] = []
    if resume:
        begun = resumable(resume)
        file = begun.folder / "config.toml"
        settings = resolve_resumed(file, config, set or (), flags, notes.append)
    else:
        settings = resolve(TrainConfig, file=config, sets=set or (), flags=flags, note=notes.append)
    chosen_by = settings.chosen_by
    settings = ranks.launched(settings, notes.append)
    dataset = Dataset.load(data or (begun.data if begun else None) or Path("data"))
    if not resume and not ranks.rank(settings):
        settings = fitting.affordable(dataset, settings, out)
    console = Out(json, quiet or ranks.rank(settings) > 0)
    for note in notes:
        console.note(note)
    if begun:
        goes_on = (out or begun.out).resolve() == begun.out.resolve()
        elsewhere = "" if goes_on else f" as {safe(out)}"
        console.say(f"resuming {safe(resume)}{elsewhere}")
    leave_no_compiler_cache()
    with TrainingProgress(console, settings, chosen_by, is_resumed=begun is not None) as progress:
        trained = fitting.train(
            dataset,
            settings,
            out or (begun.out if begun else None),
            progress,
            resume=begun.folder / runs.CHECKPOINT if begun else None,
            keep=goes_on and begun is not None and begun.was_killed,
            replace=goes_on,
        )
    if trained is None:  # the first process says what came of it
        return
    path, info = trained.path, trained.info
    made = runs.Run(path, info)
    _say_errors(console, made)
    if not console.quiet and not trained.stopped_by:
        _say_biases(console, dataset, info)
    _say_sampler(console, made)
    if info.interest is not None:
        _say_interest(console, info.interest)
    if info.refit and info.refit.reason:
        console.note(f"not trained on held-out rows, too: {info.refit.reason}")
    if info.refit and len(info.refit.rating_sides) > 1:
        console.say(
            f"{' and '.join(info.refit.rating_sides[1:])} rows were added after that: "
            f"{info.refit.rating_rows:,} ratings (the numbers above: without them)"
        )
    _draw(console, made, no_plots)
    content = to_json(info)
    result = {"run": str(path), **{key: content[key] for key in KEYS}}
    if "tried" in content:
        result["tried"] = content["tried"]
    console.result(str(path), result)
    _say_stopped(console, path, trained.stopped_by)
    if trained.stopped_by:
        raise typer.Exit(128 + trained.stopped_by)
    if path.parent == runs.RUNS:  # where runs/latest leads to it
        console.next("cfcli", "evaluate")
    else:
        console.next("cfcli", "evaluate", path)


def _say_stopped(console: Out, run: Path, number: int | None) -> None:
    """What ended a training early, how it goes on, and which run commands take without it.

    Args:
        console: where to say it.
        run: its folder.
        number: of the signal that came, if one did.
    """
    from cfcli.core.runs.run import CHECKPOINT, RUNS
    from cfcli.core.runs.writing import latest

    ends = []
    if number:
        ends.append(f"stopped by {signal.Signals(number).name}; the best epoch so far was kept")
    if (run / CHECKPOINT).exists():
        before = "" if number else "stopped early; "
        ends.append(f"{before}go on with 'cfcli train --resume {run}'")
    if ends:
        console.note(f"{run}: {'; '.join(ends)}")
    if number and run.parent == RUNS:
        former = latest()
        which = f"runs/latest still is {former}" if former else "there is no runs/latest yet"
        console.note(f"{which}; to use the stopped run, name it, as in 'cfcli evaluate {run}'")


def _say_errors(console: Out, run: "Run") -> None:
    """The errors of the rating model as it was saved."""
    info = run.info
    when = f"epoch {info.best_epoch}/{info.epochs}, {info.seconds:.1f} s"
    if isnan(info.val.mse):
        console.note("there are no validation rows: no early stopping, and the last epoch was kept")
        console.say(f"rating model, dimension {info.dim}: {when}")
        return
    console.say(
        f"rating model, dimension {info.dim}: val RMSE {info.val.rmse:.4f}, "
        f"MAE {info.val.mae:.4f} ({when})"
    )


def _say_sampler(console: Out, run: "Run") -> None:
    """The error of the sampler, which epochs showed, beside that of the model that is cut from
    it."""
    info = run.info
    if info.solver != "gibbs" or isnan(info.val.mse):
        return
    sampler = run.history["val_rmse"][-1]
    more = ""
    if info.val.rmse > sampler * (1 + LOSS) and not info.tried:
        more = "; a larger dimension comes closer to it (--dim auto finds one)"
    console.say(f"sampler that it is cut from: val RMSE {sampler:.4f}{more}")


def _say_biases(console: Out, dataset: "Dataset", info: "RunInfo") -> None:
    """The error of the rating model beside that of damped biases, on the validation rows."""
    from cfcli.core.runs.biases import bias_errors

    if isnan(info.val.mse):
        return
    try:
        biases = bias_errors(dataset, info.shape)
    except CfcliError:  # another dataset has taken its place: the run is whole all the same
        return
    if info.val.rmse < biases.rmse:
        gain = 1 - info.val.rmse / biases.rmse
        console.say(
            f"damped biases: val RMSE {biases.rmse:.4f}; the rating model is {100 * gain:.1f} % "
            "below that"
        )
    else:
        console.say(
            f"damped biases: val RMSE {biases.rmse:.4f}; the rating model is no better, so it is "
            "not worth using as it is"
        )


def _say_interest(console: Out, found: "InterestInfo") -> None:
    """What came of the interest model."""
    if found.weights is None:
        console.note(
            f"no interest model ({found.reason}), so lists are ordered by predicted rating"
        )
        return
    chosen = "fixed settings, as there are not enough validation rows to choose by"
    if found.reason:
        console.note(f"interest model: --max-time: {found.reason}")
        chosen = "fixed settings"
    if found.val:
        chosen = f"val nDCG@10 {found.val.ndcg:.4f} for liked rows"
        if isnan(found.val.ndcg):
            chosen = "settings chosen by all validation rows, as none of them is liked"
    console.say(f"interest model of dimension {found.dim}: {chosen} ({found.seconds:.1f} s)")


def _draw(console: Out, run: "Run", no_plots: bool) -> None:
    """The losses: as pictures, and on a terminal."""
    from cfcli.core.reporting import charts

    # Epochs are of the sampler, not of the model that is cut from it.
    whose = "the sampler" if run.info.solver == "gibbs" else run.info.model
    loss = charts.loss(run.history, run.info.best_epoch)
    loss = dataclasses.replace(loss, title=f"MSE of {whose} by epoch")
    if is_live() and can_draw(sys.stderr):
        console.say(chart(loss))
    if not no_plots:
        console.pictures([loss, charts.steps(run.trace, run.history)], run.path / "plots")
