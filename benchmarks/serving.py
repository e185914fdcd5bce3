"""Times ``recommend --all`` beside the bare matrix product and partial sort, and ``predict`` as a
filter.

    python benchmarks/serving.py                 MovieLens-25M's size: 162,541 users, 59,047 items,
    dimension 64, n = 10 python benchmarks/serving.py --users 20000   less

``predict`` reads --pairs made-up pairs from a pipe and writes CSV; a trained run is made for it in
--folder.
"""

import resource
import subprocess
import time
from pathlib import Path

import measuring
import numpy as np
import polars as pl

from cfcli.core.models.scoring import Predictor
from cfcli.core.serving.recommend import Users, top_items

BLOCK = 128  # users at once, for both


def bare(users: np.ndarray, items: np.ndarray, n: int) -> float:
    """Seconds of product and argpartition, and nothing else."""
    begin = time.perf_counter()
    for start in range(0, len(users), BLOCK):
        scores = users[start : start + BLOCK] @ items.T
        np.argpartition(scores, scores.shape[1] - n, axis=1)[:, -n:]
    return time.perf_counter() - begin


def recommend(
    users: np.ndarray, items: np.ndarray, n: int, seen_each: int, random: np.random.Generator
) -> float:
    """Seconds of cfcli's own, which leaves out what was seen, sorts, and adds biases."""
    one = np.ones(1, np.float32)
    tensors = {
        "user_embedding.weight": users,
        "item_embedding.weight": items,
        "linear.weight": one[None],
    }
    tensors |= {"linear.bias": one, "user_bias": users[:, 0], "item_bias": items[:, 0]}
    starts = np.arange(len(users) + 1) * seen_each
    seen = random.integers(0, len(items), starts[-1]).astype(np.uint32)
    who = Users(pl.Series(np.arange(len(users))), np.arange(len(users)), (starts, seen))
    begin = time.perf_counter()
    rows = 0
    for _, found, _ in top_items(Predictor("mf", tensors, 1, 5), who, n, np.ones(len(items), bool)):
        rows += found.size
    assert rows == n * len(users)
    return time.perf_counter() - begin


def predict(folder: Path, pairs: int) -> None:
    ratings = measuring.ratings_file(folder, pairs)
    run = folder / "run"
    if not run.exists():
        data = folder / "data"
        measuring.cfcli("prepare", ratings, "--out", data, "--force", "--accept-shrink", "-q")
        given = ("--data", data, "--dim", "64", "--epochs", "1", "--out", run, "-q")
        measuring.cfcli("train", *given)
    seconds = []
    for lines in (1, pairs):  # the first tells the start-up
        begin = time.perf_counter()
        pairs_of_file = f"head -n {lines + 1} {ratings} | sed 1s/rating/old/"
        predict = f"{measuring.CFCLI} predict {run} - > {folder}/predicted.csv"
        command = f"{pairs_of_file} | {predict}"
        subprocess.run(["bash", "-ec", command], check=True)
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    rate = (pairs - 1) / (seconds[1] - seconds[0])
    print(
        f"predict: start-up {seconds[0]:.2f} s, {pairs:,} pairs {seconds[1]:.2f} s: "
        f"{rate:,.0f} pairs/s after start-up"
    )
    print(f"largest child process (training included): {peak:,.0f} MB")


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--users", type=int, default=162_541)
    parser.add_argument("--items", type=int, default=59_047)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("-n", type=int, default=10)
    parser.add_argument("--seen", type=int, default=100, help="items that each user rated")
    parser.add_argument("--pairs", type=int, default=5_000_000)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-data"))
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    measuring.heading()
    random = np.random.default_rng(0)
    users, items = (
        random.normal(0, 0.3, (k, args.dim)).astype(np.float32) for k in (args.users, args.items)
    )
    theirs = bare(users, items, args.n)
    ours = recommend(users, items, args.n, args.seen, random)
    print(f"{args.users:,} users x {args.items:,} items, dimension {args.dim}, n = {args.n}")
    print(
        f"NumPy product and argpartition {theirs:.1f} s; cfcli {ours:.1f} s; "
        f"ratio {ours / theirs:.2f}"
    )
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
    predict(args.folder, args.pairs)


if __name__ == "__main__":
    main()
