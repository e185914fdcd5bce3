"""The best of all, however they are found."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from fake_run import make_run, text_source
from hypothesis import given, settings
from hypothesis import strategies as st

from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import InputError
from cfcli.core.models import build, heads, top
from cfcli.core.models.base import Shape
from cfcli.core.models.interest import Interest, Weights
from cfcli.core.models.scoring import Predictor
from cfcli.core.serving import recommend as recommendation
from cfcli.core.serving import search
from cfcli.core.serving import top_items as top_items_of
from cfcli.core.serving.order import By, Order
from cfcli.core.serving.recommend import Choice
from cfcli.core.serving.top_items import top_items
from cfcli.core.serving.users import Seen, Users

USERS, ITEMS = 17, 700


def model(kind: str, **keys: object) -> Predictor:
    torch.manual_seed(1)
    module = build(TrainConfig.of(model=kind, **keys), Shape(USERS, ITEMS, 1, 5, 2.0)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return Predictor(
        kind, {name: value.numpy() for name, value in module.state_dict().items()}, 1, 5
    )


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("mf", {}),
        ("mf", {"biases": False}),
        ("ncf", {}),
        ("ncf", {"biases": False}),
        ("ncf", {"hidden": ()}),
        ("ncf", {"hidden": (5,)}),
    ],
    ids=str,
)
def test_scores_of_all_items_are_those_of_the_pairs(
    kind: str, keys: dict, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[type-arg]
    monkeypatch.setattr(heads, "CHUNK", 128)
    found = model(kind, **keys)
    scores = found.scores(found.user_vectors(np.array([3, 0])))
    for k, user in enumerate((3, 0)):
        expected = found.predict(np.full(ITEMS, user), np.arange(ITEMS))
        np.testing.assert_allclose(found.rating(scores[k]), expected, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([("mf", "rating"), ("mf", "list"), ("mf", "interest"), ("ncf", "list")]),
    st.integers(1, 12),
    st.integers(0, 700),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_top_items_are_those_of_a_full_sort(
    kind: tuple[str, By], n: int, forbidden: int, seed: int, ties: bool
) -> None:
    random = np.random.default_rng(seed)
    name, by = kind
    found = model(name)
    interest = {
        "user": random.normal(size=(USERS, 4)),
        "item": random.normal(size=(ITEMS, 4)),
        "scale": random.uniform(0.5, 1, ITEMS),
    }
    if ties:
        found.tensors = {name: np.round(value * 2) for name, value in found.tensors.items()}
        interest = {name: np.round(value) for name, value in interest.items()}
        interest["user"][3] = 0  # someone without a choice: scores that do not differ
    allowed = np.ones(ITEMS, bool)
    allowed[random.permutation(ITEMS)[:forbidden]] = False
    seen = [
        np.sort(random.choice(ITEMS, random.integers(0, 30), replace=False)) for _ in range(USERS)
    ]
    starts = np.concatenate([[0], np.cumsum([len(part) for part in seen])])
    users = Users(
        pl.Series(range(USERS)),
        np.arange(USERS),
        Seen(starts, np.concatenate(seen).astype(np.uint32)),
    )
    raters = random.integers(0, 20, ITEMS)
    tensors = {name: value.astype(np.float32) for name, value in interest.items()}
    chosen = None if by == "rating" else Interest(tensors | {"raters": raters})
    order = Order(found, chosen, Weights(1, 0.5, 0.1), raters, by)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_items_of, "BLOCK", 5 * ITEMS)
        patch.setattr(search, "USERS", 5)
        patch.setattr(search, "ITEMS", 64)
        patch.setattr(top, "LEAST_GROUP", 2)
        blocks = list(top_items(order, users, n, allowed))
    assert [block.start for block in blocks] == [0, 5, 10, 15]
    items = np.concatenate([block.items for block in blocks])
    scores = np.concatenate([block.scores for block in blocks])
    ratings = np.concatenate([block.ratings for block in blocks if block.ratings is not None])
    everything = order.scores(order.vectors(np.arange(USERS)))
    for user in range(USERS):
        row = np.where(allowed, everything[user], -np.inf)
        row[seen[user]] = -np.inf
        best = np.sort(row)[::-1][:n]
        np.testing.assert_allclose(scores[user], best, rtol=1e-5, atol=2e-5)
        there = np.isfinite(best)
        np.testing.assert_allclose(row[items[user]][there], best[there], rtol=1e-5, atol=2e-5)
        assert len(set(items[user][there])) == there.sum()
        predicted = found.predict(np.full(there.sum(), user), items[user][there])
        np.testing.assert_allclose(ratings[user][there], predicted, rtol=1e-5)


def test_a_folded_user_is_at_the_minimum_of_trainings_loss() -> None:
    found = model("mf", dim=3)
    random = np.random.default_rng(0)
    item, rating, l2 = random.choice(ITEMS, 40, replace=False), random.integers(1, 6, 40), 0.004

    def loss(vector: np.ndarray) -> float:
        share = 1 / (
            1 + np.exp(-found.scores(vector[None].astype(np.float32))[0, item].astype(np.float64))
        )
        return float((((share - (rating - 1) / 4) ** 2).sum()) + l2 * len(item) * vector @ vector)

    best = found.fold_in(item, rating, l2).astype(np.float64)
    assert best.shape == (4,)
    assert loss(best) < loss(np.zeros(4))
    for direction in np.eye(4):
        for step in (-0.05, 0.05):
            assert loss(best + step * direction) > loss(best)
    with pytest.raises(ValueError, match="linear space"):
        model("ncf").fold_in(item, rating, l2)


def test_a_frame_has_the_best_items_of_the_users_asked_for(tmp_path: Path) -> None:
    ratings = "user,item,rating\n1,10,1\n1,20,5\n2,10,2\n2,30,3\n"
    run = make_run(tmp_path, ratings, [[1, 0], [0, 1]], [[1, 3], [2, 2], [3, 1]])
    found = recommendation.recommend_frame(run, pl.Series(["2"]), Choice(n=2, include_seen=True))
    assert found.columns == ["user", "item", "rank", "score", "prediction", "ratings"]
    assert found.select("user", "item", "rank").rows() == [(2, 10, 1), (2, 20, 2)]
    assert recommendation.recommend_frame(run)["item"].to_list() == [30, 20]  # those not rated
    only = pl.Series(["20"])
    assert recommendation.recommend_frame(run, choice=Choice(items=only))["user"].to_list() == [2]
    nobody = recommendation.recommend_frame(run, pl.Series([], dtype=pl.String))
    assert (nobody.height, nobody.columns) == (0, found.columns)
    with pytest.raises(InputError, match="user '7' is not in"):
        recommendation.recommend_frame(run, pl.Series(["7"]))


def test_new_users_are_folded_in_from_their_ratings(tmp_path: Path) -> None:
    ratings = "user,item,rating\n1,10,1\n1,20,5\n2,10,2\n2,30,3\n"
    run = make_run(tmp_path, ratings, [[1, 0], [0, 1]], [[1, 0], [1, 0], [0, 1]])
    new = text_source("user,item,rating\n9,10,5\n8,30,5\n8,10,1\n")
    found = recommendation.recommend_frame(run, choice=Choice(n=1), ratings=new)
    assert found.select("user", "item").rows() == [(9, 20), (8, 20)]
    nobody = recommendation.recommend_frame(run, pl.Series([], dtype=pl.String), ratings=new)
    assert (nobody.height, nobody.columns) == (0, found.columns)


def test_of_a_pair_that_is_rated_again_the_last_rating_is_folded_in(tmp_path: Path) -> None:
    ratings = "user,item,rating\n1,10,1\n1,20,5\n2,10,2\n2,30,3\n"
    run = make_run(tmp_path, ratings, [[1, 0], [0, 1]], [[1, 0], [1, 0], [0, 1]])
    head, last = "user,item,rating\n", "9,30,2\n9,10,5\n"
    once, again = (
        recommendation.recommend_frame(run, choice=Choice(n=3), ratings=text_source(head + rows))
        for rows in (last, "9,10,1\n9,30,2\n" + last)
    )
    assert again.equals(once)


@pytest.mark.parametrize("table", ["item,user\n20,2\n", "user,item,prediction\n2,20,3\n"])
def test_what_was_seen_needs_no_ratings(tmp_path: Path, table: str) -> None:
    ratings = "user,item,rating\n1,10,1\n1,20,5\n2,10,2\n2,30,3\n"
    run = make_run(tmp_path, ratings, [[1, 0], [0, 1]], [[1, 3], [2, 2], [3, 1]])
    found = recommendation.recommend_frame(run, pl.Series(["2"]), seen=text_source(table))
    assert found["item"].to_list() == [10, 30]
    for nothing in ("", "user,item\n"):
        found = recommendation.recommend_frame(run, pl.Series(["2"]), seen=text_source(nothing))
        assert found["item"].to_list() == [10, 20, 30]
