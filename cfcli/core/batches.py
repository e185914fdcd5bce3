"""Ratings as mini-batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

Batch = tuple[Tensor, Tensor, Tensor]


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

    def loader(self, batch_size: int, num_workers: int) -> "DataLoader[Batch]":
        """PyTorch's own way, row by row: what :class:`Batches` is measured against."""
        rows: TensorDataset = TensorDataset(self.user, self.item, self.rating)
        return DataLoader(rows, batch_size=batch_size, shuffle=True, num_workers=num_workers)  # type: ignore[arg-type]


class Batches:
    """Slices of the rows, as an iterable with a length: one permutation per epoch.

    Args:
        rows: the ratings.
        batch_size: ratings per batch (B); the last one may have fewer.
        seed: None keeps the order; else each pass has its own order, fixed by the seed and the number of the pass.
    """

    def __init__(self, rows: Rows, batch_size: int, seed: int | None = None) -> None:
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        columns = (self.rows.user, self.rows.item, self.rows.rating)
        if self.seed is None:
            yield from zip(*(torch.split(column, self.batch_size) for column in columns), strict=True)
            return
        # Far apart, so that one seed's second pass is not the next seed's first.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.rows), generator=generator, dtype=torch.int32).to(self.rows.rating.device)
        self.epoch += 1
        for part in torch.split(order, self.batch_size):
            yield tuple(column.index_select(0, part) for column in columns)  # type: ignore[misc]
