"""Who gets lists: users with their vectors and what they know already, those of the run and those
whose ratings are folded in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.ids import IdMap
from cfcli.core.data.unknown import UnknownIds, example_of, unknown_ids
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.models.heads import Floats
from cfcli.core.models.interest import choice_weights
from cfcli.core.models.kinds import KINDS
from cfcli.core.runs.run import Run, starts_of
from cfcli.core.serving.order import Order, UserVectors

Places = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows and columns of scores


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


class Rated(NamedTuple):
    """The items that make up the interest vector of a user.

    Attributes:
        items: their indices, (N,).
        weights: how much each counts, (N,).
    """

    items: NDArray[np.integer]
    weights: Floats


@dataclass(frozen=True)
class Users:
    """Whom to recommend to (N of them).

    Attributes:
        ids: as they go out, (N,).
        vectors: of new users; or, of users of the run, their indices (N,).
        seen: the items to leave out, or None to leave nothing out.
        rated: what their interest vectors are made of, one for each; None where nobody asks.
    """

    ids: pl.Series
    vectors: UserVectors | NDArray[np.int64]
    seen: Seen | None
    rated: "list[Rated] | None" = None

    def left_out(self, rows: slice) -> Places:
        """What is to be left out for some of them: their places among these, and items.

        Args:
            rows: which.
        """
        if self.seen is None:
            nothing = np.zeros(0, np.int64)
            return nothing, nothing
        starts = self.seen.starts[rows.start : rows.stop + 1]
        row = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        return row, self.seen.items[starts[0] : starts[-1]].astype(np.int64)

    def part(self, order: Order, rows: slice) -> UserVectors:
        """The vectors of some of them.

        Args:
            order: that scores for them.
            rows: which.
        """
        if isinstance(self.vectors, UserVectors):
            return UserVectors(*(None if side is None else side[rows] for side in self.vectors))
        return order.vectors(self.vectors[rows])


def known_users(
    run: Run,
    ids: pl.Series | None,
    *,
    include_seen: bool = False,
    seen: pl.DataFrame | None = None,
    note: Callable[[str], object] | None = None,
) -> Users:
    """Users of the run.

    Args:
        run: that knows them.
        ids: theirs; by default all.
        include_seen: leave out nothing.
        seen: ``user_id`` and ``item_id`` of what they know, in the place of the dataset's ratings.
        note: is called with what a person should know about ``seen``.

    Raises:
        InputError: the run does not know a user, or no pair that is seen.
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
            counted = unknown_ids(maps)
            counted.user.count(seen["user_id"], user)
            counted.item.count(seen["item_id"], item)
            said = counted.user.notes() + counted.item.notes()
            pairs = pl.DataFrame({"user": user, "item": item}).drop_nulls().sort("user")
            if seen.height and not pairs.height:
                raise InputError(f"--seen: leaves nothing out: {'; '.join(said)}")
            for text in said:
                if note is not None:
                    note(text)
            starts = starts_of(pairs["user"].to_numpy(), run.users.height)
            everything = Seen(starts, pairs["item"].to_numpy())
        known = everything.of(index)
    name = run.info.columns.user
    return Users(run.users[name].gather(index), index, known)


def rated_by(run: Run, users: NDArray[np.int64]) -> list[Rated]:
    """What the interest vectors of users are made of, one for each.

    Args:
        run: whose interest model.
        users: their indices, (N,).
    """
    pairs = run.seen_pairs().filter(pl.col("weight") > 0)
    starts = starts_of(pairs["user"].to_numpy(), run.users.height)
    items, weights = pairs["item"].to_numpy(), pairs["weight"].to_numpy()
    parts = [slice(starts[user], starts[user + 1]) for user in users]
    return [Rated(items[part], weights[part]) for part in parts]


def known_alone(run: Run, ids: pl.Series) -> tuple[pl.Series, list[str]]:
    """The users whom the run knows, and notes for a person on those whom it does not.

    Args:
        run: that knows them.
        ids: texts, (N,).

    Raises:
        InputError: it knows none of them.
    """
    index = run.ids.user.index(ids)
    known = ids.filter(index.is_not_null())
    if not len(known):
        raise _unknown_users(run, ids)
    counted = UnknownIds("user", run.ids.user)
    counted.count(ids, index)
    return known, counted.notes()


def _unknown_users(run: Run, ids: pl.Series) -> InputError:
    """The error for users whom the run does not know."""
    more = f" (+{len(ids) - 1:,} more)" if len(ids) > 1 else ""
    return InputError(
        f"user {example_of(ids, run.ids.user)}{more} is not in {run.path}; fold new users in with "
        "--ratings FILE"
    )


def folded_users(
    run: Run,
    order: Order,
    ratings: pl.DataFrame,
    ids: pl.Series | None,
    *,
    include_seen: bool = False,
    seen: pl.DataFrame | None = None,
) -> tuple[Users, list[str]]:
    """Users with the vectors that training would give them with the items held fast. The vectors of
    users whom the run knows are moved by their new ratings.

    Args:
        run: whose items they rated.
        order: that is to score for them.
        ratings: theirs: ``user_id``, ``item_id`` and ``rating``.
        ids: of those to recommend to; by default all of them.
        include_seen: leave out nothing.
        seen: ``user_id`` and ``item_id`` of what they know beside ``ratings``, in the place of the
            dataset's ratings.

    Returns:
        The users, and notes for a person.

    Raises:
        ConfigError: no model of the order can fold users in.
        InputError: a user has no rating of an item that the run knows.
    """
    has_rating = KINDS[run.info.model].has_linear_space
    if not has_rating and order.interest is None:
        raise ConfigError(
            f"--ratings: {run.path} is {run.info.model}, whose network has no closed form; order "
            "by interest, or use an mf"
        )
    notes = []
    if not has_rating:
        notes.append(f"{run.info.model} folds no ratings in: ordered by interest alone")
    wanted = ratings["user_id"].unique(maintain_order=True) if ids is None else ids
    item_index = run.ids.item.index(ratings["item_id"])
    user_index = run.ids.user.index(ratings["user_id"])
    counted = unknown_ids(run.ids)
    counted.item.count(ratings["item_id"], item_index)
    counted.user.count(ratings["user_id"], user_index)
    of_ids = counted.user.notes(are_expected=True) + counted.item.notes()
    notes += of_ids
    ratings = ratings.with_columns(item=item_index, user=user_index)
    groups = _by_user(ratings)
    others = None
    if seen is not None:
        index = run.ids.item.index(seen["item_id"])
        of_users = UnknownIds("user", IdMap(ratings["user_id"].unique()), "--ratings")
        of_users.count(seen["user_id"], of_users.known.index(seen["user_id"]))
        of_items = UnknownIds("item", run.ids.item)
        of_items.count(seen["item_id"], index)
        said = of_users.notes(are_expected=True) + of_items.notes()
        notes += [f"--seen: {text}" for text in said]
        others = _by_user(seen.with_columns(item=index))
    users = run.ids.user.index(wanted)
    folding, histories = _Folding(run, order, has_rating), _Histories(run, users)
    vectors, rated, parts, trained = [], [], [], 0
    left_out: list[str] = []
    for name, user in zip(wanted, users, strict=True):
        part = groups.get(name, ratings.clear())
        if user is None and not part.height:
            left_out.append(name)
            continue
        past = histories.of(user)
        to_rate = part.filter(~pl.col("item").is_in(past.filter("trained")["item"].implode()))
        chosen = past.filter(pl.col("weight") > 0)
        to_choose = part.filter(~pl.col("item").is_in(chosen["item"].implode()))
        trained += part.height - to_rate.height
        vectors.append(folding.vectors(to_rate, to_choose, user))
        rated.append(
            Rated(
                np.concatenate([chosen["item"], to_choose["item"]]),
                np.concatenate([chosen["weight"], folding.weights(to_choose)]),
            )
        )
        known = past if others is None else others.get(name, past.clear())
        parts.append(np.union1d(known["item"], part["item"]))
    if trained:
        notes.append(f"ratings left out, as they were trained on already: {trained:,}")
    if left_out:
        unknown = f"no rating of an item that {run.path} knows"
        if not vectors:
            raise InputError("; ".join([f"--ratings: {unknown}", *of_ids]))
        more = f" and {len(left_out) - 1:,} more" if len(left_out) > 1 else ""
        notes.append(f"user '{left_out[0]}'{more}: {unknown}; left out")
        wanted = wanted.filter(~wanted.is_in(left_out))
    out = None
    if not include_seen and parts:
        out = Seen(np.cumsum([0, *map(len, parts)]), np.concatenate(parts).astype(np.int64))
    sides = [None if side[0] is None else np.array(side) for side in zip(*vectors, strict=True)]
    them = UserVectors(*sides) if sides else UserVectors(None, None)
    return Users(wanted, them, out, rated), notes


class _Histories:
    """What users rated before, as :meth:`cfcli.core.runs.run.Run.seen_pairs` has it."""

    def __init__(self, run: Run, users: pl.Series) -> None:
        kinds = {"item": pl.UInt32, "trained": pl.Boolean, "weight": pl.Float32}
        self.pairs = pl.DataFrame(schema=kinds)
        if users.count():  # else nobody has one
            pairs = run.seen_pairs()
            self.starts = starts_of(pairs["user"].to_numpy(), run.users.height)
            self.pairs = pairs.select(*kinds)

    def of(self, user: int | None) -> pl.DataFrame:
        """The pairs of a user.

        Args:
            user: an index; None for one whom the run does not know.
        """
        if user is None:
            return self.pairs.clear()
        return self.pairs[self.starts[user] : self.starts[user + 1]]


class _Folding:
    """Vectors of users from their ratings."""

    def __init__(self, run: Run, order: Order, has_rating: bool) -> None:
        self.order, self.has_rating = order, has_rating
        self.l2 = run.config.adam.l2
        info = run.info.interest
        self.deviation = info.deviation if info is not None and info.deviation else 1.0

    def vectors(
        self, to_rate: pl.DataFrame, to_choose: pl.DataFrame, user: int | None
    ) -> UserVectors:
        """The vectors of one user, (D + 1,) and (K,).

        Args:
            to_rate: what is new to the rating model: columns ``item`` (an index) and ``rating``,
            to_choose: and what is new to the interest model.
            user: index of a user whom the run knows.
        """
        item, rating = to_rate["item"].to_numpy(), to_rate["rating"].to_numpy()
        known = None if user is None else self.order.vectors(np.array([user]))
        of_rating, of_interest = None, None
        if self.has_rating:
            trained = None if known is None or known.rating is None else known.rating[0]
            of_rating = trained
            if len(item):
                of_rating = self.order.predictor.fold_in(item, rating, self.l2, trained)
        if self.order.interest is not None:
            chosen = to_choose["item"].to_numpy()
            of_interest = self.order.interest.fold_in(chosen, self.weights(to_choose))
            if known is not None and known.interest is not None:
                of_interest = of_interest + known.interest[0]
        return UserVectors(of_rating, of_interest)

    def weights(self, ratings: pl.DataFrame) -> Floats:
        """How much each rating counts as a choice, (N,).

        Args:
            ratings: of one user: column ``rating``, (N,).
        """
        rating = ratings["rating"].to_numpy()
        mean = float(rating.mean()) if len(rating) else 0.0
        return choice_weights(rating, mean, self.deviation)


def _by_user(ratings: pl.DataFrame) -> dict[object, pl.DataFrame]:
    """The ratings of known items of each user, by id."""
    known = ratings.drop_nulls("item")
    return {key[0]: part for key, part in known.group_by("user_id", maintain_order=True)}
