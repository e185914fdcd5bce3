"""The commands that make a dataset or a run again."""

import shlex
from collections.abc import Collection
from dataclasses import fields

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.toml import to_toml_value
from cfcli.core.config.train import TOGETHER_FLAGS, TRAIN_FLAGS, TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.info import Inputs, PlainConfig
from cfcli.core.runs.run import Run


def prepare_command(dataset: Dataset) -> str:
    """The command that makes a dataset again, as a shell takes it.

    Args:
        dataset: the dataset.
    """
    info = dataset.info
    given = info.input or Inputs(ratings=[source.name for source in info.sources])
    if given.dataset:
        words = ["--dataset", given.dataset]
    else:
        words = ["-" if name == "<stdin>" else name for name in given.ratings or ()]
    files = {"--items": given.items, "--val-file": given.val_file, "--test-file": given.test_file}
    for flag, name in files.items():
        if name:
            words += [flag, name]
    settings = _settings(
        PrepareConfig, info.config, [field.name for field in fields(PrepareConfig)]
    )
    return shlex.join(["cfcli", "prepare", *words, "--out", str(dataset.path), *settings])


def train_command(run: Run, dataset: Dataset | None) -> str:
    """The command that trains a run again, as a shell takes it.

    Args:
        run: the run.
        dataset: that it was trained on, where that is still there.
    """
    where = str(dataset.path) if dataset else run.info.dataset.path
    settings = _settings(TrainConfig, run.info.settings, TRAIN_FLAGS + TOGETHER_FLAGS)
    return shlex.join(["cfcli", "train", "--data", where, *settings])


def _settings(
    cls: type[PrepareConfig] | type[TrainConfig], config: PlainConfig, flags: Collection[str]
) -> list[str]:
    """Those other than by default: as flags where there are some, else by ``--set``."""
    words = []
    for field in fields(cls):
        value = config.get(field.name, field.default)
        value = tuple(value) if isinstance(value, list) else value
        if value == field.default:
            continue
        if field.name not in flags:
            words += [
                "--set",
                f"{field.name}={to_toml_value(list(value) if isinstance(value, tuple) else value)}",
            ]
        elif value is True:
            words.append(f"--{field.name.replace('_', '-')}")
        else:
            text = (
                ",".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)
            )
            words += [f"--{field.name.replace('_', '-')}", text]
    return words
