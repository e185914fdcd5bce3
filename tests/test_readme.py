"""The README's commands work as they stand there."""

import gzip
import os
import re
import subprocess
from pathlib import Path

from shell import CFCLI, write_ratings
from test_architecture import ORDER

from cfcli.cli.app import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


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


def test_every_command_is_named_in_the_readme() -> None:
    assert [name for name in COMMANDS if f"| `cfcli {name}" not in README] == []


def test_every_room_is_named_where_the_layout_is_described() -> None:
    rooms = [path for path in (ROOT / "cfcli" / "core").iterdir() if path.name[0] not in "_."]
    names = [f"{path.name}/" if path.is_dir() else path.name for path in rooms]
    described = re.findall(r"^      ([\w./]+) ", CONTRIBUTING, re.MULTILINE)
    assert sorted(described) == sorted(names)
    order = " ".join(line.strip() for line in CONTRIBUTING.split("\n"))
    assert ORDER in order
    assert "(CONTRIBUTING.md)" in README


def test_files_that_contributing_names_exist() -> None:
    files = re.findall(r"`((?:cfcli|tests)/[\w/]+\.py)`", CONTRIBUTING)
    assert len(files) > 8
    assert [name for name in files if not (ROOT / name).exists()] == []
