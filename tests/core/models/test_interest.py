"""The interest model is EASE, and standardised scores are what they say."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from cfcli.core.models.interest import Interest, choice_weights, popularity, standardised
from cfcli.core.training.choices import RARENESS, Directions


def chosen(users: int = 30, items: int = 12, seed: int = 0) -> np.ndarray:
    """A table of choices with two tastes in it, (U, I)."""
    random = np.random.default_rng(seed)
    same = np.arange(users)[:, None] % 2 == np.arange(items) % 2
    return (random.random((users, items)) < np.where(same, 0.6, 0.1)).astype(np.float32)


def ease(table: np.ndarray, penalty: float) -> np.ndarray:
    """The weights of Steck (2019), eq. 8, as its listing computes them, (I, I)."""
    gram = table.T.astype(np.float64) @ table
    gram[np.diag_indices(len(gram))] += penalty
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices(len(gram))] = 0
    return weights


def fitted(table: np.ndarray, penalty: float) -> Interest:
    q, scale = Directions.of(csr_matrix(table), seed=0).items(penalty)
    return Interest(
        {"user": table @ q, "item": q, "scale": scale, "raters": (table > 0).sum(axis=0)}
    )


@pytest.mark.parametrize("penalty", [0.5, 5.0, 50.0])
@pytest.mark.parametrize("shape", [(30, 12), (9, 20)])
def test_with_all_directions_it_is_ease(shape: tuple[int, int], penalty: float) -> None:
    table = chosen(*shape)
    table *= np.random.default_rng(1).uniform(0.5, 1.5, shape)  # weighted choices, too
    found = fitted(table, penalty)
    weighted = table * np.maximum((table > 0).sum(axis=0), 1) ** -RARENESS
    wanted = weighted @ ease(weighted, penalty)
    open_pairs = table == 0
    scores = found.scores(found.user)
    np.testing.assert_allclose(scores[open_pairs], wanted[open_pairs], rtol=2e-3, atol=2e-4)


def test_a_user_who_is_folded_in_gets_the_vector_of_training() -> None:
    table = chosen()
    found = fitted(table, 3.0)
    items = np.flatnonzero(table[7])
    vector = found.fold_in(items, table[7, items])
    np.testing.assert_allclose(vector, found.user[7], rtol=1e-4, atol=1e-5)


def test_users_are_shown_what_those_of_their_taste_chose() -> None:
    table = chosen(users=200)
    found = fitted(table, 10.0)
    scores = np.where(table > 0, -np.inf, found.scores(found.user))
    best = scores.argmax(axis=1)
    assert (best % 2 == np.arange(200) % 2).mean() > 0.9


def test_an_item_that_nobody_chose_has_no_score() -> None:
    table = chosen()
    table[:, 4] = 0
    found = fitted(table, 3.0)
    np.testing.assert_allclose(found.scores(found.user)[:, 4], 0, atol=1e-5)


def test_standardised_over_some_items_by_hand() -> None:
    among = np.array([True, True, False, True])
    found = standardised(np.array([[1.0, 3.0, 100.0, 5.0], [2.0, 2.0, 0.0, 2.0]]), among)
    deviation = (8 / 3) ** 0.5
    np.testing.assert_allclose(found[0, among], [-2 / deviation, 0, 2 / deviation])
    assert found[1].tolist() == [0, 0, 0, 0]
    many = popularity(np.array([0, 9, 99]), np.array([False, True, True]))
    np.testing.assert_allclose(many[1:], [-1, 1], rtol=1e-5)


def test_a_high_rating_counts_a_little_more() -> None:
    weight = choice_weights(np.array([1.0, 3.0, 5.0]), 3.0, 2.0)
    np.testing.assert_allclose(weight, [0.85, 1, 1.15])
    assert choice_weights(np.array([1.0]), 100.0, 0.5).tolist() == [pytest.approx(0.2)]
    assert choice_weights(np.array([4.0]), 4.0, 0.0).tolist() == [1]
