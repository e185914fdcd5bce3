"""What a training sets in its process while it computes."""

import contextlib
import ctypes
import gc
from collections.abc import Iterator

import torch

from cfcli.core.config.train import TrainConfig

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1  # of malloc.h
LARGE, KEPT = (
    32 << 20,
    1 << 30,
)  # bytes of a block that is returned when it is freed: by default, and in steps
SMALL_STEP = 1 << 16  # ratings times dimensions


@contextlib.contextmanager
def fast(config: TrainConfig, entries: int) -> Iterator[None]:
    """With the processor set up for training by steps that each work on so many ``entries`` of
    vectors."""
    # Keeps large blocks that are freed, for the next step: glibc would return them to the kernel,
    # and to get them again costs as much as the step itself. Tables in parts are there to save
    # memory.
    if not config.processes.shard_embeddings:
        _glibc("mallopt", M_MMAP_THRESHOLD, KEPT)
        _glibc("mallopt", M_TRIM_THRESHOLD, (1 << 31) - 1)
    # Weights of dead units, and Adam's means of their gradients, shrink until arithmetic on them is
    # 100 times slower.
    torch.set_flush_denormal(True)
    before = torch.get_num_threads()
    # On small steps two threads win little, and lose much where other processes want the
    # processors, too.
    small = config.threads == "auto" and entries < SMALL_STEP
    share = max(1, before // config.processes.devices)
    torch.set_num_threads(1 if small else share if config.threads == "auto" else config.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
        # Once set, they no longer adapt: to what they adapt to where blocks are large.
        _glibc("mallopt", M_MMAP_THRESHOLD, LARGE)
        _glibc("mallopt", M_TRIM_THRESHOLD, 64 << 20)


@contextlib.contextmanager
def sparing(config: TrainConfig) -> Iterator[None]:
    """Within :func:`fast`, for what is done once: large blocks that are freed do go back to the
    kernel."""
    _glibc("mallopt", M_MMAP_THRESHOLD, LARGE)
    try:
        yield
    finally:
        if not config.processes.shard_embeddings:
            _glibc("mallopt", M_MMAP_THRESHOLD, KEPT)


def free() -> None:
    """Gives back what a fit that is over still holds: Lightning's Trainer and the module name each
    other."""
    gc.collect()
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # another C library has its own ways
        getattr(ctypes.CDLL("libc.so.6"), function)(*arguments)
