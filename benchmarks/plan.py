"""What ``cfcli plan`` says a process needs, beside the most memory that one took.

    python benchmarks/plan.py --users 400000 --items 100000 --ratings 2000000

makes ratings of that size up and trains on them in processes of their own, two epochs each.
"""

import json
import tempfile
from pathlib import Path

import measuring
import numpy as np
import polars as pl

ADAM = "--dim 64 --solver adam"
FLAGS = [
    ADAM, f"{ADAM} --set implicit=false", f"{ADAM} --optimizer sparse-adam",
    f"{ADAM} --optimizer rowwise-adagrad",
    f"{ADAM} --loader stream", f"{ADAM} --devices 2", f"{ADAM} --devices 2 --shard-embeddings",
    "--dim 16",
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


def main() -> None:
    parser = measuring.parser(__doc__)
    for name, default in (("users", 400_000), ("items", 100_000), ("ratings", 2_000_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    size = parser.parse_args()
    measuring.print_head("flags", "plan MB", "peak MB", "off by")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_csv(folder / "r.csv", size.users, size.items, size.ratings)
        measuring.cfcli("prepare", "r.csv", "--quiet", cwd=folder)
        for k, flags in enumerate(FLAGS):
            plan = measuring.cfcli("plan", *flags.split(), "--json", cwd=folder)
            planned = sum(json.loads(plan.output)["per_rank"].values()) >> 20
            more = ("--epochs", 2, "--no-plots", "--json", "--quiet", "--out", k)
            train = measuring.cfcli("train", *flags.split(), *more, cwd=folder)
            peak = json.loads(train.output)["peak_rss_mb"]
            off = f"{planned / peak - 1:+.0%}"
            measuring.print_row([f"`{flags}`", f"{planned:,}", f"{peak:,}", off])


if __name__ == "__main__":
    main()
