"""What this machine has."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import MachineError


@dataclass(frozen=True)
class Machine:
    """What is there, in bytes; None where nobody says.

    Attributes:
        memory: that a process can still get.
        device: free memory of the GPU, where one is to be used.
        disk: free where the run is to be.
    """

    memory: int | None
    device: int | None = None
    disk: int | None = None


def available(config: TrainConfig, out: Path) -> Machine:
    """What this machine has now, for a run in the folder ``out`` or, where it is not there, in the
    nearest that is.

    Raises:
        MachineError: no such device.
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
    """What Linux says that a process can still get."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) << 10


def left_by_groups(
    proc: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """What is left by the control groups that this process is in, of either version; files' pages
    can be dropped."""
    with contextlib.suppress(OSError):
        for line in proc.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                root, limit, used, pages = mounted, "memory.max", "memory.current", "inactive_file"
            elif "memory" in controllers.split(","):
                root, limit, used = (
                    mounted / "memory",
                    "memory.limit_in_bytes",
                    "memory.usage_in_bytes",
                )
                pages = "total_inactive_file"
            else:
                continue
            place = root / path.lstrip("/")
            for folder in (
                place,
                *(parent for parent in place.parents if parent.is_relative_to(root)),
            ):
                with contextlib.suppress(OSError, ValueError):  # no limit there is the word max
                    left = int((folder / limit).read_text()) - int((folder / used).read_text())
                    stat = dict(
                        line.split() for line in (folder / "memory.stat").read_text().splitlines()
                    )
                    yield max(0, left + int(stat.get(pages, 0)))
