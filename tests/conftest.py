"""Fixtures for all tests."""

from pathlib import Path

import pytest
from shell import run_cfcli, write_ratings


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first commands of the README were given: ``data/`` and a run, ``base``, are there."""
    folder = tmp_path_factory.mktemp("project")
    write_ratings(folder / "ratings.csv")
    titles = "\n".join(f'{i},"Film, number {i} (1999)",Drama' for i in range(1, 61))
    (folder / "movies.csv").write_text("movieId,title,genres\n" + titles + "\n")
    for args in (["prepare", "ratings.csv", "--items", "movies.csv"], ["train", "--out", "base"]):
        done = run_cfcli(*args, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder
