"""Ratings whose answer is known: two tastes on a checkerboard, as frames, as a dataset on disk, as
a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.prepare import prepare
from cfcli.core.inputs.ratings import Source
from cfcli.core.runs import train as fitting
from cfcli.core.storage import manifests


def checkerboard(
    users: int = 40, items: int = 24, share: float = 0.8, seed: int = 0
) -> pl.DataFrame:
    """Columns ``user``, ``item``, ``rating``: the first half of the users gives items of even
    number 5 and the others 1, the second half the reverse. Means of users and items tell nothing;
    tastes tell all."""
    user, item = (grid.ravel() for grid in np.indices((users, items)))
    rating = np.where((user < users // 2) == (item % 2 == 0), 5.0, 1.0)
    kept = np.random.default_rng(seed).random(users * items) < share
    return frame(user[kept], item[kept], rating[kept])


def frame(user: Any, item: Any, rating: Any) -> pl.DataFrame:
    """Rows as a split of a dataset has them."""
    kinds = {"user": pl.UInt32, "item": pl.UInt32, "rating": pl.Float32}
    return pl.DataFrame({"user": user, "item": item, "rating": rating}, schema=kinds, strict=False)


def tastes(users: int = 120, items: int = 60, seed: int = 0) -> pl.DataFrame:
    """Columns ``user``, ``item``, ``rating``: users choose items of their own taste, one of three,
    and rate them by chance: who rated what tells all, ratings tell nothing."""
    random = np.random.default_rng(seed)
    user, item = (grid.ravel() for grid in np.indices((users, items)))
    kept = random.random(len(user)) < np.where(user % 3 == item % 3, 0.6, 0.03)
    return frame(user[kept], item[kept], random.integers(3, 6, kept.sum()))


def halves(
    rows: pl.DataFrame, held: float = 0.2, seed: int = 1
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows to train on and those held out."""
    out = np.random.default_rng(seed).random(rows.height) < held
    return rows.filter(~out), rows.filter(out)


def write_csv(path: Path, rows: pl.DataFrame, *, text: bool = False) -> Path:
    """Rows as a MovieLens-shaped CSV; ids are 10, 9, 8 ... (so that text order is not number
    order), or texts."""
    user = [f"u {u:03}" if text else str(100 - u) for u in rows["user"]]
    item = [f"i {i:03}" if text else str(100 - i) for i in rows["item"]]
    pl.DataFrame({"userId": user, "movieId": item, "rating": rows["rating"]}).write_csv(path)
    return path


def dataset(
    folder: Path, rows: pl.DataFrame, *, text: bool = False, titles: bool = False, **keys: Any
) -> Dataset:
    """The rows, prepared in ``folder/data``; titles are ``Film <id>``."""
    folder.mkdir(parents=True, exist_ok=True)
    items = None
    if titles:
        names = "".join(
            f'{100 - i},"Film {100 - i}, {"Even" if i % 2 == 0 else "ODD"}",Drama\n'
            for i in range(100)
        )
        (folder / "movies.csv").write_text("movieId,title,genres\n" + names)
        items = Source.of(folder / "movies.csv")
    source = Source.of(write_csv(folder / "ratings.csv", rows, text=text))
    return prepare([source], folder / "data", PrepareConfig(**keys), items=items)[0]


def reseal(manifest: Path, **changes: Any) -> None:
    """Changes a manifest as one would who knows how it is sealed."""
    info = json.loads(manifest.read_text()) | changes
    info.pop("seal")
    manifests.write(manifest, info, info["files"])


def run(data: Dataset, out: Path, **keys: Any) -> Path:
    """A run on the dataset, made as ``cfcli train`` does."""
    config = TrainConfig.of(
        **{
            "epochs": 12,
            "device": "cpu",
            **({} if keys.get("solver") else {"learning_rate": 0.02}),
            **keys,
        }
    )
    return fitting.train(data, config, out).path
