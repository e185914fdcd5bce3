"""Whether `predict --probabilities` is right for the warm test rows: the log likelihood beside that of
plainer ways, how many ratings the central sets of 80 % hold, how often what is said with a
probability happens, and the RMSE of the expected rating. Words after `--` go to `train`.

    python benchmarks/probabilities.py ratings.csv --split random -- --dim 16
    python benchmarks/probabilities.py ml-100k/u1.base.gz --test-file ml-100k/u1.test.gz
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import measuring

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

LEAST = 1e-12  # probability; the plain ways may have less
BINS = 10


def predicted(folder: Path) -> "tuple[pl.DataFrame, np.ndarray, np.ndarray]":
    """The warm test rows with their predictions and as `rated` their ratings, the steps of the
    scale, and how often each is given in training."""
    import numpy as np
    import polars as pl

    from cfcli.core.runs.run import Run
    from cfcli.core.serving.predict import predict_frame

    run = Run.load(folder / "run")
    rows, trained = run.dataset().split("test"), run.dataset().split("train")["rating"].to_numpy()
    users, items = run.ids
    columns = run.info.columns
    pairs = {columns.user: users.id(rows["user"]), columns.item: items.id(rows["item"])}
    found = predict_frame(run, pl.DataFrame(pairs), std=True, probabilities=True)
    steps = np.array(run.ordinal.steps)
    shares = (trained[:, None] == steps.astype(np.float32)).mean(0)
    return found.with_columns(rated=rows["rating"]).drop_nulls("std"), steps, shares


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("ratings", type=Path)
    parser.add_argument("--split", default="hash")
    parser.add_argument("--test-file", type=Path)
    args, flags = measuring.arguments(parser)
    held = ["--test-file", args.test_file.resolve()] if args.test_file else []
    words = ["--split", args.split, *held, "--quiet"]
    train = ["--solver", "gibbs", "--no-interest", "--no-plots", "--out", "run", "--quiet"]
    with tempfile.TemporaryDirectory() as name:
        measuring.cfcli("prepare", args.ratings.resolve(), *words, cwd=Path(name))
        measuring.cfcli("train", *train, *flags, cwd=Path(name))
        found, steps, shares = predicted(Path(name))

    import numpy as np
    from scipy.special import ndtr

    rating, prediction, std = found.select("rated", "prediction", "std").to_numpy().T
    p = found.select("^p_.*$").to_numpy().astype(float)
    place = np.abs(rating[:, None] - steps).argmin(1)
    each = np.arange(len(place))
    middle = (steps[1:] + steps[:-1]) / 2
    below = ndtr((middle - prediction[:, None]) / std[:, None])
    normal = np.diff(below, axis=1, prepend=0, append=1)
    ways = {"probabilities": p, "normal": normal, "frequencies": np.tile(shares, (len(p), 1))}
    numbers = np.arange(len(steps))
    came = numbers == place[:, None]
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    measuring.print_head("probability", "cells", "mean", "share that happened")
    for k in np.unique(bins):
        cells = bins == k
        row = f"{cells.sum():,}", f"{p[cells].mean():.3f}", f"{came[cells].mean():.3f}"
        measuring.print_row([f"{k / BINS:.1f} to {(k + 1) / BINS:.1f}", *row])
    print(f"\nlog likelihood of a row, mean of {len(p):,} warm ones:")
    for label, chances in ways.items():
        print(f"  {label}: {np.log(np.maximum(chances[each, place], LEAST)).mean():.4f}")
    first, last = ((p.cumsum(1) < share).sum(1, keepdims=True) for share in (0.1, 0.9))
    is_in = (first <= numbers) & (numbers <= last)
    promised, held_share = (p * is_in).sum(1).mean(), is_in[each, place].mean()
    print(f"central sets of 80 %: promised {promised:.3f}, held {held_share:.3f}")
    errors = [((column - rating) ** 2).mean() ** 0.5 for column in (prediction, p @ steps)]
    print(f"RMSE: prediction {errors[0]:.4f}, expected rating {errors[1]:.4f}")


if __name__ == "__main__":
    main()
