"""The commands that make a dataset or a run again."""

import shlex

from cfcli.core.config.fields import keys_of
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import from_dict
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.info import Inputs
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
    files = {
        "--items": given.items,
        "--users": given.users,
        "--val-file": given.val_file,
        "--test-file": given.test_file,
    }
    for flag, name in files.items():
        if name:
            words += [flag, name]
    settings = _settings(from_dict(PrepareConfig, info.config))
    return shlex.join(["cfcli", "prepare", *words, "--out", str(dataset.path), *settings])


def train_command(run: Run, dataset: Dataset | None) -> str:
    """``cfcli train`` with the settings of a run, quoted for a shell.

    Args:
        run: the one to make again.
        dataset: where to train it on; None where the run's is gone.
    """
    where = str(dataset.path) if dataset else run.info.dataset.path
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
