"""``cfcli bench``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, is_live, leave_no_compiler_cache
from cfcli.core.config.names import known_key
from cfcli.core.config.resolve import resolve
from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ConfigError, MachineError

if TYPE_CHECKING:
    from rich.table import Table

    from cfcli.core.training.benchmark import Benchmark, Sweep, Timing

SWEEPS: "tuple[Sweep, ...]" = ("batch-size", "num-workers", "threads", "device")
SWEEP_PANEL = "Sweeps"
FLAGS = {name: options.TRAIN[name] for name in ("model", "dim", "batch_size", "device")}


@options.takes(FLAGS, first=FLAGS)
def bench(
    *,
    data: options.Data = Path("data"),
    sweep: Annotated[
        str, typer.Option(metavar="A,B,...", help=f"Settings to sweep over: {', '.join(SWEEPS)}.")
    ] = "batch-size,num-workers",
    batch_sizes: Annotated[
        str,
        typer.Option(
            metavar="N,N,...",
            help="Batch sizes for the sweep batch-size; powers of 2 from 256 to 65536 if not "
            "given.",
            show_default=False,
            rich_help_panel=SWEEP_PANEL,
        ),
    ] = "256,512,1024,2048,4096,8192,16384,32768,65536",
    num_workers: Annotated[
        str,
        typer.Option(
            metavar="N,N,...",
            help="DataLoader workers for num-workers.",
            rich_help_panel=SWEEP_PANEL,
        ),
    ] = "0,1,2",
    threads: Annotated[
        str,
        typer.Option(
            metavar="N,N,...",
            help="CPU threads for the sweep threads.",
            rich_help_panel=SWEEP_PANEL,
        ),
    ] = "1,2",
    flags: options.Flags,
    sample: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Training rows to use, from the start.",
            min=2,
            rich_help_panel=SWEEP_PANEL,
        ),
    ] = 100_000,
    repeats: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Epochs to time for each setting, after one to warm up.",
            min=1,
            rich_help_panel=SWEEP_PANEL,
        ),
    ] = 3,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the results, as .csv, .tsv, .jsonl or .parquet.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Draw the results.", rich_help_panel=options.OUTPUT_PANEL
        ),
    ] = None,
    write_config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Write the fastest setting, for 'train --config'.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Time training epochs by batch size and other settings.

    Sweeps over settings of the solver adam: batch size, workers, threads,
    device. For each, the loader and the steps are also timed alone. The last
    row is the solver that 'cfcli train' would use.

    Creates nothing without --out, --plot or --write-config.

    Examples:
        cfcli bench
        cfcli bench --sweep batch-size --write-config fast.toml
    """
    config = resolve(TrainConfig, flags=flags)
    names = [known_key(name.strip(), SWEEPS, "--sweep") for name in sweep.split(",")]
    sweeps = [known for name in names for known in SWEEPS if known == name]
    sizes = _numbers("--batch-sizes", batch_sizes, 1)
    workers = _numbers("--num-workers", num_workers, 0)
    counts = _numbers("--threads", threads, 1)

    from cfcli.core.data.dataset import Dataset
    from cfcli.core.storage import targets

    if out:
        options.rows_file(str(out))
    for path, suffix in ((plot, ".png"), (write_config, ".toml")):
        if path:
            targets.check_file(path, suffixes=[suffix])
    dataset = Dataset.load(data)
    console = Out(json, quiet)

    from cfcli.core.reporting import charts, png
    from cfcli.core.serving import outputs
    from cfcli.core.training import benchmark

    leave_no_compiler_cache()

    def watch(timing: "Timing") -> None:
        if not is_live():
            console.say(
                f"{timing.sweep} {timing.label}: {timing.seconds_median:.3f} s, "
                f"{timing.ratings_per_second:,} ratings/s"
            )

    solver = config.replace(batch_size="auto").resolved_solver
    console.say(f"timing adam by {', '.join(names)}, then {solver}, the default solver of train")
    with console.stderr.status("timing epochs ..."):
        result = benchmark.bench(
            dataset,
            config,
            sweeps=sweeps,
            batch_sizes=sizes,
            num_workers=workers,
            threads=counts,
            sample=sample,
            repeats=repeats,
            watch=watch,
        )
    if out:
        outputs.write([result.table()], str(out))
    if write_config:
        benchmark.write_config(result, write_config)
    console.table(_table(result), result.summary())
    if plot:
        try:
            png.draw(charts.sweeps(result), plot)
        except MachineError as error:
            console.note(f"no picture: {error}")


def _numbers(flag: str, text: str, least: int) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < least:
        raise ConfigError(
            f"{flag}: '{text}' is not a list of whole numbers from {least}, like 256,1024"
        )
    return numbers


def _table(result: "Benchmark") -> "Table":
    from rich.table import Table

    title = f"one epoch of {result.rows:,} ratings, its loader alone and its steps alone; seconds"
    table = Table(title=title, title_justify="left", caption_justify="left")
    if any(timing.sweep == "num-workers" for timing in result.results):
        table.caption = (
            "num-workers: PyTorch's DataLoader with batches of 4,096, compared with resident"
        )
    for name in ("sweep", "setting", "median", "range", "loader", "steps", "ratings/s"):
        table.add_column(name, justify="left" if name == "sweep" else "right")
    former = ""
    for timing in result.results:
        is_first = timing.sweep != former
        if is_first and former:
            table.add_section()
        table.add_row(
            timing.sweep if is_first else "",
            timing.label,
            _seconds(timing.seconds_median),
            f"{timing.seconds_min:.3f}-{timing.seconds_max:.3f}",
            _seconds(timing.seconds_loader),
            _seconds(timing.seconds_steps),
            f"{timing.ratings_per_second:,}",
            style="bold" if timing.setting == result.best else None,
        )
        former = timing.sweep
    return table


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3f}"
