"""Standard deviations of predictions, beside those that all vectors of the samples have."""

import numpy as np
import pytest

from cfcli.core.models.spread import Spread
from cfcli.core.pair import Pair

USERS, ITEMS = 700, 600


@pytest.fixture(scope="module")
def samples() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "users": random.normal(0.3, 1, (3, USERS, 3)),
        "items": random.normal(0.2, 0.5, (3, ITEMS, 3)) + random.normal(0, 0.1, (3, 1, 3)),
        "user_noise": random.uniform(0.5, 2, USERS),
        "item_noise": random.uniform(0.5, 2, ITEMS),
    }


@pytest.fixture(scope="module")
def scores(samples: dict[str, np.ndarray]) -> np.ndarray:
    """Of all pairs in each sample, (S, U, I)."""
    users, items = samples["users"], samples["items"]
    products = np.einsum("suk,sik->sui", users[..., :-1], items[..., :-1])
    return products + users[:, :, None, -1] + items[:, None, :, -1]


def of_pair(samples: dict[str, np.ndarray], user: float, item: float) -> float:
    """The squared deviation of user 5 and item 7, of whom some is not known."""
    spread = Spread(samples, Pair(np.ones(USERS, bool), np.ones(ITEMS, bool)))
    five, seven = np.array([5]), np.array([7])
    return float(spread(five, seven, Pair(np.array([user]), np.array([item])))[0] ** 2)


def test_a_known_pair_has_the_spread_of_its_samples(
    samples: dict[str, np.ndarray], scores: np.ndarray
) -> None:
    noise = samples["user_noise"][5] * samples["item_noise"][7]
    assert of_pair(samples, 0, 0) == pytest.approx(scores[:, 5, 7].var(ddof=1) + noise)


def test_a_new_one_may_be_any_of_those_who_are_there(
    samples: dict[str, np.ndarray], scores: np.ndarray
) -> None:
    user_noise, item_noise = samples["user_noise"], samples["item_noise"]
    by_item = scores[:, :, 7]
    expected = by_item.var(1).mean() + by_item.mean(1).var(ddof=1)
    expected += user_noise.mean() * item_noise[7]
    assert of_pair(samples, 1, 0) == pytest.approx(expected, rel=0.003)
    by_user = scores[:, 5]
    expected = by_user.var(1).mean() + by_user.mean(1).var(ddof=1)
    expected += user_noise[5] * item_noise.mean()
    assert of_pair(samples, 0, 1) == pytest.approx(expected, rel=0.003)
    expected = scores.var((1, 2)).mean() + scores.mean((1, 2)).var(ddof=1)
    expected += user_noise.mean() * item_noise.mean()
    assert of_pair(samples, 1, 1) == pytest.approx(expected, rel=0.003)


def test_what_is_known_in_part_has_that_part_of_the_variance(
    samples: dict[str, np.ndarray], scores: np.ndarray
) -> None:
    less = of_pair(samples, 1, 0) - of_pair(samples, 0.25, 0)
    assert less == pytest.approx(0.75 * scores[:, :, 7].var(1).mean(), rel=0.003)


def test_those_without_training_rows_are_no_example(samples: dict[str, np.ndarray]) -> None:
    trained = np.arange(USERS) > 0
    strange = {**samples, "users": samples["users"] + 100 * ~trained[:, None]}
    found = [
        Spread(of, Pair(trained, np.ones(ITEMS, bool)))(
            np.array([0]), np.array([7]), Pair(np.ones(1), np.zeros(1))
        )
        for of in (samples, strange)
    ]
    assert found[0] == found[1]
