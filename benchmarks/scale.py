"""The whole road, from a CSV file to an evaluated model, at growing numbers of ratings: prepare,
train, evaluate.

Makes the files (seeded, of MovieLens-25M's proportions) under --folder, where they are kept for the
next time. Each command is a process of its own: wall seconds and largest resident size; then the
test RMSE of the model and that of the damped biases that it must beat. 100 M rows take 11 GB of
disk and an hour, and are run when asked for.

    python benchmarks/scale.py --rows 1e6 5e6 25e6
    python benchmarks/scale.py --rows 100e6 -- --dim 16
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from made_ratings import write_csv

CFCLI = str(Path(sys.executable).with_name("cfcli"))


def measure(*command: str) -> tuple[float, float, str]:
    """Seconds, peak megabytes and output of a command."""
    begin = time.perf_counter()
    process = subprocess.Popen([CFCLI, *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024, output


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6, 5e6, 25e6])
    parser.add_argument("--folder", type=Path, default=Path("benchmark-data"))
    parser.add_argument("flags", nargs="*", help="for train, after --")
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    print(
        "| ratings | prepare s | train s | epochs | evaluate s | all s | s per million | peak MB | RMSE | biases |\n"
        "|---|---|---|---|---|---|---|---|---|---|"
    )
    for rows in map(int, args.rows):
        path, data, run = (args.folder / name for name in (f"{rows}.csv", "data", "run"))
        if not path.exists():
            write_csv(path.with_suffix(".part"), rows)
            path.with_suffix(".part").rename(path)
        for folder in (data, run):
            shutil.rmtree(folder, ignore_errors=True)
        done = [
            measure("prepare", str(path), "--out", str(data), "--quiet"),
            measure(
                "train", "--data", str(data), "--out", str(run), "--quiet", "--json", *args.flags
            ),
            measure("evaluate", str(run), "--quiet", "--json"),
        ]
        seconds, peak = [s for s, _, _ in done], max(mb for _, mb, _ in done)
        epochs, report = json.loads(done[1][2])["epochs"], json.loads(done[2][2])
        whole = sum(seconds)
        print(
            f"| {rows / 1e6:g} M | {seconds[0]:.1f} | {seconds[1]:.1f} | {epochs} | {seconds[2]:.1f} | {whole:.1f} "
            f"| {whole / rows * 1e6:.1f} | {peak:,.0f} | {report['model']['rmse']:.4f} "
            f"| {report['baselines']['bias']['rmse']:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
