"""Times `cfcli train` beside another version: the whole command, a sweep or an epoch, memory, and
what the model is worth on held-out rows.

    python benchmarks/speed.py BASE TEST --other old/bin/cfcli -- --dim 16

Words after `--` go to `train` of both, those of --own to this version alone. Both take turns.
Seconds are the least of all repeats; a sweep's are those of the median epoch of its run.
"""

import json
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import measuring
import numpy as np
import polars as pl


class Trained(NamedTuple):
    """What a training took, and its error."""

    seconds: float
    sweeps: int
    sweep: float
    peak_mb: float
    rmse: float


def train(cfcli: str, folder: Path, flags: list[str], own: list[str], test: Path) -> Trained:
    """Trains a model and evaluates it."""
    run = folder / "run"
    measuring.run("rm", "-rf", run)
    made = "train", "--data", folder / "data", "--out", run, "--no-plots", "--quiet", *flags, *own
    cost = measuring.run(cfcli, *made)
    history = pl.read_csv(run / "metrics.csv")
    steps = pl.read_csv(run / "steps.csv").height
    rows = json.loads((run / "run.json").read_text())["dataset"]["train"]
    lists = ["--no-lists"] if own else []
    found = measuring.run(cfcli, "evaluate", run, "--ratings", test, "--json", *lists).output
    sweep = rows / float(np.median(history["ratings_per_second"].to_numpy()))
    return Trained(cost.seconds, steps, sweep, cost.peak_mb, json.loads(found)["model"]["rmse"])


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--other", help="console script of another version")
    parser.add_argument("--own", default="", help="flags that the other version does not get")
    parser.add_argument("--val-size", default="0.1")
    parser.add_argument("--repeats", type=int, default=3)
    args, flags = measuring.arguments(parser)
    sides = {"this version": (measuring.CFCLI, shlex.split(args.own))}
    if args.other:
        sides["the other"] = (args.other, [])
    with tempfile.TemporaryDirectory() as name:
        ways = []
        for side, (cfcli, own) in sides.items():
            folder = Path(name) / side.replace(" ", "_")
            sizes = "--val-size", args.val_size, "--test-size", "0"
            measuring.run(cfcli, "prepare", args.base, "--out", folder / "data", *sizes, "--quiet")
            ways.append(way(cfcli, folder, flags, own, args.test))
        found = measuring.in_turn(args.repeats, *ways)
    measuring.print_head("", "seconds", "sweeps", "seconds a sweep", "peak MB", "RMSE")
    best = [
        [min(getattr(run, field) for run in runs) for field in Trained._fields] for runs in found
    ]
    for side, (seconds, sweeps, sweep, peak, rmse) in zip(sides, best, strict=True):
        cells = f"{seconds:.1f}", sweeps, f"{sweep:.4f}", f"{peak:.0f}", f"{rmse:.4f}"
        measuring.print_row([side, *cells])
    if len(best) > 1:
        ratios = [f"{ours / theirs:.2f}" for ours, theirs in zip(*best, strict=True)]
        measuring.print_row(["ratio", *ratios[:4], f"{best[0][4] - best[1][4]:+.4f}"])


def way(
    cfcli: str, folder: Path, flags: list[str], own: list[str], test: Path
) -> Callable[[], Trained]:
    """A training that can be called again and again."""
    return lambda: train(cfcli, folder, flags, own, test)


if __name__ == "__main__":
    main()
