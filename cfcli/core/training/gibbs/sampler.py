"""Bayesian matrix factorisation by Gibbs sampling.

    r_ui ~ N(mu + b_u + b_i + p_u . q_i, 1 / (alpha w_u w_i)),  w_u, w_i ~ Gamma(nu / 2, nu / 2)
    [p_u, b_u] ~ N(m + z_u B, inv(Lambda)), Normal-Wishart on (m, Lambda), normal on B; the same for
    items

z_u says which items u rated in the training rows. Salakhutdinov and Mnih (2008), "Bayesian
Probabilistic Matrix Factorization using MCMC"; the regression on z is that of Simm et al. (2015),
"Macau"; that such feedback belongs in the prior mean is Rendle et al. (2019), "On the Difficulty of
Evaluating Baselines"; that some users' ratings are noisier than others' is Lakshminarayanan et al.
(2011), "Robust Bayesian Matrix Factorization".

Ratings are standardised inside, as hyperpriors have a scale.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from cfcli.core.models.warm_start import WarmStart
from cfcli.core.training.checkpoints import State
from cfcli.core.training.cooccurrence import implicit_features
from cfcli.core.training.gibbs.posterior import Posterior, nearest
from cfcli.core.training.plan.sizing import PADDED

JITTER = 1e-4  # what is added to the diagonal, relative to it, where Cholesky fails in float32
BETA0 = 2.0  # weight of the prior of the mean, in entities
NU = 25.0  # weight of the prior of w, in ratings
PARTS = ("users", "items", "posterior")  # of a sampler, those with a state


class Dice:
    """Random numbers, from one generator on the CPU whatever the device, so that a seed means the
    same everywhere."""

    def __init__(self, seed: int, device: str) -> None:
        self.generator, self.device = torch.Generator().manual_seed(seed), device

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator).to(self.device)

    def gamma(self, shape: Tensor) -> Tensor:
        """Of scale 1, in double precision, on the CPU."""
        return torch._standard_gamma(shape.cpu().double(), generator=self.generator)


@dataclass
class _Block:
    """Some entities of about the same number of ratings: their indices (B,), those of their
    partners (B, L), padded with an index behind the last one, and their ratings (B, L), padded with
    0."""

    entity: Tensor
    partner: Tensor
    rating: Tensor

    def to(self, device: str) -> "_Block":
        return _Block(self.entity.to(device), self.partner.to(device), self.rating.to(device))


class Side:
    """The users, or the items.

    Args:
        table: standardised ratings, a row for each entity, a column for each partner, (n, n').
        features: z, (n, F), with z'z = diag(``sizes``), (F,).
        rank: K - 1; the bias is the last of K columns.

    Attributes:
        vectors: the sample, (n, K).
        expected: their means when they were drawn, given all else, (n, K).
        weight: w, (n,).
        degree: numbers of ratings, (n,).
    """

    STATE = ("vectors", "weight", "regression", "precision")  # all that a checkpoint must hold

    def __init__(
        self, table: csr_matrix, features: Tensor, sizes: Tensor, rank: int, dice: Dice
    ) -> None:
        self.dice, self.features, self.sizes = dice, features, sizes
        n = table.shape[0]
        self.vectors = dice.normal(n, rank + 1) * 0.1
        self.vectors[:, -1] = 0
        self.expected = self.vectors.clone()
        self.weight = torch.ones_like(self.vectors[:, 0])
        self.regression = self.vectors.new_zeros(len(sizes), rank + 1)  # B, (F, K)
        self.precision = 5.0  # of B's entries, in units of Lambda
        self.degree = torch.from_numpy(np.diff(table.indptr)).to(dice.device)
        self.squares = float(n)  # errors of the last sweep, squared and summed
        self.blocks = [block.to(dice.device) for block in _blocks(table, rank + 1)]

    def sweep(self, other: "Side", alpha: float) -> Tensor:
        """Draws hyperparameters, the regression, all vectors and all w in turn, given the other
        side; returns the squared errors of each entity's ratings, weighted by w of their partners
        and summed, (n,)."""
        precision, mean = self._draw_hyperparameters()
        pull = (self._draw_regression(precision, mean) + mean) @ precision
        # A row of zeros for the padding; a rating's weight is split between both sides of its
        # equation.
        root = other.weight.sqrt()[:, None]
        design = _with_zero_row(
            torch.cat([other.vectors[:, :-1], torch.ones_like(root)], dim=1) * root
        )
        known = _with_zero_row(torch.cat([other.vectors[:, -1:], root], dim=1))
        squares = torch.empty_like(self.weight)
        self.squares = 0.0
        for block in self.blocks:
            a = torch.nn.functional.embedding(block.partner, design)  # (B, L, K)
            bias, scale = torch.nn.functional.embedding(block.partner, known).unbind(2)
            rest = ((block.rating - bias) * scale)[..., None]
            own = alpha * self.weight[block.entity][:, None, None]
            factor = _cholesky(torch.addcmul(precision, own, torch.bmm(a.mT, a)))
            right = torch.addcmul(pull[block.entity][..., None], own, torch.bmm(a.mT, rest))
            half = torch.linalg.solve_triangular(factor, right, upper=False)
            noise = self.dice.normal(*half.shape)
            found = torch.linalg.solve_triangular(
                factor.mT, torch.cat([half, half + noise], dim=2), upper=True
            )
            self.expected[block.entity] = found[..., 0]
            self.vectors[block.entity] = found[..., 1]
            error = (rest - torch.bmm(a, found[..., 1:]))[..., 0]
            squares[block.entity] = error.square().sum(1)
            self.squares += float((error / scale.clamp(min=1e-9)).square().sum())
        drawn = self.dice.gamma((NU + self.degree) / 2).to(squares)
        self.weight = drawn / ((NU + alpha * squares) / 2)
        return squares

    def _draw_hyperparameters(self) -> tuple[Tensor, Tensor]:
        """Lambda (K, K) and m (K,) from their Normal-Wishart posterior, in double precision on the
        CPU."""
        rest = self.vectors - self.features @ self.regression
        n, k = rest.shape
        average = rest.mean(0)
        around = rest - average
        scatter = around.T @ around + self.precision * self.regression.T @ self.regression
        scatter, average = scatter.cpu().double(), average.cpu().double()
        scatter = scatter + torch.eye(k) + n * BETA0 / (n + BETA0) * torch.outer(average, average)
        degrees = k + n + len(self.regression)
        bartlett = torch.tril(self.dice.normal(k, k).cpu().double(), -1)
        bartlett += torch.diag((2 * self.dice.gamma((degrees - torch.arange(k)) / 2)).sqrt())
        root = _cholesky(torch.linalg.inv(scatter)) @ bartlett
        precision = root @ root.T
        spread = _cholesky(torch.linalg.inv(precision * (n + BETA0)))
        mean = n * average / (n + BETA0) + spread @ self.dice.normal(k).cpu().double()
        return precision.to(self.vectors), mean.to(self.vectors)

    def _draw_regression(self, precision: Tensor, mean: Tensor) -> Tensor:
        """z B (n, K), once B and the precision of its entries are drawn. As z'z is diagonal, the
        rows of B are independent: inv(z'z + precision) is a division."""
        f, k = self.regression.shape
        spread = _cholesky(torch.linalg.inv(precision.cpu().double())).to(precision)
        weight = (self.sizes + self.precision)[:, None]
        noise = self.dice.normal(f, k) @ spread.T
        self.regression = self.features.T @ (self.vectors - mean) / weight + noise / weight.sqrt()
        size = float(((self.regression @ precision) * self.regression).sum())
        self.precision = float(self.dice.gamma(torch.tensor((f * k + 2) / 2))) / (size / 2 + 1)
        return self.features @ self.regression


def table_of(
    user: NDArray[Any], item: NDArray[Any], rating: NDArray[np.float32], users: int, items: int
) -> csr_matrix:
    """The ratings (U, I) of pairs (N,)."""
    return csr_matrix((rating.astype(np.float32), (user, item)), shape=(users, items))


class Sampler:
    """Draws samples of the posterior.

    Args:
        table: ratings of the training rows, see :func:`table_of`; left standardised.
        rank: of the sampled factors.
        dim: of the model that will be asked for.

    Attributes:
        users, items: both sides.
        alpha: precision of a standardised rating.
        mse: of the training rows by the sample, on the scale of the ratings.
        posterior: what is kept.
    """

    def __init__(
        self, table: csr_matrix, rank: int, dim: int, seed: int, device: str = "cpu"
    ) -> None:
        self.dice = Dice(seed, device)
        self.mean, self.scale, self.n = (
            float(table.data.mean()),
            float(table.data.std()) or 1.0,
            table.nnz,
        )
        table.data -= self.mean
        table.data /= self.scale
        of_users, of_items, sizes = (part.to(device) for part in implicit_features(table, seed))
        self.users = Side(table, of_users, sizes, rank, self.dice)
        self.items = Side(table.T.tocsr(), of_items, sizes, rank, self.dice)
        self.alpha, self.mse = 1.0, self.scale**2
        self.posterior = Posterior([self.users.degree, self.items.degree], dim)

    def begin_from(self, start: WarmStart) -> None:
        """Takes an earlier sample in place of the random one, or else an earlier model's vectors:
        of another rank perhaps, then as near as this one gets, or with random columns beside
        them."""
        if start.draw is not None:
            drawn = [torch.from_numpy(side) for side in start.draw]
            sides, biases = [side[:, :-1] for side in drawn], [side[:, -1] for side in drawn]
        else:
            tensors = {name: torch.from_numpy(value) for name, value in start.tensors.items()}
            sides = [tensors[f"{name}_embedding.weight"] for name in ("user", "item")]
            biases = [tensors[f"{name}_bias"] for name in ("user", "item")]
        rank = self.users.vectors.shape[1] - 1
        if sides[0].shape[1] > rank:
            sides = nearest(sides, [torch.ones_like(side[:, :1]) for side in sides], rank)
        for own, side, bias in zip((self.users, self.items), sides, biases, strict=True):
            own.vectors[:, : side.shape[1]] = side.to(own.vectors) / self.scale**0.5
            own.vectors[:, -1] = bias.to(own.vectors) / self.scale
        self.alpha = self.scale**2 / max(start.noise, 1e-6 * self.scale**2)

    def sweep(self) -> None:
        """Draws everything once."""
        self.known_items = self.items.vectors.clone()  # what the users are drawn by
        self.users.sweep(self.items, self.alpha)
        squares = self.items.sweep(self.users, self.alpha) @ self.items.weight
        self.mse = self.items.squares / self.n * self.scale**2
        self.alpha = float(self.dice.gamma(torch.tensor((self.n + 1) / 2))) / (
            (float(squares) + 1) / 2
        )

    def keep(self) -> list[tuple[Tensor, Tensor]]:
        """Takes the sample into the posterior; returns two products, users (U, K) and items (I, K),
        whose mean over samples is its mean: each side's draw with the other side's expectation
        given it. That has the expectation of the draws themselves at less variance (Gelfand and
        Smith 1990, "Sampling-Based Approaches to Calculating Marginal Densities", section 2.2)."""
        users, items = self.users, self.items
        products = [(users.expected, self.known_items), (users.vectors, items.expected)]
        for product in products:
            self.posterior.add(*product)
        size = torch.full_like(self.known_items[0], self.scale**0.5)
        size[-1] = self.scale
        variances = [self.scale**2 / self.alpha / users.weight, 1 / items.weight]
        self.posterior.keep([users.vectors * size, items.vectors * size], variances, self.mse)
        return products

    def predict(self, product: tuple[Tensor, Tensor], user: Tensor, item: Tensor) -> Tensor:
        """Ratings (M,) of pairs by one of the products."""
        out = self.known_items.new_empty(len(user))
        for start in range(0, len(user), PADDED):
            part = slice(start, start + PADDED)
            p, q = product[0][user[part]], product[1][item[part]]
            out[part] = self.mean + self.scale * (
                (p[:, :-1] * q[:, :-1]).sum(1) + p[:, -1] + q[:, -1]
            )
        return out

    def tensors(self, dim: int) -> dict[str, NDArray[np.float32]]:
        """The posterior mean as one MF of rank ``dim``, with biases."""
        if not self.posterior.n:
            self.keep()
        factors, biases = self.posterior.factors(dim)
        found = {
            "user_embedding.weight": factors[0] * self.scale**0.5,
            "item_embedding.weight": factors[1] * self.scale**0.5,
            "user_bias": biases[0] * self.scale,
            "item_bias": biases[1] * self.scale,
            "linear.weight": torch.ones(1, 1),
            "linear.bias": torch.tensor([self.mean]),
        }
        return {name: value.cpu().numpy().astype(np.float32) for name, value in found.items()}

    def state(self) -> State:
        """All that a checkpoint must hold."""
        state: State = {
            name: {key: getattr(getattr(self, name), key) for key in getattr(self, name).STATE}
            for name in PARTS
        }
        return state | {
            "alpha": self.alpha,
            "mse": self.mse,
            "generator": self.dice.generator.get_state(),
        }

    def load_state(self, state: State) -> None:
        """Goes on from a :meth:`state`."""
        for name in PARTS:
            for key, value in state[name].items():
                setattr(
                    getattr(self, name),
                    key,
                    _on(value, self.dice.device) if key != "draws" else value,
                )
        self.alpha, self.mse = state["alpha"], state["mse"]
        self.dice.generator.set_state(state["generator"].cpu())


def _on(value: object, device: str) -> object:
    if isinstance(value, list):
        return [_on(part, device) for part in value]
    return value.to(device) if isinstance(value, Tensor) else value


def _with_zero_row(x: Tensor) -> Tensor:
    return torch.nn.functional.pad(x, (0, 0, 0, 1))


def _blocks(table: csr_matrix, k: int) -> Iterator[_Block]:
    """Entities by degree, in blocks padded to the largest of each, which has at most a quarter more
    than the least; so many in one that neither their ratings nor a quarter of the rows of their (K,
    K) are more than ``PADDED``."""
    degree = np.diff(table.indptr)
    by_degree = np.argsort(degree, kind="stable")
    sizes = degree[by_degree]
    first = 0
    while first < len(sizes):
        most = np.searchsorted(sizes, max(8, 1.25 * sizes[first]), side="right")
        fits = (
            np.arange(1, most - first + 1) * np.maximum(sizes[first:most], max(k // 4, 1)) <= PADDED
        )
        last = first + max(int(fits.sum()), 1)
        ids = by_degree[first:last]
        length = max(int(degree[ids].max()), 1)
        there = np.arange(length) < degree[ids][:, None]
        place = np.minimum(table.indptr[ids][:, None] + np.arange(length), table.nnz - 1)
        partner = np.where(there, table.indices[place], table.shape[1]).astype(np.int32)
        rating = np.where(there, table.data[place], 0).astype(np.float32)
        yield _Block(torch.from_numpy(ids), torch.from_numpy(partner), torch.from_numpy(rating))
        first = last


def _cholesky(matrix: Tensor) -> Tensor:
    """The lower factor; with jitter where float32 has lost positive definiteness."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed.any():
        diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        factor = torch.linalg.cholesky(matrix + torch.diag_embed(diagonal * JITTER))
    return factor
