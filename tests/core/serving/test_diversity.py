"""Items that are alike make room for others."""

import numpy as np

from cfcli.core.serving.diversity import diversified

# Items 0 and 1 are the same, 2 is unlike them, 3 is half like them.
VECTORS = np.array([[1, 0], [2, 0], [0, 1], [1, 1]], np.float32)
ITEMS, SCORES = np.array([[0, 1, 2, 3]]), np.array([[4.0, 3.0, 1.0, 0.0]])


def test_by_hand() -> None:
    """Relevance is 1, 0.75, 0.25, 0. After item 0, with half the weight: item 1 has
    0.375 - 0.5, item 2 has 0.125 - 0, item 3 has 0 - 0.354. Then item 1 and item 3 with
    0 - 0.354."""
    assert diversified(ITEMS, SCORES, VECTORS, 4, 0.5).tolist() == [[0, 2, 1, 3]]


def test_without_weight_the_order_stays() -> None:
    assert diversified(ITEMS, SCORES, VECTORS, 3, 0.0).tolist() == [[0, 1, 2]]


def test_places_without_an_item_come_last() -> None:
    scores = np.array([[4.0, 3.0, -np.inf, -np.inf]])
    found = diversified(ITEMS, scores, VECTORS, 3, 0.9)
    assert sorted(found[0, :2].tolist()) == [0, 1]
    assert not np.isfinite(scores[0, found[0, 2]])


def test_with_all_the_weight_only_the_first_item_is_chosen_by_its_score() -> None:
    found = diversified(ITEMS, SCORES, VECTORS, 4, 1.0)[0].tolist()
    assert found[:2] == [0, 2]  # the least like the best
    assert sorted(found) == [0, 1, 2, 3]


def test_users_are_independent() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(50, 4)).astype(np.float32)
    scores = -np.sort(-random.random((150, 20)), axis=1)
    items = np.array([random.permutation(50)[:20] for _ in range(150)])
    together = diversified(items, scores, vectors, 6, 0.4)
    for user in (0, 63, 64, 149):
        alone = diversified(items[[user]], scores[[user]], vectors, 6, 0.4)
        assert together[user].tolist() == alone[0].tolist()
