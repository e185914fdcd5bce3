"""What this machine has free."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import MachineError


@dataclass(frozen=True)
class Machine:
    """What a machine has free, in bytes; None where nothing says so.

    Attributes:
        memory: that a process can still get.
        device: memory of the GPU, where one is to be used.
        disk: where the run is to be.
    """

    memory: int | None
    device: int | None = None
    disk: int | None = None


def available(config: TrainConfig, out: Path) -> Machine:
    """What this machine has now.

    Args:
        config: ``device`` says whether a GPU is to be used.
        out: the folder of the run; where it is not there, the nearest folder above it counts.

    Raises:
        MachineError: there is no such device.
    """
    memory = min([*_of_system(), *left_by_groups()], default=None)
    folder = next((place for place in (out, *out.absolute().parents) if place.is_dir()), Path())
    device = None
    if config.device == "cuda" or (config.device == "auto" and Path("/dev/nvidia0").exists()):
        import torch

        if torch.cuda.is_available():
            device = torch.cuda.mem_get_info()[0]
        elif config.device == "cuda":
            raise MachineError(
                "device cuda: not on this machine; --device auto takes what is there"
            )
    return Machine(memory, device, shutil.disk_usage(folder).free)


def _of_system() -> Iterator[int]:
    """The bytes that a process can still get, as Linux says."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) << 10


class _GroupFiles(NamedTuple):
    """Names of a control group's files: its limit, what it uses, and the key in ``memory.stat`` of
    the pages of files, which can be dropped."""

    limit: str
    used: str
    pages: str


VERSION_1 = _GroupFiles("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
VERSION_2 = _GroupFiles("memory.max", "memory.current", "inactive_file")


def left_by_groups(
    proc: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """The bytes that each control group of this process leaves, of either version.

    Args:
        proc: the file that names the groups.
        mounted: where their files are.
    """
    for folder, is_second in _groups("memory", proc, mounted):
        # A group without a limit has the word max there.
        with contextlib.suppress(OSError, ValueError):
            yield _left_by(folder, VERSION_2 if is_second else VERSION_1)


def processors_by_groups(
    proc: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")
) -> Iterator[float]:
    """How many processors each control group with a limit lets this process use at once.

    Args:
        proc: the file that names the groups.
        mounted: where their files are.
    """
    for folder, is_second in _groups("cpu", proc, mounted):
        names = ("cpu.max",) if is_second else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        with contextlib.suppress(OSError, ValueError):
            words = " ".join((folder / name).read_text() for name in names).split()
            quota, period = map(float, words)  # without a limit: the word max, or -1
            if quota > 0:
                yield quota / period


def _groups(controller: str, proc: Path, mounted: Path) -> Iterator[tuple[Path, bool]]:
    """The folders of the control groups of this process and of those above them, each with whether
    it is of version 2."""
    with contextlib.suppress(OSError):
        for line in proc.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            root = mounted / controller if controllers else mounted
            place = root / path.lstrip("/")
            above = [parent for parent in place.parents if parent.is_relative_to(root)]
            for folder in (place, *above):
                yield folder, not controllers


def _left_by(folder: Path, names: _GroupFiles) -> int:
    """The bytes that one control group leaves."""
    left = int((folder / names.limit).read_text()) - int((folder / names.used).read_text())
    lines = (folder / "memory.stat").read_text().splitlines()
    stat = dict(line.split() for line in lines)
    return max(0, left + int(stat.get(names.pages, 0)))
