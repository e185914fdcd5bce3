"""Times how long commands take to start: every --help, and those that use a model, on a small one.

Each is a process of its own, by wall clock and by CPU time (user and system), the median of
--repeats after one that is not counted. The last column says which heavy libraries were loaded.

    python benchmarks/startup.py --repeats 10
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cfcli.cli.app import COMMANDS

CFCLI = str(Path(sys.executable).with_name("cfcli"))
HEAVY = "polars pyarrow sklearn torch pytorch_lightning pandas".split()
LOADED = f"""
import atexit, sys
atexit.register(lambda: print(" ".join(n for n in {HEAVY!r} if n in sys.modules), file=sys.stderr))
from cfcli.cli.app import main
main()
"""


def measure(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command."""
    begin, before = time.perf_counter(), os.times()
    done = subprocess.run([CFCLI, *command], cwd=folder, capture_output=True, text=True)
    wall, after = time.perf_counter() - begin, os.times()
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    cpu = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chance = np.random.default_rng(0)
        rows = [f"{u},{i},{r}" for u, i, r in chance.integers(1, [60, 60, 6], (3000, 3))]
        (folder / "ratings.csv").write_text("user,item,rating\n" + "\n".join(rows) + "\n")
        (folder / "pairs.csv").write_text("user,item\n1,1\n")
        for command in ("prepare ratings.csv", "train --epochs 1 --quiet"):
            measure(command.split(), folder)
        used = [
            "predict runs/latest pairs.csv", "recommend --user 1", "similar 1", "export-embeddings", "evaluate",
            "verify", "prepare ratings.csv", "train --epochs 1 --out run-{k}",
        ]  # fmt: skip
        print(f"{'command':<32} {'wall s':>7} {'cpu s':>7}  loaded")
        for text in ["--help", *(f"{c} --help" for c in COMMANDS), *used]:
            times = [measure(text.format(k=k).split(), folder) for k in range(args.repeats + 1)][1:]
            wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
            command = [sys.executable, "-c", LOADED, *text.format(k="last").split()]
            loaded = subprocess.run(
                command, cwd=folder, capture_output=True, text=True
            ).stderr.splitlines()[-1]
            print(f"{text.partition('{')[0]:<32} {wall:>7.3f} {cpu:>7.3f}  {loaded}", flush=True)


if __name__ == "__main__":
    main()
