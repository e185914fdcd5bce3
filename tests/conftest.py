"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest
from shell import run_cfcli, write_ratings

# Tests run beside each other; processes that each start a thread a core make each other many times
# slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first commands of the README were given: ``data/`` and a run, ``base``,
    are there."""
    folder = tmp_path_factory.mktemp("project")
    write_ratings(folder / "ratings.csv")
    titles = "\n".join(f'{i},"Film, number {i} (1999)",Drama' for i in range(1, 61))
    (folder / "movies.csv").write_text("movieId,title,genres\n" + titles + "\n")
    for args in (["prepare", "ratings.csv", "--items", "movies.csv"], ["train", "--out", "base"]):
        done = run_cfcli(*args, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder
