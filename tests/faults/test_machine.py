"""The machine fails: processes are killed or told to stop, disks are full, folders read-only,
memory is short, surroundings are bare. What was there before stays whole, and what is new is whole
or not there."""

import array
import contextlib
import ctypes
import fcntl
import json
import os
import random
import re
import resource
import shutil
import signal
import stat
import subprocess
import termios
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import polars as pl
import pytest
from shell import CFCLI, run_cfcli, write_ratings

from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ArtifactError
from cfcli.core.runs import writing
from cfcli.core.runs.run import Run

Count = Callable[[int, int], int]
Tried = Callable[[str, str, int, int], None]
Done = subprocess.CompletedProcess[str]

SECONDS = 10  # in which a signal ends anything
in_a_soak = pytest.mark.skipif(
    not os.environ.get("CFCLI_SOAK"), reason="takes long: in a soak alone"
)
DROP_FROM_BOUNDS, OVERRIDE, SEARCH = 24, 1, 2  # linux/prctl.h, linux/capability.h


@pytest.fixture
def here(ready: Path, tmp_path: Path) -> Path:
    """A copy of what is ready (``ratings.csv``, ``pairs.csv``, ``data``, ``mf``) and, beside it,
    ``new.csv``."""
    folder = Path(shutil.copytree(ready, tmp_path / "here"))
    write_ratings(folder / "new.csv", seed=1)
    return folder


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset that ``new.csv`` becomes."""
    folder = tmp_path_factory.mktemp("new")
    write_ratings(folder / "new.csv", seed=1)
    assert run_cfcli("prepare", "new.csv", cwd=folder).returncode == 0
    return folder / "data"


def clean() -> dict[str, str]:
    """The environment without settings of this program."""
    return {k: v for k, v in os.environ.items() if not k.startswith("CFCLI_")} | {"COLUMNS": "100"}


def start(*args: object, cwd: Path, **kwargs: Any) -> "subprocess.Popen[str]":
    command = [str(CFCLI), *map(str, args)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=cwd, env=clean(), text=True, **pipes, **kwargs)  # type: ignore[call-overload, no-any-return]


def until(process: "subprocess.Popen[str]", text: str) -> bool:
    """Reads its stderr up to a line that begins so; False if none does."""
    assert process.stderr
    return any(line.startswith(text) for line in process.stderr)


def fingerprint(dataset: Path) -> str:
    return str(Dataset.load(dataset).info["fingerprint"])


def parts(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.name.endswith((".part", ".former"))
    )


def flaw(done: Done, code: int, *names: object, lines: int = 3) -> str:
    """What is wrong about how a command failed: empty if it has the exit code and says so in few
    lines, one of which has one of the names in it."""
    if done.returncode != code:
        return f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"
    said = done.stderr.splitlines()
    if "Traceback" in done.stderr or len(said) > lines:
        return f"{len(said)} lines: {done.stderr[:300]}"
    if not any(
        line.startswith("error: ") and any(str(name) in line for name in names) for line in said
    ):
        return f"names nothing: {done.stderr[:300]}"
    return ""


# F1: killed


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
        with start(*args, cwd=here) as process:
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
            elif Run.load(night).info["epochs"] != epochs:
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
        return writing.resumable(run)[1] is not None
    except ArtifactError:
        return False


# F3: system calls that fail


def has_strace() -> bool:
    with contextlib.suppress(OSError):
        command = [
            "strace",
            "-f",
            "-y",
            "-o",
            "/dev/null",
            "-e",
            "inject=fsync:error=EIO:when=1",
            "true",
        ]
        return subprocess.run(command, capture_output=True).returncode == 0
    return False


needs_strace = pytest.mark.skipif(not has_strace(), reason="needs strace")


def injected(args: list[str], call: str, fault: str, n: int, cwd: Path) -> tuple[Done, str]:
    """Runs a command in which the n-th such system call of a thread fails, and the line of the log
    that says which it was, empty if there were fewer.

    Only the first thread's writes fail: those of others are also how threads wake each other, which
    never fails.
    """
    log = cwd.with_name("log")
    command = [
        "strace",
        "-y",
        "-o",
        str(log),
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:{fault}:when={n}",
    ]
    if (
        call != "write"
    ):  # what a filter in the kernel picks is traced fast, but strace 6.1 does not kill it
        command += ["-f", *(["--seccomp-bpf"] if "error" in fault else [])]
    with subprocess.Popen(
        [*command, str(CFCLI), *args], cwd=cwd, env=clean(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()[0], "it hangs"
    lines = log.read_text(errors="replace").splitlines()
    hit = [line for line in lines if "INJECTED" in line]
    if "KILL" in fault and any("killed by SIGKILL" in line for line in lines):
        hit = [line for line in lines if f"{call}(" in line][-1:] or ["?"]
    return Done(args, process.returncode, out, err), hit[0] if hit else ""


def each_hit(
    args: list[str],
    call: str,
    fault: str,
    numbers: Iterable[int],
    here: Path,
    before: Callable[[], object],
) -> Iterator[tuple[int, Done, str]]:
    """Injects at one call after the other, until there are no more, and gives what came of it; but
    not for those by which threads wake each other, or which write what is said."""
    for k in numbers:
        before()
        done, hit = injected(args, call, fault, k, here)
        if not hit:
            return
        if not ("anon_inode" in hit or "pipe:" in hit):
            yield k, done, hit


FAULTS = ["error=ENOSPC", "error=EIO", "signal=KILL"]
# What prepare calls, and which call of it fails in CI; in a soak each does.
CALLS = {
    "fsync": 5,
    "rename": 1,
    "renameat2": 1,
    "mkdir": 2,
    "chmod": 7,
    "flock": 2,
    "unlink": 1,
    "write": 3,
}
IN_CI = {
    "error=ENOSPC": ["fsync", "mkdir", "chmod", "write"],
    "error=EIO": ["fsync", "write"],
    "signal=KILL": ["rename", "renameat2"],
}


@needs_strace
@pytest.mark.parametrize("fault", FAULTS)
def test_a_system_call_that_fails_leaves_the_old_dataset_or_the_new_one(
    fault: str, here: Path, new: Path, count: Count, tried: Tried
) -> None:
    known = {fingerprint(here / "data"): "old", fingerprint(new): "new"}
    shutil.copytree(here / "data", here.parent / "old")
    args = ["prepare", "new.csv", "--force", "--accept-shrink", "-q"]
    lost: list[str] = []
    n = 0

    def before() -> None:
        shutil.rmtree(here / "data")
        shutil.copytree(here.parent / "old", here / "data")

    for call in CALLS if count(0, 1) else IN_CI[fault]:
        numbers = range(1, 1000) if count(0, 1) else [CALLS[call]]
        for k, done, hit in each_hit(args, call, fault, numbers, here, before):
            n += 1
            try:
                found = known[fingerprint(here / "data")]
            except (ArtifactError, KeyError) as error:
                found = f"lost: {error!r}"
            why = ""
            if found not in ("old", "new"):
                why = found
            elif "KILL" in fault:
                if done.returncode != -signal.SIGKILL:
                    why = f"exit code {done.returncode}"
            elif done.returncode == 0:
                if found != "new":
                    why = "done, they say, but it is the old one"
            else:
                why = flaw(done, 4, here, lines=1)
                if (
                    not why
                    and found == "new"
                    and f"fsync({here}" not in re.sub(r"\(\d+<(.*)>\)", r"(\1)", hit)
                ):
                    why = "failed, they say, but it is the new one"
                if not why and parts(here) and call not in ("flock", "write"):
                    why = f"left {parts(here)}"
            if why:
                lost.append(f"{call} {k}: {why} [{hit[:120]}]")
    done = run_cfcli(*args, cwd=here)
    assert (done.returncode, fingerprint(here / "data"), parts(here)) == (
        0,
        fingerprint(new),
        [],
    ), done.stderr
    tried("F3", f"system calls of prepare: {fault}", n, len(lost))
    assert n >= len(IN_CI[fault])
    assert not lost


@needs_strace
@pytest.mark.parametrize(
    ("call", "fault"),
    [("write", "error=ENOSPC"), ("fsync", "error=EIO"), ("rename", "signal=KILL")]
    + [
        pytest.param(call, fault, marks=in_a_soak)
        for call in ("write", "fsync", "rename", "chmod")
        for fault in FAULTS
        if (call, fault)
        not in {("write", "error=ENOSPC"), ("fsync", "error=EIO"), ("rename", "signal=KILL")}
    ],
)
def test_a_system_call_that_fails_leaves_the_old_predictions(
    call: str, fault: str, here: Path, count: Count, tried: Tried
) -> None:
    out = here / "out.csv"
    args = ["predict", "mf", "pairs.csv", "--out", "out.csv"]
    assert run_cfcli(*args, cwd=here).returncode == 0
    new = out.read_bytes()
    lost: list[str] = []
    n = 0
    numbers = range(1, count(1, 100) + 1)
    for k, done, hit in each_hit(args, call, fault, numbers, here, lambda: out.write_bytes(b"old")):
        n += 1
        if out.read_bytes() not in (b"old", new):
            lost.append(f"{k}: half a file")
        if "KILL" in fault and done.returncode != -signal.SIGKILL:
            lost.append(f"{k}: exit code {done.returncode}")
        if "KILL" not in fault and (why := flaw(done, 4, here, lines=1)):
            lost.append(f"{k}: {why} [{hit[:120]}]")
    tried("F3", f"{call} of predict: {fault}", max(n, 1), len(lost))
    assert n
    assert not lost


@needs_strace
@in_a_soak
@pytest.mark.parametrize("fault", FAULTS)
def test_a_system_call_that_fails_leaves_no_half_of_a_run(
    fault: str, here: Path, tried: Tried
) -> None:
    args = ["train", "--epochs", "6", "--out", "run", "-q"]
    lost: list[str] = []
    n = 0
    for call in (
        "fsync",
        "rename",
        "renameat",
        "write",
        "mkdir",
        "chmod",
        "ftruncate",
        "symlink",
        "unlink",
    ):
        for k in range(1, 1000):
            done, hit = injected(args, call, fault, k, here)
            if not hit:
                break
            if str(here) not in hit:  # of a library that looks around
                shutil.rmtree(here / "run", ignore_errors=True)
                continue
            n += 1
            why = ""
            if (here / "run").exists():
                try:
                    Run.load(here / "run")
                except ArtifactError as error:
                    why = str(error)
            if not why and "KILL" not in fault and done.returncode:
                why = flaw(done, 4, here, lines=1)
            if why:
                lost.append(f"{call} {k}: {why} [{hit[:120]}]")
            shutil.rmtree(here / "run", ignore_errors=True)
            shutil.rmtree(here / ".run.part", ignore_errors=True)
    tried("F3", f"system calls of train: {fault}", n, len(lost))
    assert not lost


# F4: full disks


def at_most(size: int) -> Callable[[], None]:
    """No file may grow beyond a size: as a full disk, but without one."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


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
        done = run_cfcli(*args, cwd=here, preexec_fn=at_most(size))
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
            "train", "--epochs", 6, "--out", "run", "-q", cwd=here, preexec_fn=at_most(size)
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


# F5: TMPDIR


@pytest.fixture(params=[pytest.param("not there", marks=in_a_soak), "on another disk"])
def scratch(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "not there":
        yield tmp_path / "none"
        return
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    folder = shared / f"cfcli-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_tmpdir_may_be_anything_and_nothing_stays_in_it(
    here: Path, scratch: Path, tried: Tried
) -> None:
    """But for an empty folder that PyTorch makes when it is imported."""
    pl.read_csv(here / "new.csv").write_parquet(here / "new.parquet")
    env = {"TMPDIR": str(scratch)}
    lost = []
    commands = [
        "prepare new.csv --force",
        "prepare - --out piped",
        "train --epochs 4 --out run",
        "evaluate run",
        "predict run pairs.csv --out predicted.parquet",
        "export-embeddings run --entity both",
        "recommend run --all --out recommended.csv",
    ]
    for command in commands:
        with open(
            here / "new.parquet", "rb"
        ) as stream:  # Parquet from a pipe is kept somewhere meanwhile
            pipe = subprocess.run(["cat"], stdin=stream, capture_output=True).stdout
        words = [str(CFCLI), *command.split()]
        done = subprocess.run(
            words, cwd=here, env=clean() | env, input=pipe, capture_output=True, timeout=120
        )
        if done.returncode:
            lost.append(f"{command}: {done.stderr.decode()}")
        for path in scratch.iterdir() if scratch.exists() else ():
            lost.append(f"{command}: left {path.name} in TMPDIR")
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    tried(
        "F5",
        f"TMPDIR {'another disk' if scratch.exists() else 'not there'}",
        len(commands),
        len(lost),
    )
    assert not lost
    assert fingerprint(here / "piped")


# F6: folders that may not be written to


def humble() -> None:
    """Root without the right to write where modes forbid it; in the child, before the program
    starts."""
    if os.geteuid() == 0:
        for capability in (OVERRIDE, SEARCH):
            ctypes.CDLL(None).prctl(DROP_FROM_BOUNDS, capability, 0, 0, 0)


@pytest.fixture
def locked(here: Path) -> Iterator[Path]:
    """A folder that may be read, but not written to."""
    folder = here / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    probe = subprocess.run(["touch", str(folder / "x")], preexec_fn=humble, capture_output=True)
    if probe.returncode == 0:
        pytest.skip("modes do not hold here")
    yield folder
    folder.chmod(0o755)


@pytest.mark.parametrize(
    "command",
    [
        "prepare ratings.csv --out locked/data",
        "train --out locked/run",
        "train --out locked/deep/run",
        "export-embeddings mf --out locked/items.parquet",
        "export-embeddings mf --entity both --out locked/both",
        "predict mf pairs.csv --out locked/out.csv",
        "recommend mf --all --out locked/out.csv",
        "evaluate mf --per-row locked/out.csv",
    ],
)
def test_a_folder_that_may_not_be_written_to_is_exit_4_at_once(
    command: str, here: Path, locked: Path, tried: Tried
) -> None:
    before = os.times()
    done = run_cfcli(*command.split(), cwd=here, preexec_fn=humble)
    after = os.times()
    why = flaw(done, 4, "locked", lines=1)
    tried("F6", f"read-only: {command.split()[0]}", 1, bool(why))
    assert not why
    assert "Permission denied" in done.stderr
    assert "epoch" not in done.stderr
    if command.startswith("train"):
        seconds = (
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
        assert seconds < 2, "it did not fail before Lightning was imported"
    assert list(locked.iterdir()) == []


def test_a_run_that_may_not_be_written_to_can_be_used(here: Path) -> None:
    (here / "mf").chmod(0o555)
    assert run_cfcli("predict", "mf", "pairs.csv", cwd=here, preexec_fn=humble).returncode == 0
    assert not flaw(
        run_cfcli("export-embeddings", "mf", cwd=here, preexec_fn=humble), 4, "mf", lines=1
    )


# F7: signals

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
LONG = ["train", "--epochs", 60, "--patience", 60]  # as mf was trained


def until_read(pipe: IO[str]) -> None:
    """Until the other side has taken all that was written."""
    left, end = array.array("i", [1]), time.monotonic() + 30
    while left[0] and time.monotonic() < end:
        time.sleep(0.1)
        fcntl.ioctl(pipe, termios.FIONREAD, left)
    time.sleep(0.1)


def ended(process: "subprocess.Popen[str]", seconds: float = SECONDS) -> tuple[str, str, float]:
    """Its stdout, its stderr and the seconds it took; it is killed if it takes too long."""
    begin = time.monotonic()
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    return out, err, time.monotonic() - begin


def test_a_stopped_training_goes_on_to_the_same_end(here: Path, count: Count, tried: Tried) -> None:
    expected = Run.load(here / "mf")
    chosen = (
        SIGNALS if count(0, 1) else [signal.SIGHUP]
    )  # the others are sent in the tests of the app
    lost = []
    for number in chosen:
        name = number.name.lower()
        with start(*LONG, "--out", name, cwd=here) as process:
            assert until(process, "epoch   3/")
            process.send_signal(number)
            out, err, seconds = ended(process)
        if (
            (process.returncode, out) != (128 + number, f"{name}\n")
            or seconds > SECONDS
            or "Traceback" in err
        ):
            lost.append(f"{number.name}: {process.returncode}, {seconds:.1f} s: {err[-300:]}")
            continue
        assert Run.load(here / name).info["status"] == "stopped"
        assert "--resume" in err
        done = run_cfcli("train", "--resume", name, "--out", f"{name}-whole", cwd=here)
        assert done.returncode == 0, done.stderr
        found = Run.load(here / f"{name}-whole")
        assert found.info["epochs"] == 60
        if abs(found.info["val"]["mse"] - expected.info["val"]["mse"]) > 1e-6:
            lost.append(f"{number.name}: {found.info['val']}, not {expected.info['val']}")
    tried("F7", "signals to train, and resumed", len(chosen), len(lost))
    assert not lost
    assert parts(here) == []


def test_a_second_signal_ends_a_training_at_once(here: Path, tried: Tried) -> None:
    """Both come while it stands still, so that no time passes between them."""
    with start(
        "train", "--epochs", 10**5, "--patience", 10**5, "--out", "run", cwd=here
    ) as process:
        assert until(process, "epoch   2/")
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            process.send_signal(number)
        _, err, seconds = ended(process)
    good = (
        process.returncode in (-signal.SIGTERM, -signal.SIGINT)
        and seconds < 5
        and "Traceback" not in err
    )
    tried("F7", "a second signal to train", 1, not good)
    assert good, (process.returncode, seconds, err[-300:])
    assert not (here / "run").exists()
    assert (
        writing.resumable(here / "run")[1] is not None
    )  # it was killed: what it left can be taken over


def test_a_signal_at_any_moment_ends_a_training(here: Path, count: Count, tried: Tried) -> None:
    chance = random.Random(8)
    times = count(1, 60)
    lost = []
    for k in range(times):
        number = SIGNALS[k % 3]
        with start("train", "--epochs", 20, "--patience", 20, "--out", "run", cwd=here) as process:
            delay = chance.uniform(0.3, 5.5)
            time.sleep(delay)
            process.send_signal(number)
            out, err, seconds = ended(process)
        made = (here / "run").exists()
        why = ""
        # Before the program has put up its own handlers, and when Python has taken them down, the
        # system's are there.
        expected = (0, 128 + number) if delay > 0.5 and not made else (0, 128 + number, -number)
        if process.returncode not in expected:
            why = f"exit code {process.returncode}: {err[-300:]}"
        elif seconds > SECONDS or "Traceback" in err:
            why = f"{seconds:.1f} s: {err[-300:]}"
        elif made != (out == "run\n") or parts(here):
            why = f"said {out!r}, left {parts(here)}"
        elif made:
            Run.load(here / "run")
        shutil.rmtree(here / "run", ignore_errors=True)
        shutil.rmtree(here / ".run.part", ignore_errors=True)
        if why:
            lost.append(f"{number.name} after {delay:.2f} s: {why}")
    tried("F7", "signals to train at any moment", times, len(lost))
    assert not lost


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_ends_prepare_while_it_reads(
    number: signal.Signals, here: Path, tried: Tried
) -> None:
    """From a pipe that gives no more."""
    old = fingerprint(here / "data")
    os.mkfifo(here / "pipe.csv")
    with start("prepare", "pipe.csv", "--force", cwd=here) as process:
        stream = open(here / "pipe.csv", "w")  # noqa: SIM115 - it opens when the other side does, and stays so
        stream.write("userId,movieId,rating\n" + "".join(f"{k},{k},3\n" for k in range(10**4)))
        stream.flush()
        until_read(stream)
        process.send_signal(number)
        out, err, seconds = ended(process, 3)
        with contextlib.suppress(BrokenPipeError):
            stream.close()
    good = (
        (process.returncode, out) == (128 + number, "") and err.count("\n") <= 1 and not parts(here)
    )
    tried("F7", "signals to prepare", 1, not good)
    assert good, (process.returncode, seconds, out, err, parts(here))
    assert fingerprint(here / "data") == old


WAITING = ["predict mf -", "evaluate mf --ratings -", "recommend mf --users -", "prepare - --force"]


@pytest.mark.parametrize(
    ("command", "number"),
    [
        pytest.param(
            command,
            number,
            id=f"{command.split()[0]}-{number.name}",
            marks=[in_a_soak] * (number != signal.SIGINT and command != WAITING[0]),
        )
        for command in WAITING
        for number in SIGNALS
    ],
)
def test_a_signal_ends_what_waits_for_its_input(
    command: str, number: signal.Signals, here: Path, tried: Tried
) -> None:
    """As one does with Ctrl-C who called it without."""
    with start(*command.split(), cwd=here, stdin=subprocess.PIPE) as process:
        pipe = process.stdin
        assert pipe
        pipe.write("userId,movieId,rating\n1,1,3\n")
        pipe.flush()
        until_read(pipe)
        process.send_signal(number)
        process.stdin = None  # or it would be closed, which is the end of the input
        _, err, seconds = ended(process, 3)
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
    good = process.returncode == 128 + number and err.count("\n") <= 1 and not parts(here)
    tried("F7", "signals to what waits for input", 1, not good)
    assert good, (process.returncode, seconds, err)


# F17: little memory


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


# F22: bare surroundings

BARE = {
    "cron": {"PATH": "/usr/bin:/bin"},
    "no home": {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C", "TERM": "dumb"},
}


@pytest.mark.parametrize(
    "closed",
    [
        pytest.param(False, id="open streams", marks=in_a_soak),
        pytest.param(True, id="closed streams"),
    ],
)
def test_bare_surroundings_change_no_result(closed: bool, here: Path, tried: Tried) -> None:
    """With streams closed: what is opened next gets their numbers, and nothing can be said."""
    env = BARE["no home" if closed else "cron"] | {"OMP_NUM_THREADS": "1"}
    assert run_cfcli("evaluate", "mf", "--per-row", "normal.csv", cwd=here).returncode == 0
    lost = []
    commands = [
        "prepare ratings.csv --out bare",
        "train --data bare --epochs 60 --patience 60 --out run",
        "evaluate run --per-row bare.csv",
        "predict run pairs.csv --out predicted.csv",
    ]
    for command in commands:
        words = [str(CFCLI), *command.split()]
        if closed:
            words = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words]
        done = subprocess.run(words, cwd=here, env=env, capture_output=True, text=True, timeout=120)
        if done.returncode != (
            4 if closed else 0
        ):  # the result was written, but stdout could not be
            lost.append(f"{command}: {done.returncode}: {done.stderr[-300:]}")
        elif "Error" in done.stderr or "matplotlib" in done.stderr.lower():
            lost.append(f"{command}: {done.stderr[-300:]}")
    if not lost:
        assert fingerprint(here / "bare") == fingerprint(here / "data")
        for name in ("model.safetensors", "samples.safetensors", "users.parquet"):
            if (here / "run" / name).read_bytes() != (here / "mf" / name).read_bytes():
                lost.append(f"{name} is another")
        if (here / "bare.csv").read_bytes() != (here / "normal.csv").read_bytes():
            lost.append("it evaluates otherwise")
    tried("F22", "bare environment" + ", streams closed" * closed, len(commands), len(lost))
    assert not lost


@pytest.mark.parametrize("env", BARE.values(), ids=list(BARE))
def test_a_failure_in_bare_surroundings_is_still_a_code_and_a_line(
    env: dict[str, str], here: Path
) -> None:
    for args, code in (
        (["evaluate", "none"], 7),
        (["prepare", "none.csv"], 4),
        (["train", "--dim", "0"], 2),
    ):
        words = [str(CFCLI), *args]
        done = subprocess.run(words, cwd=here, env=env, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr


CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize(
    "closed", [pytest.param(c, marks=[in_a_soak] * ("<" in c)) for c in CLOSED]
)
def test_closed_streams_change_no_exit_code(closed: str, here: Path, tried: Tried) -> None:
    """But that stdout cannot be written is said, once all else is done."""
    commands = [
        ("prepare ratings.csv --out bare", 0),
        ("predict mf pairs.csv --out out.csv", 0),
        ("export-embeddings mf", 0),
        ("evaluate none", 7),
        ("prepare none.csv", 4),
        ("train --dim 0", 2),
    ]
    lost = []
    for command, code in commands:
        words = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", str(CFCLI), *command.split()]
        done = subprocess.run(
            words, cwd=here, env=clean(), capture_output=True, text=True, timeout=60
        )
        code = 4 if code == 0 and ">&-" in closed.replace("2>&-", "") else code
        if done.returncode != code or "Traceback" in done.stderr:
            lost.append(f"{command}: {done.returncode}, {done.stderr[-200:]}")
    tried("F22", f"closed streams: {closed}", len(commands), len(lost))
    assert not lost


def test_what_a_bare_run_leaves_has_the_usual_modes(here: Path) -> None:
    """Cron's umask is the system's; a run is not for others to write to."""
    modes = {
        stat.S_IMODE(path.stat().st_mode) for path in (here / "mf").iterdir() if path.is_file()
    }
    assert modes == {0o666 & ~_umask()}
    assert json.loads((here / "mf" / "run.json").read_text())["status"] == "finished"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
