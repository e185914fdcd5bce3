"""What a training sets in its process while it computes, and puts back when it is over."""

import contextlib
import ctypes
import gc
from collections.abc import Iterator

import torch

from cfcli.core.config.train import TrainConfig

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1  # of malloc.h
LARGE = 32 << 20  # bytes from which a freed block is returned to the kernel: glibc's own most
KEPT = 1 << 30  # the same while steps are taken
SMALL_STEP = 1 << 16  # ratings times dimensions


@contextlib.contextmanager
def fast(config: TrainConfig, entries: int) -> Iterator[None]:
    """Sets threads, arithmetic and memory for training, and puts them back at the end.

    Args:
        config: ``threads``, ``devices``, ``shard_embeddings``.
        entries: numbers of vectors that a step works on: its ratings times the dimension.
    """
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
    if config.threads != "auto":
        torch.set_num_threads(config.threads)
    elif entries < SMALL_STEP:
        torch.set_num_threads(1)
    else:
        torch.set_num_threads(max(1, before // config.processes.devices))
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
        # Once set, they no longer adapt: to what they adapt to where blocks are large.
        _glibc("mallopt", M_MMAP_THRESHOLD, LARGE)
        _glibc("mallopt", M_TRIM_THRESHOLD, 64 << 20)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Computes on one thread, in an order that does not depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def sparing(config: TrainConfig) -> Iterator[None]:
    """Within :func:`fast`, lets blocks that are freed go back to the kernel, large ones at once and
    small ones at the end: for what is done once.

    Args:
        config: ``shard_embeddings``.
    """
    _glibc("mallopt", M_MMAP_THRESHOLD, LARGE)
    try:
        yield
    finally:
        _glibc("malloc_trim", 0)
        if not config.processes.shard_embeddings:
            _glibc("mallopt", M_MMAP_THRESHOLD, KEPT)


def free() -> None:
    """Gives back the memory of a training that is over. Lightning's Trainer and the module refer to
    each other, so that only the collector frees them."""
    gc.collect()
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # not with another C library
        getattr(ctypes.CDLL("libc.so.6"), function)(*arguments)
