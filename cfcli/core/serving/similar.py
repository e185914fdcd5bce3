"""The items nearest to an item."""

import re
import unicodedata
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.unknown import example_of
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.models.heads import Floats
from cfcli.core.models.interest import Weights
from cfcli.core.models.top import best_places
from cfcli.core.runs.run import SEEN, Run

Metric = Literal["cosine", "dot", "euclidean"]
Counts = NDArray[np.integer]
SHRINKAGE = 10.0  # ratings by which every item seems to have more that nobody shares
ARTICLE_BEHIND = re.compile(r"^(.+), (the|a|an)$")  # as MovieLens writes titles
WORD = re.compile(r"\w+")
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
        ``score``, ``ratings`` (how many the item has in training) and, where the run knows titles,
        ``title``; best first.

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
    others = run.items[near["item"]]
    return others.select(
        pl.lit(run.items[name][item]).alias("query"),
        name,
        near["rank"],
        near["score"],
        pl.col("n_ratings").alias("ratings"),
        *(["title"] if "title" in others.columns else []),
    )


def similar(
    run: Run, item: int, n: int = 10, min_ratings: int = 1, metric: Metric = "cosine"
) -> pl.DataFrame:
    """The items j nearest to an item i by their embeddings q.

    - ``cosine``: the cosine of the embeddings of the rating model times :func:`overlap`. The vector
      of an item with few ratings is mostly noise, and among thousands of noisy vectors some lie
      near to anything. So a similarity counts as far as ratings support it (Bell and Koren 2007,
      "Scalable Collaborative Filtering with Jointly Derived Neighborhood Interpolation Weights",
      shrink by n_ij too). What people choose to rate also shows their tastes, beyond how they rate
      it (Koren 2008, "Factorization Meets the Neighborhood"): where the run has an interest model,
      its vectors count, too, see :func:`joined`. An item without ratings is compared by the vectors
      that its attributes tell, shrunk by the ratings of the other item alone.
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
    vectors = run.embeddings("item")  # (I, D)
    ratings = run.items["n_ratings"].to_numpy()
    if metric == "cosine":
        score = _cosines(run, item) + 0.0  # no minus zero
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


def unit_vectors(vectors: Floats) -> Floats:
    """Vectors of length 1, or 0 where there is none.

    Args:
        vectors: (..., D).
    """
    found: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return found


def interest_directions(run: Run) -> Floats | None:
    """Which way each item's interest vector points from their mean, (I, K); None without an
    interest model.

    Args:
        run: whose model.
    """
    if run.interest is None or SEEN not in run.info.files:
        return None
    known = run.items["n_ratings"].to_numpy() > 0
    return unit_vectors(run.interest.item - run.interest.item[known].mean(axis=0))


def _cosines(run: Run, item: int) -> NDArray[np.float64]:
    """The similarity ``cosine`` of an item to all items, (I,)."""
    unit = unit_vectors(run.embeddings("item"))
    rating = unit @ unit[item]
    ratings, directions = run.items["n_ratings"].to_numpy(), interest_directions(run)
    if not ratings[item]:  # nobody rated both: attributes alone tell
        near = rating if directions is None else (rating + directions @ directions[item]) / 2
        return np.asarray(near * ratings / (ratings + SHRINKAGE), np.float64)
    both = raters_of_both(run, item)
    if directions is None or both is None:
        return np.asarray(rating * shrunk(both, ratings[item], ratings), np.float64)
    interest = directions @ directions[item]
    rating[item] = interest[item] = both[item] = 0
    rating[ratings == 0] = interest[ratings == 0] = 0  # their vectors say nothing beside others
    one = slice(item, item + 1)
    found = joined(run, rating[None], interest[None], both[None], ratings[one, None], ratings)
    return np.asarray(found[0], np.float64)


def joined(
    run: Run, rating: Floats, interest: Floats, both: Counts, n_i: Counts, n_j: Counts
) -> NDArray[np.float64]:
    """The similarity of items i and j by both models::

        w_interest * min(1, 1 + r_ij) * (cosine_ij + s_ij max(0, log(n_ij U / (n_i n_j)))) / 2
        + w_rating * r_ij s_ij

    with s_ij from :func:`shrunk`, the cosines r_ij of the rating vectors and cosine_ij of the
    interest vectors, and the run's weights w. The logarithm says how much more often the same
    people rated both than by chance. Each of the three terms is divided by its largest value for i.
    What the same people choose is not alike if they like the one and not the other: the factor
    takes care of that.

    Args:
        run: whose weights to take.
        rating: r_ij, (B, N); here and below, 0 for an item with itself.
        interest: cosine_ij, (B, N).
        both: numbers n_ij of people who rated both, (B, N).
        n_i: ratings of the items i, (B, 1).
        n_j: ratings of the items j, (N,).

    Returns:
        Similarities, at most 1, (B, N).
    """
    info = run.info.interest
    weights = info.weights if info is not None and info.weights is not None else Weights()
    support = shrunk(both, n_i, n_j)
    chance = np.maximum(n_i * n_j.astype(np.float64), 1) / max(run.users.height, 1)
    lift = np.log(np.maximum(both / chance, 1))
    chosen = _to_one(np.maximum(interest, 0)) + _to_one(support * lift)
    chosen = chosen * np.minimum(1 + rating, 1)
    found = weights.interest * chosen / 2 + weights.rating * _to_one(rating * support)
    total = weights.interest + weights.rating
    return np.asarray(found / (total or 1), np.float64)


def _to_one(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Each row divided by its largest absolute value."""
    largest = np.abs(values).max(axis=1, keepdims=True)
    found: NDArray[np.floating] = values / np.where(largest > 0, largest, 1)
    return found


def overlap(run: Run, item: int) -> NDArray[np.float64]:
    """How far an item and each of all items were rated by the same people, (I,); see
    :func:`shrunk`.

    Args:
        run: with or without a record of who rated what.
        item: index of the item.
    """
    ratings = run.items["n_ratings"].to_numpy()
    return shrunk(raters_of_both(run, item), ratings[item], ratings)


def raters_of_both(run: Run, item: int) -> Counts | None:
    """How many people rated an item and each of all items in training, (I,); None where the run
    does not tell.

    Args:
        run: with or without a record of who rated what.
        item: index of the item.
    """
    if SEEN not in run.info.files:
        return None
    starts, items = run.seen(trained=True)
    rows = np.flatnonzero(items == item)
    raters = np.zeros(len(starts) - 1, dtype=bool)
    raters[np.searchsorted(starts, rows, side="right") - 1] = True
    return np.bincount(items[np.repeat(raters, np.diff(starts))], minlength=run.items.height)


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
        unknown = ids.filter(found.is_null())
        raise InputError(f"item {example_of(unknown, run.ids.item)} is not in {run.path}")
    return found.to_list()


def find_title(run: Run, text: str) -> pl.DataFrame:
    """Finds items whose title is ``text`` or contains it, whatever its case and its form of
    Unicode: ``The Godfather`` finds ``Godfather, The (1972)``. Only where there are none, titles
    count that have all its words in another order, and then those that have its letters with other
    blanks, punctuation or accents: ``starwars`` finds ``Star Wars (1977)``.

    Args:
        run: that knows the titles.
        text: to look for.

    Returns:
        Columns ``item`` (index), ``title``, ``n_ratings``, ``exact`` (the whole title, with or
        without its year, whatever the order, blanks or accents that were passed over); exact ones
        first, then those with most ratings.

    Raises:
        InputError: no title matches, or the run has none.
    """
    if "title" not in run.items.columns:
        raise InputError(
            f"{run.path}: knows no titles; give --items to 'cfcli prepare', or name the item by "
            "its id"
        )
    titles = [_spellings(_folded(title or "")) for title in run.items["title"]]
    for key in (str.strip, _words, _letters):
        wanted = key(_folded(text))
        keys = [{key(spelling) for spelling in spellings} for spellings in titles]
        hits = [k for k, ways in enumerate(keys) if any(_holds(way, wanted) for way in ways)]
        if hits:
            found = run.items.select("title", "n_ratings")[hits].with_columns(
                item=pl.Series(hits), exact=pl.Series([wanted in keys[k] for k in hits])
            )
            return found.select("item", "title", "n_ratings", "exact").sort(
                "exact", "n_ratings", descending=True, maintain_order=True
            )
    raise InputError(f"no title holds '{text}'")


def _folded(text: str) -> str:
    """The text without differences of case and of forms of Unicode."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _words(text: str) -> frozenset[str]:
    """The words of a text, without accents."""
    parts = unicodedata.normalize("NFKD", text)
    return frozenset(WORD.findall("".join(c for c in parts if not unicodedata.combining(c))))


def _letters(text: str) -> str:
    """The letters and digits of a text, without accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if c.isalnum())


def _holds(title: str | frozenset[str], wanted: str | frozenset[str]) -> bool:
    """Whether a title, or its words, hold what is wanted, which is of the same kind."""
    if isinstance(title, str) and isinstance(wanted, str):
        return bool(wanted) and wanted in title
    return bool(wanted) and set(wanted) <= set(title)


def _spellings(title: str) -> set[str]:
    """The ways to write a title, in small letters: with and without its year, with MovieLens'
    article behind or in front."""
    match = WITH_YEAR.fullmatch(title)
    assert match is not None
    name, year = match.groups(default="")
    turned = ARTICLE_BEHIND.sub(r"\2 \1", name)
    return {title.strip(), name.strip(), turned, turned + year.rstrip()}
