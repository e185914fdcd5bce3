"""Artifacts of every kind, to harm."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import planted
import pytest
from artifact_faults import USES, command
from shared import MadeOnce

from cfcli.core.runs import run as runs


@pytest.fixture(scope="session")
def pool(made_once: MadeOnce) -> Path:
    """Two folders, ``one`` and ``other``, of different ratings, each with an artifact of every
    kind, and ``ratings.csv``."""
    return made_once("pool", fill_pool)


def fill_pool(folder: Path) -> None:
    for seed, name in enumerate(("one", "other")):
        data = planted.dataset(folder / name, planted.checkerboard(30, 20, seed=seed), titles=True)
        planted.run(data, folder / name / "mf", solver="gibbs", epochs=6)
        planted.run(data, folder / name / "ncf", model="ncf", epochs=3, hidden=(8,))
        planted.run(data, folder / name / "stopped", max_time="0.3s", epochs=10**6, patience=10**6)
        assert (folder / name / "stopped" / runs.CHECKPOINT).exists()


@pytest.fixture
def copy(pool: Path, tmp_path: Path) -> Path:
    """A copy of ``one``, to harm."""
    return Path(shutil.copytree(pool / "one", tmp_path / "one"))


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """Ends what hangs."""

    def too_slow(number: int, frame: object) -> None:
        raise AssertionError("it hangs")

    former = signal.signal(signal.SIGALRM, too_slow)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


@pytest.fixture
def use(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[int, str, str, BaseException | None]]:
    monkeypatch.chdir(copy)
    Path("pairs.csv").write_text("userId,movieId\n100,100\n99,98\nnew,100\n")
    return lambda name: command(*USES[name])
