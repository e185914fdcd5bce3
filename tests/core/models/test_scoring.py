"""Scores by NumPy, against those of torch."""

import numpy as np
import pytest
import torch

from cfcli.core.config.train import TrainConfig
from cfcli.core.models import build, heads
from cfcli.core.models.base import Shape
from cfcli.core.models.scoring import Predictor


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize(
    "keys",
    [
        {"model": "mf"},
        {"model": "mf", "inner_product_weight": True},
        {"model": "ncf"},
        {"model": "ncf", "hidden": (9,), "dropout": 0.5},
        {"model": "ncf", "hidden": ()},
        {
            "model": "ncf",
            "hidden": (4,) * 6,
        },  # more than ten layers: 'network.9' sorts after 'network.12' as text
    ],
    ids=str,
)
def test_numpy_predicts_what_torch_does(
    keys: dict[str, object], biases: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "CHUNK", 7)
    torch.manual_seed(0)
    config = TrainConfig.of(**{"biases": biases, "link": "sigmoid", **keys})  # type: ignore[arg-type]
    model = build(config, Shape(30, 20, 1, 5, 2.0)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
        user, item = torch.randint(0, 30, (100,)), torch.randint(0, 20, (100,))
        expected = model(user, item)[0].numpy()
    assert expected.std() > 0.005
    tensors = {name: value.numpy() for name, value in model.folded().items()}
    found = Predictor(str(keys["model"]), tensors, 1, 5).predict(user.numpy(), item.numpy())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_scores_beyond_exp_end_at_the_range() -> None:
    one = np.ones((1, 1), dtype=np.float32)
    for sign, expected in ((-1, 1.0), (1, 5.0)):
        tensors = {
            "user_embedding.weight": 100 * one,
            "item_embedding.weight": 100 * one * sign,
            "linear.weight": one,
            "linear.bias": one[0],
        }
        zero = np.zeros(1, dtype=np.int64)
        assert Predictor("mf", tensors, 1, 5).predict(zero, zero).tolist() == [expected]


def test_no_pairs_no_ratings() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert Predictor("mf", {}, 1, 5).predict(none, none).shape == (0,)


def test_a_rating_that_weighs_two_is_folded_in_as_two_are() -> None:
    random = np.random.default_rng(0)
    tensors = {
        "user_embedding.weight": random.normal(size=(30, 2)).astype(np.float32),
        "item_embedding.weight": random.normal(size=(20, 2)).astype(np.float32),
        "user_bias": random.normal(size=30).astype(np.float32),
        "item_bias": random.normal(size=20).astype(np.float32),
        "linear.weight": np.ones((1, 1), np.float32),
        "linear.bias": np.full(1, 3, np.float32),
    }
    model = Predictor("mf", tensors, 1, 5, "identity", 0.5)
    item, rating = np.array([3, 4, 5]), np.array([1.0, 4.0, 5.0])
    twice = np.array([0, 0, 1, 2, 2, 2])
    expected = model.fold_in(item[twice], rating[twice], 0)
    found = model.fold_in(item, rating, 0, weight=np.array([2.0, 1.0, 3.0]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - model.fold_in(item, rating, 0)).max() > 0.01


def test_ratings_leave_less_of_the_variance_of_a_new_user() -> None:
    """With nothing but biases, by hand: a normal prior, and ratings with normal noise."""
    random = np.random.default_rng(0)
    bias = random.normal(0, 0.5, 200).astype(np.float32)
    tensors = {
        "user_embedding.weight": np.zeros((200, 1), np.float32),
        "item_embedding.weight": np.zeros((9, 1), np.float32),
        "user_bias": bias,
        "item_bias": random.normal(0, 1, 9).astype(np.float32),
        "linear.weight": np.ones((1, 1), np.float32),
        "linear.bias": np.ones(1, np.float32),
    }
    predictor = Predictor("mf", tensors, 1, 5, "identity", noise=0.8)
    for n in (0, 1, 4):
        expected = 1 / (1 + n * bias.var(ddof=1) / 0.8)
        assert predictor.left_by(np.arange(n)) == pytest.approx(expected, rel=1e-3)
