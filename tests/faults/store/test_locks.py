"""One retrain at a time."""

import time
from collections.abc import Callable
from pathlib import Path

from shell import CFCLI
from soak import Count, Trials, Tried
from store_faults import (
    QUICK,
    Process,
    assert_one_error,
    assert_recovers,
    python,
    retrain_command,
    tree,
)

from cfcli.core.retraining.store import Store

HOLDER = """
import sys, time
from pathlib import Path
from cfcli.core.retraining.store import Store

with Store(Path(sys.argv[1])).locked():
    print("here", flush=True)
    time.sleep(300)
"""


def test_many_at_once_and_one_who_waits(
    folder: Path, count: Count, tried: Tried, started: Callable[..., Process]
) -> None:
    store, times, at_once = Store(folder / "store"), count(1, 5), count(8, 20)
    refused, waited = Trials(), Trials()
    for _ in range(times):
        holder = started(python(HOLDER, store.path))
        assert holder.stdout is not None
        assert holder.stdout.readline() == "here\n"
        before, begin = tree(store.path), time.monotonic()
        many = [started(retrain_command(*QUICK), cwd=folder) for _ in range(at_once)]
        for process in many:
            out, err = process.communicate(timeout=60)
            with refused.one(process.pid):
                assert out == ""
                assert_one_error(process, err, 5, f"process {holder.pid} is at work there")
        assert time.monotonic() - begin < 60
        assert tree(store.path) == before
        assert not (folder / "m.prom").exists()  # it is the holder's to write
        waiting = [CFCLI, "retrain", "ratings.csv", "--store", "store", *QUICK, "--wait", "60"]
        with waited.one(holder.pid):
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
    refused.end(
        tried, "F11", "a retrain while the store is held: not refused at once, or something changed"
    )
    waited.end(tried, "F12", "the holder of a lock is killed: the next had to wait")


def test_the_lock_of_a_killed_process_is_free_at_once(
    made: list[Path], count: Count, tried: Tried, started: Callable[..., Process], tmp_path: Path
) -> None:
    trials = Trials()
    store, times = Store(tmp_path / "store"), count(2, 20)
    for _ in range(times):
        with trials.one("a kill"):
            holder = started(python(HOLDER, store.path))
            assert holder.stdout is not None
            assert holder.stdout.readline() == "here\n"
            holder.kill()
            holder.wait()
            with store.locked():
                pass
    trials.end(tried, "F12", "the holder of a lock is killed: the next had to wait")
