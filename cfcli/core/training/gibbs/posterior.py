"""What is kept of a sampler's draws: their mean as one plain MF, and a few of them to tell how sure
it is."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcli.core.training.plan import sizing

GRAM_ROWS = 1 << 14  # rows that are taken in double precision at once


class Posterior:
    """The mean of products P Q' and of biases, held as one product of limited rank, and the newest
    draws.

    What is beyond the limit while the sum grows is cut off, the least of it by the norm of
    :func:`nearest`.

    Args:
        degrees: numbers of ratings of users (U,) and of items (I,).
        dim: of the factors that will be asked for, at most (D).
    """

    STATE = (
        "n",
        "kept",
        "noise",
        "sides",
        "biases",
        "variances",
        "draws",
    )  # all that a checkpoint must hold

    def __init__(self, degrees: list[Tensor], dim: int) -> None:
        self.roots = [degree.clamp(min=0.5).sqrt()[:, None] for degree in degrees]
        self.rank = sizing.mean_rank(dim)
        self.n = self.kept = 0
        self.noise = 0.0
        self.sides = [root[:, :0] for root in self.roots]
        self.biases = [torch.zeros_like(root[:, 0]) for root in self.roots]
        self.variances = [torch.zeros_like(root[:, 0]) for root in self.roots]
        self.draws: list[list[Tensor]] = []

    def add(self, users: Tensor, items: Tensor) -> None:
        """Takes a product into the mean: ``users`` (U, K) and ``items`` (I, K), the bias last."""
        self.biases = [
            bias + new[:, -1] for bias, new in zip(self.biases, (users, items), strict=True)
        ]
        if self.sides[0].shape[1] + users.shape[1] - 1 > 2 * self.rank:
            self.sides = nearest(self.sides, self.roots, self.rank)
        for k, new in enumerate((users, items)):  # one after the other: both are large
            self.sides[k] = torch.cat([self.sides[k], new[:, :-1]], 1)
        self.n += 1

    def keep(self, vectors: list[Tensor], variances: list[Tensor], noise: float) -> None:
        """Keeps a draw as it is; with it the variances of users' and of items' ratings, and that of
        a rating."""
        kept = sizing.samples_kept(sum(side.numel() for side in vectors))
        draws = [*self.draws, [side.half().cpu() for side in vectors]]
        self.draws = draws[max(len(draws) - kept, 0) :]
        self.variances = [total + new for total, new in zip(self.variances, variances, strict=True)]
        self.noise += noise
        self.kept += 1

    def factors(self, dim: int) -> tuple[list[Tensor], list[Tensor]]:
        """The mean: embeddings of users (U, D) and items (I, D), and biases of both.

        What the average user or item adds to all ratings is in the biases. Dimensions are ordered
        by what they explain, in a rotation and with signs of their own.
        """
        (left, right), biases = (
            (self.sides[0], self.sides[1] / self.n),
            [bias / self.n for bias in self.biases],
        )
        share = [root.square().T / root.square().sum() for root in self.roots]
        average = share[1] @ right
        biases[0], right = biases[0] + (left @ average.T)[:, 0], right - average
        average = share[0] @ left
        biases[1], left = biases[1] + (right @ average.T)[:, 0], left - average
        sides = nearest([left, right], self.roots, dim)
        p, q = nearest(
            sides, [torch.ones_like(root) for root in self.roots], dim
        )  # the same in its plain rotation
        sign = torch.where(q.gather(0, q.abs().argmax(0, keepdim=True)) < 0, -1.0, 1.0)
        return [
            torch.nn.functional.pad(side * sign, (0, dim - side.shape[1])) for side in (p, q)
        ], biases

    def samples(self) -> dict[str, NDArray[Any]] | None:
        """``users`` (S, U, K) and ``items`` (S, I, K), float16, the bias last, and the mean
        variances ``user_noise`` (U,) and ``item_noise`` (I,), whose product is that of a rating
        around its expectation; None where there are too few to tell a spread."""
        if len(self.draws) < 2:
            return None
        users, items = (torch.stack(side).numpy() for side in zip(*self.draws, strict=True))
        noise = [(total / self.kept).cpu().numpy().astype(np.float32) for total in self.variances]
        return {"users": users, "items": items, "user_noise": noise[0], "item_noise": noise[1]}


def nearest(sides: list[Tensor], roots: list[Tensor], rank: int) -> list[Tensor]:
    """The product of rank ``rank`` at most that is nearest to ``left right'``, its dimensions
    ordered.

    Nearest in squares weighted by the products of ``roots`` squared, (U, 1) and (I, 1): the SVD of
    what is between orthogonal bases of both sides (Eckart and Young 1936). With the numbers of
    ratings as weights, pairs count as often as they would be rated if users chose at random among
    ratings.

    The bases are never written out: with the Gram matrix G = V L V' of a side, in double precision,
    its basis is the side times V L^-1/2.
    """
    bases, factors = [], []
    for side, root in zip(sides, roots, strict=True):
        size, vectors = torch.linalg.eigh(_gram(side, root))
        there = size > 1e-14 * size[-1]
        size, vectors = size[there].sqrt(), vectors[:, there]
        bases.append(vectors / size)
        factors.append((vectors * size).T)
    u, size, vt = torch.linalg.svd(factors[0] @ factors[1].T, full_matrices=False)
    scale = size[:rank].sqrt()
    maps = bases[0] @ (u[:, :rank] * scale), bases[1] @ (vt[:rank].T * scale)
    return [side @ of_side.to(side) for side, of_side in zip(sides, maps, strict=True)]


def _gram(side: Tensor, root: Tensor) -> Tensor:
    """Of the weighted rows, (K, K), in double precision on the CPU."""
    total = torch.zeros(side.shape[1], side.shape[1], dtype=torch.float64)
    for part, weight in zip(
        torch.split(side, GRAM_ROWS), torch.split(root, GRAM_ROWS), strict=True
    ):
        rows = (part * weight).cpu().double()
        total.addmm_(rows.T, rows)
    return total
