"""Threads that go through the blocks of a sweep."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
R = TypeVar("R")
ROWS = 1 << 12  # of a matrix that one thread takes at once


class Workers:
    """Threads, each of which computes alone. Whole blocks side by side gain more than several
    threads within each small operation, and every block comes out the same whatever their number.

    Args:
        n: how many there are.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        # A number of threads is set for the thread that sets it alone.
        self._pool = ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,))

    def map(self, function: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """What a function gives for each part, in the order of the parts.

        Args:
            function: which may run for several parts at once.
            parts: the largest first, so that none is left alone at the end.
        """
        found: dict[int, R] = {}
        places = iter(range(len(parts)))

        def work() -> None:
            """Takes one part after the other, whichever is next."""
            for k in places:
                found[k] = function(parts[k])

        # One task for each thread: where each part is one, the caller wakes up for each of them.
        for task in [self._pool.submit(work) for _ in range(min(self._n, len(parts)))]:
            task.result()
        return [found[k] for k in range(len(parts))]

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """Left' right, (F, K).

        Args:
            left: (n, F).
            right: (n, K).
        """
        found = right.new_zeros(left.shape[1], right.shape[1])
        return sum(self.map(lambda part: left[part].T @ right[part], pieces(len(left))), found)

    def add(self, to: Tensor, left: Tensor, right: Tensor) -> None:
        """Adds left right, in place.

        Args:
            to: (n, K).
            left: (n, F).
            right: (F, K).
        """
        self.map(lambda part: to[part].addmm_(left[part], right), pieces(len(to)))


def pieces(n: int) -> list[slice]:
    """Rows in pieces, the same whatever the number of threads, as sums over them must not hang on
    it.

    Args:
        n: how many there are.
    """
    return [slice(start, start + ROWS) for start in range(0, n, ROWS)]
