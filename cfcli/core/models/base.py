"""What all models share: embeddings, biases, and the way from a score to a rating."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cfcli.core.config.train import TrainConfig
from cfcli.core.models.lookup import is_spread, part_of, rows

if TYPE_CHECKING:
    pass

RIDGE = 1e-3  # of the map that earlier embeddings are explained by, relative to the mean of the features' squares
MAP_L2 = 5e-4  # weight of the squared map from features, in units of ``l2``: measured, as all of its kind


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


@dataclass(frozen=True)
class Known:
    """What the training rows tell before any training.

    Attributes:
        deviation: standard deviation of the ratings, the unit of scores with the link ``identity``.
        degrees: numbers of ratings of users (U,) and of items (I,).
        features: of users (U, F) and items (I, F), see
            :func:`cfcli.core.training.cooccurrence.implicit_features`.
    """

    deviation: float = 1.0
    degrees: tuple[Tensor, Tensor] | None = None
    features: tuple[Tensor, Tensor] | None = None


class Factors(nn.Module):
    """Embeddings and biases of users and items; a subclass says how a pair of embeddings becomes a
    score.

    rating = start + deviation * (score + user bias + item bias), within the range, or, with the
    link ``sigmoid``, rating = low + (high - low) * sigmoid(score + user bias + item bias).

    With features z the embedding of a user is p_u + z_u W, where p_u is what their ratings tell
    beyond who rated what (as in SVD++, Koren 2008, but linear in few features); the same for items.
    :meth:`folded` gives the sums.

    Args:
        config: ``dim`` (D), ``biases``, ``link``, ``init_scale``.
        shape, known: of the data.
        device: for the parameters that each user or item has; "meta" where :func:`sharded` is to
            make them.
    """

    user_share: Tensor  # (U,), what the penalty of a user's parameters is multiplied by at each of their ratings
    item_share: Tensor
    user_features: Tensor  # (U, F)
    item_features: Tensor
    user_map: Tensor  # W, (F, D)
    item_map: Tensor
    deep = False  # whether a score hangs on embeddings by more than their product

    INIT_SCALE = 0.05  # with a sigmoid: smaller fits real data a little better, larger leaves the start sooner

    def __init__(
        self, config: TrainConfig, shape: Shape, known: Known, device: str | None = None
    ) -> None:
        super().__init__()
        self.low, self.high, self.start = shape.low, shape.high, shape.start
        self.link, self.biases = config.adam.link, config.adam.biases
        self.unit = known.deviation if self.link == "identity" else shape.high - shape.low
        self.user_embedding = nn.Embedding(
            shape.users, config.dim, device=device
        )  # (U, D), drawn from N(0, 1)
        self.item_embedding = nn.Embedding(shape.items, config.dim, device=device)  # (I, D)
        if config.adam.biases:
            self.user_bias = nn.Parameter(torch.zeros(shape.users, device=device))
            self.item_bias = nn.Parameter(torch.zeros(shape.items, device=device))
        scale = 0.01 if self.link == "identity" else self.INIT_SCALE
        self.scale = scale if config.adam.init_scale is None else config.adam.init_scale
        with torch.no_grad():
            self.user_embedding.weight.mul_(self.scale)
            self.item_embedding.weight.mul_(self.scale)
        self.features = known.features is not None
        for k, entity in enumerate(("user", "item")):
            degree = known.degrees[k] if known.degrees else torch.ones(getattr(shape, f"{entity}s"))
            self.register_buffer(f"{entity}_untrained", degree == 0, persistent=False)
            self.register_buffer(
                f"{entity}_share", degree.clamp(min=1).float() ** -0.5, persistent=False
            )
            if known.features is not None:
                rows = nn.functional.normalize(known.features[k], dim=1)
                self.register_buffer(f"{entity}_features", rows, persistent=False)
                self.register_parameter(
                    f"{entity}_map", nn.Parameter(torch.zeros(rows.shape[1], config.dim))
                )
        # A start at the very edge of the range would have an infinite logit.
        share = min(max((shape.start - shape.low) / (shape.high - shape.low), 1e-3), 1 - 1e-3)
        self.start_score = math.log(share / (1 - share)) if self.link == "sigmoid" else 0.0

    def head(self, product: Tensor, p: Tensor, q: Tensor) -> Tensor:
        """Scores (B,) without biases: of user embeddings ``p`` and item embeddings ``q``, both (B,
        D), and their inner products (B,)."""
        raise NotImplementedError

    def head_backward(self, head: Tensor, product: Tensor, slope: Tensor) -> Tensor:
        """Gradients (B,) of the products, given those of what :meth:`head` returned; sets those of
        its parameters."""
        head.backward(slope)  # type: ignore[no-untyped-call]
        assert product.grad is not None
        return product.grad

    def ratings(self, score: Tensor) -> Tensor:
        """Ratings (B,) by scores. In training they may leave the range, with the link
        ``identity``."""
        if self.link == "sigmoid":
            return self.low + self.unit * torch.sigmoid(score)
        rating = self.start + self.unit * score
        return rating if self.training else rating.clamp(self.low, self.high)

    def biases_of(self, user: Tensor, item: Tensor) -> Tensor:
        """The sums (B,) of both biases."""
        return rows(self.user_bias, user) + rows(self.item_bias, item)

    def predict(self, tables: tuple[Tensor, ...], user: Tensor, item: Tensor) -> Tensor:
        """Ratings (B,), by ``tables`` that :meth:`embeddings` gave."""
        p, q = rows(tables[0], user), rows(tables[1], item)
        score = self.head((p * q).sum(1), p, q)
        return self.ratings(score + self.biases_of(user, item) if self.biases else score)

    def forward(self, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted ratings, and the penalty of the parameters that belong to each row's user and
        item: their squared length over the root of their number of ratings.

        This is the formula, row by row; :func:`cfcli.core.models.gradients.backward` has its
        gradient, faster.

        Args:
            user, item: indices, (B,).

        Returns:
            Ratings (B,) and penalties (B,).
        """
        p, q = rows(self.user_embedding.weight, user), rows(self.item_embedding.weight, item)
        squares = [p.square().sum(1), q.square().sum(1)]
        if self.features:
            p = p + rows(self.user_features, user) @ self.user_map
            q = q + rows(self.item_features, item) @ self.item_map
        score = self.head((p * q).sum(1), p, q)
        if self.biases:
            a, b = rows(self.user_bias, user), rows(self.item_bias, item)
            score = score + a + b
            squares = [squares[0] + a.square(), squares[1] + b.square()]
        return self.ratings(score), rows(self.user_share, user) * squares[0] + rows(
            self.item_share, item
        ) * squares[1]

    def tables(self) -> list[Tensor]:
        """What has a row for each user or each item: embeddings (U, D) and (I, D), biases (U,) and
        (I,)."""
        biases = [self.user_bias, self.item_bias] if self.biases else []
        return [self.user_embedding.weight, self.item_embedding.weight, *biases]

    def penalty(self) -> Tensor:
        """Of what belongs to no entity."""
        if not self.features:
            return torch.zeros(())
        return MAP_L2 * (self.user_map.square().sum() + self.item_map.square().sum())

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Of users (U, D) and items (I, D), features included."""
        p, q = self.user_embedding.weight, self.item_embedding.weight
        if self.features:
            p = torch.addmm(p, self.user_features, self.user_map)
            q = torch.addmm(q, self.item_features, self.item_map)
        return p, q

    @torch.no_grad()
    def settle_untrained(self) -> None:
        """Gives users and items without a training row the mean of the others."""
        for entity, whole in zip(("user", "item"), self.embeddings(), strict=True):
            mask = getattr(self, f"{entity}_untrained")
            if mask.any():
                _give_mean(
                    getattr(self, f"{entity}_embedding").weight, whole, mask
                )  # their features are zero
                if self.biases:
                    bias = getattr(self, f"{entity}_bias")
                    _give_mean(bias, bias, mask)

    @torch.no_grad()
    def begin_from(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes parameters as :meth:`folded` gives them, of the same users and items; what features
        explain of the embeddings goes into their map."""
        unit = self.unit if self.link == "identity" else 1.0
        for name in ("user", "item"):
            vectors = tensors[f"{name}_embedding.weight"] / unit**0.5
            if self.features:
                z = getattr(self, f"{name}_features")
                gram = z.T @ z
                gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
                getattr(self, f"{name}_map").copy_(torch.linalg.solve(gram, z.T @ vectors))
                vectors = vectors - z @ getattr(self, f"{name}_map")
            getattr(self, f"{name}_embedding").weight.copy_(vectors)
            if self.biases:
                getattr(self, f"{name}_bias").copy_(tensors[f"{name}_bias"] / unit)

    @torch.no_grad()
    def folded(self) -> dict[str, Tensor]:
        """The parameters as a run keeps them: no features, and with the link ``identity`` the score
        is the rating."""
        unit = self.unit if self.link == "identity" else 1.0
        p, q = self.embeddings()
        found = {"user_embedding.weight": p * unit**0.5, "item_embedding.weight": q * unit**0.5}
        if self.biases:
            found |= {"user_bias": self.user_bias * unit, "item_bias": self.item_bias * unit}
        return found


def _give_mean(table: Tensor, whole: Tensor, to: Tensor) -> None:
    """Sets the rows ``to`` (U,) of a table to the mean of the other rows of ``whole``."""
    own, place = part_of(table)
    total = (~to[place]).to(own) @ part_of(whole)[0]  # a sum over some rows would copy them first
    if is_spread(table):
        torch.distributed.all_reduce(total)
    own[to[place]] = total / (~to).sum()
