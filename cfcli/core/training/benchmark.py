"""How fast an epoch is, by what a user can change: the notebook's two sweeps and more."""

import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl

from cfcli.core.config.resolve import toml_table
from cfcli.core.config.train import Algorithm, TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ConfigError
from cfcli.core.storage import publishing
from cfcli.core.training.plan import sizing
from cfcli.core.words import counted

if TYPE_CHECKING:
    from cfcli.core.training.batches import Batch

Sweep = Literal["batch-size", "num-workers", "threads", "device"]
DATALOADER_BATCH = 4096  # ratings, as in the notebook
WARM_UP = 1  # epochs that are not counted: the first pays for caches, threads and workers


@dataclass(frozen=True)
class Setting:
    """What was timed.

    Attributes:
        batch_size: ratings of a step; None for the sampler, which has no batches.
        num_workers: processes of PyTorch's DataLoader.
        loader: ``resident``, or ``dataloader`` for PyTorch's; None for the sampler.
        threads: CPU threads.
        device: where it ran.
    """

    batch_size: int | None
    num_workers: int
    loader: Literal["resident", "dataloader"] | None
    threads: int | Literal["auto"]
    device: str


@dataclass(frozen=True)
class Timing:
    """Seconds of an epoch by one setting.

    Attributes:
        sweep: which one it belongs to; ``solver`` for the solver that ``train`` would use.
        solver: adam, or gibbs where ``train`` would use that.
        setting: what was timed.
        seconds_min: of the fastest epoch.
        seconds_median: of the median epoch.
        seconds_max: of the slowest epoch.
        seconds_loader: of the loader alone, the median; None for the sampler.
        seconds_steps: of the steps alone, the median; None for the sampler.
        ratings_per_second: in the median epoch.
    """

    sweep: Sweep | Literal["solver"]
    solver: Algorithm
    setting: Setting
    seconds_min: float
    seconds_median: float
    seconds_max: float
    seconds_loader: float | None
    seconds_steps: float | None
    ratings_per_second: int

    @property
    def label(self) -> str:
        """What the sweep changed."""
        setting = self.setting
        if self.sweep == "solver":
            return self.solver
        if self.sweep == "batch-size":
            return f"{setting.batch_size:,}"
        if self.sweep == "threads":
            return "1 thread" if setting.threads == 1 else f"{setting.threads} threads"
        if self.sweep == "device":
            return setting.device
        if setting.loader == "resident":
            return "resident"
        return counted(setting.num_workers, "worker")

    def row(self) -> dict[str, str | int | float | None]:
        """The timing as flat plain values, for CSV and JSON."""
        row: dict[str, str | int | float | None] = {"sweep": self.sweep, **asdict(self.setting)}
        row |= {name: value for name, value in asdict(self).items() if name != "setting"}
        return row


@dataclass(frozen=True)
class Benchmark:
    """The timings of all sweeps.

    Attributes:
        device: where the fastest setting ran.
        rows: ratings of an epoch.
        results: in the order in which they were measured.
        best: the fastest of those that ``train`` can be set to.
    """

    device: str
    rows: int
    results: list[Timing]
    best: Setting

    def table(self) -> pl.DataFrame:
        """The results, one row each."""
        rows = [timing.row() for timing in self.results]
        return pl.DataFrame(rows, infer_schema_length=None, strict=False)

    def summary(self) -> dict[str, object]:
        """The benchmark as plain values, for JSON."""
        return {
            "device": self.device,
            "rows": self.rows,
            "results": [timing.row() for timing in self.results],
            "best": asdict(self.best),
        }


def bench(
    dataset: Dataset,
    config: TrainConfig,
    *,
    sweeps: Sequence[Sweep],
    batch_sizes: Sequence[int],
    num_workers: Sequence[int],
    threads: Sequence[int] = (1,),
    sample: int,
    repeats: int,
    watch: Callable[[Timing], None] = lambda timing: None,
) -> Benchmark:
    """Times training epochs of adam (without validation) on the first ``sample`` training rows, and
    beside them what they consist of: the loader alone, and the steps alone.

    The sweep over batch sizes uses the resident loader. The one over workers uses PyTorch's
    DataLoader, row by row, at batches of 4,096 as the notebook did, beside the resident loader at
    the same size. The others use the resident loader at the batch size of ``config``; ``device``
    tries all that this machine has. At last comes an epoch of the solver that ``train`` would use
    for the model by default.

    Args:
        dataset: whose training rows are used.
        config: model, dimension, device, and the batch size of the other sweeps.
        sweeps: what to change, one after the other.
        batch_sizes: of the sweep over them.
        num_workers: of the sweep over them.
        threads: of the sweep over them.
        sample: training rows to use.
        repeats: epochs timed of each setting, after one that is not counted.
        watch: called with each timing as it comes.

    Raises:
        ConfigError: ``dim`` is ``auto``.
        MachineError: no such device.
    """
    if config.dim == "auto":
        raise ConfigError("bench times one dimension, not auto: give --dim N")
    stopwatch = _Stopwatch(dataset, dataset.split("train").head(sample), repeats)
    results: list[Timing] = []
    timings = _timings(stopwatch, config, sweeps, batch_sizes, num_workers, threads)
    for timing in timings:
        results.append(timing)
        watch(timing)
    choices = [
        timing
        for timing in results
        if timing.sweep != "solver" and timing.setting.loader == "resident"
    ]
    best = max(choices, key=lambda timing: timing.ratings_per_second)
    return Benchmark(best.setting.device, stopwatch.train.height, results, best.setting)


def write_config(result: Benchmark, path: Path) -> None:
    """Writes the fastest setting as a file that ``train --config`` takes.

    Args:
        result: of :func:`bench`.
        path: of the file.
    """
    best = result.best
    general = {"solver": "adam", "threads": best.threads, "device": best.device}
    lines = [
        f"# adam's fastest over {result.rows:,} ratings; large batches learn less in an epoch",
        toml_table("train", general),
        toml_table("train.adam", {"batch_size": best.batch_size, "loader": best.loader}),
    ]
    with publishing.file(path) as stream:
        stream.write("\n".join(lines).encode())


def _timings(
    stopwatch: "_Stopwatch",
    config: TrainConfig,
    sweeps: Sequence[Sweep],
    batch_sizes: Sequence[int],
    num_workers: Sequence[int],
    threads: Sequence[int],
) -> Iterator[Timing]:
    """The timings of all sweeps, as they are measured; see :func:`bench`."""
    from cfcli.core.training.device import devices

    by_default = config.replace(batch_size="auto")
    config = config.replace(solver="adam", batch_size=stopwatch.batch_size(config))
    for sweep in sweeps:
        if sweep == "batch-size":
            for size in batch_sizes:
                yield stopwatch.resident(sweep, config.replace(batch_size=size))
        elif sweep == "num-workers":
            of_notebook = config.replace(batch_size=DATALOADER_BATCH)
            yield stopwatch.resident(sweep, of_notebook)
            for workers in num_workers:
                yield stopwatch.dataloader(sweep, of_notebook, workers)
        elif sweep == "threads":
            for number in threads:
                yield stopwatch.resident(sweep, config.replace(threads=number))
        else:
            for name in devices():
                yield stopwatch.resident(sweep, config.replace(device=name))
    yield stopwatch.solver(by_default)


class _Stopwatch:
    """Times epochs over training rows.

    Args:
        dataset: that the rows are of.
        train: columns ``user``, ``item``, ``rating``.
        repeats: epochs to time, after one that is not counted.
    """

    def __init__(self, dataset: Dataset, train: pl.DataFrame, repeats: int) -> None:
        self.train, self.repeats = train, repeats
        self.shape = dataset.info.users, dataset.info.items

    def batch_size(self, config: TrainConfig) -> int:
        """The batch size of a configuration, once ``auto`` is resolved.

        Args:
            config: of the training.
        """
        return sizing.batch_size(config, self.train.height)

    def resident(self, sweep: Sweep, config: TrainConfig) -> Timing:
        """An epoch of adam, whose batches are cut from tensors.

        Args:
            sweep: that it belongs to.
            config: of the training.
        """
        seconds, device = self._epochs(config)
        return self._by_adam(sweep, config, seconds, device)

    def dataloader(self, sweep: Sweep, config: TrainConfig, workers: int) -> Timing:
        """An epoch of adam, whose batches PyTorch's DataLoader makes row by row.

        Args:
            sweep: that it belongs to.
            config: of the training.
            workers: processes of the DataLoader.
        """
        from cfcli.core.training import timing

        descent = timing.untrained(self.train, *self.shape, config)
        batches = data_loader(self.train, self.batch_size(config), workers)
        seconds = timing.time_epochs(descent, batches, self.repeats)
        return self._by_adam(sweep, config, seconds, str(descent.device), workers, batches)

    def solver(self, config: TrainConfig) -> Timing:
        """An epoch of the solver that trains by default.

        Args:
            config: of the training.
        """
        seconds, device = self._epochs(config)
        if config.resolved_solver == "adam":
            config = config.replace(solver="adam", batch_size=self.batch_size(config))
            return self._by_adam("solver", config, seconds, device)
        setting = Setting(None, 0, None, config.threads, device)
        return self._timing("solver", "gibbs", setting, seconds, None, None)

    def _epochs(self, config: TrainConfig) -> tuple[list[float], str]:
        """Seconds of epochs as ``train`` runs them, and the device."""
        from cfcli.core.training.fit import fit
        from cfcli.core.training.job import TrainingData
        from cfcli.core.training.signals import raise_stopped

        config = config.replace(epochs=WARM_UP + self.repeats)
        data = TrainingData(self.train, self.train.clear(), *self.shape)
        with tempfile.TemporaryDirectory() as folder:
            fitted = fit(data, config, Path(folder))
        if fitted.stopped_by:
            raise_stopped(fitted.stopped_by)
        return [row.seconds for row in fitted.history[WARM_UP:]], fitted.device

    def _by_adam(
        self,
        sweep: Sweep | Literal["solver"],
        config: TrainConfig,
        seconds: list[float],
        device: str,
        workers: int | None = None,
        batches: "Iterable[Batch] | None" = None,
    ) -> Timing:
        """A timing of adam, with its loader and its steps timed alone.

        Args:
            sweep: that it belongs to.
            config: that was timed.
            seconds: of its epochs.
            device: where it ran.
            workers: processes of PyTorch's DataLoader; None for the resident loader.
            batches: of PyTorch's DataLoader.
        """
        from cfcli.core.training import timing

        descent = timing.untrained(self.train, *self.shape, config)
        loader, steps = timing.time_parts(descent, batches or descent.batches, self.repeats)
        setting = Setting(
            batch_size=self.batch_size(config),
            num_workers=workers or 0,
            loader="resident" if workers is None else "dataloader",
            threads=config.threads,
            device=device,
        )
        medians = statistics.median(loader), statistics.median(steps)
        return self._timing(sweep, "adam", setting, seconds, *medians)

    def _timing(
        self,
        sweep: Sweep | Literal["solver"],
        solver: Algorithm,
        setting: Setting,
        seconds: list[float],
        loader: float | None,
        steps: float | None,
    ) -> Timing:
        median = statistics.median(seconds)
        return Timing(
            sweep=sweep,
            solver=solver,
            setting=setting,
            seconds_min=min(seconds),
            seconds_median=median,
            seconds_max=max(seconds),
            seconds_loader=loader,
            seconds_steps=steps,
            ratings_per_second=round(self.train.height / median),
        )


def data_loader(train: pl.DataFrame, batch_size: int, workers: int) -> "Iterable[Batch]":
    """PyTorch's own way to make batches, row by row: what the resident loader is measured against.

    Args:
        train: columns ``user``, ``item``, ``rating``.
        batch_size: ratings of a batch.
        workers: processes that make batches; 0 for this one.
    """
    from torch.utils.data import DataLoader, TensorDataset

    from cfcli.core.training.batches import Rows

    rows = Rows.of(train)
    columns: TensorDataset = TensorDataset(rows.user, rows.item, rows.rating)
    loader: Iterable[Batch] = DataLoader(
        columns,
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
    )
    return loader
