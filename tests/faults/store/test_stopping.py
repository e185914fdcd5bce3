"""A retrain is stopped or killed, and the next goes on."""

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from soak import Count, Trials, Tried, in_a_soak
from store_faults import (
    ENV,
    LONG,
    QUICK,
    Process,
    assert_one_error,
    assert_recovers,
    assert_whole,
    exit_code_in,
    litter,
    number_of,
    python,
    retrain,
    retrain_command,
    tree,
)

from cfcli.core.retraining.store import Store
from cfcli.core.runs.run import CHECKPOINT, Run
from cfcli.core.training import checkpoints


def wait_for(found: Callable[[], object], process: Process, seconds: float = 60) -> Any:
    """What ``found`` returns once that is something, while the process runs."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)
    return value


def checkpoint_of(folder: Path) -> Path | None:
    return next((folder / "store" / "runs").glob(f".*.part/{CHECKPOINT}"), None)


def history_of(checkpoint: Path) -> list[dict[str, Any]]:
    return list(checkpoints.read(checkpoint)["cfcli"]["history"])


def assert_went_on(store: Store, history: list[dict[str, Any]], epochs: int = 8) -> None:
    """That the current run's training began with the epochs of a checkpoint: their seconds, too,
    are those."""
    rows = Run.load(store.path / "current").history.to_dicts()
    assert [row["epoch"] for row in rows] == list(range(1, epochs + 1))
    assert rows[: len(history)] == history


def test_a_signal_stops_a_retrain_and_the_next_goes_on(
    folder: Path, count: Count, tried: Tried, started: Callable[..., Process]
) -> None:
    trials = Trials()
    store, former = Store(folder / "store"), (folder / "store" / "current").resolve()
    before, signals = tree(former), [signal.SIGTERM, signal.SIGINT, signal.SIGHUP][: count(1, 3)]
    for number in signals:
        with trials.one(number.name):
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
    trials.end(
        tried, "F7", "a signal stops a retrain: current harmed, its work lost, another exit code"
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
    trials = Trials()
    generator, times, resumed = random.Random(1), count(1, 20), 0
    for k in range(times):
        with trials.one(k):
            folder = Path(shutil.copytree(nights, tmp_path / f"{k}", symlinks=True))
            store, before = Store(folder / "store"), tree((folder / "store" / "current").resolve())
            process = started(retrain_command(), cwd=folder)
            if k == 0:
                wait_for(lambda folder=folder: checkpoint_of(folder), process)
            else:
                time.sleep(generator.uniform(0.2, 9))
            process.kill()
            process.communicate()
            assert_whole(store, 1)
            assert tree(folder / "store" / "runs" / store.runs()[0].name) == before
            if path := checkpoint_of(folder):
                history = history_of(path)
                stop_while_it_starts(started(retrain_command(), fresh=True, cwd=folder), path)
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
    trials.end(tried, "F1", "kill -9 of a retrain: current harmed, or the next did not go on")


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


@in_a_soak
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


@in_a_soak
def test_a_signal_stops_a_retrain_whenever_it_comes(
    nights: Path, count: Count, tried: Tried, started: Callable[..., Process], tmp_path: Path
) -> None:
    """While it reads, trains, judges and publishes; what is done when it comes stays done."""
    trials = Trials()
    generator, times = random.Random(5), count(1, 20)
    for k in range(times):
        with trials.one(k):
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
    trials.end(
        tried, "F7", "a signal at a random moment: current harmed, another exit code, not in 10 s"
    )
