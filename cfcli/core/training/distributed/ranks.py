"""Which process of a training this one is: Lightning's launcher, torchrun or srun say so in the
environment."""

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable

from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ConfigError

FIRST = "CFCLI_FIRST_PROCESS"  # in the environment of the others: its number
PR_SET_PDEATHSIG = 1  # of sys/prctl.h


def launched(config: TrainConfig, note: Callable[[str], object] = str) -> TrainConfig:
    """The configuration with as many processes as torchrun or srun started.

    Args:
        config: that may ask for the same numbers, or for none.
        note: called with what is worth knowing about a job that has room for more.

    Raises:
        ConfigError: it asks for other numbers.
    """
    found = _started()
    tasks = os.environ.get("SLURM_NTASKS", "1")
    if found is None and config.processes.ranks == 1 and tasks != "1":
        note(
            f"SLURM_NTASKS is {tasks}, but this process trains alone, as srun did not start it; "
            "'srun cfcli train' uses all tasks"
        )
    if found is None or found == (config.processes.devices, config.processes.num_nodes):
        return config
    if config.processes.ranks == 1:
        return config.replace(devices=found[0], num_nodes=found[1])
    raise ConfigError(
        f"devices and num_nodes are {config.processes.devices} and {config.processes.num_nodes}, "
        f"but {found[0]} processes were started on each of {found[1]} machines; leave both out"
    )


def rank(config: TrainConfig) -> int:
    """The number of this process among those that train together, from 0. The first writes and
    prints for all.

    Args:
        config: ``devices``, ``num_nodes``.
    """
    if config.processes.ranks == 1:
        return 0
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["RANK"])
    if _under_srun():
        return int(os.environ["SLURM_PROCID"])
    node, local = os.environ.get("NODE_RANK", "0"), os.environ.get("LOCAL_RANK", "0")
    return int(node) * config.processes.devices + int(local)


def is_own_launcher() -> bool:
    """Whether Lightning has to start the other processes, as neither torchrun nor srun did."""
    return _started() is None


def follow_the_first() -> None:
    """Ends this process as soon as the first one is gone, if that started it, however it ended."""
    first = os.environ.get(FIRST)
    if first is None or os.environ.get("LOCAL_RANK", "0") == "0":
        return
    with contextlib.suppress(AttributeError):  # only Linux has it; a stopped process ends as well
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == int(first):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def end_the_first() -> None:
    """Ends the process that started this one, if that has not ended itself in a second."""
    first = int(os.environ.get(FIRST, 0))
    if first == os.getppid():
        time.sleep(1)
        if first == os.getppid():
            os.kill(first, signal.SIGKILL)


def _started() -> tuple[int, int] | None:
    """How many processes on each of how many machines another program started; None if none did."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        return here, int(os.environ["WORLD_SIZE"]) // here
    if _under_srun():
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        return int(os.environ["SLURM_NTASKS"]) // nodes, nodes
    return None


def _under_srun() -> bool:
    """Whether srun started this process, and others beside it: sbatch sets most of these variables,
    too."""
    names = ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_ID")
    return all(name in os.environ for name in names) and os.environ["SLURM_NTASKS"] != "1"
