"""TMPDIR on another disk, and folders that may not be written to."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from machine_faults import fingerprint, flaw
from shell import run_cfcli
from soak import Tried, in_a_soak

DROP_FROM_BOUNDS, OVERRIDE, SEARCH = 24, 1, 2  # linux/prctl.h, linux/capability.h


@pytest.fixture(params=[pytest.param("not there", marks=in_a_soak), "on another disk"])
def scratch(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "not there":
        yield tmp_path / "none"
        return
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    folder = shared / f"cfcli-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_tmpdir_may_be_anything_and_nothing_stays_in_it(
    here: Path, scratch: Path, tried: Tried
) -> None:
    pl.read_csv(here / "new.csv").write_parquet(here / "new.parquet")
    env = {"TMPDIR": str(scratch)}
    lost = []
    commands = [
        "prepare new.csv --force",
        "prepare - --out piped",
        "train --epochs 4 --out run",
        "train --solver adam --epochs 2 --out steps",
        "evaluate run",
        "predict run pairs.csv --out predicted.parquet",
        "export-embeddings run --entity both",
        "recommend run --all --out recommended.csv",
    ]
    for command in commands:
        # Parquet from a pipe is kept somewhere meanwhile.
        with subprocess.Popen(["cat", here / "new.parquet"], stdout=subprocess.PIPE) as pipe:
            fresh = "adam" in command  # a library may write as it is loaded
            words = command.split()
            done = run_cfcli(*words, cwd=here, env=env, stdin=pipe.stdout, fresh=fresh)
        if done.returncode:
            lost.append(f"{command}: {done.stderr}")
        for path in scratch.iterdir() if scratch.exists() else ():
            lost.append(f"{command}: left {path.name} in TMPDIR")
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    tried(
        "F5",
        f"TMPDIR {'another disk' if scratch.exists() else 'not there'}",
        len(commands),
        len(lost),
    )
    assert not lost
    assert fingerprint(here / "piped")


def humble() -> None:
    """Root without the right to write where modes forbid it; in the child, before the program
    starts."""
    if os.geteuid() == 0:
        for capability in (OVERRIDE, SEARCH):
            ctypes.CDLL(None).prctl(DROP_FROM_BOUNDS, capability, 0, 0, 0)


@pytest.fixture
def locked(here: Path) -> Iterator[Path]:
    """A folder that may be read, but not written to."""
    folder = here / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    probe = subprocess.run(["touch", str(folder / "x")], preexec_fn=humble, capture_output=True)
    if probe.returncode == 0:
        pytest.skip("modes do not hold here")
    yield folder
    folder.chmod(0o755)


@pytest.mark.parametrize(
    "command",
    [
        "prepare ratings.csv --out locked/data",
        "train --out locked/run",
        "train --out locked/deep/run",
        "export-embeddings mf --out locked/items.parquet",
        "export-embeddings mf --entity both --out locked/both",
        "predict mf pairs.csv --out locked/out.csv",
        "recommend mf --all --out locked/out.csv",
        "evaluate mf --per-row locked/out.csv",
    ],
)
def test_a_folder_that_may_not_be_written_to_is_exit_4_at_once(
    command: str, here: Path, locked: Path, tried: Tried
) -> None:
    before = os.times()
    done = run_cfcli(*command.split(), cwd=here, preexec_fn=humble)
    after = os.times()
    why = flaw(done, 4, "locked", lines=1)
    tried("F6", f"read-only: {command.split()[0]}", 1, bool(why))
    assert not why
    assert "Permission denied" in done.stderr
    assert "epoch" not in done.stderr
    if command.startswith("train"):
        seconds = (
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
        assert seconds < 2, "it did not fail before Lightning was imported"
    assert list(locked.iterdir()) == []


def test_a_run_that_may_not_be_written_to_can_be_used(here: Path) -> None:
    (here / "mf").chmod(0o555)
    assert run_cfcli("predict", "mf", "pairs.csv", cwd=here, preexec_fn=humble).returncode == 0
    assert not flaw(
        run_cfcli("export-embeddings", "mf", cwd=here, preexec_fn=humble), 4, "mf", lines=1
    )
