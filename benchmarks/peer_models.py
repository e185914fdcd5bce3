"""Fits one model of another tool and predicts: what ``peers.py`` runs, by the Python of the tools'
own environment.

    peer_models.py NAME train.csv test.csv out.csv [SEED]

The files have the columns user, item, rating; the output is test.csv with one more, ``prediction``,
within the range of the training ratings. For "myfm SVD++ flipped" alone they may have a column
``day``, and there may be a users.csv and an items.csv beside train.csv: an id, then columns of
attributes, called by the attribute and a number, ``genres:3``. A name without settings has the
tool's defaults. Settings are those of its documentation or its examples for MovieLens; none was
chosen by the test side.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if (
    TYPE_CHECKING
):  # each tool pays for its own imports alone, and peers.py, which reads the names, for none
    import numpy as np
    import pandas as pd
    from scipy.sparse import csr_array

SEED = 42
DAMPING = 5  # ratings at the mean that a bias begins with, for what knows no biases of its own


def surprise_model(
    train: pd.DataFrame, test: pd.DataFrame, name: str, **settings: Any
) -> list[float]:
    """scikit-surprise's model of that name."""
    import surprise

    reader = surprise.Reader(rating_scale=(train.rating.min(), train.rating.max()))
    data = surprise.Dataset.load_from_df(train, reader).build_full_trainset()
    model = getattr(surprise, name)(**settings).fit(data)
    return [found.est for found in model.test(test.itertuples(index=False, name=None))]


def cmfrec_model(train: pd.DataFrame, test: pd.DataFrame, **settings: Any) -> np.ndarray:
    """cmfrec's CMF."""
    from cmfrec import CMF

    model = CMF(**settings).fit(train.set_axis(["UserId", "ItemId", "Rating"], axis=1))
    return model.predict(test.user, test.item)


def lenskit_model(train: pd.DataFrame, test: pd.DataFrame, module: str, name: str) -> pd.Series:
    """LensKit's scorer of that name, in its pipeline for ratings: biases where it has no answer.

    User by user: its batches fail on ItemKNN's answers, and start processes that take longer than
    all the rest.
    """
    from importlib import import_module

    import pandas as pd
    from lenskit import predict
    from lenskit.data import ItemList, from_interactions_df
    from lenskit.pipeline import predict_pipeline
    from lenskit.training import TrainingOptions

    pipeline = predict_pipeline(getattr(import_module(f"lenskit.{module}"), name)())
    data = from_interactions_df(train, user_col="user", item_col="item", rating_col="rating")
    pipeline.train(data, TrainingOptions(rng=SEED))
    predicted = pd.Series(index=test.index, dtype=float)
    for user, rows in test.groupby("user"):
        predicted[rows.index] = predict(pipeline, user, ItemList(item_ids=rows.item)).scores()
    return predicted


def one_hot(train: pd.Series, ids: pd.Series) -> csr_array:
    """A row each of the ids, with a one in the column of an id of training, and nothing for
    others."""
    import numpy as np
    import pandas as pd
    from scipy.sparse import csr_array

    known = np.unique(train)
    column = pd.Index(known).get_indexer(ids)
    row = np.flatnonzero(column >= 0)
    return csr_array((np.ones(len(row)), (row, column[row])), shape=(len(ids), len(known)))


def implicit_als(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """implicit's ALS gives no ratings: a linear regression on its score and on damped biases does.

    What it learns from is as in its example for MovieLens: ratings of 4 and more, weighted by BM25.
    The regression is on a tenth of the training rows that neither ALS nor the biases have seen: on
    what they have, scores are too good.
    """
    import numpy as np
    from implicit.als import AlternatingLeastSquares
    from implicit.nearest_neighbours import bm25_weight

    fresh = np.random.default_rng(SEED).random(len(train)) < 0.1
    rest = train[~fresh]
    users, items = one_hot(rest.user, rest.user), one_hot(rest.item, rest.item)
    left = rest.rating.to_numpy() - rest.rating.mean()
    item_bias = items.T @ left / (items.sum(axis=0) + DAMPING)
    user_bias = users.T @ (left - items @ item_bias) / (users.sum(axis=0) + DAMPING)
    liked = rest.rating.to_numpy() >= 4
    model = AlternatingLeastSquares(random_state=SEED)
    model.fit((bm25_weight(users[liked].T @ items[liked], B=0.9) * 5).tocsr(), show_progress=False)

    def features(rows: pd.DataFrame) -> np.ndarray:
        user, item = one_hot(rest.user, rows.user), one_hot(rest.item, rows.item)
        score = ((user @ model.user_factors) * (item @ model.item_factors)).sum(axis=1)
        return np.stack([np.ones(len(rows)), user @ user_bias, item @ item_bias, score], axis=1)

    weights = np.linalg.lstsq(features(train[fresh]), train.rating[fresh], rcond=None)[0]
    return features(test) @ weights


def myfm_model(
    train: pd.DataFrame, test: pd.DataFrame, samples: int, **settings: Any
) -> np.ndarray:
    """myFM's regression on who and what, one-hot."""
    import numpy as np
    from myfm import MyFMRegressor
    from scipy.sparse import csr_matrix, hstack

    def features(rows: pd.DataFrame) -> csr_matrix:
        return csr_matrix(hstack([one_hot(train.user, rows.user), one_hot(train.item, rows.item)]))

    shapes = [len(np.unique(train.user)), len(np.unique(train.item))]
    model = MyFMRegressor(random_seed=SEED, **settings)
    model.fit(
        features(train),
        train.rating.to_numpy(),
        n_iter=samples,
        n_kept_samples=samples,
        group_shapes=shapes,
    )
    return model.predict(features(test))


def myfm_svdpp(
    train: pd.DataFrame,
    test: pd.DataFrame,
    samples: int,
    attributes: dict[str, pd.DataFrame] | None = None,
    seed: int = SEED,
    **settings: Any,
) -> np.ndarray:
    """The same, and on what the user rated and who rated the item ("SVD++ flipped"), on attributes,
    and on the day where there is one, as in its example.

    All but the day is in blocks, as its documentation advises for speed. The mean over samples is
    taken as they are drawn, as in its examples: to keep all of them takes gigabytes.
    """
    import numpy as np
    from myfm import MyFMRegressor, RelationBlock
    from scipy.sparse import csr_matrix, diags_array, hstack

    rated = one_hot(train.user, train.user).T @ one_hot(train.item, train.item)
    told = attributes or {}

    def block(entity: str, rows: pd.DataFrame, near: csr_array) -> RelationBlock:
        unique, place = np.unique(rows[entity], return_inverse=True)
        own = one_hot(train[entity], unique)
        parts = [own, own @ diags_array(near.sum(axis=1) ** -0.5) @ near]
        if entity in told:
            parts.append(told[entity].loc[unique].to_numpy())
        return RelationBlock(place, csr_matrix(hstack(parts)))

    def blocks(rows: pd.DataFrame) -> list[RelationBlock]:
        return [block("user", rows, rated), block("item", rows, rated.T)]

    def days(rows: pd.DataFrame) -> csr_matrix:
        return csr_matrix(one_hot(train.day, rows.day) if "day" in rows else (len(rows), 0))

    def shapes(entity: str) -> list[int]:
        """How many columns each attribute has."""
        names = (
            told[entity].columns.str.partition(":").get_level_values(0) if entity in told else []
        )
        return [int((names == name).sum()) for name in dict.fromkeys(names)]

    total, wanted, by_day = np.zeros(len(test)), blocks(test), days(test)

    def add(i: int, model: Any, *_: object) -> tuple[bool, None]:
        if i >= 5:  # by default it drops as many
            total[:] += model.predict_score(by_day, wanted)
        return False, None

    users, items = rated.shape
    sides = [users, items, *shapes("user"), items, users, *shapes("item")]
    kept = {
        "n_iter": samples,
        "n_kept_samples": 1,
        "group_shapes": [by_day.shape[1], *sides] if by_day.shape[1] else sides,
        "callback": add,
    }
    MyFMRegressor(random_seed=seed, **settings).fit(
        days(train), train.rating.to_numpy(), blocks(train), **kept
    )
    return total / (samples - 5)


MODELS: dict[str, Callable[..., Any]] = {
    "surprise BaselineOnly": partial(surprise_model, name="BaselineOnly", verbose=False),
    "surprise SVD": partial(surprise_model, name="SVD", random_state=SEED),
    "surprise SVDpp": partial(surprise_model, name="SVDpp", random_state=SEED),
    "surprise KNNBaseline, items, pearson_baseline": partial(
        surprise_model,
        name="KNNBaseline",
        sim_options={"name": "pearson_baseline", "user_based": False},
        verbose=False,
    ),
    "cmfrec CMF": cmfrec_model,
    # README, comparison on MovieLens-10M
    "cmfrec CMF, k 50, 15 iterations, lambda 0.05 scaled": partial(
        cmfrec_model, k=50, niter=15, lambda_=0.05, scale_lam=True
    ),
    # Notebook on MovieLens-1M, its best without side information
    "cmfrec CMF, implicit features, Cholesky, lambda 0.05 scaled": partial(
        cmfrec_model,
        add_implicit_features=True,
        lambda_=0.05,
        scale_lam=True,
        w_main=0.7,
        w_implicit=1.0,
        use_cg=False,
    ),
    "implicit ALS, and a regression": implicit_als,
    "lenskit Bias": partial(lenskit_model, module="basic", name="BiasScorer"),
    "lenskit BiasedMF": partial(lenskit_model, module="als", name="BiasedMFScorer"),
    "lenskit ItemKNN": partial(lenskit_model, module="knn", name="ItemKNNScorer"),
    # Documentation and examples on MovieLens-100K, then the example on MovieLens-1M
    "myfm, rank 10, 200 samples": partial(myfm_model, rank=10, samples=200),
    "myfm SVD++ flipped, rank 10, 512 samples": partial(myfm_svdpp, rank=10, samples=512),
    "myfm SVD++ flipped, rank 32, 512 samples": partial(myfm_svdpp, rank=32, samples=512),
}


def main() -> None:
    import pandas as pd

    name, *files, out = sys.argv[1:5]
    train, test = map(pd.read_csv, files)
    more: dict[str, Any] = {"seed": int(sys.argv[5])} if sys.argv[5:] else {}
    tables = {side: Path(files[0]).with_name(f"{side}s.csv") for side in ("user", "item")}
    told = {side: pd.read_csv(path, index_col=0) for side, path in tables.items() if path.exists()}
    if told:
        more["attributes"] = told
    found = MODELS[name](train, test, **more)
    predicted = pd.Series(found, dtype=float).fillna(train.rating.mean())
    test.assign(prediction=predicted.clip(train.rating.min(), train.rating.max())).to_csv(
        out, index=False
    )


if __name__ == "__main__":
    main()
