"""Who rated what, whatever the rating, as features of users and items."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from cfcli.core.data.blocks import Blocks, Summary

Counts = NDArray[np.integer]
MOST_FEATURES = 200
OVERSAMPLING, POWERS = 10, 5  # of the subspace that they are taken from


def implicit_features(
    table: csr_matrix, seed: int, most: int = MOST_FEATURES
) -> tuple[Tensor, Tensor, Tensor]:
    """As many of :func:`leading` as help."""
    return leading(table, helpful(table.nnz, table.shape, most), seed)


def helpful(rows: int, shape: tuple[int, int], most: int) -> int:
    """How many features of so many ratings help: more of them cost time and, measured, accuracy."""
    return max(1, min(most, int(rows**0.5 / 5), min(shape) // 2))


def leading(table: csr_matrix, f: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Who rated what, in few numbers: features of users (U, F) and of items (I, F), and the
    diagonal (F,) of both their Gram matrices.

    The leading singular vectors of d_u^-1/4 d_i^-1/4 [u rated i], d the numbers of ratings, times
    their singular values: a prior mean that is linear in all items rated, as far as these
    directions go. By a randomised subspace iteration (Halko et al. 2011, algorithms 4.4 and 5.1).
    """
    rows, columns = (
        np.maximum(table.getnnz(axis), 1).astype(np.float32) ** -0.25 for axis in (1, 0)
    )
    value = np.repeat(rows, np.diff(table.indptr)) * columns[table.indices]
    rated = csr_matrix((value, table.indices, table.indptr), shape=table.shape)
    transposed = rated.T.tocsr()
    degrees = table.getnnz(1), table.getnnz(0)
    return _singular(
        lambda v: _product(rated, v), lambda u: _product(transposed, u), degrees, f, seed
    )


def streamed(blocks: Blocks, summary: Summary, f: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same of a table that is read block by block, a dozen times."""
    scale = {"user": summary.user_n, "item": summary.item_n}
    weight = {
        name: torch.from_numpy(np.maximum(n, 1).astype(np.float32) ** -0.25)[:, None]
        for name, n in scale.items()
    }

    def sums(of: str, other: str, dense: Tensor) -> Tensor:
        dense, found = weight[other] * dense, torch.zeros(len(scale[of]), dense.shape[1])
        for block in blocks:
            there = np.zeros(len(found), bool)
            there[block[of].to_numpy()] = True
            ids, place = (
                np.flatnonzero(there),
                np.cumsum(there, dtype=np.int32)[block[of].to_numpy()] - 1,
            )
            pairs = np.ones(block.height, np.float32), (place, block[other].to_numpy())
            part = _product(csr_matrix(pairs, shape=(len(ids), len(dense))), dense)
            found.index_add_(0, torch.from_numpy(ids), part)
        return weight[of] * found

    return _singular(
        lambda v: sums("user", "item", v),
        lambda u: sums("item", "user", u),
        (summary.user_n, summary.item_n),
        f,
        seed,
    )


def _singular(
    times: Callable[[Tensor], Tensor], transposed: Callable[[Tensor], Tensor], degrees: tuple[Counts, Counts], f: int,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Leading singular vectors of a table (U, I), times their values, given what it and its
    transpose make of dense ones."""
    shape = len(degrees[0]), len(degrees[1])
    v = torch.randn(
        shape[1], min(f + OVERSAMPLING, *shape), generator=torch.Generator().manual_seed(seed)
    )
    for _ in range(POWERS):
        u, _ = torch.linalg.qr(times(v))
        v, r = torch.linalg.qr(transposed(u))
    left, size, right = torch.linalg.svd(r.T)  # the table is nearly u r' v'
    users, items, size = u @ left[:, :f] * size[:f], v @ right[:f].T * size[:f], size[:f]
    # Exactly, whatever rounding left there.
    users[torch.from_numpy(degrees[0] == 0)], items[torch.from_numpy(degrees[1] == 0)] = 0, 0
    return users, items, size.square()


def _product(table: csr_matrix, dense: Tensor) -> Tensor:
    """As weighted sums of bags of rows: three times as fast as SciPy on two cores."""
    index, begin, weight = (
        torch.from_numpy(x) for x in (table.indices, table.indptr[:-1], table.data)
    )
    return torch.nn.functional.embedding_bag(
        index, dense.contiguous(), begin, mode="sum", per_sample_weights=weight
    )
