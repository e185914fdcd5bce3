"""The models, plain ``nn.Module``s, by name. A new one is a file here and a line in ``MODELS``.

They are imported when one is built: the biases beside them serve commands that must start without
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from cfcli.core.config.train import TrainConfig

if TYPE_CHECKING:
    from cfcli.core.models.base import Factors, Known, Shape

MODELS = {"mf": "MF", "ncf": "NCF"}  # the module here, and its class


def build(
    config: TrainConfig, shape: "Shape", known: "Known | None" = None, device: str | None = None
) -> "Factors":
    """An untrained model of the configured kind, see :class:`cfcli.core.models.base.Factors`."""
    module = import_module(f"cfcli.core.models.{config.model}")
    if known is None:
        from cfcli.core.models.base import Known

        known = Known()
    model: Factors = getattr(module, MODELS[config.model])(config, shape, known, device)
    return model
