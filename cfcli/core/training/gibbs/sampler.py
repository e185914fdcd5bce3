"""Bayesian matrix factorisation by Gibbs sampling.

    r_ui ~ N(mu + b_u + b_i + p_u . q_i, 1 / (alpha w_u w_i v_ui))
    w_u, w_i ~ Gamma(nu / 2, nu / 2)
    [p_u, b_u] ~ N(m + z_u B, inv(Lambda)), Normal-Wishart on (m, Lambda), normal on B; the same for
    items

v_ui are the weights of the rows, 1 by default. Where times are known, their effects are added to
the expectation, see :mod:`cfcli.core.training.gibbs.times`. z_u are features of which items u rated
in the training rows. Salakhutdinov and Mnih (2008), "Bayesian Probabilistic Matrix Factorization
using MCMC"; the regression on z is that of Simm et al. (2015), "Macau"; to use who rated what as
such features follows Rendle et al. (2019), "On the Difficulty of Evaluating Baselines"; a noise of
its own for each user and item is that of Lakshminarayanan et al. (2011), "Robust Bayesian Matrix
Factorization".

The sampler standardises the ratings, because the hyperpriors have a fixed scale.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from cfcli.core.models.times import Seconds
from cfcli.core.models.warm_start import WarmStart
from cfcli.core.pair import Pair
from cfcli.core.training.checkpoints import State
from cfcli.core.training.cooccurrence import implicit_features
from cfcli.core.training.gibbs.generator import Generator
from cfcli.core.training.gibbs.posterior import Posterior, nearest
from cfcli.core.training.gibbs.times import MeanTimes, TimeSampler
from cfcli.core.training.gibbs.workers import Workers, pieces
from cfcli.core.training.plan.sizing import BLOCK

JITTER = 1e-4  # is added to the diagonal, relative to it, where Cholesky fails in float32
BETA0 = 2.0  # weight of the prior of the mean, in entities
# Of the prior of a precision of B, Gamma(1, RATE). With 1, a few features that say nothing are not
# held near 0: shuffled attributes cost 0.0012 of RMSE, with 0.1 0.0003 (validation rows of u1, u2).
RATE = 0.1
NU = 25.0  # weight of the prior of w, in ratings
# Products that the posterior mean of a part of the rows counts for. A mean of n products is off by
# a / n from noise, that of the part by a constant from the rows that it lacks. Chosen on validation
# rows of MovieLens 100K, 1M and latest-small: 4 to 6 is the best for any n from 10 to 50 on each.
PART = 5


@dataclass
class _Block:
    """Some entities with about the same number of ratings.

    Attributes:
        entity: their indices, (B,).
        partner: indices of what they rated or who rated them, (B, L), padded with an index one
            beyond the last.
        rating: their standardised ratings, (B, L), padded with 0.
        root: roots of the weights of these ratings, (B, L); None where all count the same.
        row: which training rows these are, (B, L), padded with their number; None where nobody
            asks.
    """

    entity: Tensor
    partner: Tensor
    rating: Tensor
    root: Tensor | None = None
    row: Tensor | None = None

    def to(self, device: str) -> "_Block":
        """The same on a device.

        Args:
            device: PyTorch's name of it.
        """
        root, row = (None if x is None else x.to(device) for x in (self.root, self.row))
        return _Block(
            self.entity.to(device), self.partner.to(device), self.rating.to(device), root, row
        )


@dataclass
class Rows:
    """What a sweep and the effects of time tell each other, with one more entry for the padding.

    Attributes:
        offset: what time adds to each row, (N + 1,).
        error: what is left of each row, (N + 1,).
    """

    offset: Tensor
    error: Tensor

    @classmethod
    def of(cls, offset: Tensor) -> "Rows":
        """Rows before a sweep.

        Args:
            offset: what time adds to each row, (N,).
        """
        padded = torch.nn.functional.pad(offset, (0, 1))
        return cls(padded, torch.zeros_like(padded))


class Side:
    """The users or the items, called entities here; partners are those of the other side.

    Args:
        table: standardised ratings, a row for each entity, a column for each partner, (n, n').
        features: z, in groups (n, F), each with a precision of its own.
        sizes: of each group the diagonal of z'z, (F,); its other entries are 0.
        rank: number of factors, K - 1; the bias is the last of K columns.
        generator: of all random numbers.
        weights: v, with an entry for each of ``table``, (n, n'); None where all are 1.
        rows: which training row each entry of ``table`` is, (N,); None where times do not matter.
        workers: that go through the blocks; None for one.

    Attributes:
        vectors: the sample, (n, K).
        expected: the mean of the distribution that each vector was drawn from, (n, K).
        weight: w, (n,).
        regression: B of each group, (F, K).
        precision: of the entries of each B, in units of Lambda.
        degree: numbers of ratings, (n,).
        squares: sum of the squared errors of the last sweep that found each of them, in
            standardised ratings.
        blocks: the ratings, grouped for the sweep.
    """

    STATE = ("vectors", "weight", "regression", "precision")  # what a checkpoint must hold

    def __init__(
        self,
        table: csr_matrix,
        features: list[Tensor],
        sizes: list[Tensor],
        rank: int,
        generator: Generator,
        weights: csr_matrix | None = None,
        rows: NDArray[np.int64] | None = None,
        workers: Workers | None = None,
    ) -> None:
        self.generator = generator
        self.workers = workers or Workers(1)
        self.features = features
        self.sizes = sizes
        n = table.shape[0]
        self.vectors = generator.normal(n, rank + 1) * 0.1
        self.vectors[:, -1] = 0
        self.expected = self.vectors.clone()
        self.weight = torch.ones_like(self.vectors[:, 0])
        self.regression = [self.vectors.new_zeros(len(size), rank + 1) for size in sizes]
        self.precision = [5.0] * len(features)
        self.degree = torch.from_numpy(np.diff(table.indptr)).to(generator.device)
        self.squares = float(n)
        blocks = [block.to(generator.device) for block in _blocks(table, rank + 1, weights, rows)]
        # The most work first.
        self.blocks = sorted(
            blocks, key=lambda x: x.rating.numel() + len(x.entity) * rank, reverse=True
        )

    def sweep(
        self,
        other: "Side",
        alpha: float,
        time: "Rows | None" = None,
        *,
        with_errors: bool = True,
    ) -> Tensor:
        """Draws hyperparameters, the regression, all vectors and all w in turn.

        A vector comes from the posterior of Bayesian linear regression, given the other side
        (Salakhutdinov and Mnih 2008, eq. 11 to 13), here with weighted ratings.

        Args:
            other: the other side, which stays as it is.
            alpha: precision of a standardised rating.
            time: what time adds to each row; the errors of the rows are put there.
            with_errors: find the error of each rating, for ``squares``. Without times and this, the
                sums below come from the products that are there anyway.

        Returns:
            For each entity, the squared errors of its ratings, weighted by v and by w of the
            partners and summed, (n,).
        """
        rest = self.vectors - self._explained()
        precision, mean = self._draw_hyperparameters(rest)
        pull = (self._draw_regression(precision, mean, rest) + mean) @ precision
        # Both sides of a rating's equation are multiplied by the root of its partner's weight, and
        # by that of its own. The row of zeros is for the padding.
        root = other.weight.sqrt()[:, None]
        columns = [other.vectors[:, :-1], torch.ones_like(root), -other.vectors[:, -1:]]
        design = torch.nn.functional.pad(torch.cat(columns, dim=1) * root, (0, 0, 0, 1))
        noise = self.generator.normal(*self.vectors.shape)
        squares = torch.empty_like(self.weight)

        def draw(block: _Block) -> float:
            """Draws the vectors of a block; returns the squared errors of its ratings, summed, or 0
            where they are not wanted.

            Args:
                block: some entities.
            """
            a = torch.nn.functional.embedding(block.partner, design)  # (B, L, K + 1)
            if block.root is not None:
                a *= block.root[..., None]
            rating = block.rating if time is None else block.rating - time.offset[block.row]
            scale = a[..., -2]
            # The last column becomes what the others are to explain. One product of all columns
            # takes 0.83 of the time of two for both sides of the equation.
            a[..., -1].addcmul_(rating, scale)
            product = torch.bmm(a.mT, a)
            own = alpha * self.weight[block.entity][:, None, None]
            factor = _cholesky(torch.addcmul(precision, own, product[:, :-1, :-1]))
            right = torch.addcmul(pull[block.entity][..., None], own, product[:, :-1, -1:])
            half = torch.linalg.solve_triangular(factor, right, upper=False)
            both = torch.cat([half, half + noise[block.entity][..., None]], dim=2)
            solved = torch.linalg.solve_triangular(factor.mT, both, upper=True)
            self.expected[block.entity] = solved[..., 0]
            self.vectors[block.entity] = solved[..., 1]
            minus = torch.nn.functional.pad(solved[..., 1:], (0, 0, 0, 1), value=-1.0)
            if time is None and not with_errors:
                found = (torch.bmm(product, minus) * minus).sum((1, 2))
                squares[block.entity] = found.clamp(min=0)
                return 0.0
            error = -torch.bmm(a, minus)[..., 0]
            squares[block.entity] = error.square().sum(1)
            error = error / scale.clamp(min=1e-9)
            if time is not None:
                time.error[block.row] = error
            return float(error.square().sum())

        found = self.workers.map(draw, self.blocks)
        if with_errors:
            self.squares = sum(found)
        drawn = self.generator.gamma((NU + self.degree) / 2).to(squares)
        self.weight = drawn / ((NU + alpha * squares) / 2)
        return squares

    def _draw_hyperparameters(self, rest: Tensor) -> tuple[Tensor, Tensor]:
        """Lambda (K, K) and m (K,) from their Normal-Wishart posterior (Salakhutdinov and Mnih
        2008, eq. 14), in double precision on the CPU.

        The Wishart matrix is drawn by Bartlett's decomposition.

        Args:
            rest: what the regression has left of the vectors, (n, K).
        """
        n, k = rest.shape
        average = rest.mean(0)
        around = rest - average
        scatter = around.T @ around
        for regression, weight in zip(self.regression, self.precision, strict=True):
            scatter = scatter + weight * regression.T @ regression
        scatter, average = scatter.cpu().double(), average.cpu().double()
        scatter = scatter + torch.eye(k) + n * BETA0 / (n + BETA0) * torch.outer(average, average)
        degrees = k + n + sum(len(regression) for regression in self.regression)
        bartlett = torch.tril(self.generator.normal(k, k).cpu().double(), -1)
        bartlett += torch.diag((2 * self.generator.gamma((degrees - torch.arange(k)) / 2)).sqrt())
        root = _cholesky(torch.linalg.inv(scatter)) @ bartlett
        precision = root @ root.T
        spread = _cholesky(torch.linalg.inv(precision * (n + BETA0)))
        mean = n * average / (n + BETA0) + spread @ self.generator.normal(k).cpu().double()
        return precision.to(self.vectors), mean.to(self.vectors)

    def _draw_regression(self, precision: Tensor, mean: Tensor, rest: Tensor) -> Tensor:
        """Draws each B and the precision of its entries, and returns z B, (n, K).

        As z'z is diagonal, the rows of B are independent: inv(z'z + precision) is a division.

        Args:
            precision: Lambda, (K, K).
            mean: m, (K,).
            rest: what the regression has left of the vectors so far, (n, K).
        """
        spread = _cholesky(torch.linalg.inv(precision.cpu().double())).to(precision)
        rest = rest - mean
        for g, (features, size) in enumerate(zip(self.features, self.sizes, strict=True)):
            f, k = self.regression[g].shape
            weight = (size + self.precision[g])[:, None]
            noise = self.generator.normal(f, k) @ spread.T
            # What this group has explained so far is size * B, as its columns are orthogonal.
            wanted = self.workers.product(features, rest) + size[:, None] * self.regression[g]
            own = wanted / weight + noise / weight.sqrt()
            self.workers.add(rest, features, self.regression[g] - own)
            length = float(((own @ precision) * own).sum())
            drawn = float(self.generator.gamma(torch.tensor((f * k + 2) / 2)))
            self.regression[g], self.precision[g] = own, drawn / (length / 2 + RATE)
        return self.vectors - mean - rest

    def _explained(self) -> Tensor:
        """z B, summed over the groups, (n, K)."""
        found = torch.zeros_like(self.vectors)
        for features, regression in zip(self.features, self.regression, strict=True):
            self.workers.add(found, features, regression)
        return found


def table_of(
    user: NDArray[np.integer],
    item: NDArray[np.integer],
    rating: NDArray[np.float32],
    users: int,
    items: int,
) -> csr_matrix:
    """Puts ratings into a sparse table, float32, (U, I).

    Args:
        user: index of the user of each rating, (N,).
        item: index of the item of each rating, (N,).
        rating: the ratings, (N,).
        users: number of users (U).
        items: number of items (I).
    """
    return csr_matrix((rating.astype(np.float32), (user, item)), shape=(users, items))


class Sampler:
    """Draws samples of the posterior of the model that the module describes.

    Args:
        table: ratings of the training rows, see :func:`table_of`; left standardised.
        rank: number of the sampled factors.
        dim: the largest dimension that :meth:`tensors` will be asked for.
        seed: of all random numbers.
        device: for the tensors.
        weights: how much each rating counts, see :func:`table_of`; None where all count the same.
        attributes: of users and of items, in groups (n, F) of orthogonal columns with mean 0; see
            :func:`cfcli.core.training.attributes.groups_of`.
        time: of each entry of ``table``, in seconds since 1970, (N,), NaN where there is none; None
            where times do not matter.

    Attributes:
        mean: of the ratings.
        scale: standard deviation of the ratings; 1 if all are equal.
        n: number of ratings.
        users: the side of the users.
        items: the side of the items.
        known_items: vectors of the items that the users were last drawn by, (I, K).
        alpha: precision of a standardised rating.
        mse: mean squared error of the training rows by the sample, in squared ratings.
        posterior: the mean of the samples, and the newest of them.
        times: the effects of time; None where they do not matter.
    """

    def __init__(
        self,
        table: csr_matrix,
        rank: int,
        dim: int,
        seed: int,
        device: str = "cpu",
        weights: csr_matrix | None = None,
        attributes: Pair[list[Tensor]] | None = None,
        time: Seconds | None = None,
    ) -> None:
        self.generator = Generator(seed, device)
        self.workers = Workers(torch.get_num_threads() if device == "cpu" else 1)
        self.mean = float(table.data.mean())
        self.scale = float(table.data.std()) or 1.0
        self.n = table.nnz
        table.data -= self.mean
        table.data /= self.scale
        implicit = implicit_features(table, seed)
        known = attributes or Pair[list[Tensor]]([], [])
        rows = None if time is None else _transposed(table)
        self.users, self.items = (
            Side(
                part,
                [z.to(device) for z in (of, *more)],
                [size.to(device) for size in (implicit.sizes, *(z.square().sum(0) for z in more))],
                rank,
                self.generator,
                weight,
                places,
                self.workers,
            )
            for part, of, more, weight, places in (
                (
                    table,
                    implicit.user,
                    known.user,
                    weights,
                    None if rows is None else np.arange(table.nnz),
                ),
                (
                    table.T.tocsr(),
                    implicit.item,
                    known.item,
                    None if weights is None else weights.T.tocsr(),
                    rows,
                ),
            )
        )
        self.alpha = 1.0
        self.mse = self.scale**2
        self.posterior = Posterior([self.users.degree, self.items.degree], dim)
        self.times = None
        if time is not None:
            user = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
            item = table.indices.astype(np.int64)
            weight = None if weights is None else weights.data
            self.times = TimeSampler(user, item, time, table.shape[1], self.generator, weight)

    def begin_from(self, start: WarmStart) -> None:
        """Replaces the random sample by one of an earlier model, or else by its parameters.

        Where the earlier rank is larger, the nearest product of this rank is taken; where it is
        smaller, the other columns stay random.

        Args:
            start: what the earlier model knew.
        """
        if start.draw is not None:
            drawn = [torch.from_numpy(side) for side in start.draw]
            sides = [side[:, :-1] for side in drawn]
            biases = [side[:, -1] for side in drawn]
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
        if start.is_part:
            self._count_in(start)

    def _count_in(self, start: WarmStart) -> None:
        """Counts an earlier posterior mean as some products of the new one."""
        found = {name: torch.from_numpy(value) for name, value in start.tensors.items()}
        offsets = {"user": (float(found["linear.bias"]) - self.mean) / self.scale, "item": 0.0}
        users, items = (
            torch.cat(
                [
                    found[f"{name}_embedding.weight"] / self.scale**0.5,
                    found[f"{name}_bias"][:, None] / self.scale + offset,
                ],
                dim=1,
            ).to(self.generator.device)
            for name, offset in offsets.items()
        )
        self.posterior.add(users, items, PART)
        if self.times is not None and start.times is not None:
            # Each sample gives two products.
            self.times.count_in(start.times, self.scale, PART / 2)

    def sweep(self) -> None:
        """Draws the users, then the items, then alpha, then the effects of time."""
        self.known_items = self.items.vectors.clone()
        rows = None if self.times is None else Rows.of(self.times.offset)
        self.users.sweep(self.items, self.alpha, rows, with_errors=False)
        squares = self.items.sweep(self.users, self.alpha, rows) @ self.items.weight
        self.mse = self.items.squares / self.n * self.scale**2
        drawn = float(self.generator.gamma(torch.tensor((self.n + 1) / 2)))
        self.alpha = drawn / ((float(squares) + 1) / 2)
        if self.times is not None and rows is not None:
            self.times.draw(rows.error[:-1], self.alpha * self.users.weight, self.items.weight)

    def keep(self) -> list[tuple[Tensor, Tensor]]:
        """Adds the sample to the posterior.

        In place of the draws of both sides it takes each side's draw with the other side's
        expectation given that draw. The mean is the same, at less variance (Gelfand and Smith 1990,
        "Sampling-Based Approaches to Calculating Marginal Densities", section 2.2).

        Returns:
            Two products, each of users (U, K) and items (I, K), in standardised ratings. The mean
            of both, averaged over the samples, is the mean of the posterior.
        """
        users, items = self.users, self.items
        products = [(users.expected, self.known_items), (users.vectors, items.expected)]
        for product in products:
            self.posterior.add(*product)
        size = torch.full_like(self.known_items[0], self.scale**0.5)
        size[-1] = self.scale
        variances = [self.scale**2 / self.alpha / users.weight, 1 / items.weight]
        self.posterior.keep([users.vectors * size, items.vectors * size], variances, self.mse)
        if self.times is not None:
            self.times.keep()
        return products

    def predict(self, product: tuple[Tensor, Tensor], user: Tensor, item: Tensor) -> Tensor:
        """Predicts ratings by one product.

        Args:
            product: vectors of users (U, K) and of items (I, K), the bias last.
            user: index of the user of each pair, (M,).
            item: index of the item of each pair, (M,).

        Returns:
            The ratings, (M,).
        """
        out = self.known_items.new_empty(len(user))

        def fill(part: slice) -> None:
            """Predicts some of the ratings.

            Args:
                part: which pairs.
            """
            p, q = product[0][user[part]], product[1][item[part]]
            score = (p[:, :-1] * q[:, :-1]).sum(1) + p[:, -1] + q[:, -1]
            out[part] = self.mean + self.scale * score

        self.workers.map(fill, pieces(len(user)))
        return out

    def time_effects(self) -> MeanTimes | None:
        """The mean effects of time, in ratings; None where times do not matter."""
        return None if self.times is None else self.times.mean(self.scale)

    def tensors(self, dim: int) -> dict[str, NDArray[np.float32]]:
        """Turns the posterior mean, at the newest time, into the parameters of one MF with biases.

        Args:
            dim: of the embeddings (D).

        Returns:
            The parameters by name, float32, as :class:`cfcli.core.models.scoring.Predictor` reads
            them.
        """
        if not self.posterior.kept:
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
        tensors = {name: value.cpu().numpy().astype(np.float32) for name, value in found.items()}
        if time := self.time_effects():
            tensors["item_bias"] += time.newest
        return tensors

    def state(self) -> State:
        """What a checkpoint must hold to continue the sampling."""
        state: State = {
            name: {key: getattr(part, key) for key in part.STATE}
            for name, part in self._parts().items()
        }
        if self.times is not None:
            state["times"] = self.times.state()
        return state | {
            "alpha": self.alpha,
            "mse": self.mse,
            "generator": self.generator.source.get_state(),
        }

    def load_state(self, state: State) -> None:
        """Continues from an earlier state.

        Args:
            state: what :meth:`state` returned, perhaps on another device.
        """
        for name, part in self._parts().items():
            for key, value in state[name].items():
                # Draws are kept on the CPU.
                setattr(part, key, value if key == "draws" else _on(value, self.generator.device))
        if self.times is not None:
            self.times.load_state(state["times"])
        self.alpha = state["alpha"]
        self.mse = state["mse"]
        self.generator.source.set_state(state["generator"].cpu())
        # Where no sweep follows, the sample itself stands for its expectations.
        self.known_items = self.items.vectors.clone()
        for side in (self.users, self.items):
            side.expected = side.vectors.clone()

    def _parts(self) -> dict[str, Side | Posterior]:
        """What has a state of its own, by its name in checkpoints."""
        return {"users": self.users, "items": self.items, "posterior": self.posterior}


def _on(value: object, device: str) -> object:
    """A number, a tensor or a list of them, with all tensors on a device."""
    if isinstance(value, list):
        return [_on(part, device) for part in value]
    return value.to(device) if isinstance(value, Tensor) else value


def _blocks(
    table: csr_matrix,
    k: int,
    weights: csr_matrix | None = None,
    row: NDArray[np.int64] | None = None,
) -> Iterator[_Block]:
    """Groups entities by degree into blocks, each padded to its largest degree.

    That is at most a quarter above its least, or 8. A block holds so many entities that neither
    the vectors of their padded ratings nor a quarter of their matrices (K, K) exceed ``BLOCK``.
    """
    degree = np.diff(table.indptr)
    by_degree = np.argsort(degree, kind="stable")
    sizes = degree[by_degree]
    first = 0
    while first < len(sizes):
        most = np.searchsorted(sizes, max(8, 1.25 * sizes[first]), side="right")
        rows = np.maximum(sizes[first:most], max(k // 4, 1))
        fits = np.arange(1, most - first + 1) * rows * k <= BLOCK
        last = first + max(int(fits.sum()), 1)
        ids = by_degree[first:last]
        length = max(int(degree[ids].max()), 1)
        there = np.arange(length) < degree[ids][:, None]
        place = np.minimum(table.indptr[ids][:, None] + np.arange(length), table.nnz - 1)
        partner = np.where(there, table.indices[place], table.shape[1]).astype(np.int32)
        rating = np.where(there, table.data[place], 0).astype(np.float32)
        block = _Block(torch.from_numpy(ids), torch.from_numpy(partner), torch.from_numpy(rating))
        if weights is not None:
            block.root = torch.from_numpy(weights.data[place] ** 0.5)
        if row is not None:
            block.row = torch.from_numpy(np.where(there, row[place], table.nnz))
        yield block
        first = last


def _transposed(table: csr_matrix) -> NDArray[np.int64]:
    """Which entry of a table each entry of the transposed table is, (N,)."""
    places = csr_matrix((np.arange(table.nnz), table.indices, table.indptr), shape=table.shape)
    return np.asarray(places.T.tocsr().data, np.int64)


def _cholesky(matrix: Tensor) -> Tensor:
    """The lower Cholesky factor, with jitter where float32 has lost positive definiteness."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed.any():
        diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        factor = torch.linalg.cholesky(matrix + torch.diag_embed(diagonal * JITTER))
    return factor
