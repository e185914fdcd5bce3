"""Threads that go through the blocks of a sweep."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


class Workers:
    """Threads, each of which computes alone. Whole blocks side by side gain more than several threads
    within each small operation, and every block comes out the same whatever their number.

    Args:
        n: how many there are.
    """

    def __init__(self, n: int) -> None:
        # A number of threads is set for the thread that sets it alone.
        self._pool = ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,))

    def map(self, function: Callable[[T], float], parts: Sequence[T]) -> list[float]:
        """What a function gives for each part, in the order of the parts.

        Args:
            function: which may run for several parts at once.
            parts: the largest first, so that none is left alone at the end.
        """
        return list(self._pool.map(function, parts))
