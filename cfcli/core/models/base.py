"""What all models share: embeddings, biases, and the way from a score to a rating."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cfcli.core.config.train import TrainConfig
from cfcli.core.pair import Pair

# Of the regression that explains earlier embeddings by features, relative to the mean of the
# features' squares.
RIDGE = 1e-3
# Weight of the maps' squared entries, in units of ``l2``; measured, as all weights of this kind.
MAP_L2 = 5e-4


@dataclass(frozen=True)
class Shape:
    """What a model must know of its data.

    Attributes:
        users: number of users (U).
        items: number of items (I).
        low: lowest rating.
        high: highest rating.
        start: the rating that the untrained model predicts.
    """

    users: int
    items: int
    low: float
    high: float
    start: float


@dataclass(frozen=True)
class TrainingStatistics:
    """What the training rows say before any training.

    Attributes:
        deviation: standard deviation of the ratings, the unit of scores with the link ``identity``.
        degrees: number of ratings of each user (U,) and each item (I,).
        features: who rated what, of users (U, F) and items (I, F); see
            :func:`cfcli.core.training.cooccurrence.implicit_features`.
        attributes: of users and of items, (N, A); see
            :func:`cfcli.core.training.attributes.joined`.
    """

    deviation: float = 1.0
    degrees: Pair[Tensor] | None = None
    features: Pair[Tensor] | None = None
    attributes: Pair[Tensor | None] = Pair(None, None)


class Side(NamedTuple):
    """What a model has of its users, or of its items (N of them).

    Attributes:
        embedding: what their ratings say beyond the features, (N, D).
        bias: (N,), or None in a model without biases.
        features: who rated what, (N, F), or None.
        map: W, from features to embeddings, (F, D), or None.
        share: what the penalty of their parameters is multiplied by at each of their ratings, (N,):
            one over the root of the number of these.
        untrained: which of them have no training row, (N,).
    """

    embedding: Tensor
    bias: Tensor | None
    features: Tensor | None
    map: Tensor | None
    share: Tensor
    untrained: Tensor

    def vectors(self) -> Tensor:
        """Their embeddings with what the features explain, (N, D)."""
        if self.features is None or self.map is None:
            return self.embedding
        return torch.addmm(self.embedding, self.features, self.map)


class Factors(nn.Module):
    """Embeddings and biases of users and items. A subclass says how a pair of embeddings becomes a
    score.

    With the link ``identity``: rating = start + unit * (score + b_u + b_i), kept within the range.
    With ``sigmoid``: rating = low + (high - low) * sigmoid(score + b_u + b_i).

    Where there are features z, the embedding of a user is p_u + z_u W, with p_u what the ratings
    say beyond who rated what; the same for items. That is SVD++ (Koren 2008, "Factorization Meets
    the Neighborhood") with the items rated summed up in a few features. :meth:`folded` gives the
    sums.

    Args:
        config: ``dim`` (D), ``biases``, ``link`` and ``init_scale``.
        shape: numbers of users and items, and the range of ratings.
        statistics: what the training rows say before any training.
        device: where the parameters that each user or item has are made; "meta" makes none.
    """

    user_bias: nn.Parameter | None
    item_bias: nn.Parameter | None
    user_map: nn.Parameter | None
    item_map: nn.Parameter | None
    user_share: Tensor
    item_share: Tensor
    user_untrained: Tensor
    item_untrained: Tensor
    user_features: Tensor | None
    item_features: Tensor | None
    deep = False  # whether the head uses the embeddings beside their inner product

    # Of the initial embeddings, with a sigmoid. A smaller one fits real data a little better, a
    # larger one leaves the start sooner.
    INIT_SCALE = 0.05

    def __init__(
        self,
        config: TrainConfig,
        shape: Shape,
        statistics: TrainingStatistics,
        device: str | None = None,
    ) -> None:
        super().__init__()
        self.link = config.adam.link
        self.low, self.high, self.start = shape.low, shape.high, shape.start
        self.unit = statistics.deviation if self.link == "identity" else shape.high - shape.low
        self.start_score = 0.0 if self.link == "identity" else _logit(shape)

        self.user_embedding = nn.Embedding(shape.users, config.dimension, device=device)
        self.item_embedding = nn.Embedding(shape.items, config.dimension, device=device)
        default_scale = 0.01 if self.link == "identity" else self.INIT_SCALE
        self.scale = default_scale if config.adam.init_scale is None else config.adam.init_scale
        with torch.no_grad():
            self.user_embedding.weight.mul_(self.scale)
            self.item_embedding.weight.mul_(self.scale)

        self.user_bias = self.item_bias = None
        if config.adam.biases:
            self.user_bias = nn.Parameter(torch.zeros(shape.users, device=device))
            self.item_bias = nn.Parameter(torch.zeros(shape.items, device=device))

        self.user_map = self.item_map = None
        user_features, item_features = _features(statistics)
        if user_features is not None:
            self.user_map = nn.Parameter(torch.zeros(user_features.shape[1], config.dimension))
        if item_features is not None:
            self.item_map = nn.Parameter(torch.zeros(item_features.shape[1], config.dimension))
        # What follows from the training rows is in no checkpoint.
        self.register_buffer("user_features", user_features, persistent=False)
        self.register_buffer("item_features", item_features, persistent=False)
        degrees = statistics.degrees or Pair(torch.ones(shape.users), torch.ones(shape.items))
        self.register_buffer("user_share", _share(degrees.user), persistent=False)
        self.register_buffer("item_share", _share(degrees.item), persistent=False)
        self.register_buffer("user_untrained", degrees.user == 0, persistent=False)
        self.register_buffer("item_untrained", degrees.item == 0, persistent=False)

    @property
    def sides(self) -> Pair[Side]:
        """The users and the items."""
        return Pair(
            Side(
                self.user_embedding.weight,
                self.user_bias,
                self.user_features,
                self.user_map,
                self.user_share,
                self.user_untrained,
            ),
            Side(
                self.item_embedding.weight,
                self.item_bias,
                self.item_features,
                self.item_map,
                self.item_share,
                self.item_untrained,
            ),
        )

    def head(self, product: Tensor, p: Tensor, q: Tensor) -> Tensor:
        """Scores (B,) without biases.

        Args:
            product: inner products of the embeddings, (B,).
            p: embeddings of the users, (B, D).
            q: embeddings of the items, (B, D).
        """
        raise NotImplementedError

    def head_backward(self, head: Tensor, product: Tensor, slope: Tensor) -> Tensor:
        """Sets the gradients of the head's parameters, and returns those of the products (B,).

        Args:
            head: what :meth:`head` returned, (B,).
            product: the inner products that it was given, (B,).
            slope: gradients of ``head``, (B,).
        """
        head.backward(slope)  # type: ignore[no-untyped-call]
        assert product.grad is not None
        return product.grad

    def ratings(self, score: Tensor) -> Tensor:
        """Ratings (B,). In training they may leave the range, with the link ``identity``.

        Args:
            score: with biases, (B,).
        """
        if self.link == "sigmoid":
            return self.low + self.unit * torch.sigmoid(score)
        rating = self.start + self.unit * score
        return rating if self.training else rating.clamp(self.low, self.high)

    def rows(self, table: Tensor, index: Tensor) -> Tensor:
        """Rows (B, D) or (B,) of a table.

        Args:
            table: of users or items, (N, D) or (N,).
            index: numbers of the rows, (B,).
        """
        return table.index_select(0, index)

    def with_biases(self, score: Tensor, user: Tensor, item: Tensor) -> Tensor:
        """Scores (B,) plus the biases of their users and items, where the model has some.

        Args:
            score: without biases, (B,).
            user: indices of the users, (B,).
            item: indices of the items, (B,).
        """
        if self.user_bias is None or self.item_bias is None:
            return score
        return score + (self.rows(self.user_bias, user) + self.rows(self.item_bias, item))

    def predict(self, vectors: Pair[Tensor], user: Tensor, item: Tensor) -> Tensor:
        """Ratings (B,).

        Args:
            vectors: what :meth:`embeddings` returned.
            user: indices of the users, (B,).
            item: indices of the items, (B,).
        """
        p, q = self.rows(vectors.user, user), self.rows(vectors.item, item)
        score = self.head((p * q).sum(1), p, q)
        return self.ratings(self.with_biases(score, user, item))

    def forward(self, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted ratings, and the penalty of the parameters that belong to each row's user and
        item: their squared length over the root of their number of ratings.

        This is the formula, row by row. :func:`cfcli.core.models.gradients.backward` has its
        gradient, faster.

        Args:
            user: indices of the users, (B,).
            item: indices of the items, (B,).

        Returns:
            Ratings (B,) and penalties (B,).
        """
        users, items = self.sides
        p, q = self.rows(users.embedding, user), self.rows(items.embedding, item)
        user_length, item_length = p.square().sum(1), q.square().sum(1)
        if users.features is not None and users.map is not None:
            p = p + users.features.index_select(0, user) @ users.map
        if items.features is not None and items.map is not None:
            q = q + items.features.index_select(0, item) @ items.map
        score = self.head((p * q).sum(1), p, q)
        if users.bias is not None and items.bias is not None:
            user_bias, item_bias = self.rows(users.bias, user), self.rows(items.bias, item)
            score = score + user_bias + item_bias
            user_length = user_length + user_bias.square()
            item_length = item_length + item_bias.square()
        user_penalty = users.share.index_select(0, user) * user_length
        item_penalty = items.share.index_select(0, item) * item_length
        return self.ratings(score), user_penalty + item_penalty

    def tables(self) -> list[Tensor]:
        """What has a row for each user or each item: embeddings (U, D) and (I, D), and biases (U,)
        and (I,) where there are some."""
        found: list[Tensor] = [self.user_embedding.weight, self.item_embedding.weight]
        if self.user_bias is not None and self.item_bias is not None:
            found += [self.user_bias, self.item_bias]
        return found

    def penalty(self) -> Tensor:
        """The weighted squared length of the parameters that belong to no user and no item."""
        maps = [side.map.square().sum() for side in self.sides if side.map is not None]
        return MAP_L2 * torch.stack(maps).sum() if maps else torch.zeros(())

    def embeddings(self) -> Pair[Tensor]:
        """Of users (U, D) and items (I, D), features included."""
        users, items = self.sides
        return Pair(users.vectors(), items.vectors())

    @torch.no_grad()
    def settle_untrained(self) -> None:
        """Gives users and items without a training row the mean of the others, see
        :func:`cfcli.core.training.attributes.settle`."""
        for name, side in self.sides.named():
            if not side.untrained.any():
                continue
            weight = (~side.untrained).float()
            if name == "item":
                weight *= side.share.square()  # one over their numbers of ratings
            # Their features are zero, so that the embedding is the whole vector.
            self.set_to_mean(side.embedding, side.vectors(), weight)
            if side.bias is not None:
                self.set_to_mean(side.bias, side.bias, weight)

    def set_to_mean(self, table: Tensor, values: Tensor, weight: Tensor) -> None:
        """Sets the rows of a table that have no weight to the mean of the other rows of ``values``.

        Args:
            table: (N, D) or (N,).
            values: of the same shape.
            weight: of each row, (N,).
        """
        # As a product: a sum over some rows would copy them first.
        table[weight == 0] = weight.to(values) @ values / weight.sum()

    @property
    def score_unit(self) -> float:
        """What a run's scores are in units of this model's: with the link ``identity`` they are
        ratings."""
        return self.unit if self.link == "identity" else 1.0

    @torch.no_grad()
    def begin_from(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the parameters of an earlier model. The map of the features takes what it can
        explain of the embeddings.

        Args:
            tensors: parameters as :meth:`folded` returns them, of the same users and items.
        """
        for name, side in self.sides.named():
            vectors = tensors[f"{name}_embedding.weight"] / self.score_unit**0.5
            if side.features is not None and side.map is not None:
                side.map.copy_(_regression(side.features, vectors))
                vectors = vectors - side.features @ side.map
            side.embedding.copy_(vectors)
            if side.bias is not None:
                side.bias.copy_(tensors[f"{name}_bias"] / self.score_unit)

    @torch.no_grad()
    def folded(self) -> dict[str, Tensor]:
        """The parameters as a run keeps them: features are part of the embeddings, and with the
        link ``identity`` the score is the rating."""
        found = {}
        for name, side in self.sides.named():
            found[f"{name}_embedding.weight"] = side.vectors() * self.score_unit**0.5
            if side.bias is not None:
                found[f"{name}_bias"] = side.bias * self.score_unit
        return found


def _features(statistics: TrainingStatistics) -> Pair[Tensor | None]:
    """Features and attributes of users and of items side by side, (N, F + A)."""
    found = []
    for name, attributes in statistics.attributes.named():
        parts = [] if attributes is None else [attributes]
        if statistics.features is not None:
            parts.insert(0, nn.functional.normalize(statistics.features[name], dim=1))
        found.append(torch.cat(parts, dim=1) if parts else None)
    return Pair(*found)


def _share(degree: Tensor) -> Tensor:
    """One over the root of numbers of ratings (N,)."""
    return degree.clamp(min=1).float() ** -0.5


def _logit(shape: Shape) -> float:
    """The score whose sigmoid is the rating to start from."""
    share = (shape.start - shape.low) / (shape.high - shape.low)
    share = min(max(share, 1e-3), 1 - 1e-3)  # at the very edge of the range it would be infinite
    return math.log(share / (1 - share))


def _regression(features: Tensor, vectors: Tensor) -> Tensor:
    """The map (F, D) that explains vectors (N, D) by features (N, F) best, by ridge regression."""
    gram = features.T @ features
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
    found: Tensor = torch.linalg.solve(gram, features.T @ vectors)
    return found
