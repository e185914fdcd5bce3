"""The result of a training."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cfcli.core.config.train import Link
from cfcli.core.models.base import Shape
from cfcli.core.models.ordinal import OrdinalModel
from cfcli.core.models.scoring import Predictor
from cfcli.core.models.times import TimeEffects
from cfcli.core.models.warm_start import WarmStartInfo
from cfcli.core.training.epochs import Epoch, TracePoint

Samples = dict[str, NDArray[np.float16] | NDArray[np.float32]]  # by name, see Posterior.samples


@dataclass(frozen=True)
class TrainedModel:
    """The parameters of the best epoch and how they came about.

    Attributes:
        tensors: parameters by name, float32. Users and items without a training row have vectors
            by :func:`cfcli.core.training.attributes.settle`.
        shape: of the data.
        history: one row per epoch.
        best: the epoch that the parameters are of.
        device: where the training computed.
        batch_size: ratings of a step.
        seconds: how long the training took.
        stopped_by: number of the signal that ended it early, or None.
        is_whole: whether it ran to its end, which a signal and ``max_time`` may prevent.
        solver: name of the solver.
        link: how a score becomes a rating, see :class:`cfcli.core.models.scoring.Predictor`.
        noise: variance of a rating around its expectation; for gradient descent, the mean squared
            error of the training rows.
        samples: a few draws of the posterior, where the solver draws; see
            :meth:`cfcli.core.training.gibbs.posterior.Posterior.samples`.
        ordinal: the probabilities of the steps of the scale, from validation rows, where the
            solver draws.
        times: what time adds to ratings, where that was asked for.
        warm_start: what the run's manifest says of the earlier run that this began with, if any.
        trace: the training error along the steps.
        smaller: the models of smaller dimensions that were asked for, by dimension.
    """

    tensors: dict[str, NDArray[np.float32]]
    shape: Shape
    history: list[Epoch]
    best: Epoch
    device: str
    batch_size: int
    seconds: float
    stopped_by: int | None
    is_whole: bool = True
    solver: str = "adam"
    link: Link = "sigmoid"
    noise: float = 1.0
    samples: Samples | None = None
    ordinal: OrdinalModel | None = None
    times: TimeEffects | None = None
    warm_start: WarmStartInfo | None = None
    trace: list[TracePoint] = field(default_factory=list)

    def predictor(self, model: str) -> Predictor:
        """The model as NumPy computes it.

        Args:
            model: name of its kind.
        """
        shape = self.shape
        return Predictor(model, self.tensors, shape.low, shape.high, self.link, self.noise)

    smaller: "dict[int, TrainedModel]" = field(default_factory=dict)
