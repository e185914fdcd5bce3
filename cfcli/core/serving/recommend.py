"""The best items for users, by blocked matrix products and partial sorts."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, cast, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.ids import IdMap, are_integers
from cfcli.core.data.unknown import UnknownIds, example_of, unknown_ids
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.inputs import ratings as rating_files
from cfcli.core.inputs.pairs import read_pairs
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source
from cfcli.core.models.heads import Floats
from cfcli.core.models.interest import Interest, choice_weights
from cfcli.core.models.kinds import KINDS
from cfcli.core.models.top import best_columns, best_places
from cfcli.core.runs.run import Run, starts_of
from cfcli.core.serving import search
from cfcli.core.serving.diversity import CANDIDATES, diversified
from cfcli.core.serving.order import By, Order, UserVectors, why_none
from cfcli.core.serving.predict import ADDED, find_pair_columns
from cfcli.core.threads import in_threads, undivided_products

BLOCK = 8 << 20  # scores of all items that are held at once
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


@dataclass(frozen=True)
class Choice:
    """Which items to recommend, and by what.

    Attributes:
        n: items for each user.
        by: what they are ordered by.
        items: ids of the items to choose from; None for all.
        include_seen: leave out nothing that a user rated.
        min_ratings: training ratings that an item must have.
        why: how many rated items to name as reasons.
        diversify: weight of being unlike the items above in the list, from 0 to 1, see
            :func:`cfcli.core.serving.diversity.diversified`.
    """

    n: int = 10
    by: By = "list"
    items: pl.Series | None = None
    include_seen: bool = False
    min_ratings: int = 1
    why: int = 0
    diversify: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("n", 1), ("min_ratings", 0), ("why", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}: {getattr(self, name)} is below {least}")
        if self.by not in get_args(By):
            raise ConfigError(f"by: {self.by!r} is none of {', '.join(get_args(By))}")
        if not 0 <= self.diversify <= 1:
            raise ConfigError(f"diversify: {self.diversify} is not between 0 and 1")


@dataclass(frozen=True)
class Recommendations:
    """The best items for users.

    Attributes:
        users: number of users.
        blocks: the rows, block by block, user by user and best first: the user id and the item id
            under their own names, ``rank`` (from 1), ``score`` (what the order is by),
            ``prediction`` (the rating; null where the rating model does not know the user),
            ``ratings`` (how many the item has in training) and, where the run knows titles,
            ``title``; ``because`` with reasons, a list of ids as texts.
        notes: what a person should know about them.
    """

    users: int
    blocks: Iterator[pl.DataFrame]
    notes: list[str]


def recommend(
    run: Run,
    users: pl.Series | None = None,
    choice: Choice = Choice(),
    *,
    ratings: Source | None = None,
    seen: Source | None = None,
    form: Form | None = None,
) -> Recommendations:
    """Finds the best items for users, without those they know.

    Items without a training rating are left out, unless they are asked for and the run knows
    attributes.

    Args:
        run: whose models score.
        users: their ids; by default all users of the run or, with ``ratings``, all users there.
        choice: which items.
        ratings: ratings of users who are folded into the models; they know what they rated.
        seen: pairs of users and what they know, in the place of their ratings in the dataset.
        form: of ``ratings`` and ``seen``; by default that of the run's own ratings.

    Raises:
        ConfigError: ``ratings`` are given, and the model cannot fold users in; the run has no
            interest model, and it is asked for; or ``seen`` is given, and nothing is to be left out.
        InputError: a user or all ``items`` are unknown, or an input cannot be read.
        ArtifactError: the run keeps no record of what users rated.
    """
    if seen is not None and choice.include_seen:
        raise ConfigError("--include-seen leaves nothing out, and --seen does; give one of them")
    order = Order.of(run, choice.by)
    form = form or run.form()
    notes = []
    if users is not None:
        users = users.unique(maintain_order=True)
    if order.by != choice.by:
        notes.append(f"ordered by predicted rating: no interest model{why_none(run)}")
    if choice.why and order.interest is None:
        why = why_none(run) if run.interest is None else "; order by list or interest"
        raise ConfigError(f"--why: reasons come from the interest model alone{why}")
    known = None if seen is None else _pairs(seen, form)
    if ratings is not None:
        new, notes_on_pairs = rating_files.read_distinct(ratings, form)
        run.check_scale(new["rating"], ratings.name)
        chosen, said = folded_users(
            run, order, new, users, include_seen=choice.include_seen, seen=known
        )
        notes += notes_on_pairs + said
    else:
        chosen = known_users(
            run, users, include_seen=choice.include_seen, seen=known, note=notes.append
        )
        if choice.why:
            index = cast(NDArray[np.int64], chosen.vectors)
            chosen = replace(chosen, rated=_rated(run, index))
        if chosen.seen is not None and seen is None and not run.knows_all_pairs:
            notes.append("this run of version 0.1 leaves out what was rated in training alone")
    allowed, said = _allowed(run, choice)
    notes += said
    blocks = _blocks(run, order, chosen, choice, allowed)
    return Recommendations(len(chosen.ids), blocks, notes)


def recommend_frame(
    run: Run,
    users: pl.Series | None = None,
    choice: Choice = Choice(),
    *,
    ratings: Source | None = None,
    seen: Source | None = None,
    form: Form | None = None,
    note: Callable[[str], object] | None = None,
) -> pl.DataFrame:
    """All rows of :func:`recommend`, which takes the same arguments, as one frame.

    Args:
        run: whose models score.
        users: their ids; by default all users of the run or, with ``ratings``, all users there.
        choice: which items.
        ratings: ratings of users who are folded into the models.
        seen: pairs of users and what they know, in the place of their ratings in the dataset.
        form: of ``ratings`` and ``seen``; by default that of the run's own ratings.
        note: is called with what a person should know about the rows.
    """
    found = recommend(run, users, choice, ratings=ratings, seen=seen, form=form)
    for text in found.notes:
        if note is not None:
            note(text)
    return pl.concat(found.blocks)


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


def _rated(run: Run, users: NDArray[np.int64]) -> list[Rated]:
    """What the interest vectors of users of the run are made of."""
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
            f"--ratings: {run.path} is {run.info.model}, whose network has no closed form; order by "
            "interest, or use an mf"
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


class Block(NamedTuple):
    """The best items for some users (B).

    Attributes:
        start: place of the first user.
        items: indices, best first, (B, n).
        scores: what they are ordered by, (B, n); minus infinity where there are fewer items.
        ratings: predicted ratings, (B, n); None where the rating model does not know the users.
    """

    start: int
    items: NDArray[np.int64]
    scores: Floats
    ratings: Floats | None


def top_items(
    order: Order, users: Users, n: int, allowed: NDArray[np.bool_], diversify: float = 0.0
) -> Iterator[Block]:
    """Finds the best items block by block.

    Args:
        order: that scores.
        users: whom to recommend to.
        n: items for each user.
        allowed: the items to choose from, (I,).
        diversify: see :class:`Choice`.

    Yields:
        The best items of some users.
    """
    n = min(n, len(allowed))
    alike = order.item_vectors if diversify else None
    places = n if alike is None else min(n * CANDIDATES, len(allowed))
    find: _Products | _AllScores = _AllScores(order, allowed)
    block = max(1, BLOCK // len(allowed))
    if order.item_side is not None:
        find, block = _Products(order, order.item_side, allowed), search.USERS

    def best(start: int) -> Block:
        """The best items for a block of users.

        Args:
            start: place of the first.
        """
        rows = slice(start, min(start + block, len(users.ids)))
        them = users.part(order, rows)
        items, scores = find(them, users.left_out(rows), places)
        if alike is not None:
            chosen = diversified(items, scores, alike, n, diversify)
            items = np.take_along_axis(items, chosen, axis=1)
            scores = np.take_along_axis(scores, chosen, axis=1)
        return Block(start, items, scores, _ratings(order, them, items))

    starts = range(0, len(users.ids), block)
    if len(starts) == 1:
        yield best(0)
        return
    with undivided_products() as threads:
        yield from in_threads(best, starts, threads)


@dataclass(frozen=True)
class _AllScores:
    """Finds the best items by the scores of all. It holds for every model, and :class:`_Products`
    must find the same.

    Attributes:
        order: that scores.
        allowed: the items to choose from, (I,).
    """

    order: Order
    allowed: NDArray[np.bool_]

    def __call__(
        self, users: UserVectors, left_out: Places, n: int
    ) -> tuple[NDArray[np.int64], Floats]:
        """Items and scores, best first, both (B, n).

        Args:
            users: whom to score for (B).
            left_out: rows and items that do not count.
            n: items for each user.
        """
        scores = self.order.scores(users)
        scores[:, ~self.allowed] = -np.inf
        scores[left_out] = -np.inf
        return best_columns(scores, n)


class _Products:
    """Finds the best items by products, see :func:`cfcli.core.serving.search.best_products`.

    Args:
        order: that scores.
        item_side: see :attr:`cfcli.core.serving.order.Order.item_side`.
        allowed: the items to choose from, (I,).
    """

    def __init__(self, order: Order, item_side: Floats, allowed: NDArray[np.bool_]) -> None:
        self.order, self.allowed = order, allowed
        self.side = item_side if allowed.all() else item_side[:, allowed]
        self.items = np.append(np.flatnonzero(allowed), 0)  # the last for where there are none
        self.column = np.cumsum(allowed) - 1  # of each item that is allowed

    def __call__(
        self, users: UserVectors, left_out: Places, n: int
    ) -> tuple[NDArray[np.int64], Floats]:
        """The same as :meth:`_AllScores.__call__`."""
        row, item = left_out
        counts = self.allowed[item]
        places = row[counts], self.column[item[counts]]
        scaled = self.order.scaled(users)
        column, scores = search.best_products(scaled.users, self.side, n, places)
        return self.items[column], scores + scaled.offset


def _ratings(order: Order, users: UserVectors, items: NDArray[np.int64]) -> Floats | None:
    """Predicted ratings of items (B, n); None where the rating model does not know the users."""
    if users.rating is None:
        return None
    theirs = np.repeat(users.rating, items.shape[1], axis=0)
    found = order.predictor.pairs(theirs, order.predictor.vectors("item", items.ravel()))
    return found.reshape(items.shape)


def _allowed(run: Run, choice: Choice) -> tuple[NDArray[np.bool_], list[str]]:
    """Which items may be recommended, (I,): those with training ratings, among those asked for; and
    notes for a person.

    Raises:
        InputError: the run knows none of those asked for.
    """
    allowed: NDArray[np.bool_] = run.items["n_ratings"].to_numpy() >= max(choice.min_ratings, 1)
    if choice.items is None:
        return allowed, []
    index = run.ids.item.index(choice.items)
    counted = UnknownIds("item", run.ids.item)
    counted.count(choice.items, index)
    notes = [f"items to choose from: {text}" for text in counted.notes()]
    if index.null_count() == len(index):
        raise InputError("; ".join([f"no item to choose from is in {run.path}", *notes]))
    chosen = np.zeros(len(allowed), bool)
    chosen[index.drop_nulls().to_numpy()] = True
    if run.content.item is not None:  # attributes tell something of those without ratings
        allowed |= run.items["n_ratings"].to_numpy() == 0
    return allowed & chosen, notes


def _blocks(
    run: Run, order: Order, users: Users, choice: Choice, allowed: NDArray[np.bool_]
) -> Iterator[pl.DataFrame]:
    """The rows of :class:`Recommendations`."""
    columns = run.info.columns
    texts = run.items[columns["item"]]
    item_ids, user_ids = _typed(texts), _typed(users.ids)
    if not len(users.ids):
        none = np.zeros((0, 1), np.float32)
        blocks: Iterable[Block] = [Block(0, none.astype(np.int64), none, none)]
    else:
        blocks = top_items(order, users, choice.n, allowed, choice.diversify)
    for block in blocks:
        there = np.isfinite(block.scores)
        row, place = np.nonzero(there)
        item = block.items[there]
        frame = pl.DataFrame(
            {
                columns["user"]: user_ids.gather(row + block.start),
                columns["item"]: item_ids.gather(item),
                "rank": (place + 1).astype(np.uint32),
                "score": block.scores[there],
                "prediction": pl.repeat(None, len(item), dtype=pl.Float32, eager=True)
                if block.ratings is None
                else block.ratings[there],
                "ratings": run.items["n_ratings"].gather(item),
            }
        )
        if "title" in run.items.columns:
            frame = frame.with_columns(title=run.items["title"].gather(item))
        if choice.why and order.interest is not None and users.rated is not None:
            of_rows = [users.rated[place] for place in row + block.start]
            reasons = [
                texts.gather(_reasons(order.interest, rated, target, choice.why))
                for rated, target in zip(of_rows, item, strict=True)
            ]
            frame = frame.with_columns(because=pl.Series(reasons, dtype=pl.List(pl.String)))
        yield frame


def _reasons(interest: Interest, rated: Rated, target: int, n: int) -> NDArray[np.int64]:
    """The rated items whose parts of the interest score of an item are the largest.

    The score is the sum of these parts, see :class:`cfcli.core.models.interest.Interest`.
    """
    parts = rated.weights * (interest.item[rated.items] @ interest.targets[:, target])
    best = best_places(parts, n)
    found: NDArray[np.int64] = rated.items[best[parts[best] > 0]].astype(np.int64)
    return found


def _typed(ids: pl.Series) -> pl.Series:
    """Ids as numbers where all of them are, as the embeddings have them."""
    return ids.cast(pl.Int64) if are_integers(ids) else ids


def _by_user(ratings: pl.DataFrame) -> dict[object, pl.DataFrame]:
    """The ratings of known items of each user, by id."""
    known = ratings.drop_nulls("item")
    return {key[0]: part for key, part in known.group_by("user_id", maintain_order=True)}


def _pairs(source: Source, form: Form) -> pl.DataFrame:
    """The pairs of a table, whatever else it holds: ``user_id`` and ``item_id``."""
    frames = [rows.frame for rows in read_pairs(source, form, may_be_empty=True)]
    if not frames:
        return pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String})
    frame = pl.concat(frames)
    columns = find_pair_columns(frame.drop(ADDED, strict=False).schema, form, source.name)
    return frame.select(user_id=columns.user, item_id=columns.item).cast(pl.String)
