"""What a sampler keeps: the mean of its draws as one MF, and a few draws, whose spread says how
certain a prediction is."""

import numpy as np
import torch
from torch import Tensor

from cfcli.core.training.cooccurrence import gram
from cfcli.core.training.plan import sizing
from cfcli.core.training.trained import Samples


class Posterior:
    """The mean of products P Q' and of biases, held as one product of limited rank, and the newest
    draws.

    Where the sum of products exceeds that rank, :func:`nearest` cuts it.

    Args:
        degrees: numbers of ratings of users (U,) and of items (I,).
        dim: the largest dimension (D) that :meth:`factors` will be asked for.

    Attributes:
        roots: square roots of the degrees, of users (U, 1) and of items (I, 1).
        rank: to which the sum of products is cut.
        n: number of products in the sum.
        kept: number of draws that were kept, those since discarded included.
        noise: sum of the variances of a rating over these draws.
        sides: factors of the sum of products, of users (U, R) and of items (I, R).
        biases: sums of the biases of users (U,) and of items (I,).
        variances: sums of the variances of users (U,) and of items (I,).
        draws: the newest draws, each of users (U, K) and of items (I, K), float16, on the CPU.
    """

    # What a checkpoint must hold.
    STATE = ("n", "kept", "noise", "sides", "biases", "variances", "draws")

    def __init__(self, degrees: list[Tensor], dim: int) -> None:
        self.roots = [degree.clamp(min=0.5).sqrt()[:, None] for degree in degrees]
        self.rank = sizing.mean_rank(dim)
        self.n = self.kept = 0
        self.noise = 0.0
        self.sides = [root[:, :0] for root in self.roots]
        self.biases = [torch.zeros_like(root[:, 0]) for root in self.roots]
        self.variances = [torch.zeros_like(root[:, 0]) for root in self.roots]
        self.draws: list[list[Tensor]] = []

    def add(self, users: Tensor, items: Tensor, times: int = 1) -> None:
        """Adds a product to the mean.

        Args:
            users: vectors of the users, (U, K), the bias last.
            items: vectors of the items, (I, K), the bias last.
            times: how often it counts.
        """
        if self.sides[0].shape[1] + users.shape[1] - 1 > 2 * self.rank:
            self.sides = nearest(self.sides, self.roots, self.rank)
        for k, new in enumerate((users, items)):  # one after the other: both are large
            self.biases[k] = self.biases[k] + times * new[:, -1]
            self.sides[k] = torch.cat([self.sides[k], new[:, :-1] * times**0.5], 1)
        self.n += times

    def keep(self, vectors: list[Tensor], variances: list[Tensor], noise: float) -> None:
        """Keeps a draw, and discards the oldest where there are too many.

        Args:
            vectors: of users (U, K) and of items (I, K), the bias last.
            variances: of users (U,) and of items (I,); the variance of a rating is the product of
                both.
            noise: the mean variance of a rating around its expectation, in squared ratings.
        """
        kept = sizing.samples_kept(sum(side.numel() for side in vectors))
        draws = [*self.draws, [side.half().cpu() for side in vectors]]
        self.draws = draws[max(len(draws) - kept, 0) :]
        self.variances = [total + new for total, new in zip(self.variances, variances, strict=True)]
        self.noise += noise
        self.kept += 1

    def factors(self, dim: int) -> tuple[list[Tensor], list[Tensor]]:
        """Computes the mean as embeddings and biases.

        The biases include what the average item adds to all ratings of a user, and the average user
        to all ratings of an item. Dimensions are ordered by how much they explain. In each, the
        largest coordinate of an item is positive.

        Args:
            dim: of the embeddings (D).

        Returns:
            Embeddings of users (U, D) and of items (I, D), and biases of users (U,) and of items
            (I,).
        """
        left, right = self.sides[0], self.sides[1] / self.n
        biases = [bias / self.n for bias in self.biases]
        weights = [root.square().T / root.square().sum() for root in self.roots]
        average = weights[1] @ right
        biases[0] = biases[0] + (left @ average.T)[:, 0]
        right = right - average
        average = weights[0] @ left
        biases[1] = biases[1] + (right @ average.T)[:, 0]
        left = left - average
        sides = nearest([left, right], self.roots, dim)
        # The same product again, its dimensions ordered without weights.
        sides = nearest(sides, [torch.ones_like(root) for root in self.roots], dim)
        largest = sides[1].gather(0, sides[1].abs().argmax(0, keepdim=True))
        sign = torch.where(largest < 0, -1.0, 1.0)
        missing = dim - sign.shape[1]
        return [torch.nn.functional.pad(side * sign, (0, missing)) for side in sides], biases

    def samples(self) -> Samples | None:
        """Stacks the draws.

        Returns:
            ``users`` (S, U, K) and ``items`` (S, I, K), float16, the bias last, and the mean
            variances ``user_noise`` (U,) and ``item_noise`` (I,), float32, whose product is the
            variance of a rating around its expectation. None if there are fewer than two draws,
            which have no spread.
        """
        if len(self.draws) < 2:
            return None
        users, items = (torch.stack(side).numpy() for side in zip(*self.draws, strict=True))
        noise = [(total / self.kept).cpu().numpy().astype(np.float32) for total in self.variances]
        return {"users": users, "items": items, "user_noise": noise[0], "item_noise": noise[1]}


def nearest(sides: list[Tensor], roots: list[Tensor], rank: int) -> list[Tensor]:
    """Finds the nearest product of lower rank, its dimensions ordered.

    Nearest in squares weighted by the products of ``roots`` squared: the SVD of what is between
    orthogonal bases of both sides (Eckart and Young 1936, "The approximation of one matrix by
    another of lower rank"). With the numbers of ratings as weights, pairs count as often as they
    would be rated if users chose at random among ratings.

    The bases are never written out: with the Gram matrix G = V L V' of a side, in double precision,
    its basis is the side times V L^-1/2.

    Args:
        sides: factors of the product, of users (U, R) and of items (I, R).
        roots: square roots of the weights of users (U, 1) and of items (I, 1).
        rank: of the new product, at most.

    Returns:
        Factors of the new product, of users and of items.
    """
    bases, factors = [], []
    for side, root in zip(sides, roots, strict=True):
        size, vectors = torch.linalg.eigh(gram(side, root))
        there = size > 1e-14 * size[-1]
        size, vectors = size[there].sqrt(), vectors[:, there]
        bases.append(vectors / size)
        factors.append((vectors * size).T)
    u, size, vt = torch.linalg.svd(factors[0] @ factors[1].T, full_matrices=False)
    scale = size[:rank].sqrt()
    maps = bases[0] @ (u[:, :rank] * scale), bases[1] @ (vt[:rank].T * scale)
    return [side @ of_side.to(side) for side, of_side in zip(sides, maps, strict=True)]
