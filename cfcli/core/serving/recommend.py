"""Lists of items for users."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import cast, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.ids import are_integers
from cfcli.core.data.unknown import UnknownIds
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.inputs import ratings as rating_files
from cfcli.core.inputs.pairs import read_pairs
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source
from cfcli.core.models.interest import Interest
from cfcli.core.models.top import best_places
from cfcli.core.runs.run import Run
from cfcli.core.serving.order import By, Order, why_none
from cfcli.core.serving.predict import ADDED, find_pair_columns
from cfcli.core.serving.top_items import Block, top_items
from cfcli.core.serving.users import Rated, Users, folded_users, known_users, rated_by


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
            interest model, and it is asked for; or ``seen`` is given, and nothing is to be left
            out.
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
            chosen = replace(chosen, rated=rated_by(run, index))
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


def _pairs(source: Source, form: Form) -> pl.DataFrame:
    """The pairs of a table, whatever else it holds: ``user_id`` and ``item_id``."""
    frames = [rows.frame for rows in read_pairs(source, form, may_be_empty=True)]
    if not frames:
        return pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String})
    frame = pl.concat(frames)
    columns = find_pair_columns(frame.drop(ADDED, strict=False).schema, form, source.name)
    return frame.select(user_id=columns.user, item_id=columns.item).cast(pl.String)
