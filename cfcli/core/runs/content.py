"""What a training keeps of attributes: the maps of users and items."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.attributes import Encoded
from cfcli.core.data.content import NEW, Content, held_out, weight_of
from cfcli.core.data.dataset import Dataset
from cfcli.core.models.interest import Interest
from cfcli.core.models.scoring import vectors_of
from cfcli.core.models.times import seconds_of
from cfcli.core.pair import Entity, Pair
from cfcli.core.runs.finish import Models

Floats = NDArray[np.float32]
Counts = NDArray[np.int64]


def fit_content(
    dataset: Dataset, config: TrainConfig, models: Models, counts: Pair[Counts]
) -> Pair[Content | None]:
    """What attributes tell of vectors, for users and for items; None where there are no attributes.

    The columns are the embedding and the bias of the rating model, and then of the interest model
    the user's vector, or what it is multiplied by for an item and the logarithm of the number of
    its ratings.

    Args:
        dataset: that the models were trained on.
        config: the settings of the training.
        models: what came of it.
        counts: numbers of training ratings of users (U,) and items (I,).
    """
    known, tensors = dataset.attributes, models.rating.tensors
    found: dict[Entity, Content | None] = {"user": None, "item": None}
    for entity, n in counts.named():
        encoded: Encoded | None = known[entity]
        if encoded is None:
            continue
        parts = [vectors_of(tensors, entity)]
        if not isinstance(models.interest, str):
            parts += _of_interest(models.interest.tensors, entity)
        weight = weight_of(entity, n, NEW)
        content = Content.fit(encoded, np.column_stack(parts), weight)
        # Gradient descent has no noise and no prior by which ratings would be folded in.
        if entity == "item" and models.rating.solver == "gibbs":
            told = held_out(encoded, vectors_of(tensors, "item"), weight)
            content = replace(content, shift=_shift(dataset, config, models, told))
        found[entity] = content
    return Pair(found["user"], found["item"])


def _of_interest(tensors: Mapping[str, Floats], entity: Entity) -> list[Floats]:
    """What of the interest model is told by attributes, (N, K) and perhaps (N,)."""
    model = Interest(tensors)
    if entity == "user":
        return [model.user]
    return [model.targets.T, np.log1p(model.raters)]


def _shift(dataset: Dataset, config: TrainConfig, models: Models, items: Floats) -> Floats:
    """How far each user's vector moves where all that they rated is known by attributes alone.

    Who rates little chose the better items, and the items' biases explain their high ratings. Of a
    new item the bias is not known, but they will choose it as they chose the others. So their own
    bias must say it. The same holds for tastes: what attributes leave open of the items that a
    user chose is in the items' vectors, and here in the user's.

    Args:
        dataset: that the models were trained on.
        config: the settings of the training.
        models: what came of it.
        items: what attributes tell of each item without its own ratings, (I, D + 1).

    Returns:
        (U, D + 1), the bias last; the mean for those without ratings.
    """
    rating = models.rating
    trained = vectors_of(rating.tensors, "user")
    parts = {"item_embedding.weight": items[:, :-1], "item_bias": items[:, -1]}
    model = replace(rating, tensors=rating.tensors | parts).predictor(config.model)
    times = rating.times
    rows = dataset.training_rows(
        models.sides, config.half_life_seconds(), times=times is not None
    ).sort("user", maintain_order=True)
    user, item, seen = (rows[name].to_numpy() for name in ("user", "item", "rating"))
    if times is not None:
        seen = seen - times.offset(user.astype(np.int64), item, seconds_of(rows["timestamp"]))
    weight = rows["weight"].to_numpy() if "weight" in rows.columns else None
    n = np.bincount(user, minlength=len(trained))
    ends = np.cumsum(n)
    found = np.zeros_like(trained)
    for u in np.flatnonzero(n):
        part = slice(ends[u] - n[u], ends[u])
        counts = None if weight is None else weight[part]
        found[u] = model.fold_in(item[part], seen[part], 0, trained[u], counts) - trained[u]
    found[n == 0] = found[n > 0].mean(0)
    return found
