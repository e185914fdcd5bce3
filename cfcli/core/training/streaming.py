"""Ratings as mini-batches from the disk, in memory that does not grow with their number."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from cfcli.core.data.blocks import Blocks, Piece
from cfcli.core.training.batches import ALONE, Batch, Shard, SharedBatch
from cfcli.core.training.plan.sizing import SHUFFLED

# How often a row group is read in a pass, where not all rows fit into the buffer: each time it
# gives every fourth row. Files are often in the order of users, whose ratings would come all at
# once; measured, that costs 0.8 % of RMSE in an epoch.
TIMES = 4


class Reader(IterableDataset[Batch]):
    """Pieces of a file, each as its columns; workers of a DataLoader take turns.

    Args:
        blocks: of the rows.
        pieces: what to read, in this order.
    """

    def __init__(self, blocks: Blocks, pieces: list[Piece]) -> None:
        self.blocks, self.pieces = blocks, pieces

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        mine = self.pieces[worker.id :: worker.num_workers] if worker else self.pieces
        for columns in self.blocks.arrays(mine):
            user = torch.from_numpy(columns["user"].astype(np.int32))
            item = torch.from_numpy(columns["item"].astype(np.int32))
            names = [name for name in ("rating", "weight") if name in columns]
            yield user, item, *(torch.from_numpy(columns[name].copy()) for name in names)


class Stream:
    """One rank's part of a split as an iterable with a length, as
    :class:`cfcli.core.training.batches.Batches` is: in each pass each row once.

    Parts of row groups come in a new order in each pass, and are shuffled in a buffer. Steps are of
    the same size but for one row, and ranks take each together.

    Args:
        blocks: of the training rows.
        step: ratings of a step (B) of all ranks together, at most.
        steps: number of steps that make a batch.
        seed: of the order.
        shard: this rank's part.
        workers: processes that read; 0 to read in this one.
        buffer: ratings to shuffle together.

    Attributes:
        epoch: the number of the next pass, from 0.
    """

    def __init__(
        self,
        blocks: Blocks,
        step: int,
        steps: int,
        seed: int,
        shard: Shard = ALONE,
        workers: int = 0,
        buffer: int = SHUFFLED,
    ) -> None:
        self.blocks = blocks
        self.steps = steps
        self.seed = seed
        self.shard = shard
        self.workers = workers
        self.buffer = buffer
        self.epoch = 0
        self.total = len(blocks)
        n = -(-self.total // step)
        # Ratings of each step, of each rank.
        self.sizes = [
            _even_sizes(len(Shard(rank, shard.ranks).of(self.total)), n)
            for rank in range(shard.ranks)
        ]

    def __len__(self) -> int:
        return -(-len(self.sizes[0]) // self.steps)

    def __iter__(self) -> Iterator[SharedBatch]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        self.epoch += 1
        found = self._pieces(generator)
        pool, place = _empty(self.blocks), 0
        for first in range(0, len(self.sizes[0]), self.steps):
            of_ranks = [sizes[first : first + self.steps] for sizes in self.sizes]
            own = of_ranks[self.shard.rank]
            n = sum(own)
            if len(pool[0]) - place < max(self.buffer // 2, n):
                pool = _refilled(pool, place, found, max(self.buffer, n), generator)
                place = 0
            columns = tuple(column[place : place + n] for column in pool)
            place += n
            yield SharedBatch(columns, own, [sum(step) for step in zip(*of_ranks, strict=True)])

    def _pieces(self, generator: torch.Generator) -> Iterator[Batch]:
        """This rank's rows, piece by piece in an order by chance."""
        rows = self.shard.of(self.total)
        every = TIMES if len(rows) > self.buffer else 1
        whole = self.blocks.pieces(rows)
        pieces = [piece._replace(offset=k, every=every) for piece in whole for k in range(every)]
        order = torch.randperm(len(pieces), generator=generator).tolist()
        reader = Reader(self.blocks, [pieces[k] for k in order])
        return iter(DataLoader(reader, batch_size=None, num_workers=self.workers))


def _even_sizes(n: int, parts: int) -> list[int]:
    """The sizes of so many parts of ``n``, the same but for one."""
    ends = [n * k // parts for k in range(parts + 1)]
    return [end - begin for begin, end in itertools.pairwise(ends)]


def _empty(blocks: Blocks) -> Batch:
    """A batch of no ratings of these rows."""
    none = torch.empty(0, dtype=torch.int32)
    numbers = [torch.empty(0)] * (1 if blocks.weighting is None else 2)
    return none, none, *numbers


def _refilled(
    pool: Batch, place: int, found: Iterator[Batch], rows: int, generator: torch.Generator
) -> Batch:
    """What is left of a pool, with what comes next, shuffled.

    Args:
        pool: ratings, of which those before ``place`` are used up.
        place: where the others begin.
        found: what comes next.
        rows: ratings that the new pool has at least, as long as some come.
        generator: of the order.
    """
    parts = [tuple(column[place:] for column in pool)]
    n = len(parts[0][0])
    while n < rows:
        block = next(found, None)
        if block is None:
            break
        parts.append(block)
        n += len(block[0])
    # Taking rows by an index of 32 bits is 4 times as fast.
    order = torch.randperm(n, generator=generator, dtype=torch.int32)
    return tuple(torch.cat(columns).index_select(0, order) for columns in zip(*parts, strict=True))


class InOrder:
    """One rank's part of a split in the order of the file, as an iterable with a length.

    Args:
        blocks: of the rows.
        batch_size: ratings of a batch, at most.
        shard: this rank's part.
    """

    def __init__(self, blocks: Blocks, batch_size: int, shard: Shard = ALONE) -> None:
        self.blocks, self.batch_size = blocks, batch_size
        self.pieces = blocks.pieces(shard.of(len(blocks)))

    def __len__(self) -> int:
        sizes = [piece.stop - piece.start for piece in self.pieces]
        return max(1, sum(-(-size // self.batch_size) for size in sizes))

    def __iter__(self) -> Iterator[Batch]:
        if not self.pieces:  # ranks take each step together
            yield _empty(self.blocks)
        for columns in Reader(self.blocks, self.pieces):
            parts = [torch.split(column, self.batch_size) for column in columns]
            yield from zip(*parts, strict=True)
