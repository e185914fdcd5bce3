"""The items nearest to an item."""

import re
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.errors import ConfigError, InputError
from cfcli.core.models.top import best_places
from cfcli.core.runs.run import SEEN, Run

Metric = Literal["cosine", "dot", "euclidean"]
Counts = NDArray[np.integer]
SHRINKAGE = 10.0  # ratings by which every item seems to have more that nobody shares
ARTICLE_BEHIND = re.compile(r"^(.+), (the|a|an)$")  # as MovieLens writes titles
WITH_YEAR = re.compile(r"(.*?)(\s*\(\d{4}\)\s*)?", re.DOTALL)


def similar_frame(
    run: Run,
    item_id: str | None = None,
    *,
    title: str | None = None,
    n: int = 10,
    metric: Metric = "cosine",
    min_ratings: int = 1,
) -> pl.DataFrame:
    """The items nearest to an item, with their ids; see :func:`similar`.

    Args:
        run: whose embeddings are compared.
        item_id: the item's id,
        title: or its title, or a part of it, of which :func:`find_title` takes the first.
        n: how many neighbours.
        metric: how nearness is measured.
        min_ratings: training ratings that a neighbour must have.

    Returns:
        Columns ``query`` (the item's id), the item id under its own name, ``rank`` (from 1),
        ``score``, ``n_ratings`` and, where the run knows titles, ``title``; best first.

    Raises:
        ConfigError: neither or both of ``item_id`` and ``title`` are given.
        InputError: there is no such item.
    """
    if title is not None and item_id is None:
        item = int(find_title(run, title)["item"][0])
    elif item_id is not None and title is None:
        item = find_items(run, pl.Series([item_id], dtype=pl.String))[0]
    else:
        raise ConfigError("name an item by its id or by its title")
    return named_neighbours(run, item, n, min_ratings, metric)


def named_neighbours(
    run: Run, item: int, n: int = 10, min_ratings: int = 1, metric: Metric = "cosine"
) -> pl.DataFrame:
    """The frame of :func:`similar_frame` for an item by its index.

    Args:
        run: whose embeddings are compared.
        item: index of the item.
        n: how many neighbours.
        min_ratings: training ratings that a neighbour must have.
        metric: how nearness is measured, see :func:`similar`.
    """
    name = run.info.columns.item
    near = similar(run, item, n, min_ratings, metric)
    known = [name, "n_ratings", "title"] if "title" in run.items.columns else [name, "n_ratings"]
    others = run.items.select(known)[near["item"]]
    return others.select(
        pl.lit(run.items[name][item]).alias("query"),
        pl.col(name),
        near["rank"],
        near["score"],
        *known[1:],
    )


def similar(
    run: Run, item: int, n: int = 10, min_ratings: int = 1, metric: Metric = "cosine"
) -> pl.DataFrame:
    """The items j nearest to an item i by their embeddings q.

    - ``cosine``: cos(q_i, q_j) times :func:`overlap`. The vector of an item with few ratings is
      mostly noise, and among thousands of noisy vectors some lie near to anything. So a similarity
      counts as far as ratings support it (Bell and Koren 2007, "Scalable Collaborative Filtering
      with Jointly Derived Neighborhood Interpolation Weights", shrink by n_ij too). What people
      choose to rate also shows their tastes, beyond how they rate it (Koren 2008, "Factorization
      Meets the Neighborhood").
    - ``dot``: the inner product as it is. Long vectors, of items that divide the users, come first.
    - ``euclidean``: minus the distance, so that higher is nearer here too.

    Args:
        run: whose embeddings are compared.
        item: index of the item.
        n: how many neighbours.
        min_ratings: training ratings that a neighbour must have.
        metric: one of those above.

    Returns:
        Columns ``item`` (index), ``rank`` (from 1) and ``score``, best first; of equal ones the
        lower index comes first.
    """
    vectors = run.tensors["item_embedding.weight"]  # (I, D)
    ratings = run.items["n_ratings"].to_numpy()
    if metric == "cosine":
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        score = unit @ unit[item] * overlap(run, item) + 0.0  # no minus zero
    elif metric == "dot":
        score = vectors @ vectors[item]
    else:
        score = -np.linalg.norm(vectors - vectors[item], axis=1)
    score[ratings < min_ratings] = -np.inf
    score[item] = -np.inf
    best = best_places(score, n)
    best = best[np.isfinite(score[best])]
    return pl.DataFrame(
        {"item": best, "rank": np.arange(1, len(best) + 1), "score": score[best].astype(np.float32)}
    )


def overlap(run: Run, item: int) -> NDArray[np.float64]:
    """How far an item and each of all items were rated by the same people, (I,); see
    :func:`shrunk`.

    Args:
        run: with or without a record of who rated what.
        item: index of the item.
    """
    ratings, both = run.items["n_ratings"].to_numpy(), None
    if SEEN in run.info.files:
        starts, items = run.seen(trained=True)
        rows = np.flatnonzero(items == item)
        raters = np.zeros(len(starts) - 1, dtype=bool)
        raters[np.searchsorted(starts, rows, side="right") - 1] = True
        both = np.bincount(items[np.repeat(raters, np.diff(starts))], minlength=len(ratings))
    return shrunk(both, ratings[item], ratings)


def shrunk(both: Counts | None, n_i: Counts, n_j: Counts) -> NDArray[np.float64]:
    """n_ij / sqrt((n_i + 10) (n_j + 10)): the cosine of the items' columns of "was rated", shrunk
    where ratings are few.

    Args:
        both: numbers n_ij of people who rated both, or None for a run made before runs kept who
            rated what: n_j / (n_j + 10) then takes its place.
        n_i: ratings of the one item.
        n_j: ratings of the other items.
    """
    if both is None:
        return np.asarray(n_j / (n_j + SHRINKAGE))
    return np.asarray(both / np.sqrt((n_i + SHRINKAGE) * (n_j + SHRINKAGE)))


def find_items(run: Run, ids: pl.Series) -> list[int]:
    """Indices of items by their ids.

    Args:
        run: whose items they are.
        ids: texts, (N,).

    Raises:
        InputError: the run does not know one of them.
    """
    found = run.ids.item.index(ids)
    if found.null_count():
        unknown = ids.filter(found.is_null())[0]
        raise InputError(f"item '{unknown}' is not in {run.path}")
    return found.to_list()


def find_title(run: Run, text: str) -> pl.DataFrame:
    """Finds items whose title is ``text`` or contains it, whatever its case: ``The Godfather``
    finds ``Godfather, The (1972)``.

    Args:
        run: that knows the titles.
        text: to look for.

    Returns:
        Columns ``item`` (index), ``title``, ``n_ratings``, ``exact`` (the whole title, with or
        without its year); exact ones first, then those with most ratings.

    Raises:
        InputError: no title contains it, or the run has none.
    """
    if "title" not in run.items.columns:
        raise InputError(
            f"{run.path}: knows no titles; give --items to 'cfcli prepare', or name the item by its id"
        )
    wanted = text.casefold()
    rows = []
    for item, (title, n_ratings) in enumerate(run.items.select("title", "n_ratings").iter_rows()):
        spellings = _spellings((title or "").casefold())
        if any(wanted in spelling for spelling in spellings):
            rows.append((item, title, n_ratings, wanted.strip() in spellings))
    if not rows:
        raise InputError(f"no title holds '{text}'")
    hits = pl.DataFrame(rows, ["item", "title", "n_ratings", "exact"], orient="row")
    return hits.sort("exact", "n_ratings", descending=True, maintain_order=True)


def _spellings(title: str) -> set[str]:
    """The ways to write a title, in small letters: with and without its year, with MovieLens'
    article behind or in front."""
    match = WITH_YEAR.fullmatch(title)
    assert match is not None
    name, year = match.groups(default="")
    turned = ARTICLE_BEHIND.sub(r"\2 \1", name)
    return {title.strip(), name.strip(), turned, turned + year.rstrip()}
