"""Data whose right answer is known: who learns it, and on which scale the ratings are does not matter."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cfcli.core import training
from cfcli.core.config import TrainConfig
from cfcli.core.models.bias import BiasModel
from cfcli.core.predictor import Predictor

SCALES = {"1-5": (1.0, 5.0), "0-10": (0.0, 10.0), "-10..10": (-10.0, 10.0), "1-100": (1.0, 100.0)}


def checkerboard(low: float, high: float, users: int = 60, items: int = 40) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Even users love even items and hate odd ones, odd users the reverse: 80 % of the pairs to train on, and the
    rest. All means are alike, so that no bias can know the answer."""
    user, item = (axis.ravel() for axis in np.mgrid[:users, :items])
    rating = np.where(user % 2 == item % 2, high, low)
    order = np.random.default_rng(0).permutation(len(user))
    frame = pl.DataFrame({"user": user, "item": item, "rating": rating.astype(np.float32)})[order]
    frame = frame.cast({"user": pl.UInt32, "item": pl.UInt32})
    cut = int(0.8 * frame.height)
    return frame[:cut], frame[cut:]


@pytest.mark.parametrize("model", ["mf", "ncf"])
@pytest.mark.parametrize("scale", SCALES)
def test_tastes_that_no_bias_can_know_are_learned(model: str, scale: str, tmp_path: Path) -> None:
    low, high = SCALES[scale]
    train, held = checkerboard(low, high)
    config = TrainConfig(model=model, epochs=60, patience=10)  # type: ignore[arg-type]
    fitted = training.fit(train, held, 60, 40, config, tmp_path / "checkpoints")
    user, item = held["user"].to_numpy(), held["item"].to_numpy()
    rating = held["rating"].to_numpy().astype(np.float64)
    prediction = Predictor(model, fitted.tensors, fitted.shape.low, fitted.shape.high).predict(user, item)
    bias = BiasModel.fit(train["user"].to_numpy(), train["item"].to_numpy(), train["rating"].to_numpy(), 60, 40)
    error = np.sqrt(np.mean((prediction - rating) ** 2)) / (high - low)
    baseline = np.sqrt(np.mean((bias.mean + bias.user_bias[user] + bias.item_bias[item] - rating) ** 2)) / (high - low)
    assert baseline > 0.45
    assert error < 0.1
    assert prediction.min() >= low
    assert prediction.max() <= high
