"""Lists are judged as a few lines of arithmetic say."""

import math
from pathlib import Path

import numpy as np
import planted
import polars as pl
import pytest
from fake_run import make_run, text_source

from cfcli.core.errors import GateError
from cfcli.core.evaluation import evaluate as evaluation
from cfcli.core.evaluation import lists
from cfcli.core.evaluation.evaluate import ListOptions, check_bars
from cfcli.core.runs.run import Run
from cfcli.core.serving.recommend import Choice, recommend_frame

TRAIN = "user,item,rating\na,1,5\na,2,3\nb,1,4\n"
TEST = (
    "user,item,rating\nb,2,2\na,3,4\nc,1,5\n"  # b,2 is not liked; nobody rated item 3 in training
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path, TRAIN, [[1], [2], [0]], [[0], [1], [-1]], test=TEST)


def test_numbers_worked_by_hand(run: Run) -> None:
    """The lists are: for a, who rated all that has ratings, nothing; for b item 2; for c items 1
    and 2, most rated first, which are alike by rating, too."""
    found = evaluation.evaluate(run, lists=ListOptions(k=2)).evaluation.lists
    assert found is not None
    assert (found.k, found.users, found.liked_from) == (2, 3, 4)
    for one in (found.popular, found.rating, found.list):
        assert (one.all.ndcg, one.all.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
        assert (one.liked.ndcg, one.liked.recall) == (0.5, 0.5)
        assert one.coverage == pytest.approx(2 / 3)
        assert one.novelty == pytest.approx((math.log2(3 / 2) + 2 * math.log2(3)) / 3)
    assert found.interest is None
    assert found.ndcg_difference_to_popular.value == 0


def test_what_is_liked_may_be_said(run: Run) -> None:
    found = evaluation.evaluate(run, lists=ListOptions(k=2, liked_from=2)).evaluation.lists
    assert found is not None
    assert found.liked_from == 2
    assert found.popular.liked == found.popular.all


def test_rows_of_a_file_that_are_in_the_dataset_do_not_count(run: Run) -> None:
    file = text_source("user,item,rating\na,1,5\nb,2,5\nc,2,5\nnew,1,5\n")
    found = evaluation.evaluate(run, source=file, lists=ListOptions(k=2)).evaluation.lists
    assert found is not None
    # Only c,2 is left. The list of c is item 2 alone, as c,1 is in the dataset.
    assert (found.users, found.popular.all.ndcg) == (1, 1)


def test_rows_that_were_trained_on_have_no_lists(run: Run) -> None:
    assert evaluation.evaluate(run, split="train").evaluation.lists is None
    assert evaluation.evaluate(run, lists=None).evaluation.lists is None


def test_bars(run: Run) -> None:
    found = evaluation.evaluate(run).evaluation
    check_bars(found, "none", None, "none")
    with pytest.raises(GateError, match=r"0\.5000, is not above that of 'popular', 0\.5000"):
        check_bars(found, "none", None, "popular")


@pytest.fixture(scope="module")
def tastes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("tastes")
    data = planted.dataset(folder, planted.tastes())
    return Run.load(planted.run(data, folder / "run", epochs=3))


def test_choices_make_better_lists_than_ratings_and_counts(tastes: Run) -> None:
    found = evaluation.evaluate(tastes).evaluation.lists
    assert found is not None
    assert found.interest is not None
    assert found.list.liked.ndcg > found.popular.liked.ndcg + 0.1
    assert found.interest.all.ndcg > found.rating.all.ndcg
    assert found.ndcg_difference_to_popular.low > 0
    assert found.ndcg_difference_to_popular.value == pytest.approx(
        found.list.liked.ndcg - found.popular.liked.ndcg
    )


def test_validation_rows_were_seen_by_the_interest_model(tastes: Run) -> None:
    found = evaluation.evaluate(tastes, split="val", include_trained=True)
    assert found.evaluation.lists is None


def test_lists_are_judged_as_recommend_makes_them(
    tastes: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without what the user rated in training and validation; test rows stay candidates."""
    monkeypatch.setattr(lists, "BLOCK", 700)
    found = evaluation.evaluate(tastes).evaluation.lists
    assert found is not None
    data = tastes.dataset()
    pairs = pl.concat([data.split("train"), data.split("val")])
    names = evaluation.ids_of(tastes.ids, pairs)
    seen = "user,item,rating\n" + "".join(
        f"{user},{item},3\n" for user, item in zip(*names, strict=True)
    )
    shown = recommend_frame(tastes, choice=Choice(n=10), seen=text_source(seen))
    test = data.split("test")
    relevant = set(zip(*evaluation.ids_of(tastes.ids, test), strict=True))
    gains: dict[str, float] = {}
    for user, item, rank in shown.select("userId", "movieId", "rank").iter_rows():
        hit = (str(user), str(item)) in relevant
        gains[str(user)] = gains.get(str(user), 0) + hit / math.log2(rank + 1)
    of_users = evaluation.ids_of(tastes.ids, test).user.value_counts()
    ndcg = [
        gains[user] / sum(1 / math.log2(k + 2) for k in range(min(10, n)))
        for user, n in of_users.iter_rows()
    ]
    assert found.list.all.ndcg == pytest.approx(np.mean(ndcg))


def test_many_users_are_sampled(tastes: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_USERS", 30)
    found = evaluation.evaluate(tastes).evaluation.lists
    assert found is not None
    assert found.users == 30
