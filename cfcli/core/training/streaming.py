"""Ratings as mini-batches from the disk, in memory that does not grow with their number."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from cfcli.core.data.blocks import Blocks, Piece
from cfcli.core.training.batches import ALONE, Batch, Share, SharedBatch
from cfcli.core.training.plan.sizing import SHUFFLED

# How often a row group is read in a pass, where not all rows fit into the buffer, giving every
# fourth row: files are often in the order of users, whose ratings would come all at once, which,
# measured, costs 0.8 % of RMSE in an epoch.
TIMES = 4


class Reader(IterableDataset[Batch]):
    """Pieces of a file, each as its columns; workers of a DataLoader take turns."""

    def __init__(self, blocks: Blocks, pieces: list[Piece]) -> None:
        self.blocks, self.pieces = blocks, pieces

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        mine = self.pieces[worker.id :: worker.num_workers] if worker else self.pieces
        for columns in self.blocks.arrays(mine):
            user, item = (
                torch.from_numpy(columns[name].astype(np.int32)) for name in ("user", "item")
            )
            yield user, item, torch.from_numpy(columns["rating"].copy())


class Stream:
    """One rank's share of a split as an iterable with a length, as
    :class:`cfcli.core.training.batches.Batches` is: in each pass each row once. Parts of row groups
    come in an order of their own for each pass, and are shuffled in a buffer. Steps are of the same
    size but for one row, and ranks take each together.

    Args:
        blocks: of the training rows.
        step: ratings of a step (B) of all ranks together, at most.
        steps: of them that make a batch.
        seed: of the order.
        share: this rank's.
        workers: processes that read; none where it is done in this one.
        buffer: rows to shuffle together.
    """

    def __init__(
        self, blocks: Blocks, step: int, steps: int, seed: int, share: Share = ALONE, workers: int = 0,
        buffer: int = SHUFFLED,
    ) -> None:  # fmt: skip
        self.blocks, self.seed, self.share, self.workers, self.buffer = (
            blocks,
            seed,
            share,
            workers,
            buffer,
        )
        self.total = len(blocks)
        # Of each step, its end among the rows of each rank.
        n = -(-self.total // step)
        self.ends = [
            [len(Share(r, share.ranks).of(self.total)) * (k + 1) // n for k in range(n)]
            for r in range(share.ranks)
        ]
        self.steps, self.epoch = steps, 0

    def __len__(self) -> int:
        return -(-len(self.ends[0]) // self.steps)

    def __iter__(self) -> Iterator[SharedBatch]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        self.epoch += 1
        whole = self.blocks.pieces(self.share.of(self.total))
        every = TIMES if len(self.share.of(self.total)) > self.buffer else 1
        pieces = [piece._replace(offset=k, every=every) for piece in whole for k in range(every)]
        order = torch.randperm(len(pieces), generator=generator).tolist()
        found = iter(
            DataLoader(
                Reader(self.blocks, [pieces[k] for k in order]),
                batch_size=None,
                num_workers=self.workers,
            )
        )
        pool, place = (
            (torch.empty(0, dtype=torch.int32), torch.empty(0, dtype=torch.int32), torch.empty(0)),
            0,
        )
        sizes = [
            [stop - start for start, stop in itertools.pairwise([0, *ends])] for ends in self.ends
        ]
        for first in range(0, len(sizes[0]), self.steps):
            own = sizes[self.share.rank][first : first + self.steps]
            if len(pool[0]) - place < max(self.buffer // 2, sum(own)):
                pool, place = (
                    _refilled(pool, place, found, max(self.buffer, sum(own)), generator),
                    0,
                )
            user, item, rating = (column[place : place + sum(own)] for column in pool)
            place += sum(own)
            yield (
                user,
                item,
                rating,
                own,
                [sum(size[first + k] for size in sizes) for k in range(len(own))],
            )


def _refilled(
    pool: Batch, place: int, found: Iterator[Batch], rows: int, generator: torch.Generator
) -> Batch:
    """What is left of a pool from ``place`` on, with what comes next up to so many rows,
    shuffled."""
    parts = [tuple(column[place:] for column in pool)]
    n = len(parts[0][0])
    while n < rows and (block := next(found, None)) is not None:
        parts.append(block)
        n += len(block[0])
    order = torch.randperm(
        n, generator=generator, dtype=torch.int32
    )  # with which taking rows is 4 times as fast
    user, item, rating = (
        torch.cat(columns).index_select(0, order) for columns in zip(*parts, strict=True)
    )
    return user, item, rating


class InOrder:
    """One rank's share of a split in the order of the file, as an iterable with a length.

    Args:
        batch_size: ratings of a batch, at most.
    """

    def __init__(self, blocks: Blocks, batch_size: int, share: Share = ALONE) -> None:
        self.blocks, self.batch_size = blocks, batch_size
        self.pieces = blocks.pieces(share.of(len(blocks)))

    def __len__(self) -> int:
        return max(
            1, sum(-(-(piece.stop - piece.start) // self.batch_size) for piece in self.pieces)
        )

    def __iter__(self) -> Iterator[Batch]:
        empty: Iterable[Batch] = [
            (torch.empty(0, dtype=torch.int32), torch.empty(0, dtype=torch.int32), torch.empty(0))
        ]
        for columns in Reader(self.blocks, self.pieces) if self.pieces else empty:
            yield from zip(
                *(torch.split(column, self.batch_size) for column in columns), strict=True
            )
