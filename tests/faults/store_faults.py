"""What tests of a store share. Whatever dies, fills up or comes at once while a model is trained
and published, its ``current`` is a whole model that was published, and the next retrain goes on
from there."""

import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from shell import CFCLI, Started, run_cfcli
from soak import Count

from cfcli.core.data.dataset import Dataset
from cfcli.core.retraining.store import Store
from cfcli.core.runs.run import Run
from cfcli.core.runs.verdict import Verdict, gate_of, now, write_gate

Process = subprocess.Popen[str] | Started
ENV = {k: v for k, v in os.environ.items() if not k.startswith("CFCLI_")} | {"OMP_NUM_THREADS": "1"}
# Of a test that loses: published whatever comes out.
ANY = ["--tolerance", "9", "--min-gain-over", "none"]
QUICK = ["--epochs", "4", *ANY]
# Some three seconds of training, with checkpoints.
LONG = ["--solver", "adam", "--batch-size", "8", "--epochs", "8", "--patience", "999", *ANY]
# What a night does with a store, but for the training: it copies what was made before.
NIGHTS = """
import os, sys, time
from pathlib import Path
from cfcli.core.storage import publishing
from cfcli.core.errors import CfcliError
from cfcli.core.retraining.store import Store
from cfcli.core.runs.verdict import gate_of, write_gate, Verdict, now

assert not {"torch", "pytorch_lightning"} & set(sys.modules)  # a start is to be cheap
place, nights, keep, pause, *made = sys.argv[1:]
store = Store(Path(place))

def copy(made, folder, manifest):
    for file in made.iterdir():
        if file.name != manifest:
            (folder / file.name).write_bytes(file.read_bytes())
    with publishing.file(folder / manifest) as stream:
        stream.write((made / manifest).read_bytes())

try:
    for night in range(int(nights)):
        with store.locked():
            store.recover()
            newest = next(reversed(store.runs()), None)
            number = int(newest.name[:6]) + 1 if newest else 1
            folder = Path(made[number % len(made)])
            with publishing.directory(store.data) as part:
                copy(folder / "data", part, "dataset.json")
            if newest is None or gate_of(newest):
                newest = store.new_path(folder.name)
                store.sweep(spare=publishing.staging_of(newest))
                with publishing.directory(newest, keep=True) as part:
                    copy(folder / "run", part, "run.json")
            write_gate(newest, Verdict(decided=now(), published=True, reason="", key=""))
            store.publish(newest)
            if os.environ.get("ALOUD"):
                print(newest.name, flush=True)
            store.sweep()
            store.prune(int(keep))
        time.sleep(float(pause))
except CfcliError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
"""


def retrain(
    folder: Path, ratings: str, flags: list[str], **kwargs: Any
) -> "subprocess.CompletedProcess[str]":
    return run_cfcli("retrain", ratings, "--store", "store", *flags, cwd=folder, **kwargs)


def python(code: str, *args: object) -> list[object]:
    return [sys.executable, "-B", "-c", code, *args]


def run(command: list[object]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, env=ENV)


def fill(store: Store, made: list[Path], *published: bool) -> None:
    """Runs by hand, the last published one in use."""
    for k, is_published in enumerate(published, start=1):
        run = Path(
            shutil.copytree(made[k % len(made)] / "run", store.new_path(made[k % len(made)].name))
        )
        write_gate(run, Verdict(decided=now(), published=is_published, reason="", key=""))
        if is_published:
            store.publish(run)


def number_of(run: Path | None) -> int:
    return int(run.name[:6]) if run else 0


def litter(store: Store) -> list[Path]:
    """What a killed process left, however deep."""
    return [path for path in store.path.rglob(".*") if path.name != ".lock"]


def assert_whole(store: Store, least: int = 0) -> int:
    """That readers are well: ``current`` is a whole run, its number not below ``least``. Returns
    the number."""
    if (store.path / "current").is_symlink():
        run = Run.load(store.path / "current")
        run.predictor()
        assert run.path.name == (store.current() or run.path.parent).name
    else:
        assert least == 0
    assert number_of(store.current()) >= least
    for path in store.runs():
        Run.load(path)
    if store.data.exists():
        Dataset.load(store.data)
    return number_of(store.current())


def assert_recovers(store: Store, least: int = 0) -> int:
    """That also who writes next is well: the lock is free, what was decided is done, what was left
    is gone. Returns the number of the current run."""
    assert_whole(store, least)
    with store.locked():
        store.recover()
        if (runs := store.runs()) and (gate := gate_of(runs[-1])) and gate.published:
            assert store.current() == runs[-1]
        store.sweep()
    left = [
        path
        for folder in (store.path, store.path / "runs")
        for path in folder.glob(".*")
        if path.name != ".lock"
    ]
    assert left == []
    return assert_whole(store, least)


def tree(folder: Path) -> dict[str, str]:
    """All files of a folder by their names."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def assert_one_error(
    done: "subprocess.CompletedProcess[str] | Process", stderr: str, code: int, text: str
) -> None:
    assert done.returncode == code, stderr
    assert stderr.startswith("error: "), stderr
    assert stderr.count("\n") == 1, stderr
    assert text in stderr


def has_strace() -> bool:
    command = ["strace", "-e", "trace=openat", "-e", "inject=openat:signal=TERM:when=1", "true"]
    return (
        bool(shutil.which("strace"))
        and subprocess.run(command, capture_output=True).returncode == -signal.SIGTERM
    )


needs_strace = pytest.mark.skipif(not has_strace(), reason="needs strace, and leave to trace")
FAULTS = ["error=ENOSPC", "error=EIO", "signal=KILL"]


def injected(
    command: list[object], log: Path, *faults: tuple[str, str, int | str]
) -> tuple["subprocess.CompletedProcess[str]", bool]:
    """What becomes of a process whose ``when``-th system call of a name fails or kills it, and
    whether it made so many."""
    rules = [f"inject={call}:{fault}:when={when}" for call, fault, when in faults]
    calls = ",".join(sorted({call for call, _, _ in faults}))
    strace = ["strace", "-qq", "-y", "-o", log, "-e", f"trace={calls}"]
    if "write" not in calls and not any(fault.startswith("signal") for _, fault, _ in faults):
        # Three times as fast. But signals get lost, and threads of libraries hang that lose a write
        # to wake another.
        strace += ["-f", "--seccomp-bpf"]
    done = run([*strace, *itertools.chain.from_iterable(("-e", rule) for rule in rules), *command])
    told = log.read_text()
    return done, "(INJECTED)" in told or "killed by SIGKILL" in told


def whens(count: Count, few: Sequence[int]) -> Sequence[int]:
    """Which calls are to fail: a few, and in a soak all of them."""
    return range(1, 61) if count(0, 1) else few


def retrain_command(*flags: str) -> list[object]:
    return [
        CFCLI,
        "retrain",
        "later.csv",
        "--store",
        "store",
        "--metrics-file",
        "m.prom",
        *(flags or LONG),
    ]


def exit_code_in(path: Path) -> float:
    return next(
        float(line.split()[-1])
        for line in path.read_text().splitlines()
        if "retrain_exit_code{" in line
    )
