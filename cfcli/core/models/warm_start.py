"""Where a training run begins that continues from an earlier model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfcli.core.models.pair import Pair


@dataclass(frozen=True)
class WarmStart:
    """What an earlier model knew, its rows in the order of the new data (U users, I items).

    Attributes:
        tensors: parameters by name as :class:`cfcli.core.models.scoring.Predictor` reads them,
            float32.
        draw: a sample of its posterior, of users (U, K) and of items (I, K), the bias last; None
            for a model without samples.
        noise: variance of a rating around its expectation, in squared ratings.
        origin: what the manifest of the new run says about it: the name of the earlier ``run``, the
            ``generation`` of the new one, ``new_users`` and ``new_items``.
    """

    tensors: Mapping[str, NDArray[np.float32]]
    draw: Pair[NDArray[np.float32]] | None
    noise: float
    origin: dict[str, str | int]
