"""What ``cfcli plan`` says a process needs, beside the most memory that one took.

    python benchmarks/plan.py --users 400000 --items 100000 --ratings 2000000

makes ratings of that size up and trains on them in processes of their own, two epochs each.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

ADAM = "--dim 64 --solver adam"
FLAGS = [
    ADAM, f"{ADAM} --set implicit=false", f"{ADAM} --optimizer sparse-adam", f"{ADAM} --optimizer rowwise-adagrad",
    f"{ADAM} --loader stream", f"{ADAM} --devices 2", f"{ADAM} --devices 2 --shard-embeddings", "--dim 16",
]  # fmt: skip


def write_csv(path: Path, users: int, items: int, ratings: int) -> None:
    """Ratings at random."""
    random = np.random.default_rng(1)
    pair = random.permutation(np.unique(random.integers(0, users * items, ratings)))
    frame = {
        "user": pair // items,
        "item": pair % items,
        "rating": random.integers(1, 6, len(pair)).astype(float),
    }
    pl.DataFrame(frame).write_csv(path)


def cfcli(folder: Path, *args: object) -> str:
    command = [sys.executable, "-m", "cfcli", *map(str, args)]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("users", 400_000), ("items", 100_000), ("ratings", 2_000_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    size = parser.parse_args()
    print("| flags | plan MB | peak MB | off by |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_csv(folder / "r.csv", size.users, size.items, size.ratings)
        cfcli(folder, "prepare", "r.csv", "--quiet")
        for k, flags in enumerate(FLAGS):
            planned = (
                sum(
                    json.loads(cfcli(folder, "plan", *flags.split(), "--json"))["per_rank"].values()
                )
                >> 20
            )
            more = ("--epochs", 2, "--no-plots", "--json", "--quiet", "--out", k)
            peak = json.loads(cfcli(folder, "train", *flags.split(), *more))["peak_rss_mb"]
            print(f"| `{flags}` | {planned:,} | {peak:,} | {planned / peak - 1:+.0%} |", flush=True)


if __name__ == "__main__":
    main()
