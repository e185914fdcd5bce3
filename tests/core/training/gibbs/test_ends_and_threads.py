"""When sampling ends, and that the number of threads changes nothing."""

import numpy as np
import polars as pl
import pytest
from planted import halves

from cfcli.core.config.resolve import from_dict
from cfcli.core.config.train import TrainConfig
from cfcli.core.training.epochs import is_flat
from cfcli.core.training.fit import fit
from cfcli.core.training.gibbs import solver
from cfcli.core.training.job import TrainingData
from cfcli.core.training.trained import TrainedModel


def planted(users: int = 120, items: int = 80) -> pl.DataFrame:
    """Ratings of a table of rank 2 with noise."""
    random = np.random.default_rng(0)
    p, q = random.normal(0, 0.6, (users, 2)), random.normal(0, 0.6, (items, 2))
    user, item = np.nonzero(random.random((users, items)) < 0.4)
    rating = 3 + (p[user] * q[item]).sum(1) + random.normal(0, 0.3, len(user))
    frame = pl.DataFrame({"user": user, "item": item, "rating": rating})
    return frame.cast({"user": pl.UInt32, "item": pl.UInt32, "rating": pl.Float32})


def fitted(train: pl.DataFrame, val: pl.DataFrame, **keys: object) -> TrainedModel:
    config = from_dict(TrainConfig, {"dim": 2, "interest": False, "refit": "none", **keys})
    return fit(TrainingData(train, val, 120, 80), config)


@pytest.mark.parametrize(
    ("errors", "flat"),
    [
        ([1.0], False),
        ([1.0, 1.0, 1.0], False),  # too few to tell
        ([1.0, 0.9, 0.85, 0.80], False),
        ([1.0, 0.9, 0.899, 0.8985], True),  # the second half gained 0.0015
        ([1.0, 0.9, 0.95, 0.95], True),
    ],
)
def test_a_mean_has_little_left_to_gain_when_its_second_half_gained_little(
    errors: list[float], flat: bool
) -> None:
    assert is_flat(errors, 0.003) is flat


def test_epochs_are_judged_by_some_rows_and_the_model_by_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(solver, "MOST_WATCHED", 50)
    train, val = halves(planted(), 0.2)
    model = fitted(train, val, epochs=8, dim=64)  # which holds the whole mean
    user, item, rating = (val[name].to_numpy() for name in ("user", "item", "rating"))
    error = model.predictor("mf").predict(user, item) - rating
    assert model.best.val_mse == pytest.approx(np.mean(error**2), rel=1e-5)
    every = -(-len(val) // 50)
    assert model.history[-1].val_mse == pytest.approx(np.mean(error[::every] ** 2), rel=0.005)


@pytest.mark.parametrize("held", [0.2, 0.0])
def test_sampling_ends_before_the_last_epoch_where_little_is_left(held: float) -> None:
    """With validation rows, and by the moves of the mean without them."""
    rows = planted()
    train, val = halves(rows, held)
    model = fitted(train, val)
    assert model.is_whole
    assert 6 <= len(model.history) < 40
    longer = fitted(train, val, min_epochs=40)
    assert len(longer.history) == 40
    test = halves(rows, 0.2)[1]
    user, item, rating = (test[name].to_numpy() for name in ("user", "item", "rating"))
    errors = [
        float(np.sqrt(np.mean((each.predictor("mf").predict(user, item) - rating) ** 2)))
        for each in (model, longer)
    ]
    assert errors[0] < 1.01 * errors[1]


def test_the_same_seed_gives_the_same_model_with_any_number_of_threads() -> None:
    train, val = halves(planted())
    first, *others = (fitted(train, val, epochs=5, threads=n) for n in (1, 2, 5))
    for other in others:
        for name, tensor in first.tensors.items():
            np.testing.assert_array_equal(other.tensors[name], tensor)
