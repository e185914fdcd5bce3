"""The machine gives less than a retrain needs, or its input moves."""

import ctypes
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from soak import Count, Trials, Tried
from store_faults import (
    QUICK,
    assert_one_error,
    assert_recovers,
    assert_whole,
    exit_code_in,
    litter,
    retrain,
    tree,
)

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import MachineError
from cfcli.core.models.base import Shape
from cfcli.core.retraining.store import Store
from cfcli.core.runs import writing
from cfcli.core.runs.finish import Models
from cfcli.core.training.epochs import Epoch
from cfcli.core.training.trained import TrainedModel


def test_a_full_disk_ends_a_retrain_in_one_line(folder: Path, count: Count, tried: Tried) -> None:
    """Files may not grow beyond a limit, which is an error of the disk like any other."""
    trials = Trials()
    store, before = Store(folder / "store"), tree(folder / "store" / "runs")
    limits = range(9_000, 26_000, 1_000) if count(0, 1) else [15_000]
    for limit in limits:
        with trials.one(f"{limit} bytes"):
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
    trials.end(
        tried, "F4", "a full disk under a retrain: current harmed, no line that names the path"
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
        for name, map_ in zip(("user", "item"), data.ids, strict=True)
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
            writing.write_run(new, data, TrainConfig(), Models(model, ("train",), "none"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_ends_a_retrain_and_harms_nothing(
    folder: Path, count: Count, tried: Tried
) -> None:
    trials = Trials()
    store, before = Store(folder / "store"), tree(folder / "store" / "runs")
    sizes = [700] if not count(0, 1) else [200, 400, 700, 1000, 1400, 2000]
    for megabytes in sizes:

        def limited(size: int = megabytes << 20) -> None:
            resource.setrlimit(resource.RLIMIT_AS, (size, size))

        done = retrain(folder, "later.csv", QUICK, preexec_fn=limited)
        if done.returncode == 0 and megabytes >= 1000:
            break
        with trials.one(f"{megabytes} MB"):
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
    trials.end(tried, "F17", "too little memory for a retrain: current harmed")


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
