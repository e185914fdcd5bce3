"""Memory is short."""

import random
import resource
import shutil
import signal
import subprocess
from pathlib import Path

from machine_faults import fingerprint, parts
from shell import run_cfcli
from soak import Count, Tried

from cfcli.core.errors import ArtifactError
from cfcli.core.runs.run import Run


def test_little_memory_leaves_the_old_and_nothing_half(
    here: Path, new: Path, count: Count, tried: Tried
) -> None:
    known = {fingerprint(here / "data"): "old", fingerprint(new): "new"}
    shutil.copytree(here / "data", here.parent / "old")
    chance = random.Random(9)
    lost = []
    limits = [100, 400, 1000, *(chance.randrange(60, 2500) for _ in range(count(1, 40)))]
    codes = []
    for k, megabytes in enumerate(limits):

        def little(megabytes: int = megabytes) -> None:
            resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

        trains = k % 2 == 0 and (k == 2 or count(0, 1) == 1)
        args = (
            ["train", "--epochs", 3, "--out", "run"]
            if trains
            else ["prepare", "new.csv", "--force", "-q"]
        )
        try:
            done = run_cfcli(*args, cwd=here, preexec_fn=little)
            codes.append(done.returncode)
            # 127 is the system's loader, which finds no room for a library.
            ended = (0, 1, 4, 127, -signal.SIGKILL, -signal.SIGABRT, -signal.SIGSEGV)
            why = "" if done.returncode in ended else done.stderr
        except subprocess.TimeoutExpired:
            why = "it hangs"
        try:
            found = known[fingerprint(here / "data")]
            if trains and (here / "run").exists():
                Run.load(here / "run")
        except (ArtifactError, KeyError) as error:
            why = why or f"half: {error}"
        if found == "new":
            shutil.rmtree(here / "data")
            shutil.copytree(here.parent / "old", here / "data")
        if trains:
            shutil.rmtree(here / "run", ignore_errors=True)
        if why:
            lost.append(f"{args[0]} in {megabytes} MB: {codes[-1]}: {why}")
    tried("F17", "little memory", len(limits), len(lost))
    assert any(codes)
    assert not lost
    assert run_cfcli("prepare", "new.csv", "--force", "-q", cwd=here).returncode == 0
    assert parts(here / "data") == []
