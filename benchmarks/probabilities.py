"""Whether `predict --probabilities` and `--std` are right, by what predictions rest on: how far
ratings fall from them beside `std`, the log likelihood beside that of plainer ways, how many
ratings the central sets of 80 % hold, and how often what is said with a probability happens. Words
after `--` go to `train`.

    python benchmarks/probabilities.py ratings.csv --split time -- --dim 16
    python benchmarks/probabilities.py ml-100k/u1.base.gz --test-file ml-100k/u1.test.gz
    python benchmarks/probabilities.py ratings.csv --new --items movies.csv

With --new a tenth of the users and a tenth of the items are no part of the dataset, and their
ratings are the test rows. Half of the ratings of each new user are then folded in, to predict the
others.
"""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import measuring

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

LEAST = 1e-12  # probability; the plain ways may have less
BINS = 10
SEED = 1  # of who is new


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("ratings", type=Path)
    parser.add_argument("--split", default="hash")
    parser.add_argument("--test-file", type=Path)
    parser.add_argument("--new", action="store_true", help="judge by new users and items")
    parser.add_argument("--items", type=Path, help="attributes of items")
    parser.add_argument("--users", type=Path, help="attributes of users")
    parser.add_argument("--attributes", help="names of columns")
    args, flags = measuring.arguments(parser)
    words: list[object] = ["--split", args.split, "--quiet"]
    for name in ("test_file", "items", "users"):
        if given := getattr(args, name):
            words += [f"--{name.replace('_', '-')}", given.resolve()]
    if args.attributes:
        words += ["--attributes", args.attributes]
    train = ["--solver", "gibbs", "--no-interest", "--no-plots", "--out", "run", "--quiet"]
    with tempfile.TemporaryDirectory() as name:
        folder, ratings = Path(name), args.ratings.resolve()
        held = None
        if args.new:
            held = hold_out(folder, ratings)
            ratings = "warm.csv"
        measuring.cfcli("prepare", ratings, *words, cwd=folder)
        measuring.cfcli("train", *train, *flags, cwd=folder)
        judge(*predicted(folder, held, args))


def hold_out(folder: Path, ratings: Path) -> "pl.DataFrame":
    """Writes the rows without those of new users and items, and returns the latter."""
    import numpy as np
    import polars as pl

    from cfcli.core.data.dataset import Dataset

    words = "--out", "all", "--val-size", "0", "--test-size", "0", "--quiet"
    measuring.cfcli("prepare", ratings, *words, cwd=folder)
    dataset = Dataset.load(folder / "all")
    rows, random = dataset.split("train"), np.random.default_rng(SEED)
    is_new = pl.lit(False)
    for name, n in (("user", dataset.info.users), ("item", dataset.info.items)):
        is_new |= pl.col(name).is_in(random.permutation(n)[: n // 10])
    kept = rows.select(
        is_new=is_new,
        user_id=dataset.ids.user.id(rows["user"]),
        item_id=dataset.ids.item.id(rows["item"]),
        rating="rating",
    )
    kept.filter(~pl.col("is_new")).drop("is_new").write_csv(folder / "warm.csv")
    return kept.filter("is_new").drop("is_new")


def predicted(
    folder: Path, held: "pl.DataFrame | None", args: argparse.Namespace
) -> "tuple[pl.DataFrame, np.ndarray, np.ndarray]":
    """The test rows with their predictions and as `rated` their ratings, the steps of the scale,
    and how often each is given in training."""
    import numpy as np
    import polars as pl

    from cfcli.core.inputs.sources import Source
    from cfcli.core.runs.newcomers import with_source
    from cfcli.core.runs.run import Run
    from cfcli.core.serving.predict import predict_frame

    run = Run.load(folder / "run")
    data = run.dataset()
    if held is None:
        rows = data.split("test")
        ids = [of.id(rows[name]) for name, of in run.ids.named()]
        held = pl.DataFrame([*ids, rows["rating"]], schema=["user_id", "item_id", "rating"])
    for entity in ("item", "user"):
        path = getattr(args, f"{entity}s")
        if path and args.new:
            run = with_source(run, Source.of(path), entity, run.form(), lambda _: None)
    pairs = held.rename({"rating": "rated"})
    found = predict_frame(run, pairs, std=True, probabilities=True)
    if args.new:
        half = pl.int_range(pl.len()).shuffle(SEED).over("user_id") * 2 < pl.len().over("user_id")
        held.filter(half).write_csv(folder / "since.csv")
        since = Source.of(folder / "since.csv")
        rest = pairs.filter(~half)
        folded = predict_frame(run, rest, std=True, probabilities=True, ratings=since)
        found = pl.concat([found, folded.filter(source="folded_in")])
    steps, trained = np.array(run.ordinal.steps), data.split("train")["rating"].to_numpy()
    return found, steps, (trained[:, None] == steps.astype(np.float32)).mean(0)


def judge(found: "pl.DataFrame", steps: "np.ndarray", shares: "np.ndarray") -> None:
    """Prints a table by source, and one by probability."""
    import numpy as np
    from scipy.special import ndtr

    middle, numbers = (steps[1:] + steps[:-1]) / 2, np.arange(len(steps))
    names = "rows", "RMSE", "std", "log likelihood", "normal", "frequencies", "promised", "held"
    measuring.print_head("source", *names, "RMSE of the mean")
    for (source,), part in found.group_by("source", maintain_order=True):
        rating, prediction, std = part.select("rated", "prediction", "std").to_numpy().T
        p = part.select("^p_.*$").to_numpy().astype(float)
        place = np.abs(rating[:, None] - steps).argmin(1)
        each = np.arange(len(place))
        below = ndtr((middle - prediction[:, None]) / std[:, None])
        normal = np.diff(below, axis=1, prepend=0, append=1)
        ways = p, normal, np.tile(shares, (len(p), 1))
        likely = [np.log(np.maximum(way[each, place], LEAST)).mean() for way in ways]
        first, last = ((p.cumsum(1) < share).sum(1, keepdims=True) for share in (0.1, 0.9))
        is_in = (first <= numbers) & (numbers <= last)
        errors = [((column - rating) ** 2).mean() ** 0.5 for column in (prediction, p @ steps)]
        cells = [errors[0], (std**2).mean() ** 0.5, *likely]
        cells += [(p * is_in).sum(1).mean(), is_in[each, place].mean(), errors[1]]
        measuring.print_row([source, f"{len(part):,}", *(f"{cell:.4f}" for cell in cells)])
    print()
    measuring.print_row(["probability", "cells", "mean", "share that happened"])
    measuring.print_row(["---"] * 4)
    p = found.select("^p_.*$").to_numpy().astype(float)
    came = numbers == np.abs(found["rated"].to_numpy()[:, None] - steps).argmin(1)[:, None]
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    for k in np.unique(bins):
        cells = bins == k
        row = f"{cells.sum():,}", f"{p[cells].mean():.3f}", f"{came[cells].mean():.3f}"
        measuring.print_row([f"{k / BINS:.1f} to {(k + 1) / BINS:.1f}", *row])


if __name__ == "__main__":
    main()
