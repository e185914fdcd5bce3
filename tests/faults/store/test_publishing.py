"""Publishing and rolling back: killed, or with a disk that fails."""

import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from soak import Count, Trials, Tried, in_a_soak
from store_faults import (
    ENV,
    FAULTS,
    NIGHTS,
    Process,
    assert_one_error,
    assert_recovers,
    assert_whole,
    fill,
    injected,
    litter,
    needs_strace,
    python,
    run,
    whens,
)

from cfcli.core.data.dataset import Dataset
from cfcli.core.retraining.store import Store

ROLLBACK = """
import sys
from pathlib import Path
from cfcli.core.errors import CfcliError
from cfcli.core.retraining.store import Store

try:
    Store(Path(sys.argv[1])).rollback(*sys.argv[2:])
except CfcliError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
"""


def test_publishing_is_killed_at_random_moments(
    made: list[Path], count: Count, tried: Tried, started: Callable[..., Process], tmp_path: Path
) -> None:
    trials = Trials()
    generator, store, least, nights = random.Random(2), Store(tmp_path / "store"), 0, 0
    times = count(10, 200)
    for _ in range(times):
        with trials.one("a kill"):
            child = started(
                python(NIGHTS, store.path, 10**6, 2, 0, *made), env=ENV | {"ALOUD": "1"}
            )
            assert child.stdout is not None
            assert child.stdout.readline()
            time.sleep(generator.uniform(0, 0.3))
            assert child.poll() is None, child.communicate()
            child.kill()
            told = child.communicate()[0].split()
            nights += len(told) + 1
            # What was told to be published is in use, or what came after it.
            least = assert_recovers(store, max([least, *(int(name[:6]) for name in told)]))
    assert least >= nights
    trials.end(
        tried, "F2", "kill -9 while publishing: current lost, torn or older; a lock or a part left"
    )


# Which of the calls in two nights fail with each of FAULTS, if not all of them do.
CALLS = {
    "fsync": ([1], [9], [20]), "rename": ([1], [3], [4]), "renameat2": ([1], [], [2]),
    "symlink": ([1], [], [1]),
    "unlink": ([1], [3], []), "unlinkat": ([1], [9], [8]), "rmdir": ([2], [], []), "mkdir": ([2],
    [3], []),
    "write": ([1], [9], [15]),
}  # fmt: skip
# Another way is gone, the folder is there already, or what is left is swept later.
OPTIONAL = {"renameat2", "mkdir", "unlinkat", "rmdir"}


def assert_fails_cleanly(done: "subprocess.CompletedProcess[str]", fault: str) -> None:
    if fault == "signal=KILL":
        assert done.returncode == -signal.SIGKILL
    else:
        assert_one_error(
            done, done.stderr, 4, "Input/output" if fault == "error=EIO" else "No space left"
        )


@needs_strace
@pytest.mark.parametrize("call", CALLS)
def test_a_call_of_the_system_fails_while_publishing(
    call: str, made: list[Path], count: Count, tried: Tried, tmp_path: Path
) -> None:
    trials = Trials()
    store, least, reached = Store(tmp_path / "store"), 0, Counter[str]()
    fill(store, made, True, True, True)
    for turn, fault in enumerate(FAULTS):
        for when in whens(count, few=CALLS[call][turn]):
            command = python(NIGHTS, store.path, 2, 2, 0, *made)
            done, is_reached = injected(command, tmp_path / "log", (call, fault, when))
            if not is_reached:
                assert done.returncode == 0, done.stderr
                break
            with trials.one(f"{call} {when}, {fault}"):
                reached[fault] += 1
                if done.returncode or call not in OPTIONAL:
                    assert_fails_cleanly(done, fault)
                least = assert_recovers(store, least)
    assert list(reached) == [
        fault for turn, fault in enumerate(FAULTS) if count(0, 1) or CALLS[call][turn]
    ]
    trials.end(tried, "F3", f"{call} fails or kills while publishing: current lost, torn or older")


@needs_strace
def test_what_lies_deeper_is_cleared_too(made: list[Path], tmp_path: Path) -> None:
    """A verdict or a manifest that was being written when the process was killed."""
    for name in ("run.json", "gate.json"):
        store = Store(tmp_path / name)
        command = python(NIGHTS, store.path, 1, 2, 0, *made)
        injected(command, tmp_path / "log", ("fsync", "error=EIO", 10**4))
        calls = [line for line in (tmp_path / "log").read_text().splitlines() if "fsync(" in line]
        when = next(k for k, line in enumerate(calls, start=1) if f".{name}." in line)
        shutil.rmtree(store.path)
        injected(command, tmp_path / "log", ("fsync", "signal=KILL", when))
        assert any(path.name.startswith(f".{name}.") for path in store.path.rglob(".*.part"))
        done = run(command)
        assert done.returncode == 0, done.stderr
        assert assert_recovers(store, 1) == 1
        assert litter(store) == []


@needs_strace
def test_a_dataset_is_replaced_where_names_cannot_be_exchanged(
    made: list[Path], count: Count, tried: Tried, tmp_path: Path
) -> None:
    """As on a file system without renameat2: killed in between there may be no dataset, but there
    is a model."""
    trials = Trials()
    store, least = Store(tmp_path / "store"), 0
    fill(store, made, True, True)
    shutil.copytree(made[0] / "data", store.data)
    command = python(NIGHTS, store.path, 1, 2, 0, *made)
    for when in whens(count, few=[3, 4]):
        done, _ = injected(
            command,
            tmp_path / "log",
            ("renameat2", "error=EINVAL", "1+"),
            ("rename", "signal=KILL", when),
        )
        if done.returncode == 0:
            break
        with trials.one(f"rename {when}"):
            assert done.returncode == -signal.SIGKILL, done.stderr
            assert_whole(store, least)
            done = run(command)
            assert done.returncode == 0, done.stderr
            least = assert_whole(store, least)
            Dataset.load(store.data)
    trials.end(
        tried,
        "F3",
        "kill -9 between the renames that replace a dataset: current lost, torn or older",
    )


@needs_strace
def test_a_dataset_that_had_gone_out_of_the_way_is_cleared(
    made: list[Path], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    shutil.copytree(made[0] / "data", store.data)
    command = python(NIGHTS, store.path, 1, 2, 0, *made)
    injected(
        command, tmp_path / "log", ("renameat2", "error=EINVAL", "1+"), ("rename", "signal=KILL", 3)
    )
    assert litter(store)
    assert run(command).returncode == 0
    assert assert_whole(store) == 1
    assert litter(store) == []


@needs_strace
@pytest.mark.parametrize(
    "call", ["fsync", "rename", pytest.param("symlink", marks=in_a_soak), "write"]
)
def test_a_rollback_fails_or_is_killed(
    call: str, made: list[Path], count: Count, tried: Tried, tmp_path: Path
) -> None:
    """Then the one run or the other is in use; said again, it is done."""
    trials = Trials()
    for turn, fault in enumerate(FAULTS):
        for when in whens(count, few=[(1, 2, 2)[turn]]):
            store = Store(tmp_path / f"{fault}-{when}")
            fill(store, made, True, True, True)
            command = python(ROLLBACK, store.path, store.runs()[1].name)
            done, is_reached = injected(command, tmp_path / "log", (call, fault, when))
            if not is_reached:
                assert done.returncode == 0, done.stderr
                break
            with trials.one(f"{call} {when}, {fault}"):
                assert_fails_cleanly(done, fault)
                assert assert_whole(store) in (2, 3)
                assert assert_recovers(store) in (2, 3)
                assert store.rollback(store.runs()[1].name).run == store.runs()[1]
                assert assert_recovers(store) == 2
    trials.end(tried, "F3", "a rollback fails or is killed: another run than the two in use")
