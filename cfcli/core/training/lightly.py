"""Importing Lightning without what it imports and nothing here uses: half the start-up of a
training."""

import importlib
import sys
from types import ModuleType
from typing import Any

OURS = ("pytorch_lightning", "lightning_fabric", "cfcli.core.training")
alone = False  # set by the command line: in a process of others, their metrics must be those that Lightning knows


class _StandIn(ModuleType):
    """Has the few names that are asked for; at any other the module itself takes its place
    again."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        remove(self.__name__)
        return getattr(importlib.import_module(self.__name__), name)


def training() -> Any:
    """The module :mod:`cfcli.core.training.fit`."""
    if alone and "pytorch_lightning" not in sys.modules:
        # Lightning asks whether something is one of theirs; Adam calls the compiler whether it is
        # at work or not.
        _stand_in(
            "torchmetrics",
            Metric=type("Metric", (), {}),
            MetricCollection=type("MetricCollection", (), {}),
        )
        _stand_in(
            "torch._dynamo",
            OptimizedModule=type("OptimizedModule", (), {}),
            disable=lambda fn, *args, **kwargs: fn,
            graph_break=lambda *args, **kwargs: None,
        )
        try:
            from cfcli.core.training import fit as training
        except (AttributeError, ImportError):  # a Lightning that wants more
            remove("torchmetrics", "torch._dynamo")
            for name in [name for name in sys.modules if name.startswith(OURS)]:
                del sys.modules[name]
    from cfcli.core.training import fit as training

    return training


def remove(*names: str) -> None:
    """Makes room for the modules themselves."""
    for name in names:
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


def _stand_in(name: str, **members: Any) -> None:
    if name not in sys.modules:
        sys.modules[name] = _StandIn(name)
        vars(sys.modules[name]).update(members)
