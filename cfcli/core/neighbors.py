"""Items nearest to an item."""

import numpy as np
import polars as pl

from cfcli.core.errors import InputError
from cfcli.core.runs import Run

SHRINKAGE = 10.0  # ratings at which a neighbour's similarity counts half


def similar(run: Run, item: int, n: int = 10, min_ratings: int = 1) -> pl.DataFrame:
    """The ``n`` nearest items by cosine of the embeddings, times n_ratings / (n_ratings + 10): the vector of an item
    with few ratings is mostly noise, and noise is near to anything (Bell and Koren 2007, shrinkage of similarities).

    Args:
        item: index of the item.
        min_ratings: training ratings that a neighbour must have.

    Returns:
        Columns ``item``, ``rank`` (from 1), ``score``, best first.
    """
    vectors = run.tensors["item_embedding.weight"]
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    ratings = run.items["n_ratings"].to_numpy()
    score = unit @ unit[item] * (ratings / (ratings + SHRINKAGE))
    score[(ratings < min_ratings) | (np.arange(len(ratings)) == item)] = -np.inf
    best = np.argsort(-score, kind="stable")[:n]
    best = best[np.isfinite(score[best])]
    return pl.DataFrame({"item": best, "rank": np.arange(1, len(best) + 1), "score": score[best].astype(np.float32)})


def find_title(run: Run, text: str) -> list[int]:
    """Indices of the items whose title holds ``text``, whatever its case, those with most ratings first.

    Raises:
        InputError: no title does, or the run has none.
    """
    if "title" not in run.items.columns:
        raise InputError(f"{run.path}: knows no titles; give --items to 'cfcli prepare', or name the item by its id")
    holds = run.items["title"].str.to_lowercase().str.contains(text.lower(), literal=True).fill_null(False)
    hits = np.flatnonzero(holds.to_numpy())
    if len(hits) == 0:
        raise InputError(f"no title holds '{text}'")
    ratings = run.items["n_ratings"].to_numpy()[hits].astype(np.int64)
    return [int(hit) for hit in hits[np.argsort(-ratings, kind="stable")]]
