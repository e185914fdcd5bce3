"""What a bug report should say: versions, machine, file system, and the state of a store or a run.

A probe that fails becomes a line of the answer. So libraries, and what needs them, are imported by
the probe that asks for them: a broken one is what people come with.
"""

import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from cfcli.core.errors import ArtifactError, CfcliError, LockedError, MachineError
from cfcli.core.storage import publishing
from cfcli.version import __version__

LIBRARIES = ("torch", "pytorch-lightning", "polars", "pyarrow", "numpy", "scikit-learn", "scipy")
VARIABLES = re.compile("(OMP|GOMP|KMP|CFCLI)_")
LATEST = Path("runs/latest")
ASK_TORCH = """
import json, torch
cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
gpu = torch.cuda.get_device_name() if cuda else None
print(json.dumps({"threads": torch.get_num_threads(), "cuda": cuda, "mps": mps, "gpu": gpu}))
"""
MOUNTS, LOCKS = Path("/proc/self/mounts"), Path("/proc/locks")

Value = str | bool | int | float | None
Facts = dict[str, Value]
Probes = Mapping[str, Callable[[], Value | Facts]]


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        facts: by topic and name; None where there is no such thing, or no answer.
        problems: why there is no answer, by topic and name in one text.
    """

    facts: dict[str, Facts]
    problems: Facts


def diagnose(run: Path | None = None, store: Path | None = None) -> Diagnosis:
    """Look at this machine, and at a store or a run. Raises nothing, and leaves nothing behind.

    Args:
        run: a run or a dataset; without a store, ``runs/latest`` if that is there.
        store: a store.
    """
    if run is None and store is None and os.path.lexists(LATEST):
        run = LATEST
    path = store or (run or LATEST).parent
    folder = next(place for place in (path, *path.parents) if os.path.isdir(place))
    topics: dict[str, Probes] = {
        "versions": {"cfcli": lambda: __version__, "Python": platform.python_version}
        | {"system": platform.platform}
        | {name: partial(metadata.version, name) for name in LIBRARIES},
        "processors": {"numbers": _processors},
        "variables": {"all": _variables},
        "memory": {"sizes": _memory},
        "torch": {"devices": _torch},
        "files": {
            "folder": lambda: str(folder),
            "kind": partial(_kind, folder),
            "free_bytes": lambda: shutil.disk_usage(folder).free,
            **{name: partial(_tried, trial, folder) for name, trial in TRIALS.items()},
        },
    }
    if store:
        looks = {"current": _current, "whole": _state, "locked_by": _holder}
        topics["store"] = {name: partial(look, store) for name, look in looks.items()}
    if run:
        topics["run"] = {"whole": partial(_whole, run)}
    problems: Facts = {}
    return Diagnosis({name: _ask(name, topics[name], problems) for name in topics}, problems)


def check(found: Diagnosis) -> None:
    """Raise an error where something keeps cfcli from its work.

    Args:
        found: by :func:`diagnose`.

    Raises:
        MachineError: locks, renames or links do not work in the folder.
        ArtifactError: the run, or the one in use in the store, is missing or damaged.
    """
    files = found.facts["files"]
    broken = [name for name in TRIALS if not files[name] and name != ONE_STEP]
    if broken:
        raise MachineError(
            f"{files['folder']}: {', '.join(broken)} do not work there; keep runs and stores on a "
            "local disk, in a folder that you may write to"
        )
    for topic in ("store", "run"):
        if not found.facts.get(topic, {}).get("whole", True):
            raise ArtifactError(str(found.problems[f"{topic} whole"]))


def _ask(topic: str, probes: Probes, problems: Facts) -> Facts:
    """What probes find, each by its name, or by names of its own where it finds several."""
    found: Facts = {}
    for name, probe in probes.items():
        try:
            value = probe()
        except Exception as error:
            kind = "" if isinstance(error, CfcliError) else f"{type(error).__name__}: "
            problems[f"{topic} {name}"] = _public(kind + " ".join(str(error).split()))
            value = False if isinstance(error, ArtifactError) else None
        found |= value if isinstance(value, dict) else {name: value}
    return {name: _public(value) for name, value in found.items()}


def _public(value: Value) -> Value:
    """The same without the name of the person's own folder."""
    home = os.path.expanduser("~").rstrip("/")
    if not isinstance(value, str) or not os.path.isabs(home):
        return value
    names = "|".join(re.escape(name) for name in (home, os.path.realpath(home)))
    return re.sub(rf"(?<![\w.-])({names})(?![\w.-])", "~", value)


def _processors() -> Facts:
    """How many there are, this process may use, and control groups give it the time of."""
    from cfcli.core.training.plan import machine

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cgroup = min(machine.processors_by_groups(), default=None)
    return {"cores": os.cpu_count(), "usable": usable, "cgroup": cgroup}


def _variables() -> Facts:
    return {name: os.environ[name] for name in sorted(os.environ) if VARIABLES.match(name)}


def _memory() -> Facts:
    from cfcli.core.config.train import TrainConfig
    from cfcli.core.training.plan import machine

    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return {
        "total_bytes": total,
        "free_bytes": machine.available(TrainConfig.of(device="cpu"), Path("/")).memory,
        # A group of version 1 without a limit leaves 2^63 bytes.
        "cgroup_bytes": min((n for n in machine.left_by_groups() if n < total), default=None),
        "ulimit_v_bytes": None if limit == resource.RLIM_INFINITY else limit,
    }


def _torch() -> Facts:
    """In a process of its own, as a broken library or driver may end the one that asks."""
    command = [sys.executable, "-P", "-c", ASK_TORCH]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        raise MachineError(said or f"exit code {done.returncode}")
    found: Facts = json.loads(done.stdout)
    return found


def _kind(folder: Path) -> str | None:
    """The kind of file system that a folder is on; only Linux tells."""
    if not MOUNTS.exists():
        return None
    here = Path(os.path.realpath(folder))
    mounts = [line.split()[1:3] for line in MOUNTS.read_text().splitlines()]
    at = [(place.replace("\\040", " "), kind) for place, kind in mounts]
    # Of those on the way, the nearest counts, and of several at one place the last.
    return max((len(p), k, kind) for k, (p, kind) in enumerate(at) if here.is_relative_to(p))[2]


def _tried(trial: Callable[[Path], bool], folder: Path) -> bool:
    """Whether something works in a folder."""
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as name:
        return trial(Path(name))


def _locks(folder: Path) -> bool:
    """Whether nobody else gets a lock that is held."""
    with publishing.lock(folder / "lock"):
        try:
            with publishing.lock(folder / "lock"):
                return False
        except LockedError:
            return True


def _renames(folder: Path) -> bool:
    """Whether a file, and a folder that is locked meanwhile, take the place of others."""
    for text in ("old", "new"):
        with publishing.file(folder / "file") as stream:
            stream.write(text.encode())
        with publishing.directory(folder / "folder") as part:
            (part / text).touch()
    names = [path.name for path in (folder / "folder").iterdir()]
    return ((folder / "file").read_text(), names) == ("new", ["new"])


def _links(folder: Path) -> bool:
    """Whether a link can be moved."""
    for name in ("old", "new"):
        publishing.point(folder / "link", folder / name)
    return (folder / "link").readlink() == Path("new")


def _one_step(folder: Path) -> bool:
    """Whether two folders exchange their names in one step, as only Linux can."""
    pair = folder / "one", folder / "other"
    for path in pair:
        path.mkdir()
    return publishing.renamed(*pair, publishing.RENAME_EXCHANGE)


ONE_STEP = "one_step_exchange"  # where there is none, a reader may miss a dataset for an instant
TRIALS = {"locks": _locks, "renames": _renames, "links": _links, ONE_STEP: _one_step}


def _current(store: Path) -> str | None:
    from cfcli.core.retraining.store import Store

    current = Store(store).current()
    return current.name if current else None


def _state(store: Path) -> Facts:
    """Of the run in use; nothing where none is."""
    from cfcli.core.retraining.store import Store

    current = Store(store).current()
    if current is None:
        return {}
    found = Store(store).status()
    return {
        "whole": all(map(_whole, {current, *Store(store).runs()})),
        "age_seconds": found.age_seconds,
        "refused_since": found.refused_since,
    }


def _whole(path: Path) -> bool:
    from cfcli.core.runs.verify import verify

    verify(path)
    return True


def _holder(store: Path) -> str | None:
    """The process that holds the lock of a store. Only Linux tells: to try the lock would get in
    the way of whoever wants it."""
    lock = store / ".lock"
    if not lock.exists() or not LOCKS.exists():
        return None
    inode = f":{lock.stat().st_ino}"
    held = [line.split() for line in LOCKS.read_text().splitlines()]
    return next((f"process {words[4]}" for words in held if words[5].endswith(inode)), None)
