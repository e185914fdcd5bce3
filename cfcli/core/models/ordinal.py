"""How likely each step of a rating scale is.

    P(rating <= step k) = 1 / (1 + exp(-(c_k - m) / (t s^a)))

m is the score of a pair, not kept within the range, and s its predictive standard deviation. This
is the proportional odds model with a scale of its own for each row (McCullagh 1980, "Regression
Models for Ordinal Data"). The cuts c_k, the factor t and the power a are fitted to rows that the
model has not seen. On MovieLens a is 1.2 to 1.5: the sampler draws the noise of users and of items
towards its mean, and s with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

MOST_STEPS = 20
LEAST_ROWS = 10  # for each step
MOST_ROWS = 100_000  # that are fitted to, evenly spaced
FAR = 1e4  # steps from the scale to the cuts below the first step and above the last one
POWERS = (0.5, 2.0)  # few rows do not tell the power
LOGISTIC = 3**0.5 / np.pi  # scale of the logistic distribution whose standard deviation is 1
MOST_STEPS_DOWN = 100  # of the fit; it needs 8 to 10, and 20 where the power is at a limit
FLAT = 1e-9  # the least curvature, and the least step
LEAST_GAIN = 1e-12  # of the mean of -log P; a step that gains less is the last
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

    def loss(x: torch.Tensor) -> torch.Tensor:
        """The mean of -log P, in a form that loses no digits where P is small."""
        bounds = pad(cuts_of(x), (1, 0), value=-FAR)
        bounds = pad(bounds, (0, 1), value=FAR)
        width = x[-2].exp() * s ** power_of(x)
        low, high = ((bounds[step + k] - m) / width for k in (0, 1))
        log_p = logsigmoid(high) + logsigmoid(-low) + (-torch.expm1(low - high)).log()
        return -log_p.mean()

    # The cuts of a plain normal distribution, the logarithm of the scale, and the power 1.
    odds = (1 - POWERS[0]) / (POWERS[1] - 1)
    begin = [0.5, *[0.0] * (n - 2), np.log(LOGISTIC), np.log(odds)]
    best = _least(loss, torch.tensor(begin, dtype=torch.float64))
    cuts, power = first + gap * cuts_of(best), float(power_of(best))
    model = OrdinalModel(steps, cuts.tolist(), float(best[-2].exp()) * gap ** (1 - power), power)
    return model if model.is_sound else None


def _least(loss: "Callable[[Tensor], Tensor]", start: "Tensor") -> "Tensor":
    """Where a function of a few numbers is least, by Newton's method with halved steps. In a
    direction in which the slope grows less it goes downhill all the same (Nocedal and Wright 2006,
    section 3.4).

    Args:
        loss: the function; torch can differentiate it twice.
        start: where to begin, (P,).
    """
    import torch
    from torch.autograd.functional import hessian, jacobian

    x, value = start, loss(start)
    for _ in range(MOST_STEPS_DOWN):
        second: Tensor = hessian(loss, x)  # type: ignore[no-untyped-call]
        first: Tensor = jacobian(loss, x)  # type: ignore[no-untyped-call]
        curvature, directions = torch.linalg.eigh(second)
        slope = directions.T @ first
        move = -directions @ (slope / curvature.abs().clamp(min=FLAT))
        new = loss(x + move)
        while not new < value and move.abs().max() > FLAT:
            move = move / 2
            new = loss(x + move)
        if not value - new > LEAST_GAIN:
            break
        x, value = x + move, new
    return x
