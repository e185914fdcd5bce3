"""The same retrain elsewhere: under cron, with streams closed, on a store of another version."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import planted
import pytest
from shell import CFCLI, run_cfcli
from soak import in_a_soak
from store_faults import (
    ENV,
    QUICK,
    assert_one_error,
    assert_recovers,
    assert_whole,
    retrain,
    retrain_command,
)

from cfcli.core.retraining.store import Store
from cfcli.core.runs.run import Run
from cfcli.core.runs.verdict import read_gate

MADE = (
    "config.toml", "model.safetensors", "interest.safetensors", "samples.safetensors", "users.parquet", "items.parquet",
    "seen.parquet",
    "steps.csv", "test.parquet",
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
    verdicts = [read_gate(run) for run in runs]
    assert replace(verdicts[0], decided="") == replace(verdicts[1], decided="")


@pytest.mark.parametrize(
    "closed",
    [
        pytest.param([], marks=in_a_soak),
        pytest.param([0], marks=in_a_soak),
        pytest.param([0, 1], marks=in_a_soak),
        pytest.param([0, 2], marks=in_a_soak),
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


@in_a_soak
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
        pytest.param("damaged", "model.safetensors: damaged", marks=in_a_soak),
        pytest.param("gone", "no run there", marks=in_a_soak),
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
    assert store.status().current == store.runs()[-1].name
