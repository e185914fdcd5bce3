"""Ratings as mini-batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor, Tensor]  # users, items and ratings, each (B,)
# And of each step that it holds, the number of its ratings on this rank, and that on all ranks.
SharedBatch = tuple[Tensor, Tensor, Tensor, list[int], list[int]]


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
    """

    user: Tensor
    item: Tensor
    rating: Tensor

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "Rows":
        """The ratings of a split.

        Args:
            frame: columns ``user``, ``item``, ``rating``.
        """
        return cls(
            torch.tensor(frame["user"].cast(pl.Int32).to_numpy()),
            torch.tensor(frame["item"].cast(pl.Int32).to_numpy()),
            torch.tensor(frame["rating"].cast(pl.Float32).to_numpy()),
        )

    def to(self, device: str) -> "Rows":
        """The same on a device.

        Args:
            device: PyTorch's name of it.
        """
        return Rows(self.user.to(device), self.item.to(device), self.rating.to(device))

    def __len__(self) -> int:
        return len(self.rating)

    def part(self, rows: range) -> "Rows":
        """Some consecutive rows, in memory of their own.

        Args:
            rows: their numbers.
        """
        part = slice(rows.start, rows.stop)
        return Rows(self.user[part].clone(), self.item[part].clone(), self.rating[part].clone())


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
        columns = (self.rows.user, self.rows.item, self.rows.rating)
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
                yield tuple(column.index_select(0, part) for column in columns)  # type: ignore[misc]
                continue
            steps = torch.split(part, self.step)
            own = [self._own_rows(step) for step in steps]
            user, item, rating = (column.index_select(0, torch.cat(own)) for column in columns)
            yield user, item, rating, [len(step) for step in own], [len(step) for step in steps]

    def _own_rows(self, rows: Tensor) -> Tensor:
        """Places among this rank's rows of those of some rows that are its own."""
        is_own = (rows >= self.own.start) & (rows < self.own.stop)
        return rows[is_own] - self.own.start
