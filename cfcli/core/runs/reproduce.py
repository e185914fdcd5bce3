"""The commands that make a dataset or a run again."""

import shlex
from dataclasses import fields
from typing import Any

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.toml import to_toml_value
from cfcli.core.config.train import TOGETHER_FLAGS, TRAIN_FLAGS, TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.runs.run import Run


def prepare_command(dataset: Dataset) -> str:
    """``cfcli prepare`` with the inputs and the settings of a dataset, in a shell's spelling."""
    given = dataset.info.get("input") or {
        "ratings": [source["name"] for source in dataset.info["sources"]]
    }
    words = ["--dataset", given["dataset"]] if "dataset" in given else list(given["ratings"])
    words = ["-" if word == "<stdin>" else word for word in words]
    for name in ("items", "val_file", "test_file"):
        if name in given:
            words += [f"--{name.replace('_', '-')}", given[name]]
    settings = _settings(
        PrepareConfig, dataset.info["config"], [field.name for field in fields(PrepareConfig)]
    )
    return shlex.join(["cfcli", "prepare", *words, "--out", str(dataset.path), *settings])


def train_command(run: Run, dataset: Dataset | None) -> str:
    """``cfcli train`` with the settings of a run."""
    where = str(dataset.path) if dataset else run.info["dataset"]["path"]
    settings = _settings(TrainConfig, run.info["config"], TRAIN_FLAGS + TOGETHER_FLAGS)
    return shlex.join(["cfcli", "train", "--data", where, *settings])


def _settings(
    cls: type[PrepareConfig] | type[TrainConfig], config: dict[str, Any], flags: Any
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
