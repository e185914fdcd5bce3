"""A folder with a dataset and a run, to harm."""

import shutil
from pathlib import Path

import pytest
from shared import MadeOnce
from shell import run_cfcli, write_ratings


@pytest.fixture
def here(ready: Path, tmp_path: Path) -> Path:
    """A copy of what is ready (``ratings.csv``, ``pairs.csv``, ``data``, ``mf``) and, beside it,
    ``new.csv``."""
    folder = Path(shutil.copytree(ready, tmp_path / "here"))
    write_ratings(folder / "new.csv", seed=1)
    return folder


@pytest.fixture(scope="session")
def new(made_once: MadeOnce) -> Path:
    """The dataset that ``new.csv`` becomes."""
    return made_once("new", fill_new) / "data"


def fill_new(folder: Path) -> None:
    write_ratings(folder / "new.csv", seed=1)
    assert run_cfcli("prepare", "new.csv", cwd=folder).returncode == 0
