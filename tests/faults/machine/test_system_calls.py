"""System calls fail."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from machine_faults import Done, clean, fingerprint, flaw, parts
from shell import CFCLI, run_cfcli
from soak import Count, Tried, in_a_soak

from cfcli.core.errors import ArtifactError
from cfcli.core.runs.run import Run


def has_strace() -> bool:
    with contextlib.suppress(OSError):
        command = [
            "strace",
            "-f",
            "-y",
            "-o",
            "/dev/null",
            "-e",
            "inject=fsync:error=EIO:when=1",
            "true",
        ]
        return subprocess.run(command, capture_output=True).returncode == 0
    return False


needs_strace = pytest.mark.skipif(not has_strace(), reason="needs strace")


def injected(args: list[str], call: str, fault: str, n: int, cwd: Path) -> tuple[Done, str]:
    """Runs a command in which the n-th such system call of a thread fails, and the line of the log
    that says which it was, empty if there were fewer.

    Only the first thread's writes fail: those of others are also how threads wake each other, which
    never fails.
    """
    log = cwd.with_name("log")
    command = [
        "strace",
        "-y",
        "-o",
        str(log),
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:{fault}:when={n}",
    ]
    if (
        call != "write"
    ):  # what a filter in the kernel picks is traced fast, but strace 6.1 does not kill it
        command += ["-f", *(["--seccomp-bpf"] if "error" in fault else [])]
    with subprocess.Popen(
        [*command, str(CFCLI), *args], cwd=cwd, env=clean(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()[0], "it hangs"
    lines = log.read_text(errors="replace").splitlines()
    hit = [line for line in lines if "INJECTED" in line]
    if "KILL" in fault and any("killed by SIGKILL" in line for line in lines):
        hit = [line for line in lines if f"{call}(" in line][-1:] or ["?"]
    return Done(args, process.returncode, out, err), hit[0] if hit else ""


def each_hit(
    args: list[str],
    call: str,
    fault: str,
    numbers: Iterable[int],
    here: Path,
    before: Callable[[], object],
) -> Iterator[tuple[int, Done, str]]:
    """Injects at one call after the other, until there are no more, and gives what came of it; but
    not for those by which threads wake each other, or which write what is said."""
    for k in numbers:
        before()
        done, hit = injected(args, call, fault, k, here)
        if not hit:
            return
        if not ("anon_inode" in hit or "pipe:" in hit):
            yield k, done, hit


FAULTS = ["error=ENOSPC", "error=EIO", "signal=KILL"]
# What prepare calls, and which call of it fails in CI; in a soak each does.
CALLS = {
    "fsync": 5,
    "rename": 1,
    "renameat2": 1,
    "mkdir": 2,
    "chmod": 7,
    "flock": 2,
    "unlink": 1,
    "write": 3,
}
IN_CI = {
    "error=ENOSPC": ["fsync", "mkdir", "chmod", "write"],
    "error=EIO": ["fsync", "write"],
    "signal=KILL": ["rename", "renameat2"],
}


@needs_strace
@pytest.mark.parametrize("allowed", [0, 3, 10])
@pytest.mark.parametrize("command", ["verify mf", "prepare ratings.csv --out n", "train --out n"])
def test_too_few_threads_are_said_to_be_so(command: str, allowed: int, here: Path) -> None:
    """As with ``ulimit -u`` or in a container: not that a sound file is damaged."""
    call = "clone,clone3"
    done, hit = injected(command.split(), call, "error=EAGAIN", allowed + 1, here)
    assert hit
    assert flaw(done, 4, f"may start {allowed} threads", lines=1) == ""
    assert not (here / "n").exists()


@needs_strace
@pytest.mark.parametrize("fault", FAULTS)
def test_a_system_call_that_fails_leaves_the_old_dataset_or_the_new_one(
    fault: str, here: Path, new: Path, count: Count, tried: Tried
) -> None:
    known = {fingerprint(here / "data"): "old", fingerprint(new): "new"}
    shutil.copytree(here / "data", here.parent / "old")
    args = ["prepare", "new.csv", "--force", "--accept-shrink", "-q"]
    lost: list[str] = []
    n = 0

    def before() -> None:
        shutil.rmtree(here / "data")
        shutil.copytree(here.parent / "old", here / "data")

    for call in CALLS if count(0, 1) else IN_CI[fault]:
        numbers = range(1, 1000) if count(0, 1) else [CALLS[call]]
        for k, done, hit in each_hit(args, call, fault, numbers, here, before):
            n += 1
            try:
                found = known[fingerprint(here / "data")]
            except (ArtifactError, KeyError) as error:
                found = f"lost: {error!r}"
            why = ""
            if found not in ("old", "new"):
                why = found
            elif "KILL" in fault:
                if done.returncode != -signal.SIGKILL:
                    why = f"exit code {done.returncode}"
            elif done.returncode == 0:
                if found != "new":
                    why = "done, they say, but it is the old one"
            else:
                why = flaw(done, 4, here, lines=1)
                if (
                    not why
                    and found == "new"
                    and f"fsync({here}" not in re.sub(r"\(\d+<(.*)>\)", r"(\1)", hit)
                ):
                    why = "failed, they say, but it is the new one"
                if not why and parts(here) and call not in ("flock", "write"):
                    why = f"left {parts(here)}"
            if why:
                lost.append(f"{call} {k}: {why} [{hit[:120]}]")
    done = run_cfcli(*args, cwd=here)
    assert (done.returncode, fingerprint(here / "data"), parts(here)) == (
        0,
        fingerprint(new),
        [],
    ), done.stderr
    tried("F3", f"system calls of prepare: {fault}", n, len(lost))
    assert n >= len(IN_CI[fault])
    assert not lost


@needs_strace
@pytest.mark.parametrize(
    ("call", "fault"),
    [("write", "error=ENOSPC"), ("fsync", "error=EIO"), ("rename", "signal=KILL")]
    + [
        pytest.param(call, fault, marks=in_a_soak)
        for call in ("write", "fsync", "rename", "chmod")
        for fault in FAULTS
        if (call, fault)
        not in {("write", "error=ENOSPC"), ("fsync", "error=EIO"), ("rename", "signal=KILL")}
    ],
)
def test_a_system_call_that_fails_leaves_the_old_predictions(
    call: str, fault: str, here: Path, count: Count, tried: Tried
) -> None:
    out = here / "out.csv"
    args = ["predict", "mf", "pairs.csv", "--out", "out.csv"]
    assert run_cfcli(*args, cwd=here).returncode == 0
    new = out.read_bytes()
    lost: list[str] = []
    n = 0
    numbers = range(1, count(1, 100) + 1)
    for k, done, hit in each_hit(args, call, fault, numbers, here, lambda: out.write_bytes(b"old")):
        n += 1
        if out.read_bytes() not in (b"old", new):
            lost.append(f"{k}: half a file")
        if "KILL" in fault and done.returncode != -signal.SIGKILL:
            lost.append(f"{k}: exit code {done.returncode}")
        if "KILL" not in fault and (why := flaw(done, 4, here, lines=1)):
            lost.append(f"{k}: {why} [{hit[:120]}]")
    tried("F3", f"{call} of predict: {fault}", max(n, 1), len(lost))
    assert n
    assert not lost


@needs_strace
@in_a_soak
@pytest.mark.parametrize("fault", FAULTS)
def test_a_system_call_that_fails_leaves_no_half_of_a_run(
    fault: str, here: Path, tried: Tried
) -> None:
    args = ["train", "--epochs", "6", "--out", "run", "-q"]
    lost: list[str] = []
    n = 0
    for call in (
        "fsync",
        "rename",
        "renameat",
        "write",
        "mkdir",
        "chmod",
        "ftruncate",
        "symlink",
        "unlink",
    ):
        for k in range(1, 1000):
            done, hit = injected(args, call, fault, k, here)
            if not hit:
                break
            if str(here) not in hit:  # of a library that looks around
                shutil.rmtree(here / "run", ignore_errors=True)
                continue
            n += 1
            why = ""
            if (here / "run").exists():
                try:
                    Run.load(here / "run")
                except ArtifactError as error:
                    why = str(error)
            if not why and "KILL" not in fault and done.returncode:
                why = flaw(done, 4, here, lines=1)
            if why:
                lost.append(f"{call} {k}: {why} [{hit[:120]}]")
            shutil.rmtree(here / "run", ignore_errors=True)
            shutil.rmtree(here / ".run.part", ignore_errors=True)
    tried("F3", f"system calls of train: {fault}", n, len(lost))
    assert not lost
