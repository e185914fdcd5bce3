"""What all models share: embeddings, biases, and the way from a score to a rating."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cfcli.core.config import TrainConfig


@dataclass(frozen=True)
class Shape:
    """What a model must know of its data.

    Attributes:
        users, items: numbers of them (U and I).
        low, high: lowest and highest rating.
        start: the rating that the untrained model predicts.
    """

    users: int
    items: int
    low: float
    high: float
    start: float


class Factors(nn.Module):
    """Embeddings and biases of users and items; a subclass says how a pair of embeddings becomes a score.

    rating = low + (high - low) * sigmoid(score + user bias + item bias + bias)

    Args:
        config: ``dim`` (D), ``biases``, ``init_scale``.
        shape: of the data.
    """

    INIT_SCALE = 0.05  # smaller fits real data a little better, larger leaves the start sooner

    def __init__(self, config: TrainConfig, shape: Shape) -> None:
        super().__init__()
        self.low, self.width = shape.low, shape.high - shape.low
        self.user_embedding = nn.Embedding(shape.users, config.dim)  # (U, D), drawn from N(0, 1)
        self.item_embedding = nn.Embedding(shape.items, config.dim)  # (I, D)
        if config.biases:
            self.user_bias = nn.Parameter(torch.zeros(shape.users))
            self.item_bias = nn.Parameter(torch.zeros(shape.items))
        with torch.no_grad():
            scale = self.INIT_SCALE if config.init_scale is None else config.init_scale
            self.user_embedding.weight.mul_(scale)
            self.item_embedding.weight.mul_(scale)
        # A start at the very edge of the range would have an infinite logit.
        share = min(max((shape.start - shape.low) / self.width, 1e-3), 1 - 1e-3)
        self.start_logit = math.log(share / (1 - share))
        self.biases = config.biases

    def score(self, p: Tensor, q: Tensor) -> Tensor:
        """Scores (B,) of user embeddings ``p`` and item embeddings ``q``, both (B, D)."""
        raise NotImplementedError

    def forward(self, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted ratings, and the squared length of the parameters that belong to each row's user and item.

        Args:
            user, item: indices, (B,).

        Returns:
            Ratings (B,) and squared lengths (B,).
        """
        p, q = self.user_embedding(user), self.item_embedding(item)
        score = self.score(p, q)
        square = p.square().sum(1) + q.square().sum(1)
        if self.biases:
            b_user, b_item = self.user_bias[user], self.item_bias[item]
            score = score + b_user + b_item
            square = square + b_user.square() + b_item.square()
        return self.low + self.width * torch.sigmoid(score), square
