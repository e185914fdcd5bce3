"""Measures predictions and lists for items that nobody has rated: all ratings of a tenth of the
items are held out, and `cfcli predict --items` and `cfcli recommend --items` know of them what the
file of items says.

    python benchmarks/cold_items.py RATINGS ITEMS --seed 42 -- --dim 64

Beside them: the mean of the training rows, the damped biases of the users, and for the lists the
order of the new items by the mean number of ratings of the trained items of their attributes.
"""

import tempfile
from pathlib import Path

import measuring
import numpy as np
import polars as pl

from cfcli.core.data.attributes import encode
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.known import read_again
from cfcli.core.inputs.sources import Source
from cfcli.core.runs.run import Run

K = 10


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("ratings", type=Path)
    parser.add_argument("items", type=Path)
    parser.add_argument("--seed", type=int, default=42)
    args, flags = measuring.arguments(parser)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = read(folder, args.ratings.resolve())
        cold = draw(rows["item_id"], args.seed)
        is_cold = pl.col("item_id").is_in(cold.implode())
        rows.filter(~is_cold).write_csv(folder / "warm.csv")
        held_out = rows.filter(is_cold)
        held_out.drop("rating").write_csv(folder / "pairs.csv")
        items = args.items.resolve()
        measuring.cfcli(
            "prepare", "warm.csv", "--items", items, "--test-size", "0", "--quiet", cwd=folder
        )
        given = "--data", "data", "--out", "run", "--no-plots", "--quiet", *flags
        cost = measuring.run(measuring.CFCLI, "train", *given, cwd=folder)
        run = Run.load(folder / "run")
        print(
            f"{held_out.height:,} ratings of {len(cold):,} new items; trained in "
            f"{cost.seconds:.1f} s"
        )
        errors(folder, run, held_out, items)
        lists(folder, run, held_out, cold, items)


def read(folder: Path, ratings: Path) -> pl.DataFrame:
    """All ratings: `user_id`, `item_id` and `rating`, in the order of the file."""
    measuring.cfcli(
        "prepare",
        ratings,
        "--out",
        "all",
        "--val-size",
        "0",
        "--test-size",
        "0",
        "--quiet",
        cwd=folder,
    )
    dataset = Dataset.load(folder / "all")
    rows, ids = dataset.split("train"), dataset.ids
    return pl.DataFrame(
        {
            "user_id": ids.user.id(rows["user"]),
            "item_id": ids.item.id(rows["item"]),
            "rating": rows["rating"],
        }
    )


def draw(items: pl.Series, seed: int) -> pl.Series:
    """A tenth of the items, drawn from them in the order of their numbers."""
    ids = items.unique().cast(pl.Int64).sort()
    chosen = np.random.default_rng(seed).permutation(ids.to_numpy())[: len(ids) // 10]
    return pl.Series(chosen).cast(pl.String)


def errors(folder: Path, run: Run, held_out: pl.DataFrame, items: Path) -> None:
    """Prints errors of ratings."""
    measuring.cfcli(
        "predict", "run", "pairs.csv", "--items", items, "--out", "out.csv", "--quiet", cwd=folder
    )
    found = pl.read_csv(folder / "out.csv", infer_schema=False)
    rating = held_out["rating"].to_numpy()
    base = run.baseline()
    user = run.ids.user.index(held_out["user_id"])
    bias = np.where(user.is_null(), 0, base.user_bias[user.fill_null(0).to_numpy()])
    low, high = run.info.shape.low, run.info.shape.high
    by = {
        "mean": np.full(len(rating), base.mean),
        "user bias": np.clip(base.mean + bias, low, high),
        "cfcli predict --items": found["prediction"].cast(pl.Float64).to_numpy(),
    }
    measuring.print_head("predicted by", "RMSE")
    for name, predicted in by.items():
        measuring.print_row([name, f"{np.sqrt(((predicted - rating) ** 2).mean()):.4f}"])
    print(found["source"].value_counts(sort=True).rows())


def lists(folder: Path, run: Run, held_out: pl.DataFrame, cold: pl.Series, items: Path) -> None:
    """Prints nDCG of lists of the new items alone."""
    known = read_again(Source.of(items), "item", run.content.item.described, run.form())
    new = known.filter(pl.col("id").is_in(cold.implode()))
    new.select("id").write_csv(folder / "wanted.csv")
    rows = attribute_rows(items, folder, cold)
    names = run.info.columns
    measuring.cfcli(
        "recommend", "run", "--all", "--items", rows, "-n", K, "--out", "lists.csv", "--quiet",
        cwd=folder,
    )  # fmt: skip
    found = pl.read_csv(folder / "lists.csv", infer_schema=False)
    ordered = {"cfcli recommend --items": found.select(user_id=names.user, item_id=names.item)}
    popular = popularity(run, known)
    best = popular.filter(pl.col("id").is_in(cold.implode())).sort("score", descending=True).head(K)
    users = held_out["user_id"].unique()
    ordered["popularity of attributes"] = users.to_frame().join(
        best.select(item_id="id"), how="cross"
    )
    measuring.print_head("ordered by", "nDCG all", "nDCG liked")
    liked = held_out.filter(pl.col("rating") >= run.info.interest.liked_from)
    for name, lists in ordered.items():
        measuring.print_row([name, *(f"{ndcg(lists, kept):.4f}" for kept in (held_out, liked))])


def attribute_rows(items: Path, folder: Path, cold: pl.Series) -> Path:
    """The lines of the file of items that are of new items alone."""
    lines = items.read_bytes().splitlines(keepends=True)
    wanted = {text.encode() for text in cold}
    separator = b"::" if b"::" in lines[1] else b"|" if b"|" in lines[1][:12] else b","
    kept = [
        line
        for k, line in enumerate(lines)
        if line.split(separator)[0] in wanted or (k == 0 and separator == b",")
    ]
    path = folder / f"new{items.suffix}"
    path.write_bytes(b"".join(kept))
    return path


def popularity(run: Run, known: pl.DataFrame) -> pl.DataFrame:
    """Columns `id` and `score`: the mean over an item's attributes of the mean number of ratings of
    the trained items that have them."""
    described = run.content.item.described
    matrix = encode(described, known)
    index = run.ids.item.index(known["id"])
    n = np.where(
        index.is_null(), 0, run.items["n_ratings"].to_numpy()[index.fill_null(0).to_numpy()]
    )
    weight = matrix * (n > 0)[:, None]
    of_column = (weight.T @ n) / np.maximum(weight.sum(0), 1e-9)
    score = (matrix @ of_column) / np.maximum(matrix.sum(1), 1e-9)
    return pl.DataFrame({"id": known["id"], "score": score})


def ndcg(lists: pl.DataFrame, held_out: pl.DataFrame) -> float:
    """Mean over the users with held-out rows, of which each counts 1."""
    hits = lists.with_columns(rank=pl.int_range(pl.len()).over("user_id")).join(
        held_out.select("user_id", "item_id"), on=["user_id", "item_id"]
    )
    gains = hits.group_by("user_id").agg(dcg=(1 / (pl.col("rank") + 2).log(2)).sum())
    ideal = np.cumsum(1 / np.log2(np.arange(K) + 2))
    n = held_out.group_by("user_id").len().join(gains, on="user_id", how="left")
    best = ideal[np.minimum(n["len"].to_numpy(), K) - 1]
    return float((n["dcg"].fill_null(0).to_numpy() / best).mean())


if __name__ == "__main__":
    main()
