"""Fixtures for all tests."""

import fcntl
import os
from pathlib import Path

import pytest
from shared import Fill, MadeOnce
from shell import run_cfcli, write_ratings

from cfcli.cli.guide.environment import DEBUG
from cfcli.cli.output.progress import LINES_EVERY

# Tests run beside each other; processes that each start a thread a core make each other many times
# slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests that wait for an epoch need a line for each, where a pipe gets one a minute.
os.environ.setdefault(LINES_EVERY, "0")
# No test loses the power, and waiting for the disk takes most of the time of a small command.
if not os.environ.get("SOAK"):
    os.fsync = os.fstat  # type: ignore[assignment]
# A bug that a test meets is to be seen as a whole.
os.environ.setdefault(DEBUG, "1")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """``made_once(name, fill)``: a folder that the first worker to ask fills, for all workers.

    Tests read it; those that change something make a copy.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def make(name: str, fill: Fill) -> Path:
        folder = root / name
        done = root / f"{name}.done"
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def project(made_once: MadeOnce) -> Path:
    """A folder in which the first commands of the README were given: ``data/`` and a run, ``base``,
    are there."""
    return made_once("project", fill_project)


def fill_project(folder: Path) -> None:
    write_ratings(folder / "ratings.csv")
    titles = "\n".join(f'{i},"Film, number {i} (1999)",Drama' for i in range(1, 61))
    (folder / "movies.csv").write_text("movieId,title,genres\n" + titles + "\n")
    for args in (["prepare", "ratings.csv", "--items", "movies.csv"], ["train", "--out", "base"]):
        done = run_cfcli(*args, cwd=folder)
        assert done.returncode == 0, done.stderr
