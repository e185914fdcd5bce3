"""Lists of other methods for ``lists.py``, which runs this file in an environment that has them.

    python list_models.py METHOD TRAIN.csv LISTS.csv LIKED

TRAIN has columns user, item and rating. Each method chooses among a few settings by nDCG@10 of
liked rows (rated LIKED or more) in a tenth of the training rows, drawn at random, and is then
fitted on all of them. LISTS gets user, item and rank.
"""

import csv
import sys
from collections.abc import Callable, Iterable
from itertools import product

import numpy as np
import scipy.sparse as sp

K = 10
Scores = np.ndarray  # (U, I)
Pairs = Iterable[tuple[str, str]]


def ndcg(lists: dict[str, list[str]], relevant: dict[str, set[str]]) -> float:
    """Mean over the users with relevant items; gain 1, discount 1 / log2(rank + 1)."""
    discount = 1 / np.log2(np.arange(2, K + 2))
    found = []
    for user, wanted in relevant.items():
        hits = np.zeros(K)
        for place, item in enumerate(lists.get(user, [])[:K]):
            hits[place] = item in wanted
        found.append(hits @ discount / discount[: min(K, len(wanted))].sum())
    return float(np.mean(found))


def relevant_of(pairs: Pairs) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for user, item in pairs:
        found.setdefault(user, set()).add(item)
    return found


def most_rated(table: sp.csr_matrix) -> Scores:
    return np.tile(table.getnnz(axis=0).astype(np.float32), (table.shape[0], 1))


def ease(table: sp.csr_matrix, penalty: float) -> Scores:
    """Steck (2019), the listing of section 3.4."""
    gram = (table.T @ table).toarray().astype(np.float64)
    gram[np.diag_indices(len(gram))] += penalty
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices(len(gram))] = 0
    return table @ weights.astype(np.float32)


def als(table: sp.csr_matrix, factors: int, regularization: float, alpha: float) -> Scores:
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=factors, regularization=regularization, alpha=alpha, iterations=15, random_state=0
    )
    model.fit(table, show_progress=False)
    return model.user_factors @ model.item_factors.T


def item_knn(table: sp.csr_matrix, weighting: str, neighbours: int) -> Scores:
    from implicit import nearest_neighbours

    kinds = {
        "cosine": nearest_neighbours.CosineRecommender,
        "tfidf": nearest_neighbours.TFIDFRecommender,
        "bm25": nearest_neighbours.BM25Recommender,
    }
    model = kinds[weighting](K=neighbours)
    model.fit(table, show_progress=False)
    return (table @ model.similarity).toarray()


METHODS: dict[str, tuple[Callable[..., Scores], list[tuple[object, ...]]]] = {
    "most rated": (most_rated, [()]),
    "EASE": (ease, [(p,) for p in (10, 30, 100, 200, 300, 500, 1000, 1500, 2000)]),
    "implicit ALS": (als, list(product((64, 128), (3.0, 10.0, 50.0), (1.0, 3.0)))),
    "implicit item-kNN": (item_knn, list(product(("cosine", "tfidf", "bm25"), (20, 100, 300)))),
}


def best_lists(scores: Scores, table: sp.csr_matrix) -> np.ndarray:
    """The K best items of each user among those not in the table, (U, K)."""
    scores = np.array(scores, np.float32)
    scores[table.nonzero()] = -np.inf
    k = min(K, scores.shape[1])
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, top, 1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)


def main(method: str, train: str, out: str, liked: float) -> None:
    with open(train, newline="") as file:
        rows = [(row["user"], row["item"], float(row["rating"])) for row in csv.DictReader(file)]
    users, user = np.unique([row[0] for row in rows], return_inverse=True)
    items, item = np.unique([row[1] for row in rows], return_inverse=True)
    rating = np.array([row[2] for row in rows])

    def table(chosen: np.ndarray) -> sp.csr_matrix:
        ones = np.ones(len(user), np.float32)[chosen]
        return sp.csr_matrix((ones, (user[chosen], item[chosen])), (len(users), len(items)))

    def named(top: np.ndarray) -> dict[str, list[str]]:
        return {str(users[k]): [str(items[i]) for i in row] for k, row in enumerate(top)}

    fit, settings = METHODS[method]
    chosen = settings[0]
    if len(settings) > 1:
        held = np.random.default_rng(1).random(len(user)) < 0.1
        wanted = held & (rating >= liked)
        pairs = zip(users[user[wanted]].tolist(), items[item[wanted]].tolist(), strict=True)
        relevant, rest = relevant_of(pairs), table(~held)
        found = {
            setting: ndcg(named(best_lists(fit(rest, *setting), rest)), relevant)
            for setting in settings
        }
        chosen = max(found, key=lambda setting: found[setting])
    whole = table(np.ones(len(user), bool))
    lists = named(best_lists(fit(whole, *chosen), whole))
    with open(out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "rank"])
        for name, row in lists.items():
            writer.writerows([name, found_item, rank + 1] for rank, found_item in enumerate(row))
    print(*chosen)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
