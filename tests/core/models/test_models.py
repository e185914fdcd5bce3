"""What the models compute, before and without any training."""

from typing import Any

import numpy as np
import pytest
import torch

from cfcli.core.config.train import TrainConfig
from cfcli.core.models import build, gradients
from cfcli.core.models.base import Factors, Shape, TrainingStatistics
from cfcli.core.models.biases import BiasModel
from cfcli.core.models.kinds import KINDS
from cfcli.core.models.mf import MF
from cfcli.core.models.ncf import NCF
from cfcli.core.models.scoring import Predictor
from cfcli.core.pair import Pair

U, I, D = 7, 5, 3  # noqa: E741


def shaken(seed: int = 0, **keys: object) -> Factors:
    """A model none of whose parameters is zero or one."""
    torch.manual_seed(seed)
    config = TrainConfig.of(**{"dim": D, "link": "sigmoid", **keys})  # type: ignore[arg-type]
    model = build(config, Shape(U, I, 1.0, 5.0, 3.5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.7)
    return model.eval()


@pytest.mark.parametrize("biases", [True, False])
def test_mf_is_its_formula(biases: bool) -> None:
    model = shaken(biases=biases)
    state = {
        name: value.detach().numpy().astype(np.float64) for name, value in model.named_parameters()
    }
    user, item = torch.tensor([0, 6, 3, 3]), torch.tensor([4, 0, 2, 1])
    with torch.no_grad():
        rating, square = model(user, item)
    for k, (u, i) in enumerate(zip(user, item, strict=True)):
        p, q = state["user_embedding.weight"][u], state["item_embedding.weight"][i]
        score = state["linear.weight"][0, 0] * sum(p * q) + state["linear.bias"][0]
        length = sum(p**2) + sum(q**2)
        if biases:
            score += state["user_bias"][u] + state["item_bias"][i]
            length += state["user_bias"][u] ** 2 + state["item_bias"][i] ** 2
        assert float(rating[k]) == pytest.approx(1 + 4 / (1 + np.exp(-score)), abs=1e-5)
        assert float(square[k]) == pytest.approx(length, rel=1e-5)


@pytest.mark.parametrize("weight", [True, False])
def test_the_weight_of_the_inner_product_is_one_unless_it_is_learned(weight: bool) -> None:
    model = build(TrainConfig.of(inner_product_weight=weight), Shape(U, I, 1, 5, 3))
    assert isinstance(model, MF)
    assert model.linear.weight.requires_grad == weight
    assert (model.linear.weight.item() == 1) == (not weight)


@pytest.mark.parametrize(
    ("hidden", "shapes"), [((64, 32), [(64, 6), (32, 64), (1, 32)]), ((), [(1, 6)])]
)
def test_ncf_has_the_layers_asked_for(
    hidden: tuple[int, ...], shapes: list[tuple[int, int]]
) -> None:
    model = shaken(model="ncf", hidden=hidden)
    assert isinstance(model, NCF)
    assert [
        tuple(layer.weight.shape) for layer in model.network if isinstance(layer, torch.nn.Linear)
    ] == shapes
    rating, square = model(torch.arange(4), torch.arange(4))
    assert rating.shape == square.shape == (4,)


def test_ncf_is_its_formula_and_drops_units_only_in_training() -> None:
    model = shaken(model="ncf", hidden=(16,), dropout=0.5, biases=False)
    state = {name: value.detach() for name, value in model.named_parameters()}
    user, item = torch.arange(5), torch.arange(5)
    x = torch.cat([state["user_embedding.weight"][user], state["item_embedding.weight"][item]], 1)
    x = (x @ state["network.0.weight"].T + state["network.0.bias"]).clamp(min=0)
    score = (x @ state["network.3.weight"].T + state["network.3.bias"])[:, 0]
    score += (state["user_embedding.weight"][user] * state["item_embedding.weight"][item]).sum(1)
    torch.testing.assert_close(model(user, item)[0], 1 + 4 / (1 + torch.exp(-score)))
    model.train()
    assert not torch.equal(model(user, item)[0], model(user, item)[0])


@pytest.mark.parametrize("link", ["identity", "sigmoid"])
@pytest.mark.parametrize(
    "keys", [{"model": "mf"}, {"model": "ncf"}, {"model": "ncf", "hidden": ()}], ids=str
)
@pytest.mark.parametrize("features", [True, False])
def test_what_a_run_keeps_predicts_as_the_model_does(
    link: str, keys: dict[str, object], features: bool
) -> None:
    generator = torch.Generator().manual_seed(3)
    degrees = Pair(torch.tensor([3, 1, 0, 2, 2, 9, 1]), torch.tensor([4, 4, 0, 1, 9]))
    z = None
    if features:
        z = Pair(*(torch.randn(len(d), 2, generator=generator) * (d > 0)[:, None] for d in degrees))
    torch.manual_seed(4)
    config = TrainConfig.of(dim=D, link=link, **keys)  # type: ignore[arg-type]
    model = build(config, Shape(U, I, 1.0, 5.0, 3.5), TrainingStatistics(1.3, degrees, z))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.4)
    model.eval().settle_untrained()
    user, item = (
        grid.ravel() for grid in torch.meshgrid(torch.arange(U), torch.arange(I), indexing="ij")
    )
    tensors = {name: value.numpy() for name, value in model.folded().items()}
    predictor = Predictor(config.model, tensors, 1, 5, link)  # type: ignore[arg-type]
    found = predictor.predict(user.numpy(), item.numpy())
    with torch.no_grad():
        expected, penalty = model(user, item)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    assert len(np.unique(found)) > 20
    raw = np.clip(predictor.scores(predictor.user_vectors(np.arange(U))), 1, 5)
    if link == "identity":
        np.testing.assert_allclose(raw.ravel(), found, atol=1e-4)
    # Users without ratings have what the others have on average, and a penalty falls with the root
    # of the ratings.
    p = tensors["user_embedding.weight"]
    np.testing.assert_allclose(p[2], np.delete(p, 2, 0).mean(0), atol=1e-5)
    own = model.user_embedding.weight[5].square().sum() + model.user_bias[5].square()
    other = model.item_embedding.weight[4].square().sum() + model.item_bias[4].square()
    assert penalty.reshape(U, I)[5, 4].item() == pytest.approx(
        (own / 3 + other / 3).item(), rel=1e-5
    )


@pytest.mark.parametrize(
    "keys", [{"model": "mf", "inner_product_weight": True}, {"model": "ncf"}], ids=str
)
@pytest.mark.parametrize("link", ["identity", "sigmoid"])
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("features", [True, False])
@pytest.mark.parametrize("l2", [0.0, 1.5])
@pytest.mark.parametrize(
    "size", [300, 20]
)  # more than there are users, or so few that most are not among them
def test_the_fast_gradient_is_that_of_autograd(
    keys: dict[str, object], link: str, biases: bool, features: bool, l2: float, size: int
) -> None:
    generator = torch.Generator().manual_seed(3)
    shape = Shape(90, 60, 1.0, 5.0, 3.5)
    degrees = Pair(*(torch.randint(0, 9, (n,), generator=generator) for n in (90, 60)))
    z = None
    if features:
        z = Pair(*(torch.randn(n, 4, generator=generator) for n in (90, 60)))
    torch.manual_seed(1)
    config = TrainConfig.of(dim=D, link=link, biases=biases, solver="adam", **keys)  # type: ignore[arg-type]
    model = build(config, shape, TrainingStatistics(1.3, degrees, z))  # type: ignore[arg-type]
    user, item = (
        torch.randint(0, n, (size,), generator=generator, dtype=torch.int32) for n in (90, 60)
    )
    rating = torch.rand(size, generator=generator) * 4 + 1
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    loss, squares = gradients.loss(model, user, item, rating, l2)
    loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    torch.testing.assert_close(gradients.backward(model, user, item, rating, l2), squares)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        gradients.backward(model, user, item, rating, l2, sparse=True), squares
    )
    tables = [
        name for name, p in model.named_parameters() if any(p is table for table in model.tables())
    ]
    assert len(tables) == (4 if biases else 2)
    for name, p in model.named_parameters():
        if name in tables:
            assert p.grad is not None
            assert p.grad.is_coalesced()
            assert len(p.grad.values()) == len((user if "user" in name else item).unique())
        if name in expected:
            torch.testing.assert_close(p.grad.to_dense(), expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("keys", [{"model": "mf"}, {"model": "ncf"}, {"link": "sigmoid"}], ids=str)
@pytest.mark.parametrize("way", ["autograd", "fast", "sparse"])
def test_a_row_of_weight_2_is_that_row_twice(keys: dict[str, object], way: str) -> None:
    torch.manual_seed(1)
    config = TrainConfig.of(dim=D, init_scale=0.5, solver="adam", **keys)  # type: ignore[arg-type]
    model = build(config, Shape(4, 3, 1.0, 5.0, 3.5))
    user, item = torch.tensor([0, 1, 3, 2]).int(), torch.tensor([1, 1, 0, 2]).int()
    rating = torch.tensor([5.0, 1, 2, 4])

    def gradient(rows: list[int], weight: torch.Tensor | None = None) -> torch.Tensor:
        model.zero_grad()
        columns = (user[rows], item[rows], rating[rows])
        if way == "autograd":
            gradients.loss(model, *columns, 0.0, weight=weight)[0].backward()
        else:
            gradients.backward(model, *columns, 0.0, sparse=way == "sparse", weight=weight)
        found = [p.grad.to_dense().flatten() for p in model.parameters() if p.grad is not None]
        return torch.cat(found)

    weight = torch.tensor([1.0, 2, 1, 1]) * 4 / 5
    twice = gradient([0, 1, 1, 2, 3])
    torch.testing.assert_close(gradient([0, 1, 2, 3], weight), twice, rtol=1e-4, atol=1e-6)
    assert (gradient([0, 1, 2, 3]) - twice).abs().max() > 1e-3


@pytest.mark.parametrize(
    "keys", [{"model": "mf", "inner_product_weight": True}, {"model": "ncf"}], ids=str
)
@pytest.mark.parametrize(
    "way", [gradients.backward, lambda *args: gradients.loss(*args)[0].backward()]
)
def test_gradients_of_parts_sum_up_to_that_of_the_step(keys: dict[str, object], way: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    degrees = Pair(*(torch.randint(0, 9, (n,), generator=generator) for n in (90, 60)))
    z = Pair(*(torch.randn(n, 4, generator=generator) for n in (90, 60)))
    model = build(
        TrainConfig.of(dim=D, **keys),
        Shape(90, 60, 1.0, 5.0, 3.5),
        TrainingStatistics(1.3, degrees, z),
    )  # type: ignore[arg-type]
    user, item = (
        torch.randint(0, n, (100,), generator=generator, dtype=torch.int32) for n in (90, 60)
    )
    rating = torch.rand(100, generator=generator) * 4 + 1

    def gradient(part: slice, total: int | None = None) -> torch.Tensor:
        model.zero_grad()
        way(model, user[part], item[part], rating[part], 1.5, total)
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    parts = [slice(0, 70), slice(70, 99), slice(99, 100)]
    torch.testing.assert_close(
        sum(gradient(part, 100) for part in parts), gradient(slice(None)), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("scale", [(1, 5), (0, 10), (-10, 10), (1, 100)])
def test_an_untrained_model_starts_at_the_start_and_none_leaves_the_range(
    name: str, scale: tuple[int, int]
) -> None:
    low, high = scale
    start = low + 0.7 * (high - low)
    torch.manual_seed(0)
    model = build(
        TrainConfig.of(model=name, link="sigmoid"), Shape(50, 40, low, high, start)
    ).eval()  # type: ignore[arg-type]
    user, item = (
        grid.ravel() for grid in torch.meshgrid(torch.arange(50), torch.arange(40), indexing="ij")
    )
    with torch.no_grad():
        rating = model(user, item)[0]
        assert float((rating - start).abs().max()) < 0.08 * (
            high - low
        )  # 0.05 * a weight moves a score little
        assert float(rating.mean()) == pytest.approx(start, abs=0.03 * (high - low))
        model.user_embedding.weight.mul_(1e4)
        model.item_embedding.weight.mul_(1e4)
        rating = model(user, item)[0]
    assert float(rating.min()) == pytest.approx(low, abs=1e-3)
    assert float(rating.max()) == pytest.approx(high, abs=1e-3)
    assert low <= float(rating.min())
    assert float(rating.max()) <= high


@pytest.mark.parametrize("start", [1.0, 5.0])
def test_a_start_at_the_edge_of_the_range_is_finite(start: float) -> None:
    model = build(TrainConfig.of(init_scale=0, link="sigmoid"), Shape(U, I, 1, 5, start))
    rating = model(torch.tensor([0]), torch.tensor([0]))[0]
    assert rating.item() == pytest.approx(start, abs=0.0041)


def test_the_same_seed_starts_alike() -> None:
    first, again, other = (shaken(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["user_embedding.weight"], other["user_embedding.weight"])


def test_the_bias_model_by_hand() -> None:
    """Ratings 5, 4, 1 of item 0 and 2 of item 1; user 3 and item 2 have none. mu = 3."""
    user, item = np.array([0, 1, 2, 0], dtype=np.uint32), np.array([0, 0, 0, 1], dtype=np.uint32)
    model = BiasModel.fit(user, item, np.array([5.0, 4.0, 1.0, 2.0]), 4, 3)
    # rest: 2, 1, -2, -1; item 0 has sum 1 of 3, item 1 has -1 of 1
    b0, b1 = 1 / 28, -1 / 26
    assert model.mean == 3
    np.testing.assert_allclose(model.item_bias, [b0, b1, 0])
    np.testing.assert_allclose(
        model.user_bias, [(2 - b0 + -1 - b1) / 12, (1 - b0) / 11, (-2 - b0) / 11, 0]
    )
    np.testing.assert_allclose(model.user_mean, [3.5, 4, 1, 3])
    np.testing.assert_allclose(model.item_mean, [10 / 3, 2, 3])
    assert model.user_n.tolist() == [2, 1, 1, 0]
    assert model.item_n.tolist() == [3, 1, 0]
