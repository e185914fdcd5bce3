"""Ratings as mini-batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl
import torch
from torch import Tensor

# Users, items, ratings and, where rows have some, weights, each (B,).
Batch = tuple[Tensor, ...]


class SharedBatch(NamedTuple):
    """A batch of which each rank has a part.

    Attributes:
        columns: this rank's part.
        sizes: of each step, the number of its ratings on this rank.
        totals: of each step, that on all ranks.
    """

    columns: Batch
    sizes: list[int]
    totals: list[int]


@dataclass(frozen=True)
class Shard:
    """The part of the rows that one of several processes, a rank, works on.

    Attributes:
        rank: its number, from 0.
        ranks: how many there are.
    """

    rank: int = 0
    ranks: int = 1

    def of(self, n: int) -> range:
        """This rank's rows. Each row belongs to one rank, and no rank has over one more than
        another.

        Args:
            n: number of all rows.
        """
        return range(self.rank * n // self.ranks, (self.rank + 1) * n // self.ranks)


ALONE = Shard()


@dataclass(frozen=True)
class Rows:
    """Ratings as contiguous tensors.

    Attributes:
        user: indices of the users, int32, (N,).
        item: indices of the items, int32, (N,).
        rating: float32, (N,).
        weight: how much each counts, float32, (N,); None where all count the same.
    """

    user: Tensor
    item: Tensor
    rating: Tensor
    weight: Tensor | None = None

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "Rows":
        """The ratings of a split.

        Args:
            frame: columns ``user``, ``item``, ``rating`` and perhaps ``weight``.
        """
        kinds = {"user": pl.Int32, "item": pl.Int32, "rating": pl.Float32, "weight": pl.Float32}
        return cls(
            **{
                name: torch.tensor(frame[name].cast(kind).to_numpy())
                for name, kind in kinds.items()
                if name in frame.columns
            }
        )

    @property
    def columns(self) -> Batch:
        """All of them as one batch."""
        columns = (self.user, self.item, self.rating)
        return columns if self.weight is None else (*columns, self.weight)

    def to(self, device: str) -> "Rows":
        """The same on a device.

        Args:
            device: PyTorch's name of it.
        """
        return Rows(*(column.to(device) for column in self.columns))

    def __len__(self) -> int:
        return len(self.rating)

    def part(self, rows: range) -> "Rows":
        """Some consecutive rows, in memory of their own.

        Args:
            rows: their numbers.
        """
        part = slice(rows.start, rows.stop)
        return Rows(*(column[part].clone() for column in self.columns))


class Batches:
    """Slices of the rows, as an iterable with a length: one permutation per epoch.

    Several ranks share each batch: all draw the same permutation of all rows, and each takes those
    that are its own. So the batches of any number of ranks are, together, those of one.

    Args:
        rows: the ratings, or this rank's part of them.
        batch_size: ratings of a batch (B), of all ranks together; the last one may have fewer.
        seed: None keeps the order; else each pass has its own order, fixed by the seed and the
            number of the pass.
        shard: which part of all rows these are.
        total: number of all rows; by default these are all.
        step: ratings of a step of all ranks together, for ranks that share a batch, which is then
            a :data:`SharedBatch`.

    Attributes:
        epoch: the number of the next pass, from 0.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        seed: int | None = None,
        shard: Shard = ALONE,
        total: int | None = None,
        step: int | None = None,
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.step = step or batch_size
        self.total = len(rows) if total is None else total
        self.shard = shard
        self.own = shard.of(self.total)
        self.epoch = 0

    def __len__(self) -> int:
        n = len(self.rows) if self.seed is None else self.total
        # One at least, even if it is empty: ranks take each step together.
        return max(1, -(-n // self.batch_size))

    def __iter__(self) -> Iterator[Batch | SharedBatch]:
        columns = self.rows.columns
        if self.seed is None:
            parts = [torch.split(column, self.batch_size) for column in columns]
            yield from zip(*parts, strict=True)
            return
        # Seeds far apart, so that one seed's second pass is not the next seed's first.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.total, generator=generator, dtype=torch.int32)
        order = order.to(self.rows.rating.device)
        self.epoch += 1
        for part in torch.split(order, self.batch_size):
            if self.shard.ranks == 1:
                yield tuple(column.index_select(0, part) for column in columns)
                continue
            steps = torch.split(part, self.step)
            own = [self._own_rows(step) for step in steps]
            chosen = tuple(column.index_select(0, torch.cat(own)) for column in columns)
            yield SharedBatch(chosen, [len(step) for step in own], [len(step) for step in steps])

    def _own_rows(self, rows: Tensor) -> Tensor:
        """Places among this rank's rows of those of some rows that are its own."""
        is_own = (rows >= self.own.start) & (rows < self.own.stop)
        return rows[is_own] - self.own.start
