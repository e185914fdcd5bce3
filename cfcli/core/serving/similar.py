"""Items nearest to an item."""

import re
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.errors import InputError
from cfcli.core.runs.run import SEEN, Run

Metric = Literal["cosine", "dot", "euclidean"]
SHRINKAGE = 10.0  # ratings by which every item seems to have more that nobody shares


def similar(
    run: Run, item: int, n: int = 10, min_ratings: int = 1, metric: Metric = "cosine"
) -> pl.DataFrame:
    """The ``n`` items j nearest to item i by their embeddings q.

    - ``cosine``: cos(q_i, q_j) times :func:`overlap`. The vector of an item with few ratings is
      mostly noise, and among thousands of noisy vectors some lie near to anything, so a similarity
      counts as far as ratings speak for it (Bell and Koren 2007, "Scalable Collaborative Filtering
      with Jointly Derived Neighborhood Interpolation Weights", shrink by n_ij too); and what people
      choose to rate tells of tastes beyond how they rate it (Koren 2008, "Factorization Meets the
      Neighborhood").
    - ``dot``: the inner product, as it is: long vectors, of items that part the users, come first.
    - ``euclidean``: the distance, as it is, with a minus, so that higher is nearer here too.

    Args:
        item: index of the item.
        min_ratings: training ratings that a neighbour must have.

    Returns:
        Columns ``item``, ``rank`` (from 1), ``score``, best first; equals in the order of their
        index.
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
    score[(ratings < min_ratings) | (np.arange(len(ratings)) == item)] = -np.inf
    best = np.argsort(-score, kind="stable")[:n]
    best = best[np.isfinite(score[best])]
    return pl.DataFrame(
        {"item": best, "rank": np.arange(1, len(best) + 1), "score": score[best].astype(np.float32)}
    )


def overlap(run: Run, item: int) -> NDArray[np.float64]:
    """How far item i and each of all items j were rated by the same people, (I,): see
    :func:`shrunk`."""
    ratings, both = run.items["n_ratings"].to_numpy(), None
    if SEEN in run.info.files:
        starts, items = run.seen()
        rows = np.flatnonzero(items == item)
        raters = np.zeros(len(starts) - 1, dtype=bool)
        raters[np.searchsorted(starts, rows, side="right") - 1] = True
        both = np.bincount(items[np.repeat(raters, np.diff(starts))], minlength=len(ratings))
    return shrunk(both, ratings[item], ratings)


def shrunk(both: NDArray[Any] | None, n_i: Any, n_j: NDArray[Any]) -> NDArray[np.float64]:
    """n_ij / sqrt((n_i + 10) (n_j + 10)) of numbers of ratings, and of those by people who rated
    both: the cosine of the items' columns of "was rated", shrunk where ratings are few.

    A run made before runs kept who rated what has no n_ij: n_j / (n_j + 10) takes its place.
    """
    if both is None:
        return np.asarray(n_j / (n_j + SHRINKAGE))
    return np.asarray(both / np.sqrt((n_i + SHRINKAGE) * (n_j + SHRINKAGE)))


def find_title(run: Run, text: str) -> pl.DataFrame:
    """Items whose title is ``text`` or holds it, whatever its case: ``The Godfather`` finds
    ``Godfather, The (1972)``.

    Returns:
        Columns ``item`` (index), ``title``, ``n_ratings``, ``exact`` (the whole title, with or
        without its year); exact ones first, then those with most ratings.

    Raises:
        InputError: no title does, or the run has none.
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
    """The ways to write a title, in small letters: with and without its year, MovieLens' article
    behind or in front."""
    name, year = re.fullmatch(r"(.*?)(\s*\(\d{4}\)\s*)?", title, re.DOTALL).groups(default="")  # type: ignore[union-attr]
    turned = re.sub(r"^(.+), (the|a|an)$", r"\2 \1", name)
    return {title.strip(), name.strip(), turned, turned + year.rstrip()}
