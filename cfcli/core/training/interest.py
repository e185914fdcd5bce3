"""Fits the interest model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cfcli.core.data.blocks import Blocks, in_blocks
from cfcli.core.models.heads import Floats
from cfcli.core.models.scoring import Predictor
from cfcli.core.pair import Pair
from cfcli.core.training.choices import Choices, Directions
from cfcli.core.training.list_settings import FEW_USERS, Judge, Settings
from cfcli.core.training.plan import sizing

JUDGED_ROWS = 25_000  # of validation, by which settings are chosen: beyond, little noise is left


@dataclass(frozen=True)
class FittedInterest:
    """An interest model and how it came about.

    Attributes:
        tensors: parameters by name, see :class:`cfcli.core.models.interest.Interest`.
        penalty: of EASE.
        settings: what was chosen on validation rows, and the quality of the lists with it.
        mean: mean rating of each user, (U,),
        deviation: and standard deviation of all ratings: what the weights of choices follow from.
        liked_from: lowest rating of what a user liked.
        fitted_on: sides of the split that it was fitted on.
        rows: how many ratings these are.
        seconds: that all of it took.
        skipped: what there was no time for; empty for nothing.
    """

    tensors: dict[str, Floats]
    penalty: float
    settings: Settings
    mean: Floats
    deviation: float
    liked_from: float
    fitted_on: tuple[str, ...]
    rows: int
    seconds: float
    skipped: str


def fit(
    sides: dict[str, pl.DataFrame | Blocks],
    shape: Pair[int],
    predictor: Predictor,
    liked_from: float,
    seed: int,
    *,
    on: Sequence[str] = ("train", "val"),
    settings: Settings | None = None,
    until: float | None = None,
) -> FittedInterest:
    """Fits the interest model on training rows, chooses the penalty and the weights of the order on
    validation rows, and fits it anew on these and others.

    Without enough validation rows it takes fixed settings.

    Args:
        sides: rows of each side of the split: columns ``user``, ``item`` and ``rating``.
        shape: numbers of users and of items.
        predictor: of ratings, which has not seen the validation rows.
        liked_from: lowest rating of what a user liked.
        seed: of random numbers.
        on: sides that it is fitted on in the end, ``train`` first.
        settings: chosen before; by default they are chosen here.
        until: when to be done, by ``time.perf_counter``: what cannot begin before is left out.

    Raises:
        ArtifactError: a file of the dataset is damaged.
    """
    begin = time.perf_counter()
    fitted_on = [name for name in on if len(sides[name])]
    choices, found, skipped, is_late = None, None, "", False
    held_out = None if settings else _sample(sides["val"], shape.item, seed)
    if held_out is not None:
        choices = Choices.of([sides["train"]], shape)
        found = Directions.of(choices.table, seed)
        settings = Judge(choices.table, found, held_out, predictor, liked_from).settings(until)
        if settings is None:
            skipped = "choosing its settings"
        is_late = until is not None and time.perf_counter() > until
    settings = settings or Settings()
    if is_late and len(fitted_on) > 1:
        skipped = skipped or "fitting it on held-out rows, too"
        fitted_on = ["train"]
    if choices is None or found is None or len(fitted_on) > 1:
        del choices, found  # to have the memory of one fit alone
        choices = Choices.of([sides[name] for name in fitted_on], shape)
        found = Directions.of(choices.table, seed)
    penalty = settings.share * float(found.energy[0])
    q, scale = found.items(penalty)
    return FittedInterest(
        tensors={
            "user": np.asarray(choices.table @ q, np.float32),
            "item": q,
            "scale": scale,
            "raters": choices.table.getnnz(axis=0).astype(np.float32),
        },
        penalty=penalty,
        settings=settings,
        mean=choices.mean,
        deviation=choices.deviation,
        liked_from=liked_from,
        fitted_on=tuple(fitted_on),
        rows=choices.table.nnz,
        seconds=time.perf_counter() - begin,
        skipped=skipped,
    )


def _sample(val: pl.DataFrame | Blocks, items: int, seed: int) -> pl.DataFrame | None:
    """The validation rows of some users; None where they are too few to choose by."""
    if not len(val):
        return None
    rows = pl.concat([block.select("user", "item", "rating") for block in in_blocks(val)])
    users = rows["user"].unique().sort()
    if len(users) < FEW_USERS:
        return None
    enough = len(users) * JUDGED_ROWS // len(rows)
    most = max(FEW_USERS, min(enough, sizing.JUDGED_SCORES // max(items, 1)))
    if len(users) <= most:
        return rows
    chosen = users.sample(most, seed=seed)
    return rows.filter(pl.col("user").is_in(chosen.implode()))
