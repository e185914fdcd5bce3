"""What a training leaves."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcli.core.config.train import Link
from cfcli.core.models.base import Shape
from cfcli.core.models.warm_start import WarmStartInfo
from cfcli.core.training.epochs import Epoch


@dataclass(frozen=True)
class TrainedModel:
    """The parameters of the best epoch and how they came about.

    Attributes:
        tensors: parameters by name, float32; rows of users and items that no training row has are
            the mean of the others, so that a prediction for them falls back on what is known of
            their partner.
        shape: of the data.
        history: one row per epoch.
        trace: the training error by step, see :class:`cfcli.core.training.resuming.Resumable`.
        best: the row whose parameters these are.
        device, batch_size, seconds: what was used, and how long the fit took.
        stopped_by: number of the signal that ended it early, or None.
        solver: adam or gibbs.
        link: how a score becomes a rating, see :class:`cfcli.core.models.scoring.Predictor`.
        noise: variance of a rating around its expectation; for adam, the mean squared error of the
            training rows.
        warm_start: of an earlier run, see :class:`cfcli.core.models.warm_start.Start`.
        samples: what :meth:`cfcli.core.training.gibbs.posterior.Posterior.samples` has, where the
            solver has some.
    """

    tensors: dict[str, NDArray[np.float32]]
    shape: Shape
    history: list[Epoch]
    best: Epoch
    device: str
    batch_size: int
    seconds: float
    stopped_by: int | None
    solver: str = "adam"
    link: Link = "sigmoid"
    noise: float = 1.0
    samples: dict[str, NDArray[Any]] | None = None
    warm_start: WarmStartInfo | None = None
    trace: list[tuple[int, float]] = field(default_factory=list)
