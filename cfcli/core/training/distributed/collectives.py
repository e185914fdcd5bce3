"""What the ranks of one training do together by torch.distributed, under Lightning's strategies."""

import contextlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence

import torch
import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from cfcli.core.errors import LostError
from cfcli.core.training.batches import Shard

SMALL = 1 << 18  # entries of a gradient that is sent together with others


class Replicas(DDPStrategy):
    """Lightning's data-parallel strategy: each rank has the whole model.

    It is not wrapped in DistributedDataParallel, which sums what autograd computes, and holds all
    gradients a second time for that: see :func:`sum_gradients`.
    """

    def configure_ddp(self) -> None:
        """Gives all ranks the first one's parameters and buffers."""
        assert self.model is not None
        for tensor in itertools.chain(self.model.parameters(), self.model.buffers()):
            dist.broadcast(tensor.detach(), 0)


@contextlib.contextmanager
def losses() -> Iterator[None]:
    """Turns what a rank meets when another is gone into an error of ours.

    Raises:
        LostError: another rank ended before its time.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise LostError(
            "another process of this training ended: killed, or out of memory?"
        ) from error


@contextlib.contextmanager
def left_at_the_end() -> Iterator[None]:
    """Ends the threads by which this rank talks with the others. If they still run when the process
    ends, it now and then aborts after all its work is done."""
    try:
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def sum_gradients(parameters: Iterable[Tensor], sparse: Collection[Tensor] = ()) -> None:
    """Makes each gradient the sum of those of all ranks; a missing one counts as zeros.

    Args:
        parameters: all that have gradients.
        sparse: those of them whose gradients are sparse, in their first dimension.
    """
    _sum_sparse(sparse)
    apart = set(sparse)
    small: list[Tensor] = []
    parts: list[Tensor] = []
    for parameter in parameters:
        if not parameter.requires_grad or parameter in apart:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if parameter.numel() < SMALL:
            small.append(parameter.grad)
        else:
            parts.append(parameter.grad)
    if small:  # to ask the others once takes longer than to copy these
        parts.append(torch.cat([grad.flatten() for grad in small]))
    for work in [dist.all_reduce(part, async_op=True) for part in parts]:
        work.wait()
    if small:
        sums_of_small = torch.split(parts[-1], [grad.numel() for grad in small])
        for grad, total in zip(small, sums_of_small, strict=True):
            grad.copy_(total.view_as(grad))


def _sum_sparse(parameters: Collection[Tensor]) -> None:
    """By the rows of all ranks, one after the other: NCCL sums no sparse tensors."""
    for parameter in parameters:
        if parameter.grad is None:
            ids = torch.zeros(0, dtype=torch.long, device=parameter.device)
            rows = parameter.detach()[:0]
        else:
            ids, rows = parameter.grad.indices()[0], parameter.grad.values()
        sizes = [int(size) for size in _of_all(torch.tensor([len(ids)], device=ids.device))]
        ids, rows = _joined(ids, sizes), _joined(rows, sizes)
        parameter.grad = torch.sparse_coo_tensor(
            ids[None], rows, parameter.shape, check_invariants=False
        ).coalesce()


def _joined(part: Tensor, sizes: list[int]) -> Tensor:
    """The parts of all ranks, of so many rows."""
    padding = part.new_zeros(max(sizes) - len(part), *part.shape[1:])
    padded = torch.cat([part, padding])  # all have to be of one shape
    return torch.cat([found[:size] for found, size in zip(_of_all(padded), sizes, strict=True)])


def _of_all(tensor: Tensor) -> list[Tensor]:
    found = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(found, tensor)
    return found


def sums(values: Sequence[float], shard: Shard, device: torch.device) -> list[float]:
    """Adds up each value over all ranks.

    Args:
        values: this rank's.
        shard: of this rank.
        device: that the ranks exchange tensors on.
    """
    if shard.ranks == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(tensor)
    return tensor.tolist()


def largest(value: int, device: torch.device) -> int:
    """The largest of the values of all ranks.

    Args:
        value: this rank's.
        device: that the ranks exchange tensors on.
    """
    if not dist.is_initialized():
        return value
    tensor = torch.tensor(value, device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)
