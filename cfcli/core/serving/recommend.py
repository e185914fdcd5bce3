"""The best items for users, by blocked matrix products and partial sorts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.data.ids import are_integers
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.inputs import ratings as rating_files
from cfcli.core.inputs.sources import Source
from cfcli.core.models.heads import Floats
from cfcli.core.models.kinds import KINDS
from cfcli.core.models.scoring import Predictor
from cfcli.core.models.top import best_columns
from cfcli.core.runs.run import Run, starts_of

BLOCK = 8 << 20  # scores that are held at once


class Seen(NamedTuple):
    """What users (N) know already.

    Attributes:
        starts: where each user's items begin, and where the last ones end, (N + 1,).
        items: indices of the items, user by user.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.integer]

    def of(self, users: NDArray[np.int64]) -> "Seen":
        """The same for some users alone.

        Args:
            users: their places among these, (M,).
        """
        everyone = np.arange(len(self.starts) - 1)
        if np.array_equal(users, everyone):
            return self
        parts = [self.items[self.starts[k] : self.starts[k + 1]] for k in users]
        starts = np.cumsum([0, *map(len, parts)])
        return Seen(starts, np.concatenate([self.items[:0], *parts]))


@dataclass(frozen=True)
class Users:
    """Whom to recommend to (N of them).

    Attributes:
        ids: as they go out, (N,).
        vectors: (N, D + 1), see :meth:`cfcli.core.models.scoring.Predictor.user_vectors`; or, of
            users of the run, their indices (N,).
        seen: the items to leave out, or None to leave nothing out.
    """

    ids: pl.Series
    vectors: Floats | NDArray[np.int64]
    seen: Seen | None


@dataclass(frozen=True)
class Recommendations:
    """The best items for users.

    Attributes:
        users: number of users.
        blocks: the rows, block by block, user by user and best first: the user id and the item id
            under their own names, ``rank`` (from 1), ``score`` (the predicted rating) and, where
            the run knows titles, ``title``.
    """

    users: int
    blocks: Iterator[pl.DataFrame]


def recommend(
    run: Run,
    users: pl.Series | None = None,
    *,
    n: int = 10,
    ratings: Source | None = None,
    seen: Source | None = None,
    items: pl.Series | None = None,
    include_seen: bool = False,
) -> Recommendations:
    """Finds the items with the highest predicted ratings for users, without those they know.

    Items without a training rating are left out: nothing is known of them.

    Args:
        run: whose model predicts.
        users: their ids; by default all users of the run or, with ``ratings``, all users there.
        n: items for each user.
        ratings: ratings of new users, who are folded into the model; they know what they rated.
        seen: ratings of what users know, in the place of their training ratings.
        items: ids of the items to choose from; by default all.
        include_seen: leave out nothing.

    Raises:
        ConfigError: ``ratings`` are given, and the model cannot fold users in.
        InputError: a user or all ``items`` are unknown, or an input cannot be read.
        ArtifactError: the run keeps no record of what users rated.
    """
    if ratings is not None:
        chosen = folded_users(run, _read(ratings), users, include_seen=include_seen)
    else:
        known = None if seen is None else _read(seen)
        chosen = known_users(run, users, include_seen=include_seen, seen=known)
    return Recommendations(len(chosen.ids), _blocks(run, chosen, n, _allowed(run, items)))


def recommend_frame(
    run: Run,
    users: pl.Series | None = None,
    *,
    n: int = 10,
    ratings: Source | None = None,
    seen: Source | None = None,
    items: pl.Series | None = None,
    include_seen: bool = False,
) -> pl.DataFrame:
    """All rows of :func:`recommend`, which takes the same arguments, as one frame.

    Args:
        run: whose model predicts.
        users: their ids; by default all users of the run or, with ``ratings``, all users there.
        n: items for each user.
        ratings: ratings of new users, who are folded into the model.
        seen: ratings of what users know, in the place of their training ratings.
        items: ids of the items to choose from; by default all.
        include_seen: leave out nothing.
    """
    found = recommend(
        run, users, n=n, ratings=ratings, seen=seen, items=items, include_seen=include_seen
    )
    return pl.concat(found.blocks)


def known_users(
    run: Run, ids: pl.Series | None, *, include_seen: bool = False, seen: pl.DataFrame | None = None
) -> Users:
    """Users of the run.

    Args:
        run: that knows them.
        ids: theirs; by default all.
        include_seen: leave out nothing.
        seen: ``user_id`` and ``item_id`` of what they know, in the place of the training ratings.

    Raises:
        InputError: the run does not know a user.
        ArtifactError: the run keeps no record of what they rated.
    """
    maps = run.ids
    index = np.arange(run.users.height)
    if ids is not None:
        found = maps.user.index(ids)
        if found.null_count():
            raise _unknown_users(run, ids.filter(found.is_null()))
        index = found.to_numpy().astype(np.int64)
    known = None
    if not include_seen:
        if seen is None:
            everything = Seen(*run.seen())
        else:
            user, item = maps.user.index(seen["user_id"]), maps.item.index(seen["item_id"])
            pairs = pl.DataFrame({"user": user, "item": item}).drop_nulls().sort("user")
            starts = starts_of(pairs["user"].to_numpy(), run.users.height)
            everything = Seen(starts, pairs["item"].to_numpy())
        known = everything.of(index)
    name = run.info.columns.user
    return Users(run.users[name].gather(index), index, known)


def _unknown_users(run: Run, ids: pl.Series) -> InputError:
    """The error for users whom the run does not know."""
    more = f" (+{len(ids) - 1:,} more)" if len(ids) > 1 else ""
    return InputError(
        f"user '{ids[0]}'{more} is not in {run.path}; fold new users in with --ratings FILE"
    )


def folded_users(
    run: Run, ratings: pl.DataFrame, ids: pl.Series | None, *, include_seen: bool = False
) -> Users:
    """New users with the vectors that training would give them with the items held fast.

    Args:
        run: whose items they rated.
        ratings: theirs: ``user_id``, ``item_id`` and ``rating``.
        ids: of those to recommend to; by default all of them.
        include_seen: leave out nothing.

    Raises:
        ConfigError: the model cannot fold users in.
        InputError: a user has no rating of an item that the run knows.
    """
    if not KINDS[run.info.model].has_linear_space:
        raise ConfigError(
            f"--ratings: {run.path} is {run.info.model}, whose network has no closed form; use an mf"
        )
    wanted = ratings["user_id"].unique(maintain_order=True) if ids is None else ids
    item = run.ids.item.index(ratings["item_id"])
    known = ratings.with_columns(item=item).drop_nulls("item")
    groups = {key[0]: part for key, part in known.group_by("user_id", maintain_order=True)}
    predictor, l2 = run.predictor(), run.config.adam.l2
    vectors, parts = [], []
    for user in wanted:
        if user not in groups:
            raise InputError(f"user '{user}': no rating of an item that {run.path} knows")
        part = groups[user]
        items = part["item"].to_numpy()
        vectors.append(predictor.fold_in(items, part["rating"].to_numpy(), l2))
        parts.append(items)
    seen = None
    if not include_seen and parts:
        seen = Seen(np.cumsum([0, *map(len, parts)]), np.concatenate(parts))
    return Users(wanted, np.array(vectors), seen)


def top_items(
    predictor: Predictor, users: Users, n: int, allowed: NDArray[np.bool_]
) -> Iterator[tuple[int, NDArray[np.int64], Floats]]:
    """Finds the best items block by block (B users in each).

    Args:
        predictor: that scores.
        users: whom to recommend to.
        n: items for each user.
        allowed: the items to choose from, (I,).

    Yields:
        The place of the block's first user, and items and scores (B, n), best first; scores are
        minus infinity where there are fewer items.
    """
    width = len(allowed)
    block = max(1, BLOCK // width)
    n = min(n, width)
    for start in range(0, len(users.ids), block):
        part = users.vectors[start : start + block]
        if part.ndim == 1:
            vectors = predictor.user_vectors(cast(NDArray[np.int64], part))
        else:
            vectors = cast(Floats, part)
        scores = predictor.scores(vectors)
        if not allowed.all():
            scores[:, ~allowed] = -np.inf
        if users.seen is not None:
            starts, items = users.seen
            first, last = starts[start], starts[start + len(part)]
            row = np.repeat(np.arange(len(part)), np.diff(starts[start : start + len(part) + 1]))
            scores[row, items[first:last]] = -np.inf
        yield start, *best_columns(scores, n)


def _allowed(run: Run, items: pl.Series | None) -> NDArray[np.bool_]:
    """Which items may be recommended, (I,): those with training ratings, among those asked for.

    Raises:
        InputError: the run knows none of those asked for.
    """
    allowed: NDArray[np.bool_] = run.items["n_ratings"].to_numpy() > 0
    if items is None:
        return allowed
    index = run.ids.item.index(items).drop_nulls()
    if not len(index):
        raise InputError(f"no item to choose from is in {run.path}")
    chosen = np.zeros(len(allowed), bool)
    chosen[index.to_numpy()] = True
    return allowed & chosen


def _blocks(run: Run, users: Users, n: int, allowed: NDArray[np.bool_]) -> Iterator[pl.DataFrame]:
    """The rows of :class:`Recommendations`."""
    predictor = run.predictor()
    columns = run.info.columns
    item_ids, user_ids = _typed(run.items[columns["item"]]), _typed(users.ids)

    def rows(
        user: NDArray[np.int64], item: NDArray[np.int64], rank: NDArray[np.int64], score: Floats
    ) -> pl.DataFrame:
        """The frame of some recommendations (N).

        Args:
            user: places of the users among those asked for, (N,).
            item: indices of the items, (N,).
            rank: from 1, (N,).
            score: with biases, (N,).
        """
        frame = pl.DataFrame(
            {
                columns["user"]: user_ids.gather(user),
                columns["item"]: item_ids.gather(item),
                "rank": rank.astype(np.uint32),
                "score": predictor.rating(score),
            }
        )
        if "title" not in run.items.columns:
            return frame
        return frame.with_columns(title=run.items["title"].gather(item))

    if not len(users.ids):
        none = np.zeros(0, np.int64)
        yield rows(none, none, none, np.zeros(0, np.float32))
    for start, items, scores in top_items(predictor, users, n, allowed):
        there = np.isfinite(scores)
        user = np.arange(start, start + len(items))[:, None]
        rank = np.arange(1, items.shape[1] + 1)
        yield rows(
            np.broadcast_to(user, items.shape)[there],
            items[there],
            np.broadcast_to(rank, items.shape)[there],
            scores[there],
        )


def _typed(ids: pl.Series) -> pl.Series:
    """Ids as numbers where all of them are, as the embeddings have them."""
    return ids.cast(pl.Int64) if are_integers(ids) else ids


def _read(source: Source) -> pl.DataFrame:
    """The ratings of one input: ``user_id``, ``item_id`` and ``rating``."""
    return rating_files.read([source], PrepareConfig())[0]
