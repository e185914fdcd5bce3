"""``dim = "auto"`` finds the rank that was planted, and says what it tried."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import planted
import pytest

from cfcli.core.config.train import DIMS, SAMPLER_DIM, TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ConfigError
from cfcli.core.runs.dimension import choose, smallest
from cfcli.core.runs.run import Run
from cfcli.core.training.epochs import Silent
from cfcli.core.training.fit import fit
from cfcli.core.training.job import TrainingData
from cfcli.core.training.plan import sizing
from cfcli.core.training.trained import TrainedModel

RANK = 7


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Ratings that are rounded products of vectors of length :data:`RANK`."""
    random = np.random.default_rng(0)
    users, items = random.normal(size=(80, RANK)), random.normal(size=(60, RANK))
    user, item = (grid.ravel() for grid in np.indices((80, 60)))
    rating = np.clip(np.round((users @ items.T).ravel()), -5, 5)
    kept = random.random(len(user)) < 0.8
    rows = planted.frame(user[kept], item[kept], rating[kept])
    return planted.dataset(tmp_path_factory.mktemp("dim"), rows)


def test_the_planted_rank_is_found_by_one_sampling(data: Dataset, tmp_path: Path) -> None:
    """The model is what a training with that number gives."""
    keys = {"epochs": 8, "device": "cpu", "refit": "none", "interest": False}
    found = Run.load(planted.run(data, tmp_path / "auto", solver="gibbs", dim="auto", **keys))
    info = found.info
    assert (info.dim, found.config.dim) == (8, 8)
    assert "dim = 8\n" in (found.path / "config.toml").read_text()
    assert info.tried is not None
    assert [one.dim for one in info.tried] == [dim for dim in DIMS if dim <= SAMPLER_DIM]
    errors = {one.dim: one.val.mse for one in info.tried}
    assert errors[4] > 5 * errors[8]
    assert errors[8] == info.val.mse
    assert json.loads((found.path / "run.json").read_text())["tried"][0]["dim"] == DIMS[0]
    given = Run.load(planted.run(data, tmp_path / "given", solver="gibbs", dim=8, **keys))
    assert given.info.tried is None
    assert info.ordinal == given.info.ordinal
    assert info.ordinal is not None
    assert info.val.mse == pytest.approx(given.info.val.mse)
    for name, tensor in given.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], tensor)


def test_descent_trains_until_the_error_no_longer_falls(tmp_path: Path) -> None:
    """The last that was tried is not needed, and the model is trained on as any other."""
    data = planted.dataset(tmp_path, planted.checkerboard())
    run = Run.load(planted.run(data, tmp_path / "run", dim="auto", epochs=20, interest=False))
    dims = [one.dim for one in run.info.tried or ()]
    assert dims == list(DIMS[: len(dims)])
    assert len(dims) < len(DIMS)
    errors = [one.val.mse for one in run.info.tried or ()]
    assert run.info.val.mse == errors[dims.index(run.info.dim)] <= 1.002 * min(errors)
    assert run.tensors["user_embedding.weight"].shape[1] == run.info.dim
    assert run.info.refit is not None
    assert run.info.refit.rating_sides == ["train", "val"]


def test_without_time_one_dimension_is_tried(data: Dataset, tmp_path: Path) -> None:
    keys = {"epochs": 2, "interest": False, "max_time": "0.01s"}
    run = Run.load(planted.run(data, tmp_path / "run", dim="auto", **keys))
    assert [one.dim for one in run.info.tried or ()] == [DIMS[0]] == [run.info.dim]


def test_after_a_signal_what_was_tried_is_kept(data: Dataset) -> None:
    def fitted(config: TrainConfig, smaller: Sequence[int]) -> TrainedModel:
        if config.dim != DIMS[0]:
            raise KeyboardInterrupt
        rows = data.split("train"), data.split("val")
        return fit(TrainingData(*rows, data.info.users, data.info.items), config)

    config = TrainConfig.of(dim="auto", solver="adam", epochs=1, device="cpu")
    chosen = choose(data, config, fitted, Silent())
    assert [one.dim for one in chosen.tried] == [DIMS[0]] == [chosen.config.dim]
    assert chosen.model.stopped_by == 2


def test_a_larger_dimension_must_be_better_than_chance() -> None:
    """By hand: two users, whose rows count as one draw each."""
    user = np.array([0, 0, 1, 1])
    base = np.array([1.0, 1.0, 1.0, 1.0])
    better = np.array([0.8, 0.8, 0.9, 0.9])  # mean gain 0.15, deviations of users -0.1 and 0.1
    noise = np.hypot(0.1, 0.1) / 4
    assert noise < 0.15
    assert smallest([base, better], user) == 1
    by_chance = np.array([0.4, 0.4, 1.5, 1.5])  # mean gain 0.05, deviations -1.1 and 1.1
    assert smallest([base, by_chance], user) == 0
    tiny = base - 1e-3
    assert smallest([base, tiny], user) == 0
    assert smallest([base, better, by_chance, better - 1e-3], user) == 1


def test_where_nothing_can_choose_it_is_refused(data: Dataset, tmp_path: Path) -> None:
    bare = planted.dataset(tmp_path, planted.checkerboard(), val_size=0)
    with pytest.raises(ConfigError, match=r"--dim auto: .* has no validation rows"):
        planted.run(bare, tmp_path / "run", dim="auto")
    with pytest.raises(ConfigError, match="dim auto cannot be combined with warm_start"):
        TrainConfig.of(dim="auto", warm_start="run")
    with pytest.raises(ConfigError, match="dim auto uses one process"):
        TrainConfig.of(dim="auto", solver="adam", devices=2)
    with pytest.raises(ConfigError, match="dim: 'many' is not a whole number or 'auto'"):
        TrainConfig.of(dim="many")


def test_samples_of_another_rank_need_another_training() -> None:
    config = TrainConfig.of(dim="auto")
    ranks = [sizing.sampler_rank(config.replace(dim=dim), 1_000_000) for dim in config.dims]
    assert ranks[-2:] == [31, 63]
    assert sizing.sampler_rank(config, 1_000_000) == 63  # what is planned for
