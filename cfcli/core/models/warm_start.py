"""Where a training run begins that continues from an earlier model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfcli.core.models.times import TimeEffects
from cfcli.core.pair import Pair


@dataclass(frozen=True)
class WarmStartInfo:
    """What the manifest of a run says of the run that it began with.

    Attributes:
        run: name of that run.
        generation: how many trainings went on from each other, this one included.
        new_users: users that the run did not know.
        new_items: items that the run did not know.
    """

    run: str
    generation: int
    new_users: int
    new_items: int


@dataclass(frozen=True)
class WarmStart:
    """What an earlier model knew, its rows in the order of the new data (U users, I items).

    Attributes:
        tensors: parameters by name as :class:`cfcli.core.models.scoring.Predictor` reads them,
            float32.
        draw: a sample of its posterior, of users (U, K) and of items (I, K), the bias last; None
            for a model without samples.
        noise: variance of a rating around its expectation, in squared ratings.
        origin: what the manifest of the new run says about it.
        is_part: whether it is the same training without some of the rows, so that its posterior
            mean is a part of the new one.
        times: its effects of time, if it is a part.
    """

    tensors: Mapping[str, NDArray[np.float32]]
    draw: Pair[NDArray[np.float32]] | None
    noise: float
    origin: WarmStartInfo | None
    is_part: bool = False
    times: TimeEffects | None = None
