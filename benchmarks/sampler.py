"""What the sampler's choices are worth and cost: features of who rated what, and seconds a sweep.

    python benchmarks/sampler.py --ml-100k FOLDER [--rows 1000000 5000000 25000000]

FOLDER holds u1.base, u1.test ... (perhaps packed). The first table is test RMSE at dimension 16
after 150 sweeps, the mean over the folds, by the number of features; ``all`` are the singular
vectors of the whole table, which is regression on all its columns. The second is seconds a sweep on
made-up ratings, and peak memory.
"""

import resource
import tempfile
import time
from pathlib import Path

import measuring
import numpy as np
import polars as pl

from cfcli.core.training.cooccurrence import implicit_features, leading
from cfcli.core.training.gibbs import sampler as gibbs
from cfcli.core.training.gibbs.sampler import Sampler, table_of

FEATURES = (1, 10, 25, 50, 100, 200, None)


def fold(folder: Path, name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """User, item and rating of the base and of the test rows."""
    sides = []
    for side in ("base", "test"):
        frame = pl.read_csv(next(folder.glob(f"{name}.{side}*")), separator="\t", has_header=False)
        user, item, rating = (frame[name].to_numpy() for name in frame.columns[:3])
        sides.append([user - 1, item - 1, rating.astype(np.float32)])
    return sides[0], sides[1]


def rmse(base: list[np.ndarray], test: list[np.ndarray], seed: int) -> float:
    sampler = Sampler(table_of(*base, 943, 1682), 15, 16, seed)
    for k in range(150):
        sampler.sweep()
        if k >= 30 and k % 5 == 4:
            sampler.keep()
    t = sampler.tensors(16)
    user, item, rating = test
    product = (t["user_embedding.weight"][user] * t["item_embedding.weight"][item]).sum(1)
    found = product + t["user_bias"][user] + t["item_bias"][item] + t["linear.bias"]
    return float(np.sqrt(np.square(found.clip(1, 5) - rating).mean()))


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--ml-100k", type=Path)
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    args = parser.parse_args()
    if args.ml_100k:
        folds = [fold(args.ml_100k, f"u{k}") for k in range(1, 6)]
        measuring.print_head("features", "RMSE u1..u5", "seconds")
        for n in FEATURES:
            gibbs.implicit_features = lambda table, seed, n=n: leading(
                table, n or min(table.shape), seed
            )
            begin = time.perf_counter()
            found = [rmse(*sides, seed) for seed, sides in enumerate(folds)]
            seconds = (time.perf_counter() - begin) / 5
            measuring.print_row([n or "all", f"{np.mean(found):.4f}", f"{seconds:.1f}"])
        gibbs.implicit_features = implicit_features
    if args.rows:
        measuring.print_head(
            "ratings", "rank", "set-up s", "s a sweep", "s a sweep, 1 M ratings", "peak MB"
        )
    for rows in sorted(args.rows):
        with tempfile.TemporaryDirectory() as folder:
            measuring.write_csv(Path(folder) / "r.csv", rows)
            frame = pl.read_csv(Path(folder) / "r.csv", columns=["userId", "movieId", "rating"])
        user, item = (
            np.unique(frame[name], return_inverse=True)[1].astype(np.int32)
            for name in frame.columns[:2]
        )
        rating = frame["rating"].cast(pl.Float32).to_numpy()
        for rank in (15, 31):
            begin = time.perf_counter()
            sampler = Sampler(
                table_of(user, item, rating, int(user.max()) + 1, int(item.max()) + 1), rank, 16, 0
            )
            setup, seconds = time.perf_counter() - begin, []
            for _ in range(4):
                begin = time.perf_counter()
                sampler.sweep()
                seconds.append(time.perf_counter() - begin)
            best = sorted(seconds)[1]
            peak = measuring.megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            times = f"{setup:.1f}", f"{best:.3f}", f"{best / rows * 1e6:.3f}"
            measuring.print_row([f"{rows:,}", rank, *times, f"{peak:,.0f}"])


if __name__ == "__main__":
    main()
