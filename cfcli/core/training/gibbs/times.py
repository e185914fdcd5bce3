"""Effects of time in the sampler, see :mod:`cfcli.core.models.times`.

    c = a x, x ~ N(0, 1 / tau), a ~ N(0, s^2), tau ~ Gamma(1/2, 1/2)

for each length of windows. For an item's bias, the same holds for its steps from bin to bin. The
factor a is there to be drawn: without it tau would hardly move from one sweep to the next, as there
are many more windows than ratings tell about (Gelman 2006, "Prior distributions for variance
parameters in hierarchical models").
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcli.core.models.times import BINS, Calendar, Seconds, TimeEffects
from cfcli.core.training.checkpoints import State
from cfcli.core.training.gibbs.generator import Generator

WINDOW, STEP = 0.1, 0.02  # s, of windows and of steps, in standard deviations of the ratings


class _Effect:
    """One kind of effect: a number for each group of rows.

    Args:
        group: of each row, (N,); G for rows without one.
        groups: how many there are (G).
        spread: s.
        generator: of all random numbers.

    Attributes:
        value: c of each group and a 0 for rows without one, (G + 1,).
        total: sum of the means that were kept, (G + 1,).
    """

    STATE = ("value", "factor", "precision", "total")  # what a checkpoint must hold

    def __init__(
        self, group: NDArray[np.int64], groups: int, spread: float, generator: Generator
    ) -> None:
        self.group = torch.from_numpy(group).to(generator.device)
        self.n, self.spread, self.generator = groups, spread, generator
        self.factor, self.precision = spread, 1.0
        self.value = torch.zeros(groups + 1, device=generator.device)
        self.mean = self.value.clone()
        self.total = self.value.clone()

    def draw(self, error: Tensor, precision: Tensor) -> None:
        """Draws x, a and tau in turn.

        Args:
            error: what is left of each rating, (N,); this effect is taken out of it.
            precision: of each rating, (N,).
        """
        error += self.value[self.group]
        weight = self._sums(precision)
        target = self._sums(precision * error)
        mean, x = self._draw_x(self.factor**2 * weight[:-1], self.factor * target[:-1])
        self.mean[:-1] = self.factor * mean
        certain = float((weight[:-1] * x.square()).sum()) + self.spread**-2
        drawn = float(self.generator.normal(1))
        self.factor = float((target[:-1] * x).sum()) / certain + drawn / certain**0.5
        shape = torch.tensor((1 + self.n) / 2)
        self.precision = float(self.generator.gamma(shape)) / ((1 + self._length(x)) / 2)
        self.value[:-1] = self.factor * x
        error -= self.value[self.group]

    def keep(self) -> None:
        """Adds the mean that the last draw was from to the sum."""
        self.total += self.mean

    def _sums(self, rows: Tensor) -> Tensor:
        """Sums of the rows of each group, (G + 1,)."""
        return torch.zeros_like(self.value).index_add_(0, self.group, rows)

    def _draw_x(self, weight: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of x and a draw, each (G,)."""
        certain = weight + self.precision
        mean = target / certain
        return mean, mean + self.generator.normal(self.n) / certain.sqrt()

    def _length(self, x: Tensor) -> float:
        """What tau is the precision of: the sum of squares."""
        return float(x.square().sum())


class _Walk(_Effect):
    """A random walk of each item over the bins, which begins near 0; a group is an item's bin."""

    def _draw_x(self, weight: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """By the Cholesky factor of the tridiagonal precision of each item (Rue and Held 2005,
        "Gaussian Markov Random Fields", section 2.4), all items at once."""
        tau = self.precision
        diagonal = weight.view(-1, BINS).T + 2 * tau  # (T, I): a bin lies together
        diagonal[-1] -= tau
        root = diagonal.sqrt()
        below = torch.zeros_like(root)  # the factor's entries beside the diagonal
        half = target.view(-1, BINS).T.clone()
        half[0] /= root[0]
        for k in range(1, BINS):
            below[k] = -tau / root[k - 1]
            root[k] = (diagonal[k] - below[k].square()).sqrt()
            half[k] = (half[k] - below[k] * half[k - 1]) / root[k]
        both = torch.stack([half, half + self.generator.normal(*half.shape)], dim=1)  # (T, 2, I)
        both[-1] /= root[-1]
        for k in range(BINS - 2, -1, -1):
            both[k] = (both[k] - below[k + 1] * both[k + 1]) / root[k]
        mean, x = both.unbind(1)
        return mean.T.reshape(-1), x.T.reshape(-1)

    def _length(self, x: Tensor) -> float:
        """The sum of the squared steps."""
        walks = x.view(-1, BINS)
        return float(walks[:, 0].square().sum() + walks.diff(dim=1).square().sum())


class MeanTimes(NamedTuple):
    """The mean of the effects that were kept, in ratings.

    Attributes:
        effects: beside the newest time.
        newest: what the newest time adds to each item, (I,).
    """

    effects: TimeEffects
    newest: NDArray[np.float32]


class TimeSampler:
    """Draws the effects of time on standardised ratings.

    Args:
        user: index of the user of each training row, (N,).
        item: index of its item, (N,).
        time: of each row, in seconds since 1970, (N,); NaN where there is none.
        items: how many items there are (I).
        generator: of all random numbers.
        weight: how much each row counts, (N,); None where all count the same.

    Attributes:
        user: as given, as a tensor.
        item: as given, as a tensor.
        weight: as given, as a tensor.
        offset: what time adds to each row now, (N,).
        kept: for how many samples the means were kept.
    """

    def __init__(
        self,
        user: NDArray[np.int64],
        item: NDArray[np.int64],
        time: Seconds,
        items: int,
        generator: Generator,
        weight: NDArray[np.float32] | None = None,
    ) -> None:
        self.calendar = Calendar.of(user, time)
        self.kept = 0.0
        self.keys: list[NDArray[np.int64]] = []
        self.effects: list[_Effect] = []
        for length in self.calendar.lengths:
            windows = self.calendar.windows(length, user, time)
            keys = np.unique(windows[windows >= 0])
            group = np.where(windows >= 0, np.searchsorted(keys, windows), len(keys))
            self.keys.append(keys)
            self.effects.append(_Effect(group, len(keys), WINDOW, generator))
        place = np.where(np.isfinite(time), item * BINS + self.calendar.bins(time), items * BINS)
        self.effects.append(_Walk(place, items * BINS, STEP, generator))
        self.is_rated = np.bincount(item, minlength=items) > 0
        self.offset = torch.zeros(len(user), device=generator.device)
        self.user, self.item = (torch.from_numpy(x).to(generator.device) for x in (user, item))
        self.weight = None if weight is None else torch.from_numpy(weight).to(self.offset)

    def draw(self, error: Tensor, users: Tensor, items: Tensor) -> None:
        """Draws all effects in turn.

        Args:
            error: what vectors, biases and time leave of each rating, (N,); it is changed.
            users: precision of the ratings of each user, (U,).
            items: what it is multiplied by for each item, (I,).
        """
        precision = users[self.user] * items[self.item]
        if self.weight is not None:
            precision *= self.weight
        for effect in self.effects:
            effect.draw(error, precision)
        self.offset = self._added()

    def _added(self) -> Tensor:
        """What all effects together add to each row, (N,)."""
        return sum((x.value[x.group] for x in self.effects), torch.zeros_like(self.offset))

    def keep(self) -> None:
        """Counts the last draw in."""
        for effect in self.effects:
            effect.keep()
        self.kept += 1

    def count_in(self, former: TimeEffects, scale: float, times: float) -> None:
        """Counts the mean of an earlier sampling of some of the rows in.

        Args:
            former: that mean.
            scale: standard deviation of the ratings.
            times: for how many samples it counts.
        """
        numbers = zip(self.calendar.lengths, self.keys, self.effects[:-1], strict=True)
        for length, keys, effect in numbers:
            if length in former.calendar.lengths:
                user, time = self.calendar.middles(length, keys)
                known = former.of_window(former.calendar.lengths.index(length), user, time)
                effect.total[:-1] += torch.from_numpy(known * times / scale).to(effect.total)
        walks = former.items[:, former.calendar.bins(self.calendar.centres)]
        self.effects[-1].total[:-1] += torch.from_numpy(walks.ravel() * times / scale).to(
            self.offset
        )
        self.kept += times

    def mean(self, scale: float) -> "MeanTimes":
        """The mean effects, in ratings.

        Args:
            scale: standard deviation of the ratings.
        """
        values = [(x.total[:-1] / max(self.kept, 1) * scale).cpu().numpy() for x in self.effects]
        items = values.pop().reshape(-1, BINS)
        items[~self.is_rated] = 0
        last = items[:, -1].copy()
        effects = TimeEffects(self.calendar, self.keys, values, items - last[:, None])
        return MeanTimes(effects, last)

    def state(self) -> State:
        """What a checkpoint must hold to continue the sampling."""
        return {
            "kept": self.kept,
            "effects": [{key: getattr(x, key) for key in x.STATE} for x in self.effects],
        }

    def load_state(self, state: State) -> None:
        """Continues from an earlier state.

        Args:
            state: what :meth:`state` returned, perhaps on another device.
        """
        self.kept = state["kept"]
        for effect, former in zip(self.effects, state["effects"], strict=True):
            for key, value in former.items():
                is_tensor = isinstance(value, Tensor)
                setattr(effect, key, value.to(self.offset, copy=True) if is_tensor else value)
            effect.mean = effect.value.clone()
        self.offset = self._added()
