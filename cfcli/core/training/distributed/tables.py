"""Tables of users and items that are spread over ranks by rows.

All ranks take each step with the same ratings. Each looks for their vectors in its own rows, and
what the others found is added; a gradient is only of the rank's own rows. For Lightning, and for
checkpoints that any number of ranks can read, tables are PyTorch's DTensors.
"""

from typing import Any, TypeGuard, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor import Shard as SplitBy

from cfcli.core.models.base import Factors

TABLES = ("user_embedding.weight", "item_embedding.weight", "user_bias", "item_bias")
DRAWN = 1 << 14  # rows that one seed draws


class ShardedFactors(Factors):
    """A model of whose tables each rank has a part; see :func:`shard`."""

    def rows(self, table: Tensor, index: Tensor) -> Tensor:
        """Rows of a table, for which all ranks ask together; each gets the gradient of its part.

        Args:
            table: of users or items, spread over the ranks, (N, D) or (N,).
            index: numbers of the rows in the whole table, (B,).
        """
        part, place = part_of(table)
        found: Tensor = _Lookup.apply(part, index - place.start)  # type: ignore[no-untyped-call]
        return found

    def set_to_mean(self, table: Tensor, values: Tensor, weight: Tensor) -> None:
        (part, place), (own_values, _) = part_of(table), part_of(values)
        total = weight[place].to(own_values) @ own_values
        dist.all_reduce(total)
        part[weight[place] == 0] = total / weight.sum()


def shard(model: Factors, mesh: DeviceMesh, seed: int) -> None:
    """Gives each rank its part of a model's tables, with initial values that are the same for any
    number of ranks.

    Args:
        model: whose tables are on the meta device; it becomes a :class:`ShardedFactors`.
        mesh: of the ranks, in one dimension.
        seed: of the initial embeddings.
    """
    # As torch's own ``fully_shard`` does: the class changes, and the model stays what it was.
    kind = type(model)
    model.__class__ = cast(
        type[Factors], type(f"Sharded{kind.__name__}", (ShardedFactors, kind), {})
    )
    there = dict(model.named_parameters())
    for k, name in enumerate(name for name in TABLES if name in there):
        whole = there[name]
        place = rows_of(len(whole), mesh.get_local_rank(), mesh.size())
        part = torch.zeros(len(place), *whole.shape[1:])
        if whole.dim() > 1:
            _draw(part, place, model.scale, 2 * seed + k)
        table = DTensor.from_local(
            part, mesh, [SplitBy(0)], run_check=False, shape=whole.shape, stride=whole.stride()
        )
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, nn.Parameter(table))


def is_sharded(table: Tensor) -> TypeGuard[DTensor]:
    """Whether ranks have parts of a table.

    Args:
        table: whole or spread over the ranks.
    """
    return isinstance(table, DTensor)


def part_of(table: Tensor) -> tuple[Tensor, slice]:
    """This rank's part of a table, and which rows of it these are.

    Args:
        table: spread over the ranks, (N, D) or (N,).
    """
    assert is_sharded(table)
    place = rows_of(len(table), table.device_mesh.get_local_rank(), table.device_mesh.size())
    return table.to_local(), slice(place.start, place.stop)


def rows_of(n: int, rank: int, ranks: int) -> range:
    """The rows that a rank has of a table: as :func:`torch.chunk` cuts it, which DTensor uses.

    Args:
        n: rows of the table.
        rank: number of the rank, from 0.
        ranks: how many there are.
    """
    size = -(-n // ranks)
    return range(min(size * rank, n), min(size * (rank + 1), n))


class _Lookup(torch.autograd.Function):
    """Looks into a part of a table, at indices that may lie outside of it, and adds what the other
    ranks find. DTensor's own embedding would make a gradient of the whole table on each rank."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, index: Tensor) -> Tensor:
        inside = (index >= 0) & (index < len(part))
        index = index[inside]
        found = part.new_zeros(len(inside), *part.shape[1:])
        found[inside] = part.index_select(0, index)
        dist.all_reduce(found)
        ctx.save_for_backward(index, inside)
        ctx.shape = part.shape
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        index, inside = ctx.saved_tensors
        return grad.new_zeros(ctx.shape).index_add_(0, index, grad[inside]), None


def _draw(part: Tensor, place: range, scale: float, seed: int) -> None:
    """Fills some rows of a table with normal numbers, which are the same for any number of ranks.

    Args:
        part: the rows, (len(place), D).
        place: which rows of the table they are.
        scale: standard deviation of the numbers.
        seed: of the table.
    """
    for block in range(place.start // DRAWN, -(-place.stop // DRAWN)):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + block)
        rows = torch.empty(DRAWN, part.shape[1]).normal_(0, scale, generator=generator)
        first = block * DRAWN
        begin, end = max(place.start, first), min(place.stop, first + DRAWN)
        part[begin - place.start : end - place.start] = rows[begin - first : end - first]
