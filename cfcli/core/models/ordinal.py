"""How likely each step of a rating scale is.

    P(rating <= step k) = 1 / (1 + exp(-(c_k - m) / (t s^a)))

m is the score of a pair, not kept within the range, and s its predictive standard deviation. This is
the proportional odds model with a scale of its own for each row (McCullagh 1980, "Regression Models
for Ordinal Data"). The cuts c_k, the factor t and the power a are fitted to rows that the model has
not seen. On MovieLens a is 1.2 to 1.5: the sampler draws the noise of users and of items towards its
mean, and s with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_STEPS = 20
LEAST_ROWS = 10  # for each step
MOST_ROWS = 100_000  # that are fitted to, evenly spaced
FAR = 1e4  # steps from the scale to the cuts below the first step and above the last one
POWERS = (0.5, 2.0)  # few rows do not tell the power
LOGISTIC = 3**0.5 / np.pi  # scale of the logistic distribution whose standard deviation is 1
MOST_STEPS_DOWN = 200  # of the fit; it needs 20 to 50
FLAT = 1e-6  # slope and step at which the fit ends
ENOUGH = 1e-4  # share of what the slope promises that a step must gain
Numbers = NDArray[np.floating]


@dataclass(frozen=True)
class OrdinalModel:
    """The probabilities of the steps of a scale.

    Attributes:
        steps: the ratings that there are, ascending (K).
        cuts: c, between each step and the next one, ascending (K - 1).
        scale: t.
        power: a.
    """

    steps: list[float]
    cuts: list[float]
    scale: float
    power: float

    @property
    def columns(self) -> list[str]:
        """Names of the probabilities in tables, ``p_1`` for rating 1."""
        return [f"p_{step:.10g}" for step in self.steps]

    @property
    def is_sound(self) -> bool:
        """Whether it gives every step a probability: as many cuts as there must be, in order."""
        numbers = np.array([*self.steps, *self.cuts, self.scale, self.power])
        return (
            len(self.cuts) == len(self.steps) - 1 > 0
            and bool(np.isfinite(numbers).all() and (np.diff(self.steps) > 0).all())
            and bool((np.diff(self.cuts) >= 0).all() and self.scale > 0)
        )

    def probabilities(self, score: Numbers, std: Numbers) -> NDArray[np.float64]:
        """The probability of each step, (N, K); each row adds up to 1.

        Args:
            score: m of each pair, in ratings, (N,).
            std: s of each pair, in ratings, (N,).
        """
        away = (np.array(self.cuts) - score[:, None]) / (self.scale * std[:, None] ** self.power)
        with np.errstate(over="ignore"):  # exp may reach infinity, which is the right limit
            below = 1 / (1 + np.exp(-away))
        return np.diff(below, axis=1, prepend=0.0, append=1.0)


def steps_of(low: float, high: float, step: float | None) -> list[float] | None:
    """The ratings of a scale; None where it has no steps, or more than ``MOST_STEPS``.

    Args:
        low: the lowest rating.
        high: the highest rating.
        step: between ratings; None where they look continuous.
    """
    n = 0 if step is None else (high - low) / step
    if step is None or not 0.5 < n < MOST_STEPS or abs(n - round(n)) > 1e-3:
        return None
    return [round(low + k * step, 6) for k in range(round(n) + 1)]


def fit(score: Numbers, std: Numbers, rating: Numbers, steps: list[float]) -> OrdinalModel | None:
    """Fits cuts, scale and power by maximum likelihood.

    Each step counts as if it had been seen once more, at the mean score: so that none has
    probability 0.

    Args:
        score: m of each row, in ratings, (N,).
        std: s of each row, in ratings, (N,).
        rating: of each row, (N,); what is between two steps counts as the nearest.
        steps: the ratings that there are, ascending and evenly spaced (K).

    Returns:
        The model, or None if there are fewer than ``LEAST_ROWS`` rows for each step.
    """
    import torch
    from torch.nn.functional import logsigmoid, pad

    n = len(steps)
    if len(rating) < LEAST_ROWS * n:
        return None
    first, gap = steps[0], steps[1] - steps[0]  # from here on, ratings are counted in steps
    place = np.rint((rating - first) / gap).clip(0, n - 1)
    step = torch.from_numpy(np.append(place, np.arange(n))).long()
    m, s = (
        torch.from_numpy(np.append(column, np.full(n, column.mean()))).double()
        for column in ((score - first) / gap, std / gap)
    )

    def cuts_of(x: torch.Tensor) -> torch.Tensor:
        """Cuts (K - 1,) from the first one and the logarithms of the gaps between them."""
        return x[0] + pad(x[1:-2].exp(), (1, 0)).cumsum(0)

    def power_of(x: torch.Tensor) -> torch.Tensor:
        """The power, from the logarithm of the odds of its place in the range."""
        return POWERS[0] + (POWERS[1] - POWERS[0]) * x[-1].sigmoid()

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The mean of -log P, in a form that loses no digits where P is small, and its gradient."""
        x = torch.tensor(values, requires_grad=True)
        bounds = pad(cuts_of(x), (1, 0), value=-FAR)
        bounds = pad(bounds, (0, 1), value=FAR)
        width = x[-2].exp() * s ** power_of(x)
        low, high = ((bounds[step + k] - m) / width for k in (0, 1))
        log_p = logsigmoid(high) + logsigmoid(-low) + (-torch.expm1(low - high)).log()
        value = -log_p.mean()
        (slope,) = torch.autograd.grad(value, x)
        return float(value.detach()), slope.numpy()

    # The cuts of a plain normal distribution, the logarithm of the scale, and the power 1.
    odds = (1 - POWERS[0]) / (POWERS[1] - 1)
    best = _least(loss, np.array([0.5, *[0.0] * (n - 2), np.log(LOGISTIC), np.log(odds)]))
    found = torch.from_numpy(best)
    cuts, power = first + gap * cuts_of(found), float(power_of(found))
    model = OrdinalModel(steps, cuts.tolist(), float(np.exp(best[-2]) * gap ** (1 - power)), power)
    return model if model.is_sound else None


def _least(
    loss: Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]],
    start: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Where a function of a few numbers is least, by BFGS (Nocedal and Wright 2006, algorithm 6.1)
    with halved steps. SciPy's own would take ten times as long to import as to use.

    Args:
        loss: gives its value and its gradient.
        start: where to begin.
    """
    x, inverse = start, np.eye(len(start))  # of the second derivatives
    value, slope = loss(x)
    for step in range(MOST_STEPS_DOWN):
        if np.abs(slope).max() < FLAT:
            break
        move = -inverse @ slope
        new_value, new_slope = loss(x + move)
        while not new_value <= value + ENOUGH * (slope @ move) and np.abs(move).max() > FLAT:
            move = move / 2
            new_value, new_slope = loss(x + move)
        if not new_value <= value:
            break
        change = new_slope - slope
        x, value, slope = x + move, new_value, new_slope
        curvature = move @ change
        if curvature <= 0:
            continue
        if step == 0:
            inverse = inverse * (curvature / (change @ change))
        left = np.eye(len(x)) - np.outer(move, change) / curvature
        inverse = left @ inverse @ left.T + np.outer(move, move) / curvature
    return x
