"""The README's commands work as they stand there."""

import gzip
import os
import re
import subprocess
from pathlib import Path

from shell import CFCLI, write_ratings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_every_sh_block_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2
    ratings = write_ratings(tmp_path / "ratings.csv")
    (tmp_path / "ratings.csv.gz").write_bytes(gzip.compress(ratings.read_bytes()))
    env = {"PATH": f"{CFCLI.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    script = "set -euo pipefail\n" + "\n".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "latest" / "model.safetensors").exists()
    assert (tmp_path / "metrics.json").exists()
    assert (tmp_path / "from-a-pipe" / "dataset.json").exists()


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^\$ make (\w+)", README, re.MULTILINE)
    assert targets
    for target in targets:
        assert f"\n{target}:" in makefile


def test_every_command_and_module_is_named() -> None:
    for path in (ROOT / "cfcli" / "core").glob("*.py"):
        assert path.name in README or path.name == "__init__.py", path.name
    for path in (ROOT / "cfcli" / "cli").glob("*.py"):
        command = path.stem.replace("_", "-")
        assert f"`cfcli {command}" in README or path.stem in (
            "__init__",
            "app",
            "console",
            "options",
            "terminal",
        ), command
