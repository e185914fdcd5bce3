"""What the settings of the interest model are chosen by."""

import numpy as np
import planted
import polars as pl

from cfcli.core.models.scoring import Predictor
from cfcli.core.pair import Pair
from cfcli.core.training import interest

SHAPE = Pair(120, 40)


def predictor(seed: int = 0) -> Predictor:
    """Predicted ratings that follow the taste of the rating, see :func:`rows`."""
    tensors = {
        "user_embedding.weight": np.where(np.arange(120)[:, None] < 60, 1.0, -1.0),
        "item_embedding.weight": np.where(np.arange(40)[:, None] % 2 == 0, 2.0, -2.0),
        "linear.weight": np.ones((1, 1)),
        "linear.bias": np.full(1, 3.0),
    }
    return Predictor(
        "mf", {name: value.astype(np.float32) for name, value in tensors.items()}, 1, 5, "identity"
    )


def rows(by_choice: bool) -> pl.DataFrame:
    """Users of even number choose the first half of the items, others the second half; or anyone
    chooses anything. Whether they like it depends on other things: on the half of the users, and on
    whether the item is even."""
    random = np.random.default_rng(0)
    user, item = (grid.ravel() for grid in np.indices((120, 40)))
    likely = np.where((user % 2 == 0) == (item < 20), 0.7, 0.05) if by_choice else 0.35
    kept = random.random(len(user)) < likely
    rating = np.where((user < 60) == (item % 2 == 0), 5.0, 1.0)
    return planted.frame(user[kept], item[kept], rating[kept])


def fit(by_choice: bool, held: float = 0.2) -> interest.FittedInterest:
    train, val = planted.halves(rows(by_choice), held)
    return interest.fit(train, val, SHAPE, predictor(), 4.0, 0)


def test_choices_and_ratings_are_weighed_against_each_other() -> None:
    found = fit(by_choice=True)
    assert found.weights.interest == 1
    assert found.weights.rating > 0  # whom they choose for says nothing of what they like
    assert found.val is not None
    assert found.val.ndcg > 0.5


def test_where_choices_say_nothing_the_rating_decides() -> None:
    found = fit(by_choice=False).weights
    assert found.rating >= 2 * found.interest


def test_it_is_fitted_on_validation_rows_in_the_end() -> None:
    whole = rows(by_choice=True)
    found = fit(by_choice=True)
    assert found.rows == whole.height
    assert found.tensors["user"].shape == (120, 40)
    assert found.tensors["scale"].shape == (40,)


def test_without_validation_rows_settings_are_fixed() -> None:
    none = rows(by_choice=True)
    found = interest.fit(none, none.clear(), SHAPE, predictor(), 4.0, 0)
    assert found.val is None
    assert found.weights == interest.Weights()


def test_the_same_seed_gives_the_same_model() -> None:
    one, two = fit(by_choice=True), fit(by_choice=True)
    assert one.weights == two.weights
    for name, tensor in one.tensors.items():
        np.testing.assert_array_equal(tensor, two.tensors[name])
