"""cfcli: collaborative filtering on explicit ratings, from the shell and from Python.

>>> import cfcli
>>> data = cfcli.prepare("ratings.csv", out="data")
>>> run = cfcli.train(data, model="ncf", dim=5)
>>> run.evaluate().rating.rmse

The names below are loaded when they are first used: ``import cfcli`` itself takes a millisecond.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from cfcli.version import __version__ as __version__

if TYPE_CHECKING:
    from cfcli.api import Dataset, Run, compare, cross_validate, load, prepare, train
    from cfcli.core.errors import (
        ArtifactError,
        CfcliError,
        ConfigError,
        GateError,
        InputError,
        LockedError,
        MachineError,
        StoppedError,
    )

__all__ = [
    "ArtifactError",
    "CfcliError",
    "ConfigError",
    "Dataset",
    "GateError",
    "InputError",
    "LockedError",
    "MachineError",
    "Run",
    "StoppedError",
    "compare",
    "cross_validate",
    "load",
    "prepare",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'cfcli' has no attribute {name!r}")
    home = "cfcli.core.errors" if name.endswith("Error") else "cfcli.api"
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
