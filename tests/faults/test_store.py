"""A store while things go wrong: whatever dies, fills up or comes at once while a model is trained
and published, its ``current`` is a whole model that was published, and the next retrain goes on
from there."""

import ctypes
import hashlib
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import numpy as np
import planted
import polars as pl
import pytest
from shell import CFCLI, run_cfcli, write_ratings

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import MachineError
from cfcli.core.inputs.sources import Source
from cfcli.core.models.base import Shape
from cfcli.core.retraining import store as stores
from cfcli.core.retraining.store import Store, check_age
from cfcli.core.runs import verdict, writing
from cfcli.core.runs.run import CHECKPOINT, Run
from cfcli.core.runs.verdict import gate_of, write_gate
from cfcli.core.serving import predict as prediction
from cfcli.core.storage import publishing
from cfcli.core.training.epochs import Epoch
from cfcli.core.training.fit import CheckpointFiles
from cfcli.core.training.trained import TrainedModel

Count = Callable[[int, int], int]
Tried = Callable[[str, str, int, int], None]
Process = subprocess.Popen[str]

soak = pytest.mark.skipif(not os.environ.get("CFCLI_SOAK"), reason="for a soak")
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
from cfcli.core.runs.verdict import gate_of, write_gate

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
            write_gate(newest, published=True, reason="", key="")
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

HOLDER = """
import sys, time
from pathlib import Path
from cfcli.core.retraining.store import Store

with Store(Path(sys.argv[1])).locked():
    print("here", flush=True)
    time.sleep(300)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three folders, each with a ``data`` and a ``run`` that share ids with the others but nothing
    else, not even their numbers."""
    folder = tmp_path_factory.mktemp("made")
    for k, (users, items) in enumerate(((40, 24), (32, 20), (36, 28))):
        data = planted.dataset(folder / f"{k:08}", planted.checkerboard(users, items, seed=k))
        planted.run(data, folder / f"{k:08}" / "run", solver="gibbs", epochs=3, seed=k)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``ratings.csv``, ``later.csv``, which has more, and ``store``, in which the
    first was published."""
    folder = tmp_path_factory.mktemp("nights")
    lines = write_ratings(folder / "later.csv").read_text().splitlines(keepends=True)
    (folder / "ratings.csv").write_text("".join(lines[:-100]))
    done = retrain(folder, "ratings.csv", QUICK)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(nights: Path, tmp_path: Path) -> Path:
    """A copy of ``nights``, to harm."""
    return Path(shutil.copytree(nights, tmp_path / "nights", symlinks=True))


@pytest.fixture
def started() -> Iterator[Callable[..., Process]]:
    """Starts processes; what is left of them at the end is killed."""
    processes: list[Process] = []

    def start(command: list[object], **kwargs: Any) -> Process:
        options = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "env": ENV,
        } | kwargs
        processes.append(subprocess.Popen([str(part) for part in command], **options))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


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
        write_gate(run, published=is_published, reason="", key="")
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
        if (runs := store.runs()) and (gate := gate_of(runs[-1])) and gate["published"]:
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


def wait_for(found: Callable[[], object], process: Process, seconds: float = 60) -> Any:
    """What ``found`` returns once that is something, while the process runs."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)
    return value


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


# F2 and F3: publishing is killed, or the disk fails


def test_publishing_is_killed_at_random_moments(
    made: list[Path], count: Count, tried: Tried, started: Callable[..., Process], tmp_path: Path
) -> None:
    generator, store, least, nights = random.Random(2), Store(tmp_path / "store"), 0, 0
    times = count(10, 200)
    for _ in range(times):
        child = started(python(NIGHTS, store.path, 10**6, 2, 0, *made), env=ENV | {"ALOUD": "1"})
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
    tried(
        "F2",
        "kill -9 while publishing: current lost, torn or older; a lock or a part left",
        times,
        0,
    )


def has_strace() -> bool:
    command = ["strace", "-e", "trace=openat", "-e", "inject=openat:signal=TERM:when=1", "true"]
    return (
        bool(shutil.which("strace"))
        and subprocess.run(command, capture_output=True).returncode == -signal.SIGTERM
    )


needs_strace = pytest.mark.skipif(not has_strace(), reason="needs strace, and leave to trace")
# Which of the calls in two nights fail with each of FAULTS, if not all of them do.
CALLS = {
    "fsync": ([1], [9], [20]), "rename": ([1], [3], [4]), "renameat2": ([1], [], [2]), "symlink": ([1], [], [1]),
    "unlink": ([1], [3], []), "unlinkat": ([1], [9], [8]), "rmdir": ([2], [], []), "mkdir": ([2], [3], []),
    "write": ([1], [9], [15]),
}  # fmt: skip
# Another way is gone, the folder is there already, or what is left is swept later.
OPTIONAL = {"renameat2", "mkdir", "unlinkat", "rmdir"}
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
    store, least, reached = Store(tmp_path / "store"), 0, Counter[str]()
    fill(store, made, True, True, True)
    for turn, fault in enumerate(FAULTS):
        for when in whens(count, few=CALLS[call][turn]):
            command = python(NIGHTS, store.path, 2, 2, 0, *made)
            done, is_reached = injected(command, tmp_path / "log", (call, fault, when))
            if not is_reached:
                assert done.returncode == 0, done.stderr
                break
            reached[fault] += 1
            if done.returncode or call not in OPTIONAL:
                assert_fails_cleanly(done, fault)
            least = assert_recovers(store, least)
    assert list(reached) == [
        fault for turn, fault in enumerate(FAULTS) if count(0, 1) or CALLS[call][turn]
    ]
    tried(
        "F3",
        f"{call} fails or kills while publishing: current lost, torn or older",
        reached.total(),
        0,
    )


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
    store, least, times = Store(tmp_path / "store"), 0, 0
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
        times += 1
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert_whole(store, least)
        done = run(command)
        assert done.returncode == 0, done.stderr
        least = assert_whole(store, least)
        Dataset.load(store.data)
    tried(
        "F3",
        "kill -9 between the renames that replace a dataset: current lost, torn or older",
        times,
        0,
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
@pytest.mark.parametrize("call", ["fsync", "rename", pytest.param("symlink", marks=soak), "write"])
def test_a_rollback_fails_or_is_killed(
    call: str, made: list[Path], count: Count, tried: Tried, tmp_path: Path
) -> None:
    """Then the one run or the other is in use; said again, it is done."""
    times = 0
    for turn, fault in enumerate(FAULTS):
        for when in whens(count, few=[(1, 2, 2)[turn]]):
            store = Store(tmp_path / f"{fault}-{when}")
            fill(store, made, True, True, True)
            command = python(ROLLBACK, store.path, store.runs()[1].name)
            done, is_reached = injected(command, tmp_path / "log", (call, fault, when))
            if not is_reached:
                assert done.returncode == 0, done.stderr
                break
            times += 1
            assert_fails_cleanly(done, fault)
            assert assert_whole(store) in (2, 3)
            assert assert_recovers(store) in (2, 3)
            assert store.rollback(store.runs()[1].name)[0] == store.runs()[1]
            assert assert_recovers(store) == 2
    tried("F3", "a rollback fails or is killed: another run than the two in use", times, 0)


# F24: removing old runs


@needs_strace
@pytest.mark.parametrize("fault", FAULTS)
def test_removing_runs_fails_in_the_middle(
    fault: str, made: list[Path], count: Count, tried: Tried, tmp_path: Path
) -> None:
    code = "import sys\nfrom pathlib import Path\nfrom cfcli.core.retraining.store import Store\nStore(Path(sys.argv[1])).prune(1)"
    times = 0
    for when in whens(count, few=[5]):
        store = Store(tmp_path / f"{when}")
        fill(store, made, True, True, True, True, False)
        kept = store.runs()[2:]
        done, is_reached = injected(
            python(code, store.path), tmp_path / "log", ("unlinkat", fault, when)
        )
        if not is_reached:
            assert done.returncode == 0, done.stderr
            break
        times += 1
        assert done.returncode == (-signal.SIGKILL if fault == "signal=KILL" else 1)
        assert "MachineError" in done.stderr or fault == "signal=KILL"
        assert [
            path
            for path in (store.path / "runs").iterdir()
            if path.name.startswith(publishing.TRASH)
        ]
        assert set(kept) <= set(store.runs())
        assert (store.current(), store.previous()) == (kept[1], kept[0])
        assert assert_recovers(store) == 4
        store.prune(1)
        assert store.runs() == kept
    tried(
        "F24",
        "a removal of old runs fails or is killed: current or previous gone, half a run left",
        times,
        0,
    )


def test_what_is_kept_are_the_newest_the_current_and_the_one_before(
    made: list[Path], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    fill(store, made, True, False, True, False, False, False)
    assert [path.name[:6] for path in store.prune(2)] == ["000002", "000004"]
    assert [path.name[:6] for path in store.prune(1)] == ["000005"]
    assert [path.name[:6] for path in store.runs()] == ["000001", "000003", "000006"]
    assert [path.name[:6] for path in store.rollback()] == ["000001", "000003"]
    assert store.prune(1)
    assert assert_whole(store) == 1


@pytest.mark.parametrize("spelling", ["store", "./store", "../here/store", "absolute", "link"])
def test_however_a_store_is_spelled_its_current_run_is_kept(
    spelling: str, made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    fill(Store(Path("store")), made, True, True, False, False)
    (here / "link").symlink_to("store")
    store = Store(here / "store" if spelling == "absolute" else Path(spelling))
    assert number_of(store.previous()) == 1
    store.prune(1)
    assert assert_whole(Store(here / "store"), 2) == 2
    assert [number_of(run) for run in store.runs()] == [1, 2, 4]
    assert store.current() in [*store.runs()]


# F20: the clock


def test_a_clock_that_jumps_back_or_stands_still_changes_nothing(
    made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, start = Store(tmp_path / "store"), datetime(2028, 2, 29, 0, 0, 1, tzinfo=UTC)
    for hours in (0, 0, 24 * 366, -30, 0.5):

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None, shown: datetime = start + timedelta(hours=hours)) -> Any:
                return shown

        for module in (stores, verdict):
            monkeypatch.setattr(module, "datetime", Clock)
        fill(store, made, True)
        planted.reseal(store.runs()[-1] / "run.json", created=verdict.now())
    assert [number_of(run) for run in store.runs()] == [1, 2, 3, 4, 5]
    assert len({run.name for run in store.runs()}) == 5
    assert [number_of(store.previous()), number_of(store.current())] == [4, 5]
    back = type("Back", (Clock,), {"now": classmethod(lambda *_: start)})
    for module in (stores, verdict):
        monkeypatch.setattr(module, "datetime", back)
    state = store.status()
    assert state["age_seconds"] < 0
    check_age(state, 3600)
    assert number_of(store.rollback()[0]) == 4


# F13: readers


def answer(run: Run, pairs: Path) -> str:
    return pl.concat(list(prediction.predict(run, Source.of(pairs)))).write_csv()


def test_readers_get_one_whole_model_while_others_are_published(
    made: list[Path], count: Count, tried: Tried, started: Callable[..., Process], tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(
        "userId,movieId\n" + "".join(f"{100 - k % 45},{100 - k % 29}\n" for k in range(300))
    )
    expected = {answer(Run.load(folder / "run"), pairs) for folder in made}
    assert len(expected) == len(made)
    publishes, commands = count(30, 1000), count(4, 60)
    store, reads, told, lost = Store(tmp_path / "store"), Counter[str](), [], []
    command = python(
        NIGHTS, store.path, 10**6, 300, 0.01, *made
    )  # so that no run goes that is being read
    with open(tmp_path / "err", "w") as errors:
        child = started(command, env=ENV | {"ALOUD": "1"}, stderr=errors)
    assert child.stdout is not None
    assert child.stdout.readline()
    listener = threading.Thread(target=told.extend, args=(iter(child.stdout.readline, ""),))
    listener.start()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                found = answer(Run.load(store.path / "current"), pairs)
                reads["in Python"] += 1
                if found not in expected:
                    lost.append("an answer of no run, in Python")
            except Exception as error:
                lost.append(repr(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        while reads["command"] < commands or number_of(store.current()) < publishes:
            assert child.poll() is None, (tmp_path / "err").read_text()
            if reads["command"] >= 3 * commands:
                time.sleep(0.1)
                continue
            shown = run_cfcli("predict", store.path / "current", pairs, cwd=tmp_path)
            reads["command"] += 1
            if shown.returncode or shown.stdout not in expected:
                lost.append(f"{shown.returncode}: {shown.stderr or 'an answer of no run'}")
    finally:
        done.set()
        reader.join()
        child.kill()
        listener.join()
    assert lost == []
    assert reads["in Python"] > publishes / 2
    tried("F13", "publishes while others read", number_of(store.current()), 0)
    tried(
        "F13",
        "reads in Python during publishes: an error or an answer of no run",
        reads["in Python"],
        len(lost),
    )
    tried(
        "F13",
        "reads by cfcli predict during publishes: an error or an answer of no run",
        reads["command"],
        0,
    )


# F7 and F1: a retrain is stopped or killed


def checkpoint_of(folder: Path) -> Path | None:
    return next((folder / "store" / "runs").glob(f".*.part/{CHECKPOINT}"), None)


def history_of(checkpoint: Path) -> list[dict[str, Any]]:
    return list(CheckpointFiles().load_checkpoint(checkpoint)["cfcli"]["history"])


def assert_went_on(store: Store, history: list[dict[str, Any]], epochs: int = 8) -> None:
    """That the current run's training began with the epochs of a checkpoint: their seconds, too,
    are those."""
    rows = Run.load(store.path / "current").history.to_dicts()
    assert [row["epoch"] for row in rows] == list(range(1, epochs + 1))
    assert rows[: len(history)] == history


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


def test_a_signal_stops_a_retrain_and_the_next_goes_on(
    folder: Path, count: Count, tried: Tried, started: Callable[..., Process]
) -> None:
    store, former = Store(folder / "store"), (folder / "store" / "current").resolve()
    before, signals = tree(former), [signal.SIGTERM, signal.SIGINT, signal.SIGHUP][: count(1, 3)]
    for number in signals:
        store_before = sorted(path.name for path in (store.path / "runs").glob("[!.]*"))
        current = number_of(store.current())
        (folder / "later.csv").write_text(
            (folder / "later.csv").read_text() + f"1,{1000 + number},4,1500000000\n"
        )
        process = started(retrain_command(), cwd=folder)
        wait_for(lambda: checkpoint_of(folder), process)
        time.sleep(0.2)
        process.send_signal(number)
        begin = time.monotonic()
        out, err = process.communicate(timeout=60)
        assert time.monotonic() - begin < 10
        assert out == ""
        assert_one_error(process, err, 128 + number, "the next training goes on from there")
        assert exit_code_in(folder / "m.prom") == 128 + number
        assert assert_whole(store) == current
        assert sorted(path.name for path in (store.path / "runs").glob("[!.]*")) == store_before
        assert len([*(store.path / "runs").glob(".*")]) == 1
        path = checkpoint_of(folder)
        assert path is not None
        history = history_of(path)
        done = retrain(folder, "later.csv", LONG)
        assert done.returncode == 0, done.stderr
        assert "status=published" in done.stderr
        assert_went_on(store, history)
        assert assert_recovers(store, current + 1) == current + 1
        assert litter(store) == []
    assert tree(former) == before
    tried(
        "F7",
        "a signal stops a retrain: current harmed, its work lost, another exit code",
        len(signals),
        0,
    )


def stop_while_it_starts(process: Process, checkpoint: Path) -> None:
    """Ends a retrain that took over what another left, while it still imports Lightning: as when a
    machine goes down twice."""
    wait_for(lambda: (checkpoint.parent.parent / "pid").read_text() == str(process.pid), process)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err


def test_a_retrain_is_killed_and_the_next_goes_on(
    nights: Path, count: Count, tried: Tried, started: Callable[..., Process], tmp_path: Path
) -> None:
    generator, times, resumed, published = random.Random(1), count(1, 20), 0, 0
    for k in range(times):
        folder = Path(shutil.copytree(nights, tmp_path / f"{k}", symlinks=True))
        store, before = Store(folder / "store"), tree((folder / "store" / "current").resolve())
        process = started(retrain_command(), cwd=folder)
        if k == 0:
            wait_for(lambda folder=folder: checkpoint_of(folder), process)
        else:
            time.sleep(generator.uniform(0.2, 9))
        process.kill()
        process.communicate()
        published += assert_whole(store, 1) - 1
        assert tree(folder / "store" / "runs" / store.runs()[0].name) == before
        if path := checkpoint_of(folder):
            history = history_of(path)
            stop_while_it_starts(started(retrain_command(), cwd=folder), path)
            assert history_of(path)[: len(history)] == history
        done = retrain(folder, "later.csv", LONG)
        assert done.returncode == 0, done.stderr
        if path:
            assert_went_on(store, history)
            resumed += 1
        assert assert_recovers(store, 2) == 2
        assert litter(store) == []
        shutil.rmtree(folder)
    assert resumed
    tried("F1", "kill -9 of a retrain: current harmed, or the next did not go on", times, 0)


# Sends itself a signal when a module is looked for that has a name, or when so many were.
IMPORTING = """
import signal, sys
from pathlib import Path
from cfcli.cli.app import main
where, number = sys.argv.pop(1), 0

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        global number
        number += 1
        if where in (name, str(number)) and not Path("here").exists():
            Path("here").touch()
            signal.raise_signal(signal.SIGTERM)

sys.meta_path.insert(0, Finder)
try:
    main()
finally:
    Path("imports").write_text(str(number))
"""


def is_heeded(where: object, args: list[object], nights: Path, folder: Path) -> bool:
    """Whether a SIGTERM at an import ends a command with 143, or there is no such import."""
    shutil.copytree(nights, folder, symlinks=True)
    command = [*map(str, [*python(IMPORTING, where), *args])]
    done = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True, timeout=120)
    if not (folder / "here").exists():
        assert done.returncode == 0, done.stderr
        return True
    assert_recovers(Store(folder / "store"), 1)
    return done.returncode == 143 and done.stderr.count("\n") <= 1


def test_a_signal_while_pandas_is_imported_is_not_lost(nights: Path, tmp_path: Path) -> None:
    args = ["prepare", "ratings.csv", "--out", "new"]
    assert is_heeded("pandas.core.groupby", args, nights, tmp_path / "one")


@soak
def test_a_signal_while_modules_are_imported_stops_a_retrain(
    nights: Path, count: Count, tried: Tried, tmp_path: Path
) -> None:
    """That takes half of a short retrain's time."""
    args = retrain_command(*QUICK)[1:]
    assert is_heeded(-1, args, nights, tmp_path / "all")
    total, generator, times = (
        int((tmp_path / "all" / "imports").read_text()),
        random.Random(7),
        count(1, 40),
    )
    lost = [
        k
        for k in generator.sample(range(1, total), times)
        if not is_heeded(k, args, nights, tmp_path / f"{k}")
    ]
    tried("F7", "SIGTERM while modules are imported: not heeded, or a traceback", times, len(lost))
    assert lost == []


@soak
def test_a_signal_stops_a_retrain_whenever_it_comes(
    nights: Path, count: Count, tried: Tried, started: Callable[..., Process], tmp_path: Path
) -> None:
    """While it reads, trains, judges and publishes; what is done when it comes stays done."""
    generator, times = random.Random(5), count(1, 20)
    for k in range(times):
        folder = Path(shutil.copytree(nights, tmp_path / f"{k}", symlinks=True))
        number = generator.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
        process = started(retrain_command(*LONG), cwd=folder)
        wait_for(lambda folder=folder: [*folder.glob("store/runs/.*.part/pid")], process)
        time.sleep(generator.uniform(0, 6))
        process.send_signal(number)
        begin = time.monotonic()
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - begin < 10
        if "status=published" in err:
            assert process.returncode in (
                0,
                128 + number,
                -number,
            )  # Python's own end has no handlers
            assert assert_recovers(Store(folder / "store"), 2) == 2
        else:
            assert process.returncode == 128 + number, err
            assert "Traceback" not in err
            assert assert_recovers(Store(folder / "store"), 1) in (1, 2)
    tried(
        "F7",
        "a signal at a random moment: current harmed, another exit code, not in 10 s",
        times,
        0,
    )


# F11 and F12: one at a time


def test_many_at_once_and_one_who_waits(
    folder: Path, count: Count, tried: Tried, started: Callable[..., Process]
) -> None:
    store, times, at_once = Store(folder / "store"), count(1, 5), count(8, 20)
    for _ in range(times):
        holder = started(python(HOLDER, store.path))
        assert holder.stdout is not None
        assert holder.stdout.readline() == "here\n"
        before, begin = tree(store.path), time.monotonic()
        many = [started(retrain_command(*QUICK), cwd=folder) for _ in range(at_once)]
        for process in many:
            out, err = process.communicate(timeout=60)
            assert out == ""
            assert_one_error(process, err, 5, f"process {holder.pid} is at work there")
        assert time.monotonic() - begin < 60
        assert tree(store.path) == before
        assert not (folder / "m.prom").exists()  # it is the holder's to write
        waiting = [CFCLI, "retrain", "ratings.csv", "--store", "store", *QUICK, "--wait", "60"]
        waits = [started(waiting, cwd=folder) for _ in range(2)]
        time.sleep(1.5)
        assert [process.poll() for process in waits] == [None, None]
        waits[0].terminate()
        waits[0].communicate(timeout=10)
        assert waits[0].returncode == 143
        assert waits[1].poll() is None
        holder.kill()
        out, err = waits[1].communicate(timeout=60)
        assert waits[1].returncode == 0, err
        assert "status=unchanged" in err
        assert assert_recovers(store, 1) == 1
    tried(
        "F11",
        "a retrain while the store is held: not refused at once, or something changed",
        at_once * times,
        0,
    )
    tried("F12", "the holder of a lock is killed: the next had to wait", times, 0)


def test_the_lock_of_a_killed_process_is_free_at_once(
    made: list[Path], count: Count, tried: Tried, started: Callable[..., Process], tmp_path: Path
) -> None:
    store, times = Store(tmp_path / "store"), count(2, 20)
    for _ in range(times):
        holder = started(python(HOLDER, store.path))
        assert holder.stdout is not None
        assert holder.stdout.readline() == "here\n"
        holder.kill()
        holder.wait()
        with store.locked():
            pass
    tried("F12", "the holder of a lock is killed: the next had to wait", times, 0)


# F19, F22, F23: the same, elsewhere, and from another time

MADE = (
    "config.toml", "model.safetensors", "samples.safetensors", "users.parquet", "items.parquet", "seen.parquet",
    "steps.csv",
)  # fmt: skip


def files_of(run: Path) -> dict[str, str]:
    """Of the files that hold no times, the checksums in the manifest."""
    listed = json.loads((run / "run.json").read_text())["files"]
    assert set(listed) == {*MADE, "metrics.csv"}
    return {name: listed[name]["sha256"] for name in MADE}


def assert_same_as_in(folder: Path, store: Store) -> None:
    """That the first run of a store is what the same input made in the store of ``folder``."""
    assert assert_whole(store, 1) == 1
    runs = [Store(folder / "store").runs()[0], store.runs()[0]]
    assert runs[0].name == runs[1].name
    assert files_of(runs[0]) == files_of(runs[1])
    verdicts = [gate_of(run) or {} for run in runs]
    assert [v.pop("decided") for v in verdicts]
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize(
    "closed",
    [
        pytest.param([], marks=soak),
        pytest.param([0], marks=soak),
        pytest.param([0, 1], marks=soak),
        pytest.param([0, 2], marks=soak),
        [0, 1, 2],
    ],
    ids=lambda numbers: f"without {numbers}" if numbers else "cron",
)
def test_the_same_input_gives_the_same_files_also_to_cron(closed: list[int], folder: Path) -> None:
    """Which has no terminal, no home and no locale, here also no stdin, stdout and stderr. Where
    the result cannot be said that is an error, but the model is published."""
    store = Store(folder / "a new" / "store")

    def close() -> None:
        for number in closed:
            os.close(number)

    command = [
        str(CFCLI),
        "retrain",
        str(folder / "ratings.csv"),
        "--store",
        str(store.path),
        *QUICK,
    ]
    done = subprocess.run(
        command,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "SHELL": "/bin/sh", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        preexec_fn=close,
        timeout=120,
    )
    assert done.returncode == (4 if 1 in closed else 0), done.stderr
    assert done.stderr.count("\n") == (0 if 2 in closed else 2 if 1 in closed else 1), done.stderr
    assert_same_as_in(folder, store)


@soak
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which only Linux has")
@pytest.mark.parametrize("stream", [1, 2])
def test_a_retrain_whose_log_finds_no_space_has_published(stream: int, folder: Path) -> None:
    with open("/dev/full", "w") as full:
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        streams["stdout" if stream == 1 else "stderr"] = full
        command = [*map(str, retrain_command(*QUICK))]
        done = subprocess.run(command, cwd=folder, env=ENV, text=True, timeout=120, **streams)
    assert done.returncode in ((4,) if stream == 1 else (0, 4))
    assert assert_recovers(Store(folder / "store"), 2) == 2


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        ("older", "made by another version of cfcli (format 1"),
        pytest.param("damaged", "model.safetensors: damaged", marks=soak),
        pytest.param("gone", "no run there", marks=soak),
    ],
)
def test_a_model_in_use_that_cannot_be_read_is_replaced_though_no_rating_changed(
    harm: str, text: str, folder: Path
) -> None:
    """Readers get exit code 7: that retrain has nothing to do would be untrue."""
    store = Store(folder / "store")
    if harm == "older":
        planted.reseal(store.path / "current" / "run.json", format=1)
        planted.reseal(store.data / "dataset.json", format=1)
    elif harm == "damaged":
        with open(store.path / "current" / "model.safetensors", "ab") as stream:
            stream.write(b"x")
    else:
        shutil.rmtree((store.path / "current").resolve())
    for command in (["status", "--store", "store"], ["verify", "store/current"]):
        done = run_cfcli(*command, cwd=folder)
        assert_one_error(done, done.stderr, 7, text)
    done = retrain(folder, "ratings.csv", QUICK)
    assert done.returncode == 0, done.stderr
    assert "status=published" in done.stderr
    assert "start=full" in done.stderr
    assert Run.load(store.path / "current").path.name == store.runs()[-1].name
    assert store.status()["current"] == store.runs()[-1].name


# F4, F6, F17, F21: the machine gives less than is needed, and the input moves


def test_a_full_disk_ends_a_retrain_in_one_line(folder: Path, count: Count, tried: Tried) -> None:
    """Files may not grow beyond a limit, which is an error of the disk like any other."""
    store, before = Store(folder / "store"), tree(folder / "store" / "runs")
    limits = range(9_000, 26_000, 1_000) if count(0, 1) else [15_000]
    for limit in limits:
        (folder / "m.prom").unlink(missing_ok=True)

        def limited(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        done = retrain(
            folder, "later.csv", [*QUICK, "--metrics-file", "m.prom"], preexec_fn=limited
        )
        assert_one_error(done, done.stderr, 4, str(store.path.resolve()))
        assert done.stdout == ""
        assert exit_code_in(folder / "m.prom") == 4
        assert tree(folder / "store" / "runs") == before
        assert assert_recovers(store, 1) == 1
        assert litter(store) == []
    tried(
        "F4",
        "a full disk under a retrain: current harmed, no line that names the path",
        len(limits),
        0,
    )


def test_a_disk_that_is_full_when_the_ratings_are_written(
    folder: Path, count: Count, tried: Tried
) -> None:
    store, before, times, lost = (
        Store(folder / "store"),
        tree(folder / "store" / "runs"),
        count(5, 50),
        [],
    )

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))

    for _ in range(times):
        done = retrain(folder, "later.csv", QUICK, preexec_fn=limited)
        if done.returncode != 4 or "File too large" not in done.stderr:
            lost.append((done.returncode, done.stderr))
        assert tree(folder / "store" / "runs") == before
        assert assert_recovers(store, 1) == 1
    tried(
        "F4",
        "a full disk while ratings are written: a crash, or no word of the disk",
        times,
        len(lost),
    )
    assert lost == []


def test_a_disk_that_is_full_when_the_model_is_written(made: list[Path], tmp_path: Path) -> None:
    data, epoch = (
        Dataset.load(made[0] / "data"),
        Epoch(1, 1.0, 1.0, None, None, None, 0.1, 1.0, 1.0),
    )
    n = {
        f"{name}_embedding.weight": len(map_)
        for name, map_ in zip(("user", "item"), data.id_maps(), strict=True)
    }
    tensors = {name: np.zeros((height, 64), np.float32) for name, height in n.items()}
    model = TrainedModel(
        tensors, Shape(*n.values(), 1.0, 5.0, 3.0), [epoch], epoch, "cpu", 32, 1.0, None
    )
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert sum(tensor.nbytes for tensor in tensors.values()) > 10_000
    try:
        with (
            pytest.raises(MachineError, match="File too large"),
            writing.create_run(tmp_path / "run", TrainConfig()) as new,
        ):
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, former[1]))
            writing.write_run(new[1], new[0], data, TrainConfig(), model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_ends_a_retrain_and_harms_nothing(
    folder: Path, count: Count, tried: Tried
) -> None:
    store, before = Store(folder / "store"), tree(folder / "store" / "runs")
    sizes = [700] if not count(0, 1) else [200, 400, 700, 1000, 1400, 2000]
    for megabytes in sizes:

        def limited(size: int = megabytes << 20) -> None:
            resource.setrlimit(resource.RLIMIT_AS, (size, size))

        done = retrain(folder, "later.csv", QUICK, preexec_fn=limited)
        if done.returncode == 0 and megabytes >= 1000:
            break
        assert done.returncode in (
            1,
            4,
            127,
            128 + signal.SIGABRT,
            -signal.SIGABRT,
            -signal.SIGSEGV,
            -signal.SIGKILL,
        )
        assert tree(folder / "store" / "runs") == before
        assert assert_recovers(store, 1) == 1
    tried("F17", "too little memory for a retrain: current harmed", len(sizes), 0)


def drop_powers() -> None:
    """Root's leave to write anywhere goes (CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH) with the next
    exec."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux where root runs the tests")
@pytest.mark.parametrize("closed", ["store", "store/runs"])
def test_a_folder_that_may_not_be_written_is_said_before_the_training(
    closed: str, folder: Path
) -> None:
    store, before = Store(folder / "store"), tree(folder / "store" / "runs")
    for path in [
        folder / closed,
        *(path for path in (folder / closed).rglob("*") if path.is_dir()),
    ]:
        path.chmod(0o555)
    try:
        begin = time.monotonic()
        done = retrain(
            folder, "later.csv", QUICK, preexec_fn=drop_powers if os.geteuid() == 0 else None
        )
        seconds = time.monotonic() - begin
        assert_one_error(done, done.stderr, 4, str(folder / closed))
        assert "Permission denied" in done.stderr
        assert seconds < 3  # Lightning is not imported yet
        assert tree(folder / "store" / "runs") == before
        assert assert_whole(store) == 1
    finally:
        for path in [
            folder / closed,
            *(path for path in (folder / closed).rglob("*") if path.is_dir()),
        ]:
            path.chmod(0o755)
    assert assert_recovers(store, 1) == 1


def test_an_input_that_grows_while_it_is_read_changes_nothing(folder: Path) -> None:
    store, before = Store(folder / "store"), tree(folder / "store")
    done = threading.Event()

    def append(stream: IO[str]) -> None:
        while not done.is_set():
            stream.write("1,1,4,1500000000\n")
            stream.flush()
            time.sleep(0.0005)

    with open(folder / "later.csv", "a") as stream:
        writer = threading.Thread(target=append, args=(stream,))
        writer.start()
        try:
            found = retrain(folder, "later.csv", QUICK)
        finally:
            done.set()
            writer.join()
    assert_one_error(found, found.stderr, 3, "changed while it was read")
    after = tree(folder / "store")
    assert before.pop(".lock") != after.pop(".lock")
    assert after == before
    assert assert_recovers(store, 1) == 1
