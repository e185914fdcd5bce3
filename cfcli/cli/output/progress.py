"""How far the work of a command is: a bar on a terminal, few lines in a pipe."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cfcli.cli.console import Out, is_live, safe
from cfcli.core.config.train import TrainConfig

if TYPE_CHECKING:
    from rich.progress import Progress as Drawn

    from cfcli.core.inputs.sources import Source
    from cfcli.core.training.epochs import Epoch

T = TypeVar("T")
SECONDS = 2.0  # after which work that is not done yet gets a bar
# Seconds between the lines of epochs in a pipe: a night's log stays short.
LINES_EVERY = "CFCLI_LINES_EVERY"
MINUTE = 60.0
AT_MOST = "at most "  # as early stopping may end before the last epoch


class Bar:
    """A bar on stderr that is gone once the work is done; nothing where nobody looks.

    Args:
        console: whose stderr it is on.
        text: what is done.
        total: of all steps; None where that is not known, which draws no time.
        after: seconds to wait before anything is drawn. The bar then needs :meth:`update` to begin.
        limit: put before the time left.
    """

    def __init__(
        self,
        console: Out,
        text: str,
        total: float | None = None,
        *,
        after: float = 0.0,
        limit: str = "",
    ) -> None:
        self.console, self.text, self.total = console, text, total
        self.after, self.limit = after, limit
        self.is_wanted = not console.quiet and is_live()
        self.done = self.origin = 0.0
        self.begin = time.perf_counter()
        self.drawn: Drawn | None = None

    def __enter__(self) -> "Bar":
        self._draw()
        return self

    def __exit__(self, *args: object) -> None:
        if self.drawn:
            self.drawn.stop()

    def restart(self, text: str, total: float | None = None) -> None:
        """Begins other work.

        Args:
            text: what it is.
            total: of its steps; None where that is not known.
        """
        self.text, self.total = text, total
        self.done = self.origin = 0.0
        self.begin = time.perf_counter()
        self._draw()

    def skip(self, done: float) -> None:
        """Steps that were done before the work began, which say nothing about its speed.

        Args:
            done: how many.
        """
        self.done = self.origin = done

    def update(self, done: float, text: str | None = None, total: float | None = None) -> None:
        """Some steps are over.

        Args:
            done: how many, since the work began.
            text: what is done now, if that is new.
            total: of all steps, once it is known.
        """
        self.done = done
        self.text = text or self.text
        self.total = self.total if total is None else total
        self._draw()

    def _draw(self) -> None:
        waited = time.perf_counter() - self.begin
        if not self.is_wanted or (self.drawn is None and waited < self.after):
            return
        if self.drawn is None:
            self.drawn = _drawn(self.console)
            self.task = self.drawn.add_task("", total=None, left="")
            self.drawn.start()
        self.drawn.update(
            self.task,
            description=self.text,
            completed=self.done,
            total=self.total,
            left=self._left(waited),
        )

    def _left(self, waited: float) -> str:
        """How much time is left, in words."""
        steps = self.done - self.origin
        if self.total is None or steps <= 0:
            return ""
        seconds = round(waited / steps * max(self.total - self.done, 0))
        return f"{self.limit}{clock(seconds)} left"

    def reading(self, sources: "Iterable[Source]") -> "list[Source]":
        """The same sources, whose bytes are the steps; without a total where one is no plain file.

        Args:
            sources: that are going to be read.
        """
        found, total = list(sources), 0
        paths = [source.path for source in found]
        if all(path is not None and path.is_file() for path in paths):
            total = sum(path.stat().st_size for path in paths if path)
        self.total = total or None
        return [replace(source, watch=lambda n: self.update(self.done + n)) for source in found]

    def over(self, rows: Iterable[T], size: Callable[[T], int]) -> Iterator[T]:
        """The same parts, each of which is a step.

        Args:
            rows: parts of the work.
            size: how many steps a part is.
        """
        done = 0
        for part in rows:
            yield part
            done += size(part)
            self.update(done)


def clock(seconds: int) -> str:
    """A time as ``0:07``, ``12:30`` or ``1:02:30``.

    Args:
        seconds: how long it is.
    """
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _drawn(console: Out) -> "Drawn":
    from rich.progress import BarColumn, Progress, TextColumn

    text = TextColumn("{task.description}", markup=False)
    left = TextColumn("{task.fields[left]}", markup=False)
    return Progress(text, BarColumn(), left, console=console.stderr, transient=True)


def seconds_between_lines() -> float:
    """How long a pipe waits for the next epoch: a minute, or what the environment says."""
    with suppress(ValueError):
        return float(os.environ.get(LINES_EVERY, MINUTE))
    return MINUTE


class TrainingProgress:
    """The epochs of a training, as lines on stderr.

    A terminal gets all of them, and one bar over all epochs below them. A pipe gets the first, the
    last, and between them one a minute.

    Args:
        console: where the lines go.
        config: of the training.
        chosen_by: the flags that chose the solver, if any did.
        first: what is done before the training.
        is_resumed: whether the first epoch is not the first one of the run.
    """

    def __init__(
        self,
        console: Out,
        config: TrainConfig,
        chosen_by: str = "",
        *,
        first: str = "loading PyTorch ...",
        is_resumed: bool = False,
    ) -> None:
        self.console, self.config, self.chosen_by = console, config, chosen_by
        self.is_resumed = is_resumed
        self.bar = Bar(console, first, limit=AT_MOST)
        self.is_live = self.bar.is_wanted
        self.pause = seconds_between_lines()
        self.held: tuple[Epoch, bool] | None = None  # with whether it is the best so far
        self._forget()

    def __enter__(self) -> "TrainingProgress":
        self.bar.__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        self._say_held()
        self.bar.__exit__()

    def _forget(self) -> None:
        """Nothing is known of any epoch."""
        self.best = float("inf")
        self.former = 0  # the last epoch that is over
        self.said: float | None = None  # when the last line was printed

    def named(self, run: Path) -> None:
        """See :class:`cfcli.core.training.epochs.Progress`."""
        if not self.is_resumed:  # whose name was given
            self.console.say(f"training {safe(run)}")

    def start(self, device: str, batches: int, epochs: int) -> None:
        """See :class:`cfcli.core.training.epochs.Progress`."""
        self._say_held()
        self._forget()
        self.batches, self.epochs = batches, epochs
        config, details = self.config, []
        if config.resolved_optimizer not in (None, "adam"):
            details.append(f"optimizer {config.resolved_optimizer}")
        if self.chosen_by:
            details.append(f"chosen by {self.chosen_by}")
        solver = config.resolved_solver + (f" ({', '.join(details)})" if details else "")
        dim = "" if config.dim == "auto" else f" of dimension {config.dim}"
        self.console.say(f"{config.model}{dim} by {solver} on {device}, {batches:,} steps an epoch")
        # The sampler's mean has a higher rank than the model that is cut from it in the end.
        whose = "sampler" if config.resolved_solver == "gibbs" else config.model
        width = len(self._name(epochs))
        self.console.say(f"{whose:<{width}}  train RMSE  val RMSE         time    ratings/s")
        if self.is_resumed:
            self.bar.restart("going on ...")
        else:
            self.bar.restart(self._name(1), batches * epochs)

    def stage(self, text: str) -> None:
        """See :class:`cfcli.core.training.epochs.Progress`."""
        self._say_held()
        self.console.say(text)
        self.bar.restart(text)

    def batch(self, done: int) -> None:
        """See :class:`cfcli.core.training.epochs.Progress`."""
        if self.is_live and not self.is_resumed:
            self.bar.update(self.former * self.batches + done)

    def epoch(self, row: "Epoch") -> None:
        """See :class:`cfcli.core.training.epochs.Progress`."""
        score = row.train_mse if row.val_mse is None else row.val_mse
        self.held = row, score < self.best
        self.best = min(self.best, score)
        self.former = row.epoch
        now = time.monotonic()
        if self.is_live or self.said is None or now - self.said >= self.pause:
            self._say_held()
            self.said = now
        total = self.batches * self.epochs
        if self.is_resumed:
            self.is_resumed = False
            self.bar.restart("", total)
            self.bar.skip(row.epoch * self.batches)
        following = self._name(min(row.epoch + 1, self.epochs))
        self.bar.update(row.epoch * self.batches, following)

    def _name(self, epoch: int) -> str:
        return f"epoch {epoch:>3}/{self.epochs}"

    def _say_held(self) -> None:
        """Prints the last epoch, unless it was printed already."""
        if self.held is None:
            return
        row, is_best = self.held
        self.held = None
        mark = "[green]*[/]" if is_best else " "
        val = "        -" if row.val_rmse is None else f"{row.val_rmse:9.4f}"
        self.console.say(
            f"{self._name(row.epoch)}  {row.train_rmse:10.4f} {val} {mark} "
            f"{row.seconds:8.2f} s  {row.ratings_per_second:11,.0f}"
        )
