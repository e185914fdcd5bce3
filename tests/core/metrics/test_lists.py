"""Quality of lists: numbers worked by hand, and those of another library."""

import math

import ir_measures
import numpy as np
import pytest

from cfcli.core.metrics.lists import coverage, mean_quality, ndcg, novelty, recall

NO, YES = False, True


def test_ndcg_by_hand() -> None:
    hits = np.array([[YES, NO, YES], [NO, NO, NO], [NO, YES, NO]])
    relevant = np.array([2, 1, 7])
    found = ndcg(hits, relevant)
    ideal_of_two, ideal_of_three = 1 + 1 / math.log2(3), 1 + 1 / math.log2(3) + 1 / 2
    assert found[0] == pytest.approx((1 + 1 / 2) / ideal_of_two)
    assert found[1] == 0
    assert found[2] == pytest.approx(1 / math.log2(3) / ideal_of_three)


def test_recall_by_hand() -> None:
    hits = np.array([[YES, NO, YES], [NO, YES, NO]])
    assert recall(hits, np.array([2, 7])).tolist() == [1, 1 / 7]


def test_a_perfect_list_has_ndcg_1_also_where_more_is_relevant_than_fits() -> None:
    assert ndcg(np.full((2, 3), YES), np.array([3, 9])).tolist() == [1, 1]


def test_users_without_relevant_items_do_not_count() -> None:
    hits, relevant = np.array([[NO, NO], [YES, NO]]), np.array([0, 1])
    assert np.isnan(ndcg(hits, relevant)[0])
    found = mean_quality(ndcg(hits, relevant), recall(hits, relevant))
    assert (found.ndcg, found.recall) == (1, 1)
    nobody = mean_quality(ndcg(hits[:1], relevant[:1]), recall(hits[:1], relevant[:1]))
    assert math.isnan(nobody.ndcg)
    assert math.isnan(nobody.recall)


def test_another_library_finds_the_same() -> None:
    random = np.random.default_rng(3)
    users, items, k = 40, 60, 10
    relevant = random.random((users, items)) < random.random((users, 1)) * 0.5
    relevant[:, 0] |= ~relevant.any(axis=1)
    scores = random.random((users, items))
    top = np.argsort(-scores, axis=1)[:, :k]
    hits, n = np.take_along_axis(relevant, top, axis=1), relevant.sum(axis=1)
    judgements = [ir_measures.Qrel(str(user), str(item), 1) for user, item in np.argwhere(relevant)]
    lists = [
        ir_measures.ScoredDoc(str(user), str(item), float(scores[user, item]))
        for user in range(users)
        for item in range(items)
    ]
    measures = {"ndcg": ir_measures.nDCG @ k, "recall": ir_measures.R @ k}
    theirs = ir_measures.calc_aggregate(measures.values(), judgements, lists)
    ours = mean_quality(ndcg(hits, n), recall(hits, n))
    assert ours.ndcg == pytest.approx(theirs[measures["ndcg"]], abs=1e-9)
    assert ours.recall == pytest.approx(theirs[measures["recall"]], abs=1e-9)


def test_coverage_and_novelty_by_hand() -> None:
    shown, raters = np.array([3, 1, 0, 0]), np.array([8, 2, 8, 0])
    assert coverage(shown, 4) == 0.5
    # Everybody of 8 users rated the first item: 0 bits. Two rated the second: 2 bits.
    assert novelty(shown, raters, 8) == pytest.approx((3 * 0 + 1 * 2) / 4)
    assert math.isnan(novelty(np.zeros(4, int), raters, 8))
