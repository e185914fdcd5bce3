"""Rows of tables, also of tables that are spread over processes."""

from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of a table, (B, D) or (B,), also of one that is spread over ranks by rows: then all of
    them ask together, for the same rows, and each gets the gradient of its part."""
    if not is_spread(table):
        return table.index_select(0, index)
    part, place = part_of(table)
    found: Tensor = _Lookup.apply(part, index - place.start)  # type: ignore[no-untyped-call]
    return found


class _Lookup(torch.autograd.Function):
    """Looks into a part of a table, at indices that may lie outside of it, and adds what the other
    ranks find. DTensor's own embedding would make a gradient of the whole table on each."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, index: Tensor) -> Tensor:
        inside = (index >= 0) & (index < len(part))
        index = index[inside]
        found = part.new_zeros(len(inside), *part.shape[1:])
        found[inside] = part.index_select(0, index)
        torch.distributed.all_reduce(found)
        ctx.save_for_backward(index, inside)
        ctx.shape = part.shape
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        index, inside = ctx.saved_tensors
        return grad.new_zeros(ctx.shape).index_add_(0, index, grad[inside]), None


def is_spread(table: Tensor) -> "TypeGuard[DTensor]":
    """Whether ranks have parts of it."""
    return hasattr(table, "device_mesh")


def part_of(table: Tensor) -> tuple[Tensor, slice]:
    """What this rank has of a table, and which rows these are."""
    if not is_spread(table):
        return table, slice(0, len(table))
    place = rows_of(len(table), table.device_mesh.get_local_rank(), table.device_mesh.size())
    return table.to_local(), slice(place.start, place.stop)


def rows_of(n: int, rank: int, ranks: int) -> range:
    """The rows of a table of ``n`` that a rank has: as :func:`torch.chunk` cuts it, which DTensor
    does."""
    size = -(-n // ranks)
    return range(min(size * rank, n), min(size * (rank + 1), n))
