"""Bayesian matrix factorisation by Gibbs sampling, its posterior mean as one plain MF.

    r ~ N(mu + b_u + b_i + p_u . q_i, 1 / alpha)
    [p_u, b_u] ~ N(m_U + x_u B_U, inv(Lambda_U)), Normal-Wishart on (m_U, Lambda_U); the same for items

x_u says which items u rated in the training rows. Salakhutdinov and Mnih (2008), "Bayesian Probabilistic Matrix
Factorization using MCMC"; the regression on x is that of Simm et al. (2015), "Macau"; that such feedback belongs in the
prior mean is Rendle et al. (2019), "On the Difficulty of Evaluating Baselines".

Ratings are standardised inside, as hyperpriors have a scale.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PADDED = 1 << 18  # ratings, with padding, that are worked on at once
FEATURES = 2000  # columns of x at most, those with most ratings: their Gram matrix is decomposed
JITTER = 1e-4  # what is added to the diagonal, relative to it, where Cholesky fails in float32
BETA0 = 2.0  # weight of the prior of the mean, in entities


@dataclass
class _Block:
    """Some entities of about the same number of ratings: their indices (B,), those of their partners (B, L), padded
    with an index behind the last one, and their ratings (B, L), padded with 0."""

    entity: Tensor
    partner: Tensor
    rating: Tensor


class Side:
    """The users, or the items.

    Args:
        entity, partner: indices (N,) of each rating's own and other entity.
        rating: standardised, (N,).
        n, n_partners: how many there are.
    """

    def __init__(
        self, entity: NDArray[np.int64], partner: NDArray[np.int64], rating: NDArray[np.float32], n: int,
        n_partners: int, rank: int, generator: torch.Generator,
    ) -> None:  # fmt: skip
        self.generator, self.n = generator, n
        self.vectors = torch.randn(n, rank + 1, generator=generator) * 0.1  # (n, K), K = rank + 1: the bias is the last
        self.vectors[:, -1] = 0
        self.prior = torch.zeros(n, rank + 1)  # x B
        self.blocks = list(_blocks(entity, partner, rating, n, n_partners))
        self.x, self.eigenvalues, self.eigenvectors = _features(entity, partner, n, n_partners)
        self.weights: Tensor | None = None  # B, (F, K)
        self.precision = 5.0  # of B's entries, in units of Lambda

    def sweep(self, other: Tensor, alpha: float) -> None:
        """Draws hyperparameters, the regression and all vectors in turn, given the other side's vectors (n', K)."""
        precision, mean = self._draw_hyperparameters()
        self._draw_regression(precision, mean)
        k = other.shape[1]
        design = torch.cat([other[:, :-1], torch.ones(len(other), 1)], dim=1)
        design = torch.cat([design, torch.zeros(1, k)])  # the padding's row
        bias = torch.cat([other[:, -1], torch.zeros(1)])
        pull = (self.prior + mean) @ precision
        for block in self.blocks:
            a = torch.nn.functional.embedding(block.partner, design)  # (B, L, K)
            gram = torch.baddbmm(precision.expand(len(a), k, k), a.mT, a, alpha=alpha)
            right = (
                alpha * torch.bmm(a.mT, (block.rating - bias[block.partner])[..., None]) + pull[block.entity][..., None]
            )
            factor = _cholesky(gram)
            noise = torch.randn(len(a), k, 1, generator=self.generator)
            drawn = torch.cholesky_solve(right, factor) + torch.linalg.solve_triangular(factor.mT, noise, upper=True)
            self.vectors[block.entity] = drawn[..., 0]

    def _draw_hyperparameters(self) -> tuple[Tensor, Tensor]:
        """Lambda (K, K) and m (K,) from their Normal-Wishart posterior."""
        rest = self.vectors - self.prior
        n, k = rest.shape
        average = rest.mean(0)
        scatter = torch.eye(k) + (rest - average).T @ (rest - average)
        scatter = scatter + n * BETA0 / (n + BETA0) * torch.outer(average, average)
        degrees = k + n
        if self.weights is not None:
            scatter, degrees = scatter + self.precision * self.weights.T @ self.weights, degrees + len(self.weights)
        root = _cholesky(torch.linalg.inv(scatter.double()))
        bartlett = torch.tril(torch.randn(k, k, dtype=torch.double, generator=self.generator), -1)
        for j in range(k):
            bartlett[j, j] = (2 * self._gamma((degrees - j) / 2)) ** 0.5
        precision = (root @ bartlett) @ (root @ bartlett).T
        spread = _cholesky(torch.linalg.inv(precision * (n + BETA0)))
        noise = torch.randn(k, dtype=torch.double, generator=self.generator)
        mean = (n * average / (n + BETA0)).double() + spread @ noise
        return precision.float(), mean.float()

    def _draw_regression(self, precision: Tensor, mean: Tensor) -> None:
        """B from its posterior, by the perturbed right-hand side of Simm et al., and the precision of its entries."""
        k, f = len(mean), self.x.shape[1]
        spread = _cholesky(torch.linalg.inv(precision.double())).float()
        noise = torch.randn(self.n, k, generator=self.generator) @ spread.T
        more = torch.randn(f, k, generator=self.generator) @ spread.T
        right = self.x.T @ (self.vectors - mean + noise) + self.precision**0.5 * more
        weights = self.eigenvectors @ ((self.eigenvectors.T @ right) / (self.eigenvalues + self.precision)[:, None])
        size = float(((weights @ precision) * weights).sum())
        self.precision = self._gamma((f * k + 2) / 2) / (size / 2 + 1)
        self.weights, self.prior = weights, self.x @ weights

    def _gamma(self, shape: float) -> float:
        return float(torch._standard_gamma(torch.tensor(shape, dtype=torch.double), generator=self.generator))


class Sampler:
    """Draws samples of the posterior.

    Args:
        user, item: indices (N,) of the training rows.
        rating: (N,).
        rank: of the sampled factors.

    Attributes:
        users, items: both sides.
        alpha: precision of a standardised rating.
        mse: of the training rows by the sample drawn last, on the scale of the ratings.
    """

    def __init__(
        self, user: NDArray[np.int64], item: NDArray[np.int64], rating: NDArray[np.float32], users: int, items: int,
        rank: int, seed: int,
    ) -> None:  # fmt: skip
        self.generator = torch.Generator().manual_seed(seed)
        self.mean, self.scale = float(rating.mean()), float(rating.std())
        z = ((rating - self.mean) / self.scale).astype(np.float32)
        self.users = Side(user, item, z, users, items, rank, self.generator)
        self.items = Side(item, user, z, items, users, rank, self.generator)
        self.user, self.item, self.z = torch.from_numpy(user), torch.from_numpy(item), torch.from_numpy(z)
        self.alpha, self.mse = 1.0, self.scale**2
        self.kept: list[tuple[Tensor, Tensor]] = []
        self.variances: list[float] = []  # of a rating's noise, for each that was kept

    def sweep(self) -> None:
        """Draws everything once."""
        self.users.sweep(self.items.vectors, self.alpha)
        self.items.sweep(self.users.vectors, self.alpha)
        square = float((self.z - self._standardised(self.user, self.item)).square().sum())
        n = len(self.z)
        self.alpha = self.users._gamma((n + 1) / 2) / ((square + 1) / 2)
        self.mse = square / n * self.scale**2

    def keep(self) -> None:
        """Takes the sample into the posterior mean."""
        self.kept.append((self.users.vectors.clone(), self.items.vectors.clone()))
        self.variances.append(self.scale**2 / self.alpha)

    @property
    def noise(self) -> float:
        """Mean variance of a rating around its prediction, on the scale of the ratings."""
        return sum(self.variances) / len(self.variances) if self.variances else self.mse

    def samples(self, n: int) -> dict[str, NDArray[np.float16]]:
        """``n`` of the samples kept, evenly spaced: ``users`` (S, U, K) and ``items`` (S, I, K), the bias last, such
        that rating = mean + p . q + biases. Half precision: they tell a spread."""
        chosen = [self.kept[k] for k in np.unique(np.linspace(0, len(self.kept) - 1, n).round().astype(int))]
        found = {}
        for side, name in enumerate(("users", "items")):
            vectors = torch.stack([sample[side] for sample in chosen])
            vectors[:, :, :-1] *= self.scale**0.5
            vectors[:, :, -1] *= self.scale
            found[name] = vectors.numpy().astype(np.float16)
        return found

    def predict(self, user: Tensor, item: Tensor) -> Tensor:
        """Ratings (M,) by the sample drawn last."""
        return self.mean + self.scale * self._standardised(user, item)

    def _standardised(self, user: Tensor, item: Tensor) -> Tensor:
        p, q = self.users.vectors, self.items.vectors
        out = torch.empty(len(user))
        for start in range(0, len(user), PADDED):
            a, b = p[user[start : start + PADDED]], q[item[start : start + PADDED]]
            out[start : start + PADDED] = (a[:, :-1] * b[:, :-1]).sum(1) + a[:, -1] + b[:, -1]
        return out

    def tensors(self, dim: int) -> dict[str, NDArray[np.float32]]:
        """The posterior mean as one MF of rank ``dim``, with biases.

        The mean of S products of rank k is one product of rank S k; thin QR of both its sides and the SVD of what is
        between them give the ``dim`` best directions (Eckart and Young 1936), ordered, in a rotation and with signs of
        their own.
        """
        kept = self.kept or [(self.users.vectors, self.items.vectors)]
        left = torch.cat([p[:, :-1] for p, _ in kept], dim=1) / len(kept)
        right = torch.cat([q[:, :-1] for _, q in kept], dim=1)
        (q_left, r_left), (q_right, r_right) = torch.linalg.qr(left), torch.linalg.qr(right)
        u, size, vt = torch.linalg.svd(r_left @ r_right.T)
        dim_there = min(dim, len(size))
        root = size[:dim_there].sqrt() * self.scale**0.5
        p, q = q_left @ (u[:, :dim_there] * root), q_right @ (vt[:dim_there].T * root)
        largest = q.gather(0, q.abs().argmax(0, keepdim=True))
        sign = torch.where(largest < 0, -1.0, 1.0)
        p, q = (torch.nn.functional.pad(side * sign, (0, dim - dim_there)) for side in (p, q))
        biases = [torch.stack([sample[k][:, -1] for sample in kept]).mean(0) * self.scale for k in (0, 1)]
        found = {
            "user_embedding.weight": p,
            "item_embedding.weight": q,
            "user_bias": biases[0],
            "item_bias": biases[1],
            "linear.weight": torch.ones(1, 1),
            "linear.bias": torch.tensor([self.mean]),
        }
        return {name: value.numpy().astype(np.float32) for name, value in found.items()}


def _blocks(
    entity: NDArray[np.int64], partner: NDArray[np.int64], rating: NDArray[np.float32], n: int, n_partners: int
) -> Iterator[_Block]:
    """Entities by degree, in blocks padded to the largest of each, which has at most a quarter more than the least."""
    order = np.argsort(entity, kind="stable")
    partner, rating = partner[order], rating[order]
    degree = np.bincount(entity, minlength=n)
    starts = np.concatenate([[0], np.cumsum(degree)])
    by_degree = np.argsort(degree, kind="stable")
    sizes = degree[by_degree]
    first = 0
    while first < n:
        most = np.searchsorted(sizes, max(8, 1.25 * sizes[first]), side="right")
        fits = np.arange(1, most - first + 1) * np.maximum(sizes[first:most], 1) <= PADDED
        last = first + max(int(fits.sum()), 1)
        ids = by_degree[first:last]
        length = max(int(degree[ids].max()), 1)
        there = np.arange(length) < degree[ids][:, None]
        place = np.minimum(starts[ids][:, None] + np.arange(length), max(len(partner) - 1, 0))
        yield _Block(
            torch.from_numpy(ids),
            torch.from_numpy(np.where(there, partner[place], n_partners)),
            torch.from_numpy(np.where(there, rating[place], 0).astype(np.float32)),
        )
        first = last


def _features(
    entity: NDArray[np.int64], partner: NDArray[np.int64], n: int, n_partners: int
) -> tuple[Tensor, Tensor, Tensor]:
    """x (n, F), sparse, each row of length 1 over all its partners; and eigenvalues (F,) and -vectors of its Gram
    matrix."""
    popular = np.argsort(-np.bincount(partner, minlength=n_partners), kind="stable")[:FEATURES]
    place = np.full(n_partners, -1)
    place[popular] = np.arange(len(popular))
    degree = np.bincount(entity, minlength=n)
    column = place[partner]
    kept = column >= 0
    value = (1 / np.sqrt(degree[entity[kept]])).astype(np.float32)
    index = torch.from_numpy(np.stack([entity[kept], column[kept]]))
    x = torch.sparse_coo_tensor(index, torch.from_numpy(value), (n, len(popular)), check_invariants=False).coalesce()
    gram = torch.zeros(len(popular), len(popular))
    for start in range(0, n, 8192):
        rows = x.index_select(0, torch.arange(start, min(start + 8192, n))).to_dense()
        gram += rows.T @ rows
    eigenvalues, eigenvectors = torch.linalg.eigh(gram)
    return x, eigenvalues.clamp(min=0), eigenvectors


def _cholesky(matrix: Tensor) -> Tensor:
    """The lower factor; with jitter where float32 has lost positive definiteness."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed.any():
        diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        factor = torch.linalg.cholesky(matrix + torch.diag_embed(diagonal * JITTER))
    return factor
