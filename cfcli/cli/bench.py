"""``cfcli bench``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cfcli.cli import options
from cfcli.cli.console import Out, is_live
from cfcli.core.config.names import known_key
from cfcli.core.config.resolve import resolve
from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ConfigError, MachineError

SWEEPS = ("batch-size", "num-workers", "threads", "compile", "device")


@options.takes(dict.fromkeys(("model", "dim", "batch_size", "device"), TrainConfig))
def bench(
    *,
    data: options.Data = Path("data"),
    sweep: Annotated[
        str, typer.Option(metavar="A,B...", help=f"What to sweep over: {', '.join(SWEEPS)}.")
    ] = "batch-size,num-workers",
    batch_sizes: Annotated[
        str, typer.Option(metavar="N,N...", help="Batch sizes of the first sweep.")
    ] = "256,512,1024,2048,4096,8192,16384,32768,65536",
    num_workers: Annotated[
        str, typer.Option(metavar="N,N...", help="DataLoader workers of the second.")
    ] = "0,1,2",
    threads: Annotated[
        str, typer.Option(metavar="N,N...", help="CPU threads of the third.")
    ] = "1,2",
    flags: options.Flags,
    sample: Annotated[
        int, typer.Option(help="Training rows to use, from the first on.", min=2)
    ] = 100_000,
    repeats: Annotated[
        int, typer.Option(help="Epochs timed of each setting, after one to warm up.", min=1)
    ] = 3,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write the results as CSV.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the results.")] = None,
    write_config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Write the fastest setting for 'train --config'."),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Time training epochs of adam by what can be set: batch size, loader and workers, threads,
    compiler, device.

    Beside the whole epoch: its loader alone and its steps alone.

    Creates nothing, but for --out, --plot and --write-config.

    Example: cfcli bench --sweep batch-size --write-config fast.toml
    """
    config = resolve(TrainConfig, flags=flags)
    sweeps: list[Any] = [known_key(name.strip(), SWEEPS, "--sweep") for name in sweep.split(",")]
    sizes, workers = (
        _numbers("--batch-sizes", batch_sizes, 1),
        _numbers("--num-workers", num_workers, 0),
    )
    counts = _numbers("--threads", threads, 1)

    from cfcli.core.data.dataset import Dataset

    dataset = Dataset.load(data)
    console = Out(json, quiet)

    from cfcli.core.reporting import charts, png
    from cfcli.core.training import benchmark

    rows: list[dict[str, Any]] = []

    def watch(row: dict[str, Any]) -> None:
        rows.append(row)
        if not is_live():
            what = f"{row['sweep']} {benchmark.label(row)}"
            console.say(
                f"{what}: {row['seconds_median']:.3f} s, {row['ratings_per_second']:,} ratings/s"
            )

    with console.stderr.status("timing epochs ..."):
        result = benchmark.bench(
            dataset, config, sweeps=sweeps, batch_sizes=sizes, num_workers=workers, threads=counts, sample=sample,
            repeats=repeats, watch=watch,
        )  # fmt: skip
    if out:
        benchmark.write_csv(result, out)
    if write_config:
        benchmark.write_config(result, write_config)
    console.table(_table(result), result)
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


def _table(result: dict[str, Any]) -> Any:
    from rich.table import Table

    from cfcli.core.training.benchmark import label

    title = (
        f"one epoch of {result['rows']:,} ratings, its loader alone and its steps alone; seconds"
    )
    table = Table(title=title, title_justify="left", caption_justify="left")
    if any(row["sweep"] == "num-workers" for row in result["results"]):
        table.caption = "resident and dataloader: at batches of 4,096"
    for name in ("sweep", "setting", "median", "range", "loader", "steps", "ratings/s"):
        table.add_column(name, justify="left" if name == "sweep" else "right")
    sweep = None
    for row, after in zip(result["results"], [*result["results"][1:], None], strict=True):
        is_best = {key: row[key] for key in result["best"]} == result["best"]
        table.add_row(
            row["sweep"] if row["sweep"] != sweep else "",
            label(row),
            f"{row['seconds_median']:.3f}",
            f"{row['seconds_min']:.3f}-{row['seconds_max']:.3f}",
            f"{row['seconds_loader']:.3f}",
            f"{row['seconds_steps']:.3f}",
            f"{row['ratings_per_second']:,}",
            style="bold" if is_best else None,
            end_section=after is not None and after["sweep"] != row["sweep"],
        )
        sweep = row["sweep"]
    return table
