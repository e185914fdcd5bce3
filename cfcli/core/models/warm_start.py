"""Where a training begins that goes on from an earlier model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Start:
    """What an earlier model knew, its rows in the order of the new data (U users, I items).

    Attributes:
        tensors: parameters by name as :class:`cfcli.core.models.scoring.Predictor` reads them,
            float32.
        draw: a sample of its posterior, of users (U, K) and of items (I, K), the bias last, if it
            has one.
        noise: variance of a rating around its expectation.
        told: what a run's manifest says of it.
    """

    tensors: Mapping[str, NDArray[np.float32]]
    draw: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    noise: float
    told: dict[str, Any]
