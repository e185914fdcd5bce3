"""What the settings of the interest model are chosen by."""

import numpy as np
import planted
import polars as pl
import pytest

from cfcli.core.models.interest import Weights
from cfcli.core.models.scoring import Predictor
from cfcli.core.pair import Pair
from cfcli.core.training import interest
from cfcli.core.training.list_settings import middle

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


def fit(
    by_choice: bool,
    held: float = 0.2,
    *,
    on: tuple[str, ...] = ("train", "val"),
    until: float | None = None,
    liked_from: float = 4.0,
) -> interest.FittedInterest:
    train, val = planted.halves(rows(by_choice), held)
    sides = {"train": train, "val": val}
    return interest.fit(sides, SHAPE, predictor(), liked_from, 0, on=on, until=until)


def test_choices_and_ratings_are_weighed_against_each_other() -> None:
    found = fit(by_choice=True)
    assert found.settings.weights.interest == 1
    assert found.settings.weights.rating > 0  # whom they choose for says nothing of what they like
    assert found.settings.quality is not None
    assert found.settings.quality.ndcg > 0.5


def test_where_choices_say_nothing_the_rating_decides() -> None:
    assert (
        fit(by_choice=False).settings.weights.rating
        > 2 * fit(by_choice=True).settings.weights.rating
    )


def test_it_is_fitted_on_validation_rows_in_the_end() -> None:
    whole = rows(by_choice=True)
    found = fit(by_choice=True)
    assert found.rows == whole.height
    assert found.tensors["user"].shape == (120, 40)
    assert found.tensors["scale"].shape == (40,)
    raters = whole.group_by("item").len().sort("item")["len"]
    np.testing.assert_array_equal(found.tensors["raters"], raters)


def test_without_a_refit_it_knows_the_training_rows_alone() -> None:
    found = fit(by_choice=True, on=("train",))
    assert found.fitted_on == ("train",)
    assert found.rows == planted.halves(rows(by_choice=True), 0.2)[0].height
    assert found.settings.quality is not None


def test_what_there_is_no_time_for_is_left_out() -> None:
    found = fit(by_choice=True, until=0.0)
    assert found.settings.weights == Weights()
    assert (found.settings.quality, found.fitted_on) == (None, ("train",))
    assert "settings" in found.skipped


def test_of_settings_that_noise_alone_tells_apart_the_mean_is_taken() -> None:
    tried = [(0.01, Weights(0, 0, 1)), (0.04, Weights(1, 1, 2)), (0.04, Weights(1, 0, 0))]
    # By 0.8, 0.78 and 0.2 on average; the first two differ by less than a standard error.
    ndcg = np.array([[0.9, 0.7, 0.8, 0.8], [0.5, 1.0, 0.9, 0.72], [0.2, 0.2, 0.2, 0.2]])
    share, weights = middle(tried, np.repeat(ndcg[:, None], 4, axis=1))
    assert share == pytest.approx(0.02)  # the geometric mean
    assert weights == Weights(1, 1, 6)  # (0, 0, 1) and (1/4, 1/4, 1/2)


def test_settings_that_are_surely_worse_are_left_out() -> None:
    tried = [(0.01, Weights(0, 0, 1)), (0.04, Weights(1, 1, 2))]
    ndcg = np.array([[0.9, 0.7, 0.8, 0.8], [0.8, 0.6, 0.7, 0.7]])
    share, weights = middle(tried, np.repeat(ndcg[:, None], 4, axis=1))
    assert share == pytest.approx(0.01)
    assert weights == Weights(0, 0, 1)


def test_without_validation_rows_settings_are_fixed() -> None:
    none = rows(by_choice=True)
    found = interest.fit({"train": none, "val": none.clear()}, SHAPE, predictor(), 4.0, 0)
    assert found.settings.quality is None
    assert found.settings.weights == Weights()


@pytest.mark.filterwarnings("error")
def test_where_nothing_is_liked_settings_are_chosen_by_all_rows() -> None:
    found = fit(by_choice=True, liked_from=6.0)
    assert found.settings.quality is not None
    assert np.isnan(found.settings.quality.ndcg)
    assert found.settings.weights != Weights()


def test_the_same_seed_gives_the_same_model() -> None:
    one, two = fit(by_choice=True), fit(by_choice=True)
    assert one.settings == two.settings
    for name, tensor in one.tensors.items():
        np.testing.assert_array_equal(tensor, two.tensors[name])
