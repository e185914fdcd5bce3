"""A training is killed."""

import random
import shutil
import signal
import time
from pathlib import Path

from machine_faults import parts, start, until
from shell import run_cfcli
from soak import Count, Tried

from cfcli.core.errors import ArtifactError
from cfcli.core.runs import writing
from cfcli.core.runs.run import Run


def test_killed_at_any_moment_a_training_harms_nothing_and_goes_on(
    here: Path, count: Count, tried: Tried
) -> None:
    """The moments: while libraries load, between the first epoch and the last, and while the run is
    written."""
    before = run_cfcli("predict", "mf", "pairs.csv", cwd=here).stdout
    assert before.count("\n") == 241
    chance = random.Random(1)
    moments = ["loading", "training", "loading", "writing", "loading"]
    times = count(10, 50)
    night = here / "night"
    lost: list[str] = []
    killed = resumed = 0
    for k in range(times + 1):
        moment = moments[k % 5] if k < times else "training"  # the last leaves something to resume
        epochs = 3 if moment == "writing" else 60
        model = ["--model", "ncf"] if k % 4 == 3 else []
        args = ["train", "--epochs", epochs, "--patience", epochs, *model, "--out", "night"]
        with start(*args, cwd=here, fresh=moment == "loading") as process:
            if moment != "loading" and not until(
                process, f"epoch   {1 if moment == 'training' else epochs}/"
            ):
                lost.append(f"{k}: it did not train")
            most = {"loading": count(1, 4), "training": 0.8, "writing": 0.4}[moment]
            time.sleep(chance.uniform(0.1 if moment == "loading" else 0, most))
            process.kill()
        killed += process.returncode == -signal.SIGKILL
        if night.exists():
            try:
                Run.load(night)
            except ArtifactError as error:
                lost.append(f"{k}, {moment}: {error}")
            shutil.rmtree(night)
        elif k == times or (count(0, 1) and has_checkpoint(night)):
            resumed += 1
            done = run_cfcli("train", "--resume", "night", cwd=here)
            if done.returncode or "epoch   1/" in done.stderr or parts(here):
                lost.append(f"{k}, {moment}: not resumed: {done.stderr}")
            elif Run.load(night).info.epochs != epochs:
                lost.append(f"{k}, {moment}: resumed, but not to its end")
            shutil.rmtree(night, ignore_errors=True)
    if run_cfcli("predict", "mf", "pairs.csv", cwd=here).stdout != before:
        lost.append("the earlier run predicts otherwise")
    tried("F1", "kill -9 while training", killed, len(lost))
    tried(
        "F1", "trainings resumed after it", max(resumed, 1), sum("resumed" in text for text in lost)
    )
    assert not lost
    assert killed >= 0.6 * times
    assert resumed
    assert parts(here) == []


def has_checkpoint(run: Path) -> bool:
    try:
        return writing.resumable(run).was_killed
    except ArtifactError:
        return False
