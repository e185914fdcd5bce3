"""What a training sets in its process while it computes."""

import contextlib
import ctypes
import gc
from collections.abc import Iterator

import torch

from cfcli.core.config import TrainConfig

SMALL_STEP = 1 << 16  # ratings times dimensions


@contextlib.contextmanager
def fast(config: TrainConfig, entries: int) -> Iterator[None]:
    """With the processor set up for training by steps that each work on so many ``entries`` of vectors."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has its own ways
        # Keeps large blocks that are freed, for the next step: glibc would return them to the kernel, and to get them
        # again costs as much as the step itself.
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD
    # Weights of dead units, and Adam's means of their gradients, shrink until arithmetic on them is 100 times slower.
    torch.set_flush_denormal(True)
    before = torch.get_num_threads()
    # On small steps two threads win little, and lose much where other processes want the processors, too.
    small = config.threads == "auto" and entries < SMALL_STEP
    torch.set_num_threads(1 if small else before if config.threads == "auto" else config.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


def free() -> None:
    """Gives back what a fit that is over still holds: Lightning's Trainer and the module name each other."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
