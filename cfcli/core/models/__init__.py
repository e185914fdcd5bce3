"""The models, plain ``nn.Module``s, by name. A new one is a file here and a line in ``MODELS``."""

from cfcli.core.config import TrainConfig
from cfcli.core.models.base import Factors, Shape
from cfcli.core.models.mf import MF
from cfcli.core.models.ncf import NCF

MODELS: dict[str, type[Factors]] = {"mf": MF, "ncf": NCF}


def build(config: TrainConfig, shape: Shape) -> Factors:
    """An untrained model of the configured kind."""
    return MODELS[config.model](config, shape)


__all__ = ["MODELS", "Factors", "Shape", "build"]
