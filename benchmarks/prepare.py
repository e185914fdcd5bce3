"""Times ``cfcli prepare`` beside Polars' own scan_csv().sink_parquet() of the same file.

Makes the files (seeded) under --folder, where they are kept for the next time: 100 M rows take 2.8
GB and as much again for what is made of them. --repeated times a second file, too, in which that
share of the rows repeats pairs of others. Each measurement is a process of its own, by wall
clock from start to end and by its largest resident size; the two take turns.

    python benchmarks/prepare.py --rows 1e6 10e6 25e6 100e6 --repeats 3
"""

import argparse
import shutil
import statistics
import sys
from pathlib import Path

import numpy as np
import polars as pl
from measuring import Cost, cfcli, in_turn, parser, print_head, print_row, ratings_file, run

POLARS = "import polars, sys; polars.scan_csv(sys.argv[1]).sink_parquet(sys.argv[2])"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", type=float, nargs="+", default=[1e6, 10e6, 25e6])
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--repeated", type=float, default=0.0)
    options.add_argument("--folder", type=Path, default=Path("benchmark-data"))
    args = options.parse_args()
    if args.repeated:
        print_head("rows", "as they are s", f"{args.repeated:.0%} repeated s", "ratio", "peak MB")
        for rows in map(int, args.rows):
            compare_repeated(args, rows)
        return
    print_head("rows", "bytes", "Polars s", "cfcli s", "ratio", "rows/s", "peak MB")
    for rows in map(int, args.rows):
        path = ratings_file(args.folder, rows)
        data, table = args.folder / "data", args.folder / "polars.parquet"

        def polars(path: Path = path, table: Path = table) -> Cost:
            return run(sys.executable, "-c", POLARS, path, table)

        def own(path: Path = path, data: Path = data) -> Cost:
            shutil.rmtree(data, ignore_errors=True)
            return cfcli("prepare", path, "--out", data, "--quiet")

        other, found = in_turn(args.repeats, polars, own)
        theirs = statistics.median(cost.seconds for cost in other)
        ours = statistics.median(cost.seconds for cost in found)
        peak = max(cost.peak_mb for cost in found)
        size = path.stat().st_size
        cells = f"{theirs:.2f}", f"{ours:.2f}", f"{ours / theirs:.2f}", f"{rows / ours:,.0f}"
        print_row([f"{rows:,}", f"{size:,}", *cells, f"{peak:,.0f}"])


def compare_repeated(args: argparse.Namespace, rows: int) -> None:
    """A row of the table for a file without and one with repeated pairs."""
    plain = ratings_file(args.folder, rows)
    repeated = args.folder / f"{rows}-repeated-{args.repeated}.csv"
    if not repeated.exists():
        random = np.random.default_rng(1)
        frame = pl.read_csv(plain)
        kept = frame.height - int(args.repeated * frame.height)
        again = random.integers(0, kept, frame.height - kept)
        place = random.permutation(np.concatenate([np.arange(kept), again]))
        times = frame["timestamp"].sort()  # a log, in the order of time
        frame[place].with_columns(times).write_csv(repeated)
    data = args.folder / "data"

    def prepare(path: Path) -> Cost:
        shutil.rmtree(data, ignore_errors=True)
        return cfcli("prepare", path, "--out", data, "--quiet")

    both = in_turn(args.repeats, lambda: prepare(plain), lambda: prepare(repeated))
    one, other = (statistics.median(cost.seconds for cost in costs) for costs in both)
    peak = max(cost.peak_mb for cost in both[1])
    print_row([f"{rows:,}", f"{one:.2f}", f"{other:.2f}", f"{other / one:.2f}", f"{peak:,.0f}"])


if __name__ == "__main__":
    main()
