"""Times ``cfcli prepare`` beside Polars' own scan_csv().sink_parquet() of the same file.

Makes the files (seeded) under --folder, where they are kept for the next time: 100 M rows take 2.8
GB and as much again for what is made of them. Each measurement is a process of its own, by wall
clock from start to end and by its largest resident size; the two take turns.

    python benchmarks/prepare.py --rows 1e6 10e6 25e6 100e6 --repeats 3
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from made_ratings import write_csv

POLARS = "import polars, sys; polars.scan_csv(sys.argv[1]).sink_parquet(sys.argv[2])"


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds and peak megabytes of a command."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6, 10e6, 25e6])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-data"))
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    cfcli = str(Path(sys.executable).with_name("cfcli"))
    print(
        f"{'rows':>12} {'bytes':>14} {'polars s':>9} {'cfcli s':>8} {'ratio':>6} {'rows/s':>11} {'MB peak':>8}"
    )
    for rows in map(int, args.rows):
        path = args.folder / f"{rows}.csv"
        if not path.exists():
            write_csv(path.with_suffix(".part"), rows)
            path.with_suffix(".part").rename(path)
        own, other = [], []
        for _ in range(args.repeats):
            other.append(
                measure(
                    [sys.executable, "-c", POLARS, str(path), str(args.folder / "polars.parquet")]
                )
            )
            shutil.rmtree(args.folder / "data", ignore_errors=True)
            own.append(
                measure(
                    [cfcli, "prepare", str(path), "--out", str(args.folder / "data"), "--quiet"]
                )
            )
        theirs, ours = statistics.median(s for s, _ in other), statistics.median(s for s, _ in own)
        peak = max(mb for _, mb in own)
        print(
            f"{rows:>12,} {path.stat().st_size:>14,} {theirs:>9.2f} {ours:>8.2f} {ours / theirs:>6.2f} "
            f"{rows / ours:>11,.0f} {peak:>8,.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
