"""Ratings as mini-batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor, Tensor]  # users, items and ratings
SharedBatch = tuple[Tensor, Tensor, Tensor, list[int], list[int]]


@dataclass(frozen=True)
class Share:
    """The part of rows that one of several processes, a rank, works on.

    Attributes:
        rank: its number, from 0.
        ranks: how many there are.
    """

    rank: int = 0
    ranks: int = 1

    def of(self, n: int) -> range:
        """Its rows of ``n``: each row is one rank's, and no rank has over one more than another."""
        return range(self.rank * n // self.ranks, (self.rank + 1) * n // self.ranks)


ALONE = Share()


@dataclass(frozen=True)
class Rows:
    """Ratings as contiguous tensors: ``user`` and ``item`` int32, ``rating`` float32, each (N,)."""

    user: Tensor
    item: Tensor
    rating: Tensor

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "Rows":
        """The columns ``user``, ``item`` and ``rating`` of a split."""
        user, item, rating = (
            torch.tensor(frame[name].cast(kind).to_numpy())
            for name, kind in (("user", pl.Int32), ("item", pl.Int32), ("rating", pl.Float32))
        )
        return cls(user, item, rating)

    def to(self, device: str) -> "Rows":
        """The same on a device."""
        return Rows(self.user.to(device), self.item.to(device), self.rating.to(device))

    def __len__(self) -> int:
        return len(self.rating)

    def part(self, rows: range) -> "Rows":
        """Some that follow on each other, in memory of their own."""
        part = slice(rows.start, rows.stop)
        return Rows(self.user[part].clone(), self.item[part].clone(), self.rating[part].clone())


class Batches:
    """Slices of the rows, as an iterable with a length: one permutation per epoch.

    Several ranks share each batch: all draw the same permutation of all rows, and each takes those
    that are its own. So the batches of any number of ranks are, together, those of one.

    Args:
        rows: the ratings, or this rank's share of them.
        batch_size: ratings per batch (B), of all ranks together; the last one may have fewer.
        seed: None keeps the order; else each pass has its own order, fixed by the seed and the
            number of the pass.
        share, total: which rows these are of how many, in the order of the ranks.
        step: for ranks that share a batch, the ratings of a step of theirs together. A batch is
            then followed by the number of its ratings in each step, and by that of all ranks'
            ratings in each.
    """

    def __init__(
        self, rows: Rows, batch_size: int, seed: int | None = None, share: Share = ALONE, total: int | None = None,
        step: int | None = None,
    ) -> None:  # fmt: skip
        self.rows, self.batch_size, self.seed, self.step = (
            rows,
            batch_size,
            seed,
            step or batch_size,
        )
        self.total = len(rows) if total is None else total
        self.share, self.own = share, share.of(self.total)
        self.epoch = 0

    def __len__(self) -> int:
        n = len(self.rows) if self.seed is None else self.total
        return max(1, -(-n // self.batch_size))  # one at least, though empty: ranks work in step

    def __iter__(self) -> Iterator[Batch | SharedBatch]:
        columns = (self.rows.user, self.rows.item, self.rows.rating)
        if self.seed is None:
            yield from zip(
                *(torch.split(column, self.batch_size) for column in columns), strict=True
            )
            return
        # Far apart, so that one seed's second pass is not the next seed's first.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.total, generator=generator, dtype=torch.int32).to(
            self.rows.rating.device
        )
        self.epoch += 1
        for part in torch.split(order, self.batch_size):
            if self.share.ranks == 1:
                yield tuple(column.index_select(0, part) for column in columns)  # type: ignore[misc]
                continue
            steps = torch.split(part, self.step)
            own = [
                step[(step >= self.own.start) & (step < self.own.stop)] - self.own.start
                for step in steps
            ]
            user, item, rating = (column.index_select(0, torch.cat(own)) for column in columns)
            yield user, item, rating, [len(step) for step in own], [len(step) for step in steps]
