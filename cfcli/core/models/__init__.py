"""The models, plain modules of PyTorch, and what works on them without PyTorch.

:mod:`cfcli.core.models.kinds` says what each kind of model consists of, and how to add one. PyTorch
is imported when a model is built: the commands that only use one must start without it.
"""

from typing import TYPE_CHECKING

from cfcli.core.config.train import TrainConfig
from cfcli.core.models.kinds import KINDS

if TYPE_CHECKING:
    from cfcli.core.models.base import Factors, Shape, TrainingStatistics


def build(
    config: TrainConfig,
    shape: "Shape",
    statistics: "TrainingStatistics | None" = None,
    device: str | None = None,
) -> "Factors":
    """An untrained model of the configured kind.

    Args:
        config: ``model`` and what its module reads.
        shape: numbers of users and items, and the range of ratings.
        statistics: what the training rows say before any training.
        device: where the parameters of users and items are made; "meta" makes none of them.
    """
    from cfcli.core.models.base import TrainingStatistics

    module = KINDS[config.model].module()
    return module(config, shape, statistics or TrainingStatistics(), device)
