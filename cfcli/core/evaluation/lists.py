"""How good the lists of a run are, beside a list of the most rated items."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.metrics import lists as metrics
from cfcli.core.metrics.intervals import Interval, mean_with_interval
from cfcli.core.metrics.lists import K, Quality, coverage, mean_quality, novelty
from cfcli.core.metrics.ratings import Floats as Doubles
from cfcli.core.models.heads import Floats
from cfcli.core.models.top import best_columns
from cfcli.core.runs.run import Run, starts_of
from cfcli.core.serving.order import Order
from cfcli.core.serving.top_items import BLOCK
from cfcli.core.storage.schema import left_out

MOST_USERS = 20_000  # that are judged
ORDERS = {
    "popular": "most rated",
    "rating": "by rating",
    "interest": "by interest",
    "list": "recommend",
}  # what tables call them
Orders = Mapping[str, Floats]  # scores (B, I) by the name of the order


@dataclass(frozen=True)
class ListQuality:
    """Quality of the lists of one order.

    Attributes:
        all: for all held-out rows.
        liked: for those that the user liked.
        coverage: share of the items that stand on at least one list.
        novelty: mean self-information of the items on the lists, in bits.
    """

    all: Quality
    liked: Quality
    coverage: float
    novelty: float


@dataclass(frozen=True, kw_only=True)
class ListEvaluation:
    """Quality of lists, over all items that have training ratings.

    Attributes:
        k: places of a list.
        users: whose lists are judged.
        liked_from: the lowest rating of what a user liked.
        popular: of the most rated items.
        rating: of the order by predicted rating.
        interest: of the order by interest; None where the run has no interest model.
        list: of the order of ``recommend``.
        ndcg_difference_to_popular: what nDCG of ``list`` for liked rows is above that of
            ``popular``.
    """

    k: int
    users: int
    liked_from: float
    popular: ListQuality
    rating: ListQuality
    interest: ListQuality | None = left_out()
    list: ListQuality
    ndcg_difference_to_popular: Interval


class JudgedLists(NamedTuple):
    """Lists that were judged.

    Attributes:
        evaluation: their quality.
        users: the nDCG of each user's list by ``recommend`` for liked rows: columns ``user`` (an
            index) and ``ndcg``, not a number where no row is liked.
    """

    evaluation: ListEvaluation
    users: pl.DataFrame


def judge_lists(
    run: Run,
    rows: pl.DataFrame,
    *,
    are_of_dataset: bool,
    k: int = K,
    liked_from: float | None = None,
    seed: int = 0,
) -> ListEvaluation | None:
    """Judge the lists of users with held-out rows.

    A user's other pairs in the dataset are no candidates. Rows of unknown users and items are left
    out; items without training ratings count as relevant, though no list can show them. More than
    20,000 users are sampled.

    Args:
        run: whose lists.
        rows: held-out rows, as :func:`cfcli.core.evaluation.evaluate.indexed` gives them.
        are_of_dataset: whether they are rows of the run's dataset. Others lose those pairs that are
            in the dataset.
        k: places of a list.
        liked_from: lowest rating of what a user liked; by default a quarter below the top of the
            scale.
        seed: of the sample of users.

    Returns:
        None where no user can be judged.

    Raises:
        ArtifactError: the run keeps no record of what users rated, or is damaged.
    """
    pairs = run.seen_pairs().select("user", "item")
    known = rows.drop_nulls(["user", "item"]).with_columns(pl.col("user", "item").cast(pl.UInt32))
    known = known.unique(["user", "item"], maintain_order=True)
    if are_of_dataset:
        pairs = pairs.join(known, on=["user", "item"], how="anti", maintain_order="left")
    else:
        known = known.join(pairs, on=["user", "item"], how="anti", maintain_order="left")
    users = known["user"].unique().sort()
    if len(users) > MOST_USERS:
        users = users.sample(MOST_USERS, seed=seed).sort()
        known = known.filter(pl.col("user").is_in(users.implode()))
    if not len(users):
        return None
    return judge_beside(run, known, pairs, k, liked_from).evaluation


def judge_beside(
    run: Run,
    rows: pl.DataFrame,
    pairs: pl.DataFrame,
    k: int = K,
    liked_from: float | None = None,
) -> JudgedLists:
    """Judge the lists of all users in rows.

    Args:
        run: whose lists.
        rows: held-out rows, at least one: columns ``user`` and ``item``, indices of the run, and
            ``rating``.
        pairs: what is no candidate: columns ``user`` and ``item``, sorted by user.
        k: places of a list.
        liked_from: lowest rating of what a user liked; by default a quarter below the top of the
            scale.
    """
    shape = run.info.shape
    least = metrics.liked_from(shape.low, shape.high) if liked_from is None else liked_from
    index = rows["user"].unique().sort().to_numpy().astype(np.int64)
    starts = starts_of(pairs["user"].to_numpy(), run.users.height)
    judge = _Judge(run, min(k, run.items.height), starts, pairs["item"].to_numpy())
    held_out = rows.sort("user")
    size = max(1, BLOCK // run.items.height)
    for start in range(0, len(index), size):
        part = index[start : start + size]
        of_part = held_out.filter(pl.col("user").is_between(int(part[0]), int(part[-1])))
        judge.block(part, of_part, least)
    return JudgedLists(judge.result(least), judge.of_users(index))


class _Tally:
    """What is known of the lists of one order so far."""

    def __init__(self, items: int) -> None:
        self.all: list[tuple[Doubles, Doubles]] = []
        self.liked: list[tuple[Doubles, Doubles]] = []
        self.shown = np.zeros(items, np.int64)

    def add(
        self,
        top: NDArray[np.int64],
        there: NDArray[np.bool_],
        every: NDArray[np.bool_],
        liked: NDArray[np.bool_],
    ) -> None:
        """Counts lists.

        Args:
            top: the items on them, best first, (B, K).
            there: which places have an item at all, (B, K).
            every: which items are relevant, (B, I),
            liked: and which of them were liked, (B, I).
        """
        for found, relevant in ((self.all, every), (self.liked, liked)):
            found.append(metrics.judged(top, there, relevant))
        self.shown += np.bincount(top[there], minlength=len(self.shown))


class _Judge:
    """Lists of several orders for the same users."""

    def __init__(
        self, run: Run, k: int, starts: NDArray[np.int64], items: NDArray[np.integer]
    ) -> None:
        self.order, self.k, self.users = Order.of(run), k, run.users.height
        self.starts, self.items = starts, items
        names = ["popular", "rating", "interest", "list"]
        if self.order.interest is None:
            names.remove("interest")
        self.tallies = {name: _Tally(run.items.height) for name in names}

    def block(self, users: NDArray[np.int64], rows: pl.DataFrame, liked_from: float) -> None:
        """Judges the lists of some users.

        Args:
            users: their indices, ascending, (B,).
            rows: their held-out rows.
            liked_from: lowest rating of what a user liked.
        """
        shape = len(users), len(self.order.popularity)
        place = np.searchsorted(users, rows["user"].to_numpy())
        item, is_liked = rows["item"].to_numpy(), rows["rating"].to_numpy() >= liked_from
        relevant, liked = np.zeros(shape, bool), np.zeros(shape, bool)
        relevant[place, item] = True
        liked[place[is_liked], item[is_liked]] = True
        left_out = [slice(self.starts[user], self.starts[user + 1]) for user in users]
        row = np.repeat(np.arange(len(users)), [part.stop - part.start for part in left_out])
        column = np.concatenate([self.items[part] for part in left_out])
        for name, scores in self._orders(users).items():
            scores[:, ~self.order.known] = -np.inf
            scores[row, column] = -np.inf
            top, found = best_columns(scores, self.k)
            self.tallies[name].add(top, np.isfinite(found), relevant, liked)

    def _orders(self, users: NDArray[np.int64]) -> Orders:
        vectors = self.order.vectors(users)
        rating = self.order.predictor.scores(self.order.predictor.user_vectors(users))
        found = {"popular": np.tile(self.order.popularity, (len(users), 1)), "rating": rating}
        if self.order.interest is None or vectors.interest is None:
            return found | {"list": rating.copy()}
        interest = self.order.interest.scores(vectors.interest)
        found["list"] = self.order.blend(interest, rating)
        return found | {"interest": interest}

    def of_users(self, users: NDArray[np.int64]) -> pl.DataFrame:
        """The frame of :class:`JudgedLists`.

        Args:
            users: the indices of all users judged, (N,).
        """
        liked = np.concatenate([found for found, _ in self.tallies["list"].liked])
        return pl.DataFrame({"user": users.astype(np.uint32), "ndcg": liked})

    def result(self, liked_from: float) -> ListEvaluation:
        """What came of all users.

        Args:
            liked_from: lowest rating of what a user liked.
        """
        qualities, of_users = {}, {}
        for name, tally in self.tallies.items():
            every, liked = (
                [np.concatenate(side) for side in zip(*part, strict=True)]
                for part in (tally.all, tally.liked)
            )
            qualities[name] = ListQuality(
                mean_quality(*every),
                mean_quality(*liked),
                coverage(tally.shown, len(tally.shown)),
                novelty(tally.shown, self.order.raters, self.users),
            )
            of_users[name] = liked[0]
        difference = of_users["list"] - of_users["popular"]
        judged = difference[~np.isnan(difference)]
        return ListEvaluation(
            k=self.k,
            users=len(difference),
            liked_from=liked_from,
            popular=qualities["popular"],
            rating=qualities["rating"],
            interest=qualities.get("interest"),
            list=qualities["list"],
            ndcg_difference_to_popular=_interval(judged),
        )


def _interval(values: Doubles) -> Interval:
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    return mean_with_interval(values, np.arange(len(values), dtype=np.uint32))
