"""Readers while models are published."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
from shell import run_cfcli
from soak import Count, Trials, Tried
from store_faults import ENV, NIGHTS, Process, assert_whole, number_of, python

from cfcli.core.inputs.sources import Source
from cfcli.core.retraining.store import Store
from cfcli.core.runs.run import Run
from cfcli.core.serving import predict as prediction


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
    store, reads, told = Store(tmp_path / "store"), Counter[str](), []
    lost: dict[str, list[str]] = {"in Python": [], "command": []}
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
                    lost["in Python"].append("an answer of no run")
            except Exception as error:
                lost["in Python"].append(repr(error))

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
                why = f"{shown.returncode}: {shown.stderr or 'an answer of no run'}"
                lost["command"].append(why)
    finally:
        done.set()
        reader.join()
        child.kill()
        listener.join()
    last = Trials()
    with last.one("the last that was published"):
        assert_whole(store, publishes)
    tried("F13", "publishes while others read", number_of(store.current()), len(last.lost))
    tried(
        "F13",
        "reads in Python during publishes: an error or an answer of no run",
        reads["in Python"],
        len(lost["in Python"]),
    )
    tried(
        "F13",
        "reads by cfcli predict during publishes: an error or an answer of no run",
        reads["command"],
        len(lost["command"]),
    )
    assert last.lost == []
    assert lost == {"in Python": [], "command": []}
    assert reads["in Python"] > publishes / 2
