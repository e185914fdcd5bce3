"""``cfcli train``."""

import sys
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, is_live, leave_no_compiler_cache, safe
from cfcli.cli.terminal import can_draw, chart
from cfcli.core.config.resolve import resolve, resolve_resumed
from cfcli.core.config.train import TRAINING_PANEL, TrainConfig

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from cfcli.core.runs.info import RunInfo
    from cfcli.core.runs.run import Run
    from cfcli.core.training.epochs import Epoch


KEYS = (
    "model", "solver", "optimizer", "dim", "epochs", "best_epoch", "val", "seconds",
    "ratings_per_second", "device", "peak_rss_mb", "status", "interest", "refit",
)  # fmt: skip


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
    begun = None
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
    if resume:
        console.say(f"resuming {safe(resume)}")
    goes_on = begun is not None and (out or begun.out).resolve() == begun.out.resolve()
    leave_no_compiler_cache()
    with Progress(console, settings, chosen_by) as progress:
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
    best = f"val RMSE {info.val.rmse:.4f}, MAE {info.val.mae:.4f}"
    if isnan(info.val.mse):
        console.note("there are no validation rows: no early stopping, and the last epoch was kept")
        best = "done"
    console.say(f"best epoch {info.best_epoch} of {info.epochs}: {best}, {info.seconds:.1f} s")
    if info.refit and info.refit.reason:
        console.note(f"not trained on held-out rows, too: {info.refit.reason}")
    _say_interest(console, info)
    if info.refit and len(info.refit.rating_sides) > 1:
        console.say(
            f"then continued with the {' and '.join(info.refit.rating_sides[1:])} rows: "
            f"{info.refit.rating_rows:,} ratings; the numbers above are from before that"
        )
    _draw(console, runs.Run(path, info), no_plots)
    content = to_json(info)
    result = {"run": str(path), **{key: content[key] for key in KEYS}}
    if "tried" in content:
        result["tried"] = content["tried"]
    console.result(str(path), result)
    if (path / runs.CHECKPOINT).exists():
        console.note(f"stopped early; resume with 'cfcli train --resume {path}'")
    if trained.stopped_by:
        console.note(f"stopped by signal {trained.stopped_by}; the best epoch so far was kept")
        raise typer.Exit(128 + trained.stopped_by)


def _say_interest(console: Out, info: "RunInfo") -> None:
    """What came of the interest model."""
    found = info.interest
    if found is None or found.weights is None:
        reason = found.reason if found else None
        console.note(f"no interest model ({reason}), so lists are ordered by predicted rating")
        return
    chosen = "fixed settings, as there are not enough validation rows to choose by"
    if found.reason:
        console.note(f"interest model: --max-time: {found.reason}")
        chosen = "fixed settings"
    if found.val:
        chosen = f"val nDCG@10 {found.val.ndcg:.4f} for liked rows"
        if isnan(found.val.ndcg):
            chosen = "settings chosen by all validation rows, as none of them is liked"
    console.say(f"interest model of dimension {found.dim}: {chosen}, {found.seconds:.1f} s")


def _draw(console: Out, run: "Run", no_plots: bool) -> None:
    """The losses: as pictures, and on a terminal."""
    from cfcli.core.reporting import charts

    loss = charts.loss(run.history, run.info.best_epoch)
    if is_live() and can_draw(sys.stderr):
        console.say(chart(loss))
    if not no_plots:
        console.pictures([loss, charts.steps(run.trace, run.history)], run.path / "plots")


class Progress:
    """Epochs as lines on stderr and, on a terminal, a bar with the running epoch below them.

    Args:
        console: where the lines go.
        config: of the training.
        chosen_by: the flags that chose the solver, if any did.
    """

    def __init__(self, console: Out, config: TrainConfig, chosen_by: str = "") -> None:
        self.console, self.config, self.chosen_by = console, config, chosen_by
        self.best = float("inf")
        self.bar: Bar | None = None

    def __enter__(self) -> "Progress":
        if not self.console.quiet and is_live():
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            text = TextColumn("{task.description}"), TextColumn("{task.fields[last]}")
            columns = (text[0], BarColumn(), TimeElapsedColumn(), text[1])
            self.bar = Bar(*columns, console=self.console.stderr, transient=True)
            self.bar.start()
            self.task = self.bar.add_task("loading PyTorch ...", total=None, last="")
        return self

    def __exit__(self, *args: object) -> None:
        if self.bar:
            self.bar.stop()

    def start(self, device: str, batches: int, epochs: int) -> None:
        self.batches, self.epochs = batches, epochs
        config, details = self.config, []
        if config.resolved_optimizer not in (None, "adam"):
            details.append(f"optimizer {config.resolved_optimizer}")
        if self.chosen_by:
            details.append(f"chosen by {self.chosen_by}")
        solver = config.resolved_solver + (f" ({', '.join(details)})" if details else "")
        what = f"{config.model} of dimension {config.dim} by {solver}"
        self.console.say(f"{what} on {device}, {batches:,} steps an epoch")
        if self.bar:
            self.bar.update(self.task, total=batches, description=f"epoch 1/{epochs}")

    def stage(self, text: str) -> None:
        self.console.say(text)
        if self.bar:
            self.bar.update(self.task, total=None, completed=0, description=text, last="")

    def batch(self, done: int) -> None:
        if self.bar:
            self.bar.update(self.task, completed=done)

    def epoch(self, row: "Epoch") -> None:
        score = row.val_mse if row.val_mse is not None else row.train_mse
        mark = "[green]*[/]" if score < self.best else " "
        self.best = min(self.best, score)
        val = f"  val {row.val_mse:.4f} RMSE {row.val_rmse:.4f}" if row.val_mse is not None else ""
        self.console.say(
            f"epoch {row.epoch:>3}/{self.epochs}  loss {row.train_mse:.4f}{val} {mark} "
            f"{row.seconds:6.2f} s {row.ratings_per_second:>10,.0f} ratings/s"
        )
        if self.bar:
            rate = f"{row.ratings_per_second:,.0f} ratings/s"
            self.bar.update(
                self.task,
                completed=0,
                description=f"epoch {min(row.epoch + 1, self.epochs)}/{self.epochs}",
                last=rate,
            )
