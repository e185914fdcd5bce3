"""Probabilities of the steps of a scale: by hand, and against ratings drawn from known ones."""

import math
from dataclasses import replace

import numpy as np
import pytest

from cfcli.core.models.ordinal import POWERS, OrdinalModel, fit, steps_of


def drawn(model: OrdinalModel, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, standard deviations, and a rating of each by the model's probabilities."""
    random = np.random.default_rng(1)
    score, std = random.normal(3, 1, n), random.uniform(0.5, 1.5, n)
    below = model.probabilities(score, std).cumsum(1)
    place = (random.random((n, 1)) > below).sum(1)
    return score, std, np.array(model.steps)[place]


def test_probabilities_by_hand() -> None:
    model = OrdinalModel([1, 2, 3], [1.5, 2.5], 2.0, 0.5)
    std = np.array([0.5, 0.25]) ** 2 / math.log(3) ** 2  # the odds of 1 step are 3 and 9
    found = model.probabilities(np.array([1.5, 2.5]), std)
    np.testing.assert_allclose(found, [[0.5, 0.25, 0.25], [0.1, 0.4, 0.5]])
    assert model.columns == ["p_1", "p_2", "p_3"]


@pytest.mark.parametrize(
    "planted",
    [
        OrdinalModel([1, 2, 3, 4, 5], [1.5, 2.0, 3.4, 4.1], 0.4, 1.5),
        OrdinalModel([0, 10], [3.0], 0.5, 1.2),
    ],
)
def test_cuts_scale_and_power_are_found_again(planted: OrdinalModel) -> None:
    found = fit(*drawn(planted, 20_000), planted.steps)
    assert found is not None
    np.testing.assert_allclose(found.cuts, planted.cuts, atol=0.06)
    assert found.scale == pytest.approx(planted.scale, rel=0.05)
    assert found.power == pytest.approx(planted.power, abs=0.1)


@pytest.mark.parametrize("power", [0.3, 1.2, 2.6])  # within the limits and beyond them
def test_no_other_parameters_are_more_likely(power: float) -> None:
    score, std, rating = drawn(OrdinalModel([1, 2, 3], [1.5, 3.5], 0.5, power), 4000)
    found = fit(score, std, rating, [1, 2, 3])
    assert found is not None
    place = np.append(rating - 1, range(3)).astype(int)  # each step once more, at the means
    score, std = (np.append(side, [side.mean()] * 3) for side in (score, std))

    def likelihood(model: OrdinalModel) -> float:
        shares = model.probabilities(score, std)
        return float(np.log(shares[np.arange(len(place)), place]).mean())

    for sign in (-0.01, 0.01):
        others = [
            replace(found, cuts=[found.cuts[0] + sign, found.cuts[1]]),
            replace(found, cuts=[found.cuts[0], found.cuts[1] + sign]),
            replace(found, scale=found.scale + sign),
            replace(found, power=min(max(found.power + sign, POWERS[0]), POWERS[1])),
        ]
        assert all(likelihood(other) <= likelihood(found) + 1e-9 for other in others)


def test_a_step_that_nobody_used_is_unlikely_but_possible() -> None:
    score, std, rating = drawn(OrdinalModel([1, 2, 3], [1.5, 3.5], 0.5, 1.0), 1000)
    found = fit(score, std, rating, [1, 2, 3, 4])
    assert found is not None
    last = found.probabilities(score, std)[:, 3]
    assert (last > 0).all()
    assert last.mean() < 0.01


def test_few_rows_give_no_probabilities() -> None:
    rows = drawn(OrdinalModel([1, 2], [1.5], 0.5, 1.0), 19)
    assert fit(*rows, [1, 2]) is None
    assert fit(*(np.append(column, column[0]) for column in rows), [1, 2]) is not None


@pytest.mark.parametrize(
    ("scale", "steps"),
    [
        ((1, 5, 1), [1, 2, 3, 4, 5]),
        ((0.1, 0.4, 0.1), [0.1, 0.2, 0.3, 0.4]),
        ((1, 20, 1), [*range(1, 21)]),
        ((0, 20, 1), None),
        ((1, 5, 3), None),
        ((1, 5, None), None),
    ],
)
def test_only_short_even_scales_have_steps(
    scale: tuple[float, float, float | None], steps: list[float] | None
) -> None:
    assert steps_of(*scale) == steps
