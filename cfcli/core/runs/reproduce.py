"""The commands that make a dataset or a run again."""

import shlex

from cfcli.core.config.fields import keys_of
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import from_dict
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.runs.run import Run


def prepare_command(dataset: Dataset) -> str:
    """``cfcli prepare`` with the inputs and the settings of a dataset, quoted for a shell.

    Args:
        dataset: the one to make again.
    """
    given = dataset.info.get("input") or {
        "ratings": [source["name"] for source in dataset.info["sources"]]
    }
    words = ["--dataset", given["dataset"]] if "dataset" in given else list(given["ratings"])
    words = ["-" if word == "<stdin>" else word for word in words]
    for name in ("items", "val_file", "test_file"):
        if name in given:
            words += [f"--{name.replace('_', '-')}", given[name]]
    settings = _settings(from_dict(PrepareConfig, dataset.info["config"]))
    return shlex.join(["cfcli", "prepare", *words, "--out", str(dataset.path), *settings])


def train_command(run: Run, dataset: Dataset | None) -> str:
    """``cfcli train`` with the settings of a run, quoted for a shell.

    Args:
        run: the one to make again.
        dataset: where to train it on; None where the run's is gone.
    """
    where = str(dataset.path) if dataset else run.info["dataset"]["path"]
    settings = _settings(run.config)
    return shlex.join(["cfcli", "train", "--data", where, *settings])


def _settings(config: PrepareConfig | TrainConfig) -> list[str]:
    """The words of a command line that give the settings other than the defaults."""
    values = config.values()
    words: list[str] = []
    for key in keys_of(type(config)).values():
        if not key.is_default(values[key.name]):
            words += key.words(values[key.name])
    return words
