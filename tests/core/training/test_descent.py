"""What moves the tables, by hand: two steps on a table of three rows, of which each step is on
some."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ConfigError
from cfcli.core.models import build
from cfcli.core.models.base import Shape
from cfcli.core.training.checkpoints import Identity
from cfcli.core.training.descent import Descent
from cfcli.core.training.epochs import History, Silent
from cfcli.core.training.rowwise import RowwiseAdagrad

STEPS = [([0, 2], [[3.0, 4.0], [0.0, 0.0]]), ([0, 1], [[0.0, -5.0], [6.0, 8.0]])]


def adagrad() -> np.ndarray:
    """Row 0: (9 + 16) / 2 = 12.5, then + 25 / 2 = 25. Row 1: (36 + 64) / 2 = 50. Row 2: a gradient
    of zeros."""
    first, second = np.array([3, 4]) / 12.5**0.5, np.array([0, -5]) / 25**0.5
    return 1 - 0.1 * np.array([first + second, np.array([6, 8]) / 50**0.5, [0, 0]])


def adam() -> np.ndarray:
    """Moments 0.1 g and 0.001 g^2, over 1 - 0.9^t and 1 - 0.999^t of the step t: the second, for
    row 1's first."""
    late = (0.1 / 0.19) / (0.001 / 0.001999) ** 0.5
    m = (0.9 * 0.1 * np.array([3, 4]) + 0.1 * np.array([0, -5])) / 0.19
    v = (0.999 * 0.001 * np.array([9, 16]) + 0.001 * np.array([0, 25])) / 0.001999
    return 1 - 0.1 * np.array([1 + m / v**0.5, [late, late], [0, 0]])


@pytest.mark.parametrize(
    ("optimizer", "expected"), [(RowwiseAdagrad, adagrad()), (torch.optim.SparseAdam, adam())]
)
def test_two_steps_by_hand(
    optimizer: Callable[..., torch.optim.Optimizer], expected: np.ndarray
) -> None:
    table, bias = torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(3))
    steps = optimizer([table, bias], lr=0.1)
    for ids, rows in STEPS:
        table.grad = torch.sparse_coo_tensor([ids], rows, (3, 2), check_invariants=True).coalesce()
        bias.grad = torch.sparse_coo_tensor(
            [ids], [row[1] for row in rows], (3,), check_invariants=True
        ).coalesce()
        steps.step()
    np.testing.assert_allclose(table.detach(), expected, rtol=1e-5)
    if optimizer is RowwiseAdagrad:  # a row of one number
        np.testing.assert_allclose(bias.detach(), [1 - 0.1 * (1 - 5 / 41**0.5), 0.9, 1], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "times"), [("adam", 2), ("sparse-adam", 2), ("rowwise-adagrad", 1 / 8)]
)
@pytest.mark.parametrize("keys", [{}, {"model": "ncf"}, {"biases": False}], ids=str)
def test_the_state_of_the_tables_is_as_large_as_it_says(
    name: str, times: float, keys: dict[str, object]
) -> None:
    config = TrainConfig.of(optimizer=name, dim=8, solver="adam", **keys)  # type: ignore[arg-type]
    model = build(config, Shape(500, 400, 1, 5, 3))
    descent = Descent(model, config, [], 32, History(Silent()), Identity("", ""))
    optimizers = descent.configure_optimizers()
    user, item, rating = torch.arange(64).int(), torch.arange(64).int(), torch.rand(64)
    descent.on_train_epoch_start()
    descent.learn(optimizers, (user, item, rating))
    tables = model.tables()[:2]
    sizes = [
        value.numel()
        for o in optimizers
        for t in tables
        for value in o.state.get(t, {}).values()
        if hasattr(value, "numel")
    ]
    assert sum(size for size in sizes if size > 1) == times * 900 * 8
    moved = [p for o in optimizers for group in o.param_groups for p in group["params"]]
    assert len(moved) == len(set(moved)) == sum(p.requires_grad for p in model.parameters())
    assert all(value.isfinite().all() for value in model.parameters())


def test_a_learning_rate_moves_that_of_all_else_in_proportion() -> None:
    assert TrainConfig().adam.rates == (0.002, 0.002)
    assert TrainConfig.of(optimizer="sparse-adam", learning_rate=0.01).adam.rates == (0.01, 0.01)
    rate, rest = TrainConfig.of(optimizer="rowwise-adagrad").adam.rates
    assert (rate > 0.01, rest) == (True, 0.002)
    assert TrainConfig.of(optimizer="rowwise-adagrad", learning_rate=2 * rate).adam.rates == (
        2 * rate,
        0.004,
    )


def test_what_an_optimizer_asks_for() -> None:
    assert TrainConfig.of(optimizer="sparse-adam").resolved_solver == "adam"
    with pytest.raises(ConfigError, match="solver gibbs does not use optimizer"):
        TrainConfig.of(optimizer="rowwise-adagrad", solver="gibbs")
