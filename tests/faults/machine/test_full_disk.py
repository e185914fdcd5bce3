"""Disks are full, or files cannot grow."""

import contextlib
import os
import random
import resource
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
from machine_faults import Done, clean, fingerprint, flaw, parts
from shell import CFCLI, limit, run_cfcli, write_ratings
from soak import Count, Tried, in_a_soak

from cfcli.core.runs.run import Run


def at_most(size: int) -> dict[int, int]:
    """No file may grow beyond a size: as a full disk, but without one."""
    return {resource.RLIMIT_FSIZE: size}


WRITERS = {
    "prepare": ["prepare", "new.csv", "--force", "--accept-shrink", "-q"],
    "export": ["export-embeddings", "mf", "--entity", "both", "--out", "out"],
    "export csv": ["export-embeddings", "mf", "--format", "csv", "--out", "out.csv"],
    "export npy": ["export-embeddings", "mf", "--format", "npy", "--out", "out.npy"],
    "export word2vec": ["export-embeddings", "mf", "--format", "word2vec", "--out", "out.txt"],
    "export projector": ["export-embeddings", "mf", "--format", "projector", "--out", "out.tsv"],
    "predict": ["predict", "mf", "pairs.csv", "--out", "out.csv"],
    "predict parquet": ["predict", "mf", "pairs.csv", "--out", "out.parquet"],
    "recommend": ["recommend", "mf", "--all", "--out", "out.csv"],
    "evaluate csv": ["evaluate", "mf", "--per-row", "out.csv"],
    "evaluate parquet": ["evaluate", "mf", "--per-row", "out.parquet"],
}


def sizes_of(whole: int, times: int, seed: str) -> list[int]:
    """Some sizes below that of the largest file written; a hundred bytes are among them."""
    chance = random.Random(seed)
    return [100, *(chance.randrange(100, whole) for _ in range(times - 1))]


SLOW = {"export csv", "export word2vec", "export projector", "evaluate csv"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[in_a_soak] * (name in SLOW)) for name in WRITERS]
)
def test_a_file_that_cannot_grow_is_one_line_and_leaves_the_old(
    name: str, here: Path, count: Count, tried: Tried
) -> None:
    args = WRITERS[name]
    done = run_cfcli(*args, cwd=shutil.copytree(here, here.parent / "whole"))
    assert done.returncode == 0, done.stderr
    made = {path for path in (here.parent / "whole").rglob("*") if path.is_file()}
    fresh = [path for path in made if not (here / path.relative_to(here.parent / "whole")).exists()]
    largest = max(
        path.stat().st_size for path in fresh or (here.parent / "whole" / "data").iterdir()
    )
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    sizes = sizes_of(
        largest,
        count({"prepare": 3, "export npy": 3, "evaluate parquet": 1}.get(name, 2), 60),
        name,
    )
    lost = []
    for size in sizes:
        done = run_cfcli(*args, cwd=here, limits=at_most(size))
        why = flaw(done, 4, here, "out", "data", lines=1)
        if not why and "File too large" not in done.stderr:
            why = f"does not say why: {done.stderr}"
        after = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
        if after != before:
            # Of two files that an export writes, the first may be there whole.
            more = {path.name for path in after.keys() - before.keys()}
            if any(name.startswith(".") for name in more) or any(
                after.get(p) != before[p] for p in before
            ):
                why = why or f"left {more}"
            for path in after.keys() - before.keys():
                path.unlink()
            shutil.rmtree(here / ".data.part", ignore_errors=True)
        if why:
            lost.append(f"{size} bytes: {why}")
    tried("F4", f"files that cannot grow: {name}", len(sizes), len(lost))
    assert not lost


@in_a_soak
def test_a_training_that_cannot_write_is_one_line_and_leaves_the_old(
    here: Path, tried: Tried
) -> None:
    before = run_cfcli("predict", "mf", "pairs.csv", cwd=here).stdout
    sizes = [100, 400, 1000, 5000, 10_000, 25_000, 26_250, 50_000, 100_000, 200_000]
    lost = []
    for size in sizes:
        done = run_cfcli(
            "train", "--epochs", 6, "--out", "run", "-q", cwd=here, limits=at_most(size)
        )
        why = flaw(done, 4, "run", lines=1) if done.returncode or size < 25_000 else ""
        if (here / "run").exists() == bool(done.returncode) or parts(here):
            why = why or f"left {os.listdir(here)}"
        if why:
            lost.append(f"{size} bytes: {why}")
        shutil.rmtree(here / "run", ignore_errors=True)
    tried("F4", "files that cannot grow: train", len(sizes), len(lost))
    assert not lost
    assert run_cfcli("predict", "mf", "pairs.csv", cwd=here).stdout == before


def has_tmpfs() -> bool:
    with contextlib.suppress(OSError):
        command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
        return subprocess.run(command, capture_output=True).returncode == 0
    return False


needs_tmpfs = pytest.mark.skipif(not has_tmpfs(), reason="needs user namespaces that may mount")


def on_small_disk(args: list[str], left: int, here: Path) -> tuple[Done, Path]:
    """Runs a command in a copy of ``here`` on a disk of its own with so many kilobytes left; what
    is there afterwards is in the folder that is returned."""
    full = sum(1 + -(-path.stat().st_size // 4096) for path in here.rglob("*")) * 4
    disk, after = here.with_name("disk"), here.with_name("after")
    disk.mkdir(exist_ok=True)
    shutil.rmtree(after, ignore_errors=True)
    after.mkdir()
    script = (
        f'mount -t tmpfs -o size={full + left}k tmpfs "{disk}" && '
        f'cp -a "{here}/." "{disk}/" && cd "{disk}" || exit 99\n'
        f'"$@"; code=$?; cp -a "{disk}/." "{after}/"; exit $code'
    )
    command = ["unshare", "-rm", "sh", "-c", script, "sh", str(CFCLI), *args]
    return subprocess.run(command, env=clean(), capture_output=True, text=True, timeout=120), after


@needs_tmpfs
def test_a_full_disk_leaves_the_old_dataset(here: Path, count: Count, tried: Tried) -> None:
    write_ratings(here / "new.csv", users=300, items=200, seed=1)
    old = fingerprint(here / "data")
    (here / "whole").mkdir()
    done, after = on_small_disk(["prepare", "new.csv", "--force", "-q"], 4096, here)
    assert done.returncode == 0, done.stderr
    new = fingerprint(after / "data")
    lost, codes = [], []
    chance = random.Random(5)
    # Most of the first fail while rows are packed by several threads, the last while tables of
    # users and items are.
    lefts = [0, 16, 40, 90, *(chance.randrange(0, 250) for _ in range(count(2, 60)))]
    for left in lefts:
        done, after = on_small_disk(["prepare", "new.csv", "--force", "-q"], left, here)
        codes.append(done.returncode)
        found = fingerprint(after / "data")
        why = "" if done.returncode == 0 else flaw(done, 4, "data", lines=1)
        if not why and done.returncode and "No space left on device" not in done.stderr:
            why = f"does not say why: {done.stderr}"
        if found != (old if done.returncode else new) or parts(after):
            why = why or f"left {os.listdir(after)}, {found}"
        if why:
            lost.append(f"{left} kB: {why}")
    tried("F4", "full disk: prepare", len(lefts), len(lost))
    assert 4 in codes
    assert not lost


@needs_tmpfs
def test_a_full_disk_leaves_no_half_of_a_run(here: Path, count: Count, tried: Tried) -> None:
    lost = []
    chance = random.Random(6)
    lefts = (
        [44]
        if not count(0, 1)
        else [0, 4, 8, 40, 44, 48, 52, *(chance.randrange(0, 400) for _ in range(20))]
    )
    before = run_cfcli("predict", "mf", "pairs.csv", cwd=here).stdout
    for left in lefts:
        done, after = on_small_disk(["train", "--epochs", "4", "--out", "run", "-q"], left, here)
        why = "" if done.returncode == 0 else flaw(done, 4, "run", lines=1)
        if not why and done.returncode and "No space left on device" not in done.stderr:
            why = f"does not say why: {done.stderr}"
        if (after / "run").exists() == bool(done.returncode) or parts(after):
            why = why or f"left {os.listdir(after)}"
        if not why and done.returncode == 0:
            Run.load(after / "run")
        if run_cfcli("predict", "mf", "pairs.csv", cwd=after).stdout != before:
            why = why or "the earlier run predicts otherwise"
        if why:
            lost.append(f"{left} kB: {why}")
    tried("F4", "full disk: train", len(lefts), len(lost))
    assert not lost


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("size", [100, 20_000])
def test_rows_that_do_not_fit_on_stdout_are_an_error(
    unbuffered: str, size: int, here: Path, tmp_path: Path
) -> None:
    """Also with PYTHONUNBUFFERED, where Python writes what fits and says nothing."""
    environment = clean() | {"PYTHONUNBUFFERED": unbuffered}
    out = tmp_path / "out.csv"
    for command in (["predict", "mf", "pairs.csv"], ["recommend", "mf", "--all", "--json"]):
        whole = run_cfcli(*command, cwd=here, env=environment).stdout
        with out.open("wb") as file:
            done = subprocess.run(
                [CFCLI, *command],
                cwd=here,
                env=environment,
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=partial(limit, at_most(min(size, len(whole) // 2))),
            )
        assert done.returncode == 4, done.stderr
        assert "stdout: File too large" in done.stderr
