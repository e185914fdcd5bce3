"""Work on pieces, in several threads and in order."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Piece], Result], pieces: Iterable[Piece], threads: int
) -> Iterator[Result]:
    """The same as ``map(work, pieces)``, with several calls at once. NumPy, Polars and PyArrow let
    other threads run while they compute.

    Args:
        work: what is called, from several threads.
        pieces: with each of these; the thread of the caller takes them, one more than there are
            threads before it waits for the first result.
        threads: how many calls run at once.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        for piece in pieces:
            waiting.append(pool.submit(work, piece))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextlib.contextmanager
def undivided_products() -> Iterator[int]:
    """Lets each matrix product stay in the thread that asks for it, so that several threads can
    have one each, and the rest of their work is divided, too. Products of all threads that are each
    divided among the cores wait for each other: on two busy cores they took four times the time.

    Yields:
        How many threads a product would have been divided among.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas") as limits:
        yield limits.get_original_num_threads()["blas"] or 1
