"""Processes are told to stop."""

import array
import contextlib
import fcntl
import os
import random
import shutil
import signal
import subprocess
import termios
import time
from pathlib import Path
from typing import IO

import pytest
from machine_faults import SECONDS, ended, fingerprint, parts, start, until
from shell import run_cfcli
from soak import Count, Tried, in_a_soak

from cfcli.core.runs import writing
from cfcli.core.runs.run import Run

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
LONG = ["train", "--epochs", 60, "--patience", 60]  # as mf was trained


def until_read(pipe: IO[str]) -> None:
    """Until the other side has taken all that was written."""
    left, end = array.array("i", [1]), time.monotonic() + 30
    while left[0] and time.monotonic() < end:
        time.sleep(0.1)
        fcntl.ioctl(pipe, termios.FIONREAD, left)
    time.sleep(0.1)


def test_a_stopped_training_goes_on_to_the_same_end(here: Path, count: Count, tried: Tried) -> None:
    expected = Run.load(here / "mf")
    chosen = (
        SIGNALS if count(0, 1) else [signal.SIGHUP]
    )  # the others are sent in the tests of the app
    lost = []
    for number in chosen:
        name = number.name.lower()
        with start(*LONG, "--out", name, cwd=here) as process:
            assert until(process, "epoch   3/")
            process.send_signal(number)
            out, err, seconds = ended(process)
        if (
            (process.returncode, out) != (128 + number, f"{name}\n")
            or seconds > SECONDS
            or "Traceback" in err
        ):
            lost.append(f"{number.name}: {process.returncode}, {seconds:.1f} s: {err[-300:]}")
            continue
        assert Run.load(here / name).info.status == "stopped"
        assert "--resume" in err
        done = run_cfcli("train", "--resume", name, "--out", f"{name}-whole", cwd=here)
        assert done.returncode == 0, done.stderr
        found = Run.load(here / f"{name}-whole")
        assert found.info.epochs == 60
        if abs(found.info.val.mse - expected.info.val.mse) > 1e-6:
            lost.append(f"{number.name}: {found.info.val}, not {expected.info.val}")
    tried("F7", "signals to train, and resumed", len(chosen), len(lost))
    assert not lost
    assert parts(here) == []


def test_a_second_signal_ends_a_training_at_once(here: Path, tried: Tried) -> None:
    """Both come while it stands still, so that no time passes between them."""
    with start(
        "train", "--epochs", 10**5, "--patience", 10**5, "--out", "run", cwd=here
    ) as process:
        assert until(process, "epoch   2/")
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            process.send_signal(number)
        _, err, seconds = ended(process)
    good = (
        process.returncode in (-signal.SIGTERM, -signal.SIGINT)
        and seconds < 5
        and "Traceback" not in err
    )
    tried("F7", "a second signal to train", 1, not good)
    assert good, (process.returncode, seconds, err[-300:])
    assert not (here / "run").exists()
    # It was killed: what it left can be taken over.
    assert writing.resumable(here / "run").was_killed


@pytest.mark.parametrize("pause", [0.05, 0.2])
def test_two_signals_one_after_the_other_leave_what_can_be_resumed(
    pause: float, here: Path
) -> None:
    """The second comes while the stopped training is about to be written."""
    with start(
        "train", "--epochs", 10**5, "--patience", 10**5, "--out", "run", cwd=here
    ) as process:
        assert until(process, "epoch   3/")
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
        _, err, _ = ended(process)
    assert process.returncode in (128 + signal.SIGINT, -signal.SIGINT), err
    assert (here / "run").exists() or writing.resumable(here / "run").was_killed


def test_a_signal_at_any_moment_ends_a_training(here: Path, count: Count, tried: Tried) -> None:
    chance = random.Random(8)
    times = count(1, 60)
    lost = []
    for k in range(times):
        number = SIGNALS[k % 3]
        args = "train", "--epochs", 20, "--patience", 20, "--out", "run"
        with start(*args, cwd=here, fresh=True) as process:
            delay = chance.uniform(0.3, 5.5)
            time.sleep(delay)
            process.send_signal(number)
            out, err, seconds = ended(process)
        made = (here / "run").exists()
        why = ""
        # Before the program has put up its own handlers, and when Python has taken them down, the
        # system's are there.
        expected = (0, 128 + number) if delay > 0.5 and not made else (0, 128 + number, -number)
        if process.returncode not in expected:
            why = f"exit code {process.returncode}: {err[-300:]}"
        elif seconds > SECONDS or "Traceback" in err:
            why = f"{seconds:.1f} s: {err[-300:]}"
        elif made != (out == "run\n") or parts(here):
            why = f"said {out!r}, left {parts(here)}"
        elif made:
            Run.load(here / "run")
        shutil.rmtree(here / "run", ignore_errors=True)
        shutil.rmtree(here / ".run.part", ignore_errors=True)
        if why:
            lost.append(f"{number.name} after {delay:.2f} s: {why}")
    tried("F7", "signals to train at any moment", times, len(lost))
    assert not lost


def ignore_signals() -> None:
    """As nohup and a shell's background jobs do."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize("solver", ["gibbs", "adam"])
def test_signals_that_are_ignored_stay_so_in_a_training(solver: str, here: Path) -> None:
    args = "train", "--solver", solver, "--epochs", 9, "--patience", 9, "--out", "run"
    with start(*args, cwd=here, preexec_fn=ignore_signals) as process:
        assert until(process, "epoch   1/")
        for number in SIGNALS:
            process.send_signal(number)
        _, err, _ = ended(process, 60)
    assert process.returncode == 0, err
    assert Run.load(here / "run").info.epochs == 9


def test_signals_that_are_ignored_stay_so_while_input_is_read(here: Path) -> None:
    with start(
        "predict", "mf", "-", cwd=here, stdin=subprocess.PIPE, preexec_fn=ignore_signals
    ) as process:
        assert process.stdin
        process.stdin.write("userId,movieId\n1,1\n")
        process.stdin.flush()
        until_read(process.stdin)
        for number in SIGNALS:
            process.send_signal(number)
        time.sleep(0.1)
        out, err, _ = ended(process)
    assert (process.returncode, out.count("\n")) == (0, 2), err


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_ends_prepare_while_it_reads(
    number: signal.Signals, here: Path, tried: Tried
) -> None:
    """From a pipe that gives no more."""
    old = fingerprint(here / "data")
    os.mkfifo(here / "pipe.csv")
    with start("prepare", "pipe.csv", "--force", cwd=here) as process:
        stream = open(here / "pipe.csv", "w")  # noqa: SIM115 - it opens when the other side does, and stays so
        stream.write("userId,movieId,rating\n" + "".join(f"{k},{k},3\n" for k in range(10**4)))
        stream.flush()
        until_read(stream)
        process.send_signal(number)
        out, err, seconds = ended(process, 3)
        with contextlib.suppress(BrokenPipeError):
            stream.close()
    good = (
        (process.returncode, out) == (128 + number, "") and err.count("\n") <= 1 and not parts(here)
    )
    tried("F7", "signals to prepare", 1, not good)
    assert good, (process.returncode, seconds, out, err, parts(here))
    assert fingerprint(here / "data") == old


WAITING = ["predict mf -", "evaluate mf --ratings -", "recommend mf --users -", "prepare - --force"]


@pytest.mark.parametrize(
    ("command", "number"),
    [
        pytest.param(
            command,
            number,
            id=f"{command.split()[0]}-{number.name}",
            marks=[in_a_soak] * (number != signal.SIGINT and command != WAITING[0]),
        )
        for command in WAITING
        for number in SIGNALS
    ],
)
def test_a_signal_ends_what_waits_for_its_input(
    command: str, number: signal.Signals, here: Path, tried: Tried
) -> None:
    """As one does with Ctrl-C who called it without."""
    with start(*command.split(), cwd=here, stdin=subprocess.PIPE) as process:
        pipe = process.stdin
        assert pipe
        pipe.write("userId,movieId,rating\n1,1,3\n")
        pipe.flush()
        until_read(pipe)
        process.send_signal(number)
        process.stdin = None  # or it would be closed, which is the end of the input
        _, err, seconds = ended(process, 3)
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
    good = process.returncode == 128 + number and err.count("\n") <= 1 and not parts(here)
    tried("F7", "signals to what waits for input", 1, not good)
    assert good, (process.returncode, seconds, err)
