"""No command needs a network."""

import contextlib
import subprocess
from pathlib import Path

import pytest
from shell import CFCLI


def has_unshare() -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode == 0
    return False


@pytest.mark.skipif(not has_unshare(), reason="needs user and network namespaces")
def test_no_command_needs_a_network(copy: Path) -> None:
    (copy / "pairs.csv").write_text("userId,movieId\n100,100\n")
    for args in (
        ["prepare", "ratings.csv", "--out", "new"],
        ["train", "--data", "new", "--epochs", "1", "--out", "run"],
        ["evaluate", "run"],
        ["predict", "run", "pairs.csv"],
        ["recommend", "run", "--user", "100"],
        ["similar", "run", "100"],
        ["export-embeddings", "run"],
    ):
        whole = ["unshare", "-rn", str(CFCLI), *args]
        done = subprocess.run(whole, cwd=copy, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (args, done.stderr)
