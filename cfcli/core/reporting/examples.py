"""A few users: what they liked, and what a run recommends to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

import numpy as np
import polars as pl

from cfcli.core.runs.run import SEEN, Run
from cfcli.core.serving.recommend import Choice, recommend_frame

USERS = 3
LEAST = 20  # training ratings of a user who is shown, where there are such
LIKED = 5  # items that a user liked
N = 5  # items that are recommended


@dataclass(frozen=True)
class Suggestion:
    """A recommended item.

    Attributes:
        title: its title, or its id.
        because: the title of the rated item that speaks most for it; empty where that is unknown.
    """

    title: str
    because: str


@dataclass(frozen=True)
class Liked:
    """An item that a user rated.

    Attributes:
        title: its title, or its id.
        rating: the rating.
    """

    title: str
    rating: float


@dataclass(frozen=True)
class Example:
    """A user.

    Attributes:
        name: what the report calls the user.
        ratings: how many the user gave in training.
        liked: the items that the user rated highest.
        lists: the recommendations, by the names of the runs.
    """

    name: str
    ratings: int
    liked: list[Liked]
    lists: dict[str, list[Suggestion]]


def examples(
    runs: Mapping[str, Run], *, data: Path | None = None, show_ids: bool = False
) -> list[Example]:
    """Users drawn at random, always the same of the same run.

    Args:
        runs: that recommend, by their names.
        data: where the dataset of the first run is now, if it moved.
        show_ids: call users by their ids instead of "user A" and so on.

    Returns:
        At most ``USERS``; none where a run does not know what users rated.

    Raises:
        ArtifactError: the dataset is gone, or is another one now.
    """
    first = next(iter(runs.values()))
    if any(SEEN not in run.info.files for run in runs.values()):
        return []
    chosen = _users(list(runs.values()))
    ids = first.users[first.info.columns.user].gather(chosen)
    lists = {name: _lists(run, ids) for name, run in runs.items()}
    sides = [first.rows(side, data) for side in first.trained_sides]
    rows = pl.concat(sides).filter(pl.col("user").is_in(chosen))
    found = []
    for place, (user, name) in enumerate(zip(chosen, ids, strict=True)):
        rated = rows.filter(pl.col("user") == user)
        example = Example(
            name=f"user {name}" if show_ids else f"user {ascii_uppercase[place]}",
            ratings=rated.height,
            liked=_liked(first, rated),
            lists={run: of_run.get(name, []) for run, of_run in lists.items()},
        )
        found.append(example)
    return found


def _users(runs: Sequence[Run]) -> list[int]:
    """Indices, in the first run, of users whom all runs know."""
    first = runs[0]
    ids = first.users[first.info.columns.user]
    known = np.ones(len(ids), bool)
    for run in runs[1:]:
        known &= run.ids.user.index(ids).is_not_null().to_numpy()
    ratings = np.where(known, first.users["n_ratings"].to_numpy(), 0)
    enough = np.flatnonzero(ratings >= LEAST)
    if len(enough) < USERS:
        enough = np.flatnonzero(ratings > 0)
    drawn: list[int] = np.random.default_rng(0).permutation(enough)[:USERS].tolist()
    return drawn


def _liked(run: Run, rated: pl.DataFrame) -> list[Liked]:
    """The highest ratings of a user; of equal ones, those of the items that more people rated."""
    counts = run.items["n_ratings"].gather(rated["item"])
    best = rated.with_columns(n=counts).sort("rating", "n", descending=True).head(LIKED)
    titles = _titles(run)
    return [Liked(titles[item], rating) for item, rating in best.select("item", "rating").rows()]


def _lists(run: Run, ids: pl.Series) -> dict[str, list[Suggestion]]:
    """What a run recommends to each user, by id."""
    columns = run.info.columns
    why = 1 if run.interest is not None else 0
    frame = recommend_frame(run, ids, Choice(n=N, why=why))
    titles = dict(zip(run.items[columns.item], _titles(run), strict=True))
    reasons = frame["because"].to_list() if why else [[]] * frame.height
    users, items = frame[columns.user].cast(pl.String), frame[columns.item].cast(pl.String)
    found: dict[str, list[Suggestion]] = {}
    for user, item, because in zip(users, items, reasons, strict=True):
        reason = titles[because[0]] if because else ""
        found.setdefault(user, []).append(Suggestion(titles[item], reason))
    return found


def _titles(run: Run) -> list[str]:
    """The title of each item, or its id."""
    ids = run.items[run.info.columns.item]
    if "title" not in run.items.columns:
        return ids.to_list()
    titles = zip(run.items["title"], ids, strict=True)
    return [title or item for title, item in titles]
