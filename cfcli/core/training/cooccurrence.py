"""Features of users and items that say who rated what, whatever the rating."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from cfcli.core.data.blocks import Blocks, Summary
from cfcli.core.training import resources
from cfcli.core.training.plan import sizing

Counts = NDArray[np.integer]
GRAM_ROWS = 1 << 14  # that are converted to double precision at once
NEARLY_DEPENDENT = 1e-3  # in float32, what is shorter than this by the columns before is noise
POWERS = 5  # iterations that find the subspace of the features


class Features(NamedTuple):
    """Who rated what, as a few numbers (F) for each user and item.

    Attributes:
        user: of the users, (U, F).
        item: of the items, (I, F).
        sizes: diagonal of both their Gram matrices, (F,).
    """

    user: Tensor
    item: Tensor
    sizes: Tensor


def implicit_features(
    table: csr_matrix, seed: int, most: int = sizing.SAMPLER_FEATURES
) -> Features:
    """Computes as many features as help, see :func:`leading`.

    Args:
        table: ratings, (U, I); only where they are matters, not their values.
        seed: of the random start.
        most: the largest number of features.
    """
    users, items = table.shape
    return leading(table, sizing.helpful_features(table.nnz, users, items, most), seed)


def leading(table: csr_matrix, f: int, seed: int) -> Features:
    """Computes features of a table in memory.

    They are the leading singular vectors of d_u^-1/4 d_i^-1/4 [u rated i], with d the numbers of
    ratings, times their singular values. A prior mean that is linear in them is linear in all items
    that a user rated, as far as these directions go. A randomised subspace iteration finds them
    (Halko, Martinsson and Tropp 2011, "Finding Structure with Randomness", algorithms 4.4 and 5.1).

    Args:
        table: ratings, (U, I); only where they are matters, not their values.
        f: number of features (F).
        seed: of the random start.
    """
    user_n, item_n = table.getnnz(1), table.getnnz(0)
    value = np.repeat(_weight(user_n), np.diff(table.indptr)) * _weight(item_n)[table.indices]
    rated = csr_matrix((value, table.indices, table.indptr), shape=table.shape)
    transposed = rated.T.tocsr()
    return _singular(
        lambda v: _product(rated, v), lambda u: _product(transposed, u), user_n, item_n, f, seed
    )


def streamed(blocks: Blocks, summary: Summary, f: int, seed: int) -> Features:
    """Computes the features of :func:`leading` from blocks on disk, which it reads a dozen times.

    Args:
        blocks: of the training rows, with columns ``user`` and ``item``.
        summary: of these rows.
        f: number of features (F).
        seed: of the random start.

    Raises:
        ArtifactError: the file is damaged.
    """
    counts = {"user": summary.user_n, "item": summary.item_n}
    weights = {name: torch.from_numpy(_weight(n))[:, None] for name, n in counts.items()}

    def sums(of: str, other: str, dense: Tensor) -> Tensor:
        """The weighted table, or its transpose, times a dense matrix.

        Args:
            of: what has a row in the result, ``user`` or ``item``.
            other: what has a row in the matrix, ``item`` or ``user``.
            dense: the matrix, (N, K), where N is the number of ``other``.
        """
        dense = weights[other] * dense
        found = torch.zeros(len(counts[of]), dense.shape[1])
        for block in blocks:
            index = block[of].to_numpy()
            there = np.zeros(len(found), bool)
            there[index] = True
            # A row for each entity of the block alone.
            place = (np.cumsum(there, dtype=np.int32) - 1)[index]
            ids = np.flatnonzero(there)
            pairs = np.ones(block.height, np.float32), (place, block[other].to_numpy())
            part = _product(csr_matrix(pairs, shape=(len(ids), len(dense))), dense)
            found.index_add_(0, torch.from_numpy(ids), part)
        return weights[of] * found

    return _singular(
        lambda v: sums("user", "item", v),
        lambda u: sums("item", "user", u),
        summary.user_n,
        summary.item_n,
        f,
        seed,
    )


def _weight(degree: Counts) -> NDArray[np.float32]:
    """Numbers of ratings (N,) to the power of -1/4."""
    found: NDArray[np.float32] = np.maximum(degree, 1).astype(np.float32) ** -0.25
    return found


def directions(table: csr_matrix, k: int, seed: int, powers: int) -> tuple[Tensor, Tensor]:
    """Computes the leading right singular vectors of a table and their singular values.

    Args:
        table: (U, I), float32.
        k: how many (K), at most the smaller side of the table.
        seed: of the random start.
        powers: iterations that find the subspace.

    Returns:
        Orthonormal columns (I, K), and singular values (K,), the largest first.
    """
    transposed = table.T.tocsr()
    _, sizes, right = _decomposed(
        lambda v: _product(table, v),
        lambda u: _product(transposed, u),
        table.shape,
        k,
        seed,
        powers,
    )
    return right, sizes


def _singular(
    times: Callable[[Tensor], Tensor],
    transposed: Callable[[Tensor], Tensor],
    user_n: Counts,
    item_n: Counts,
    f: int,
    seed: int,
) -> Features:
    """The leading singular vectors of a table (U, I), times their singular values.

    Args:
        times: multiplies the table with a dense matrix (I, K).
        transposed: multiplies its transpose with a dense matrix (U, K).
        user_n: ratings of each user, (U,).
        item_n: ratings of each item, (I,).
        f: number of vectors (F).
        seed: of the random start.
    """
    shape = len(user_n), len(item_n)
    left, size, right = _decomposed(times, transposed, shape, f, seed, POWERS)
    users, items = left * size, right * size
    # Exactly zero for what has no ratings, whatever rounding left there.
    users[torch.from_numpy(user_n == 0)] = 0
    items[torch.from_numpy(item_n == 0)] = 0
    return Features(users, items, size.square())


def _decomposed(
    times: Callable[[Tensor], Tensor],
    transposed: Callable[[Tensor], Tensor],
    shape: tuple[int, int],
    f: int,
    seed: int,
    powers: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The leading singular vectors of a table, (U, F) and (I, F), with their singular values (F,)
    between them; the arguments are those of :func:`_singular` and :func:`directions`."""
    width = min(f + sizing.OVERSAMPLING, *shape)
    v = torch.randn(shape[1], width, generator=torch.Generator().manual_seed(seed))
    for _ in range(powers):
        u, _ = _orthonormal(times(v))
        v, r = _orthonormal(transposed(u))
    with resources.one_thread():
        left, size, right = torch.linalg.svd(r.T)  # the table is nearly u r' v'
        return u @ left[:, :f], size[:f], v @ right[:f].T


def _orthonormal(columns: Tensor) -> tuple[Tensor, Tensor]:
    """A QR decomposition: an orthonormal basis (N, K), and the columns by it, (K, K).

    By the Cholesky factor of the Gram matrix in double precision, in 0.6 of the time of
    Householder's (Yamamoto et al. 2015, "Roundoff error analysis of the CholeskyQR2 algorithm"). On
    one thread, as several would add in another order, and give another model.
    """
    with resources.one_thread():
        root, failed = torch.linalg.cholesky_ex(gram(columns))
        size = root.diagonal()
        if failed or size.min() < NEARLY_DEPENDENT * size.max():
            basis, by = torch.linalg.qr(columns)
            return basis, by
        root = root.float()
        return torch.linalg.solve_triangular(root, columns.T, upper=False).T, root.T


def gram(columns: Tensor, weight: Tensor | None = None) -> Tensor:
    """The Gram matrix of weighted rows, (R, R), in double precision on the CPU.

    Args:
        columns: (N, R).
        weight: what each row is multiplied by first, (N, 1); None for nothing.
    """
    total = torch.zeros(columns.shape[1], columns.shape[1], dtype=torch.float64)
    for start in range(0, len(columns), GRAM_ROWS):
        part = columns[start : start + GRAM_ROWS]
        rows = part if weight is None else part * weight[start : start + GRAM_ROWS]
        rows = rows.cpu().double()
        total.addmm_(rows.T, rows)
    return total


def _product(table: csr_matrix, dense: Tensor) -> Tensor:
    """A sparse matrix times a dense one, as weighted sums of rows: three times as fast as SciPy on
    two cores."""
    index, begin, weight = (
        torch.from_numpy(x) for x in (table.indices, table.indptr[:-1], table.data)
    )
    return torch.nn.functional.embedding_bag(
        index, dense.contiguous(), begin, mode="sum", per_sample_weights=weight
    )
