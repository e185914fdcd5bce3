"""The notebook's recipe, once more in plain torch and NumPy: the same rows, the same start, the
same fit."""

import math
from pathlib import Path

import numpy as np
import planted
import polars as pl
import pytest
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import resolve
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.prepare import prepare
from cfcli.core.inputs.ratings import Source
from cfcli.core.models import build
from cfcli.core.models.base import Shape
from cfcli.core.runs.run import Run
from cfcli.core.training.batches import Batches, Rows
from cfcli.core.training.fit import fit
from cfcli.core.training.job import TrainingData

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.toml"))
NOTEBOOK = next(path for path in CONFIGS if path.stem == "notebook")


class Notebook(nn.Module):
    """The notebook's model."""

    def __init__(self, users: int, movies: int) -> None:
        super().__init__()
        self.user, self.movie = nn.Embedding(users, 5), nn.Embedding(movies, 5)
        self.linear = nn.Linear(1, 1)
        share = (3.9 - 0.5) / 4.5
        nn.init.constant_(self.linear.bias, math.log(share / (1 - share)))

    def forward(self, user: Tensor, movie: Tensor) -> Tensor:
        product = (self.user(user) * self.movie(movie)).sum(1, keepdim=True)
        return torch.sigmoid(self.linear(product))[:, 0] * 4.5 + 0.5


def test_the_model_starts_where_the_notebooks_does() -> None:
    config = resolve(TrainConfig, file=NOTEBOOK)
    torch.manual_seed(42)
    hand = Notebook(90, 50)
    torch.manual_seed(42)
    model = build(config, Shape(90, 50, 0.5, 5, 3.9))
    user, movie = (
        grid.ravel() for grid in torch.meshgrid(torch.arange(90), torch.arange(50), indexing="ij")
    )
    with torch.no_grad():
        torch.testing.assert_close(model(user, movie)[0], hand(user, movie), rtol=0, atol=1e-6)


def test_training_is_the_notebooks_loop(tmp_path: Path) -> None:
    """Three epochs of Adam on the MSE, over the same batches: the same errors, but for the loss'
    scale, of which Adam sees next to nothing."""
    generator = np.random.default_rng(0)
    user, movie = (grid.ravel() for grid in np.indices((300, 50)))
    rating = np.clip(np.round(generator.normal(3.5, 1, 15_000) * 2) / 2, 0.5, 5)
    train, val = planted.halves(planted.frame(user, movie, rating))
    config = resolve(TrainConfig, file=NOTEBOOK, flags={"epochs": 3, "device": "cpu"})
    model = fit(TrainingData(train, val, 300, 50), config, tmp_path / "checkpoints")

    torch.manual_seed(42)
    hand = Notebook(300, 50)
    adam = torch.optim.Adam(hand.parameters(), 5e-3)
    held, errors = Rows.of(val), []
    batches = Batches(Rows.of(train), 4096, 42)
    for _ in range(3):
        for users, movies, ratings in batches:
            adam.zero_grad()
            nn.functional.mse_loss(hand(users, movies), ratings).backward()
            adam.step()
        with torch.no_grad():
            errors.append(nn.functional.mse_loss(hand(held.user, held.item), held.rating).item())
    assert [row.val_mse for row in model.history] == pytest.approx(errors, rel=1e-3)
    assert errors[2] < errors[0] - 0.01


def test_the_rows_are_the_notebooks(tmp_path: Path) -> None:
    """60 movies with 41 to 100 ratings each, ids from 7 to 1100 or so, rows in no order."""
    generator = np.random.default_rng(1)
    ids = generator.permutation(np.arange(7, 7 + 60 * 19, 19))
    rows = [
        (u * 3 + 1, m, r)
        for k, m in enumerate(ids)
        for u in generator.choice(300, 41 + k, replace=False)
        for r in [0]
    ]
    table = np.array(rows)[generator.permutation(len(rows))].astype(float)
    table[:, 2] = generator.integers(1, 11, len(table)) / 2
    lines = [f"{int(u)},{int(m)},{r},{k}" for k, (u, m, r) in enumerate(table)]
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(["userId,movieId,rating,timestamp", *lines]) + "\n")
    dataset, _ = prepare(
        [Source.of(path)], tmp_path / "data", resolve(PrepareConfig, file=NOTEBOOK)
    )

    top = table[np.isin(table[:, 1], ids[10:])]
    users, user = np.unique(top[:, 0], return_inverse=True)
    movies, movie = np.unique(top[:, 1], return_inverse=True)
    assert dataset.users["userId"].to_list() == [str(int(u)) for u in users]
    assert dataset.items["movieId"].to_list() == [str(int(m)) for m in movies]
    rows = np.column_stack([user, movie, top[:, 2]])
    train, rest = train_test_split(np.arange(len(rows)), test_size=0.3, random_state=42)
    val, test = train_test_split(rest, test_size=1 / 3, random_state=42)
    assert len(train) == pytest.approx(0.7 * len(top), abs=1)
    for name, part in (("train", train), ("val", val), ("test", test)):
        found = dataset.split(name).select("user", "item", "rating").to_numpy()
        np.testing.assert_array_equal(found, rows[np.sort(part)])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_trains_and_saves_itself(path: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    flags = {"epochs": 2, "device": "cpu"}
    config = resolve(TrainConfig, file=path, flags=flags, note=notes.append)
    assert notes == []
    rows = planted.checkerboard(15, 60).with_columns(pl.col("rating") - 0.5)
    keys = {
        name: getattr(resolve(PrepareConfig, file=path), name)
        for name in ("top_items", "split", "seed")
    }
    data = planted.dataset(tmp_path, rows, **keys)
    out = planted.run(data, tmp_path / "run", **{"solver": "auto", **config.values()})
    run = Run.load(out)
    saved = resolve(TrainConfig, file=out / "config.toml", note=notes.append)
    assert saved == config.with_solver_named() == run.config
    assert notes == []
    assert (run.info.epochs, run.info.model, run.info.dim) == (2, config.model, config.dim)
