"""A store of one night, runs to publish, and processes that do not outlive a test."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import planted
import pytest
from shared import MadeOnce
from shell import CFCLI, start_cfcli, write_ratings
from store_faults import ENV, QUICK, Process, retrain


@pytest.fixture(scope="session")
def made(made_once: MadeOnce) -> list[Path]:
    """Three folders, each with a ``data`` and a ``run`` that share ids with the others but nothing
    else, not even their numbers."""
    return sorted(made_once("made", fill_made).iterdir())


def fill_made(folder: Path) -> None:
    for k, (users, items) in enumerate(((40, 24), (32, 20), (36, 28))):
        data = planted.dataset(folder / f"{k:08}", planted.checkerboard(users, items, seed=k))
        planted.run(data, folder / f"{k:08}" / "run", solver="gibbs", epochs=3, seed=k)


@pytest.fixture(scope="session")
def nights(made_once: MadeOnce) -> Path:
    """A folder with ``ratings.csv``, ``later.csv``, which has more, and ``store``, in which the
    first was published."""
    return made_once("nights", fill_nights)


def fill_nights(folder: Path) -> None:
    lines = write_ratings(folder / "later.csv").read_text().splitlines(keepends=True)
    (folder / "ratings.csv").write_text("".join(lines[:-100]))
    done = retrain(folder, "ratings.csv", QUICK)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def folder(nights: Path, tmp_path: Path) -> Path:
    """A copy of ``nights``, to harm."""
    return Path(shutil.copytree(nights, tmp_path / "nights", symlinks=True))


@pytest.fixture
def started() -> Iterator[Callable[..., Process]]:
    """Starts processes; what is left of them at the end is killed."""
    processes: list[Process] = []

    def start(command: list[object], fresh: bool = False, **kwargs: Any) -> Process:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs
        if command[0] == CFCLI and not fresh:
            processes.append(start_cfcli(*command[1:], **options))
        else:
            options = {"text": True, "env": ENV} | options
            processes.append(subprocess.Popen([str(part) for part in command], **options))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()
