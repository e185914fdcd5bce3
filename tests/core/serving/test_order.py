"""Lists by interest, by rating and by both."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import planted
import polars as pl
import pytest
from fake_run import make_run, text_source

from cfcli.core.errors import ConfigError, InputError
from cfcli.core.models.interest import popularity, standardised
from cfcli.core.runs.run import Run
from cfcli.core.serving import embeddings
from cfcli.core.serving.order import Order, vectors
from cfcli.core.serving.outputs import write
from cfcli.core.serving.recommend import Choice, recommend, recommend_frame

ME = pl.Series(["93"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("tastes")
    return Run.load(
        planted.run(planted.dataset(folder, planted.tastes()), folder / "run", epochs=3)
    )


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("network")
    data = planted.dataset(folder, planted.tastes())
    return Run.load(planted.run(data, folder / "run", model="ncf", epochs=1))


def rated(run: Run, *splits: str) -> dict[str, set[str]]:
    """The items that each user rated on some sides of the split."""
    data = run.dataset()
    pairs = pl.concat([data.split(split) for split in splits])
    found: dict[str, set[str]] = {}
    for user, item in zip(
        run.ids.user.id(pairs["user"]), run.ids.item.id(pairs["item"]), strict=True
    ):
        found.setdefault(user, set()).add(item)
    return found


def test_nothing_that_a_user_rated_is_recommended_whichever_side_it_is_on(run: Run) -> None:
    known = rated(run, "train", "val", "test")
    assert rated(run, "train") != known
    for user, item in recommend_frame(run).select("userId", "movieId").iter_rows():
        assert str(item) not in known[str(user)]


def test_the_gate_still_knows_what_was_trained_on(run: Run) -> None:
    pairs = run.seen_pairs()
    fitted = run.dataset().info.train + run.dataset().info.val
    assert pairs.filter("trained").height == fitted
    assert pairs.height == run.dataset().info.ratings
    assert (pairs["weight"] > 0).sum() == fitted
    assert run.info.refit is not None
    assert (run.info.refit.rating_rows, run.info.refit.interest_rows) == (fitted, fitted)


def test_each_order_is_by_its_own_score(run: Run) -> None:
    assert run.interest is not None
    assert run.info.interest is not None
    me = int(run.ids.user.index(ME)[0])
    user, order = np.array([me]), Order.of(run)
    vectors = run.predictor().user_vectors(user)
    rating, interest = run.predictor().scores(vectors), run.interest.scores(run.interest.user[user])
    weights, known = run.info.interest.weights, order.known
    assert weights is not None
    together = (
        weights.interest * standardised(interest, known)
        + weights.rating * standardised(rating, known)
        + weights.popularity * popularity(order.raters, known)
    )
    seen = run.seen_pairs().filter(user=me)["item"].to_numpy()
    for by, scores in (("rating", rating), ("interest", interest), ("list", together)):
        expected = scores[0].copy()
        expected[seen] = -np.inf
        best = np.argsort(-expected, kind="stable")[:5]
        found = recommend_frame(run, ME, Choice(n=5, by=by))  # type: ignore[arg-type]
        assert (
            found["movieId"].cast(pl.String).to_list() == run.ids.item.id(pl.Series(best)).to_list()
        )
        np.testing.assert_allclose(found["score"], expected[best], rtol=1e-4, atol=1e-5)
        predicted = run.predictor().predict(np.full(5, me), best)
        np.testing.assert_allclose(found["prediction"], predicted, rtol=1e-5)
        assert found["ratings"].to_list() == run.items["n_ratings"].gather(best).to_list()


def test_rare_items_may_be_left_out(run: Run) -> None:
    least = int(run.items["n_ratings"].median())  # type: ignore[arg-type]
    found = recommend_frame(run, choice=Choice(min_ratings=least))
    assert found["ratings"].min() >= least  # type: ignore[operator]


def test_reasons_are_the_parts_of_the_interest_score(run: Run, tmp_path: Path) -> None:
    assert run.interest is not None
    found = recommend_frame(run, ME, Choice(n=4, by="interest", why=3))
    me = int(run.ids.user.index(ME)[0])
    pairs = run.seen_pairs().filter((pl.col("user") == me) & (pl.col("weight") > 0))
    items, weights = pairs["item"].to_numpy(), pairs["weight"].to_numpy()
    for movie, score, because in found.select("movieId", "score", "because").iter_rows():
        target = int(run.ids.item.index(pl.Series([str(movie)]))[0])
        parts = weights * (run.interest.item[items] @ run.interest.targets[:, target])
        assert parts.sum() == pytest.approx(score, rel=1e-3)
        best = run.ids.item.id(pl.Series(items[np.argsort(-parts)[:3]])).to_list()
        assert [str(item) for item in because] == best
    write([found], str(tmp_path / "l.csv"))
    texts = pl.read_csv(tmp_path / "l.csv")["because"]
    assert [json.loads(text) for text in texts] == found["because"].to_list()


def test_a_new_user_gets_what_others_of_that_taste_chose(run: Run) -> None:
    mine = "user,item,rating\n" + "".join(f"new,{100 - 3 * k},4\n" for k in range(8))
    choice = Choice(n=8, why=2)
    found = recommend_frame(run, choice=choice, ratings=text_source(mine))
    assert [(100 - item) % 3 for item in found["movieId"]] == [0] * 8
    chosen = {100 - 3 * k for k in range(8)}
    assert not chosen & set(found["movieId"])
    chosen_ids = {str(item) for item in chosen}
    assert all(set(because) <= chosen_ids for because in found["because"])


def test_new_ratings_of_a_known_user_move_the_trained_vectors(run: Run) -> None:
    trained = sorted(rated(run, "train")["93"])[0]
    found = recommend(
        run, choice=Choice(n=60), ratings=text_source(f"user,item,rating\n93,{trained},3\n")
    )
    assert found.notes == ["ratings left out, as they were trained on already: 1"]
    rows = pl.concat(found.blocks)
    same = recommend_frame(run, ME, Choice(n=60))
    assert rows["movieId"].to_list() == same["movieId"].to_list()
    np.testing.assert_allclose(rows["score"], same["score"], atol=1e-4)
    other = same["movieId"][0]
    new = text_source(f"user,item,rating\n93,{other},3\n")
    moved = recommend_frame(run, choice=Choice(n=60), ratings=new)
    assert other not in moved["movieId"].to_list()
    assert set(moved["movieId"]) == set(same["movieId"]) - {other}


def test_ratings_of_another_scale_are_refused(run: Run) -> None:
    new = text_source("user,item,rating\nnew,1,4\nnew,2,80\nnew,3,100\n")
    with pytest.raises(InputError, match="2 of 3 ratings, such as 80, are outside the scale"):
        recommend(run, ratings=new)


def test_a_network_folds_new_users_into_the_interest_model_alone(network: Run) -> None:
    mine = text_source("user,item,rating\nnew,100,4\nnew,97,4\nnew,94,4\n")
    found = recommend(network, choice=Choice(n=6), ratings=mine)
    assert found.notes == ["ncf folds no ratings in: ordered by interest alone"]
    rows = pl.concat(found.blocks)
    assert rows["prediction"].null_count() == 6
    assert [(100 - item) % 3 for item in rows["movieId"]] == [0] * 6
    with pytest.raises(ConfigError, match="no closed form"):
        recommend(network, choice=Choice(by="rating"), ratings=mine)


def test_a_run_without_an_interest_model_says_so(tmp_path: Path) -> None:
    ratings = "user,item,rating\n1,10,1\n1,20,5\n2,10,2\n2,30,3\n"
    run = make_run(tmp_path, ratings, [[1, 0], [0, 1]], [[1, 3], [2, 2], [3, 1]])
    assert recommend(run).notes == ["ordered by predicted rating: no interest model (made by hand)"]
    assert recommend(run, choice=Choice(by="rating")).notes == []
    with pytest.raises(ConfigError, match="--by interest"):
        recommend(run, choice=Choice(by="interest"))
    with pytest.raises(ConfigError, match="--why"):
        recommend(run, choice=Choice(why=1))


@pytest.mark.parametrize("kind", ["rating", "interest", "list"])
def test_inner_products_of_vectors_order_as_recommend_does(run: Run, kind: str) -> None:
    users, items = vectors(run, kind)  # type: ignore[arg-type]
    assert users.shape[1] == items.shape[1]
    if kind != "rating":  # the embeddings, as they always were, have no column for biases
        assert embeddings.width(run, kind) == users.shape[1]  # type: ignore[arg-type]
    scores = users @ items.T
    seen = run.seen_pairs()
    scores[seen["user"].to_numpy(), seen["item"].to_numpy()] = -np.inf
    scores[:, run.items["n_ratings"].to_numpy() == 0] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    found = recommend_frame(run, choice=Choice(n=5, by=kind))  # type: ignore[arg-type]
    shown = found["movieId"].cast(pl.String).to_list()
    assert shown == run.ids.item.id(pl.Series(best.ravel())).to_list()


def test_what_has_no_vectors_is_refused(network: Run, tmp_path: Path) -> None:
    for kind in ("list", "rating"):
        with pytest.raises(ConfigError, match="whose network has no vectors"):
            vectors(network, kind)  # type: ignore[arg-type]
    assert vectors(network, "interest").item.shape[0] == network.items.height
    run = make_run(tmp_path, "user,item,rating\n1,10,1\n1,20,5\n", [[1, 0]], [[1, 3], [2, 2]])
    with pytest.raises(ConfigError, match="no interest model"):
        vectors(run, "list")


def test_users_are_listed_once_and_unknown_ones_are_named(run: Run) -> None:
    twice = pl.Series(["93", "92", "93"])
    assert recommend_frame(run, twice, Choice(n=1))["userId"].to_list() == [93, 92]
    file = text_source("user,item,rating\nann,100,4\nann,97,5\nbob,nothing,3\n")
    found = recommend(run, choice=Choice(n=2), ratings=file)
    assert found.notes == [
        "1 of 3 rows: item not in the run, such as 'nothing'",
        f"user 'bob': no rating of an item that {run.path} knows; left out",
    ]
    assert pl.concat(found.blocks)["userId"].to_list() == ["ann", "ann"]


@pytest.mark.parametrize(
    "keys",
    [{"n": 0}, {"by": "fame"}, {"diversify": 1.5}, {"why": -1}, {"min_ratings": -1}],
    ids=str,
)
def test_what_is_asked_for_is_checked(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(keys))):
        Choice(**keys)
