"""Surroundings are bare: no terminal, no home, no locale, closed streams."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from machine_faults import clean, fingerprint
from shell import CFCLI, run_cfcli
from soak import Tried, in_a_soak

BARE = {
    "cron": {"PATH": "/usr/bin:/bin"},
    "no home": {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C", "TERM": "dumb"},
}


@pytest.mark.parametrize(
    "closed",
    [
        pytest.param(False, id="open streams", marks=in_a_soak),
        pytest.param(True, id="closed streams"),
    ],
)
def test_bare_surroundings_change_no_result(closed: bool, here: Path, tried: Tried) -> None:
    """With streams closed: what is opened next gets their numbers, and nothing can be said."""
    env = BARE["no home" if closed else "cron"] | {"OMP_NUM_THREADS": "1"}
    assert run_cfcli("evaluate", "mf", "--per-row", "normal.csv", cwd=here).returncode == 0
    lost = []
    commands = [
        "prepare ratings.csv --out bare",
        "train --data bare --epochs 60 --patience 60 --out run",
        "evaluate run --per-row bare.csv",
        "predict run pairs.csv --out predicted.csv",
    ]
    for command in commands:
        words = [str(CFCLI), *command.split()]
        if closed:
            words = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words]
        done = subprocess.run(words, cwd=here, env=env, capture_output=True, text=True, timeout=120)
        if done.returncode != (
            4 if closed else 0
        ):  # the result was written, but stdout could not be
            lost.append(f"{command}: {done.returncode}: {done.stderr[-300:]}")
        elif "Error" in done.stderr or "matplotlib" in done.stderr.lower():
            lost.append(f"{command}: {done.stderr[-300:]}")
    if not lost:
        assert fingerprint(here / "bare") == fingerprint(here / "data")
        for name in ("model.safetensors", "samples.safetensors", "users.parquet"):
            if (here / "run" / name).read_bytes() != (here / "mf" / name).read_bytes():
                lost.append(f"{name} is another")
        if (here / "bare.csv").read_bytes() != (here / "normal.csv").read_bytes():
            lost.append("it evaluates otherwise")
    tried("F22", "bare environment" + ", streams closed" * closed, len(commands), len(lost))
    assert not lost


@pytest.mark.parametrize("env", BARE.values(), ids=list(BARE))
def test_a_failure_in_bare_surroundings_is_still_a_code_and_a_line(
    env: dict[str, str], here: Path
) -> None:
    for args, code in (
        (["evaluate", "none"], 7),
        (["prepare", "none.csv"], 4),
        (["train", "--dim", "0"], 2),
    ):
        words = [str(CFCLI), *args]
        done = subprocess.run(words, cwd=here, env=env, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr


CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize(
    "closed", [pytest.param(c, marks=[in_a_soak] * ("<" in c)) for c in CLOSED]
)
def test_closed_streams_change_no_exit_code(closed: str, here: Path, tried: Tried) -> None:
    """But that stdout cannot be written is said, once all else is done."""
    commands = [
        ("prepare ratings.csv --out bare", 0),
        ("predict mf pairs.csv --out out.csv", 0),
        ("export-embeddings mf", 0),
        ("evaluate none", 7),
        ("prepare none.csv", 4),
        ("train --dim 0", 2),
    ]
    lost = []
    for command, code in commands:
        words = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", str(CFCLI), *command.split()]
        done = subprocess.run(
            words, cwd=here, env=clean(), capture_output=True, text=True, timeout=60
        )
        code = 4 if code == 0 and ">&-" in closed.replace("2>&-", "") else code
        if done.returncode != code or "Traceback" in done.stderr:
            lost.append(f"{command}: {done.returncode}, {done.stderr[-200:]}")
    tried("F22", f"closed streams: {closed}", len(commands), len(lost))
    assert not lost


def test_what_a_bare_run_leaves_has_the_usual_modes(here: Path) -> None:
    """Cron's umask is the system's; a run is not for others to write to."""
    modes = {
        stat.S_IMODE(path.stat().st_mode) for path in (here / "mf").iterdir() if path.is_file()
    }
    assert modes == {0o666 & ~_umask()}
    assert json.loads((here / "mf" / "run.json").read_text())["status"] == "finished"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
