"""The files in ``configs/``: the notebook's recipe is reproduced exactly, and every file runs."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from shell import run_cfcli, write_ratings
from sklearn.model_selection import train_test_split
from torch import nn

from cfcli.core.config import PrepareConfig, TrainConfig, resolve
from cfcli.core.models import Shape, build
from cfcli.core.preparation import prepare
from cfcli.core.ratings import Source

CONFIGS = Path(__file__).parent.parent / "configs"
NOTEBOOK = CONFIGS / "notebook.toml"


class NotebookMF(nn.Module):
    """The notebook's model, as it was written there."""

    def __init__(self, users: int, movies: int, dim: int) -> None:
        super().__init__()
        self.user_embedding = nn.Embedding(users, dim)
        self.movie_embedding = nn.Embedding(movies, dim)
        self.linear = nn.Linear(1, 1)
        self.linear.bias.data.fill_(math.log((3.9 - 0.5) / (5 - 3.9)))

    def forward(self, user: torch.Tensor, movie: torch.Tensor) -> torch.Tensor:
        product = (self.user_embedding(user) * self.movie_embedding(movie)).sum(1, keepdim=True)
        return 0.5 + 4.5 * torch.sigmoid(self.linear(product)).squeeze(1)


def test_the_notebooks_model_predicts_the_same_before_training() -> None:
    config = resolve(TrainConfig, file=NOTEBOOK)
    torch.manual_seed(config.seed)
    ours = build(config, Shape(300, 50, 0.5, 5.0, config.initial_rating or 0))
    torch.manual_seed(42)
    theirs = NotebookMF(300, 50, 5)
    user, movie = torch.randint(0, 300, (1000,)), torch.randint(0, 50, (1000,))
    with torch.no_grad():
        torch.testing.assert_close(ours(user, movie)[0], theirs(user, movie), rtol=0, atol=1e-6)
        assert theirs(user, movie).std() > 0.3  # not all alike
    trainable = sum(p.numel() for p in ours.parameters() if p.requires_grad)
    assert trainable == sum(p.numel() for p in theirs.parameters())


def test_the_notebooks_settings_are_all_there() -> None:
    config = resolve(TrainConfig, file=NOTEBOOK)
    assert (config.model, config.dim, config.biases, config.l2) == ("mf", 5, False, 0.0)
    assert (config.learning_rate, config.batch_size, config.epochs) == (5e-3, 4096, 40)
    assert (config.min_epochs, config.patience) == (6, 3)


def test_the_notebooks_rows_are_the_same_in_the_same_order(tmp_path: Path) -> None:
    ratings = write_ratings(tmp_path / "ratings.csv", users=120, items=90, share=0.4)
    dataset, _ = prepare([Source.of(ratings)], tmp_path / "data", resolve(PrepareConfig, file=NOTEBOOK))

    frame = np.loadtxt(ratings, delimiter=",", skiprows=1)
    movies, counts = np.unique(frame[:, 1], return_counts=True)
    # Where counts tie at the edge, the notebook's library took any; only clear cases are compared.
    order = np.argsort(-counts, kind="stable")
    edge = counts[order[49]]
    top = movies[counts > edge]
    kept = set(dataset.items["movieId"].cast(pl.Int64))
    assert set(top) <= kept
    assert len(kept) == 50
    assert all(counts[movies == movie][0] >= edge for movie in kept)
    rows = frame[np.isin(frame[:, 1], list(kept))]
    user = np.unique(rows[:, 0], return_inverse=True)[1]
    movie = np.unique(rows[:, 1], return_inverse=True)[1]
    table = np.column_stack([user, movie, rows[:, 2]])
    train, held = train_test_split(table, test_size=0.3, random_state=42)
    val, test = train_test_split(held, test_size=1 / 3, random_state=42)
    for name, expected in (("train", train), ("val", val), ("test", test)):
        ours = dataset.split(name).select("user", "item", "rating").to_numpy()
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.stem)
def test_every_config_runs_and_is_saved_as_a_config(path: Path, tmp_path: Path) -> None:
    write_ratings(tmp_path / "ratings.csv", users=40, items=60)
    assert run_cfcli("prepare", "ratings.csv", "--config", path, cwd=tmp_path).returncode == 0
    done = run_cfcli("train", "--config", path, "--epochs", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = resolve(TrainConfig, file=path, flags={"epochs": 2})
    assert resolve(TrainConfig, file=tmp_path / "runs" / "latest" / "config.toml") == expected
