"""The best items for users, by blocked matrix products and partial sorts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.ids import are_integers
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.models.scoring import Floats, Predictor
from cfcli.core.models.top import best_columns
from cfcli.core.runs.run import Run, starts_of

BLOCK = 8 << 20  # scores that are held at once


@dataclass(frozen=True)
class Users:
    """Whom to recommend to.

    Attributes:
        ids: (N,), as they go out.
        vectors: (N, D + 1), see :meth:`cfcli.core.models.scoring.Predictor.user_vectors`; or the
            indices (N,) of users of the run.
        seen: what they rated: ``items[starts[k]:starts[k + 1]]`` of user k, or None to leave
            nothing out.
    """

    ids: pl.Series
    vectors: NDArray[Any]
    seen: tuple[NDArray[np.int64], NDArray[np.uint32]] | None


def known_users(
    run: Run, ids: pl.Series | None, *, include_seen: bool = False, seen: pl.DataFrame | None = None
) -> Users:
    """Users of the run by their ids, or all of them.

    Args:
        seen: ``user_id`` and ``item_id`` of what they know, in the place of the training ratings.

    Raises:
        InputError: a user that the run does not know.
        ArtifactError: the run keeps no record of what they rated.
    """
    name = run.info.columns.user
    index = np.arange(run.users.height)
    if ids is not None:
        found = run.ids.user.index(ids)
        if found.null_count():
            unknown = ids.filter(found.is_null())
            more = f" (+{len(unknown) - 1:,} more)" if len(unknown) > 1 else ""
            raise InputError(
                f"user '{unknown[0]}'{more} is not in {run.path}; fold new users in with --ratings FILE"
            )
        index = found.to_numpy().astype(np.int64)
    known = None
    if not include_seen:
        if seen is None:
            starts, items = run.seen()
        else:
            maps = run.ids
            pairs = pl.DataFrame(
                {"user": maps[0].index(seen["user_id"]), "item": maps[1].index(seen["item_id"])}
            )
            pairs = pairs.drop_nulls().sort("user")
            starts, items = (
                starts_of(pairs["user"].to_numpy(), run.users.height),
                pairs["item"].to_numpy(),
            )
        known = _rows_of(starts, items, index)
    return Users(run.users[name].gather(index), index, known)


def folded_users(
    run: Run, ratings: pl.DataFrame, ids: pl.Series | None, *, include_seen: bool = False
) -> Users:
    """Users folded in from their ratings (``user_id``, ``item_id``, ``rating``), all of them or
    those with ``ids``: the vector that training would give them with the items held fast.

    Raises:
        ConfigError: the model is not an MF.
        InputError: a user without a rating of an item that the run knows.
    """
    if run.info.model != "mf":
        raise ConfigError(
            f"--ratings: {run.path} is {run.info.model}, whose network has no closed form; use an mf"
        )
    wanted = ratings["user_id"].unique(maintain_order=True) if ids is None else ids
    item = run.ids.item.index(ratings["item_id"])
    table = ratings.with_columns(item=item).drop_nulls("item")
    groups = {key[0]: part for key, part in table.group_by("user_id", maintain_order=True)}
    predictor, l2 = run.predictor(), run.settings.l2
    vectors, starts, items = [], [0], []
    for user in wanted:
        if user not in groups:
            raise InputError(f"user '{user}': no rating of an item that {run.path} knows")
        part = groups[user]
        vectors.append(predictor.fold_in(part["item"].to_numpy(), part["rating"].to_numpy(), l2))
        items.append(part["item"].to_numpy())
        starts.append(starts[-1] + part.height)
    seen = None if include_seen else (np.array(starts), np.concatenate(items))
    return Users(wanted, np.array(vectors), seen)


def recommend(
    run: Run, users: Users, n: int = 10, candidates: pl.Series | None = None
) -> Iterator[pl.DataFrame]:
    """The ``n`` items with the highest predicted rating for each user, best first, block by block:
    the user id, the item id, ``rank`` (from 1), ``score`` (the predicted rating) and ``title``
    where known.

    Items without a training rating are left out: nothing is known of them.

    Args:
        candidates: ids of the items to choose from.

    Raises:
        InputError: no candidate is in the run.
    """
    allowed = run.items["n_ratings"].to_numpy() > 0
    if candidates is not None:
        index = run.ids.item.index(candidates).drop_nulls()
        if not len(index):
            raise InputError(f"no item to choose from is in {run.path}")
        chosen = np.zeros(len(allowed), bool)
        chosen[index.to_numpy()] = True
        allowed &= chosen
    predictor = run.predictor()
    name = run.info.columns.item
    item_ids, user_ids = _typed(run.items[name]), _typed(users.ids)
    titles = run.items["title"] if "title" in run.items.columns else None
    for start, items, scores in top_items(predictor, users, n, allowed):
        is_there = np.isfinite(scores)
        flat = items[is_there]
        rank = np.broadcast_to(np.arange(1, items.shape[1] + 1), items.shape)[is_there]
        who = np.broadcast_to(np.arange(start, start + len(items))[:, None], items.shape)[is_there]
        columns: dict[str, Any] = {
            run.info.columns.user: user_ids.gather(who),
            name: item_ids.gather(flat),
            "rank": rank.astype(np.uint32),
            "score": predictor.rating(scores[is_there]),
        }
        yield pl.DataFrame(columns | ({"title": titles.gather(flat)} if titles is not None else {}))


def top_items(
    predictor: Predictor, users: Users, n: int, allowed: NDArray[np.bool_]
) -> Iterator[tuple[int, NDArray[np.int64], Floats]]:
    """Block by block, the number of its first user, and items and scores (B, n), best first; scores
    are minus infinity where there are not so many.

    Args:
        allowed: the items to choose from, (I,).
    """
    width = len(allowed)
    block = max(1, BLOCK // width)
    n = min(n, width)
    for start in range(0, len(users.ids), block):
        part = users.vectors[start : start + block]
        scores = predictor.scores(predictor.user_vectors(part) if part.ndim == 1 else part)
        if not allowed.all():
            scores[:, ~allowed] = -np.inf
        if users.seen is not None:
            starts, items = users.seen
            first, last = starts[start], starts[start + len(part)]
            row = np.repeat(np.arange(len(part)), np.diff(starts[start : start + len(part) + 1]))
            scores[row, items[first:last]] = -np.inf
        yield start, *best_columns(scores, n)


def _typed(ids: pl.Series) -> pl.Series:
    """Ids as numbers where all of them are, as the embeddings have them."""
    return ids.cast(pl.Int64) if are_integers(ids) else ids


def _rows_of(
    starts: NDArray[np.int64], items: NDArray[np.uint32], index: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """The same for some users only."""
    if len(index) == len(starts) - 1 and (index == np.arange(len(index))).all():
        return starts, items
    parts = [items[starts[k] : starts[k + 1]] for k in index]
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(
        np.int64
    ), np.concatenate(parts)
