"""Whether a model is worth using: the interval decides."""

from dataclasses import replace

import pytest

from cfcli.core.evaluation.evaluate import Evaluation, GroupErrors
from cfcli.core.evaluation.lists import ListEvaluation, ListQuality
from cfcli.core.evaluation.worth import of_lists, of_ratings, warn_of_same_lists
from cfcli.core.metrics.intervals import Interval
from cfcli.core.metrics.lists import Quality
from cfcli.core.metrics.ratings import ModelErrors

NAN = float("nan")
ERRORS = ModelErrors(1.0, 1.0, 1.0, 0.0)
GROUP = GroupErrors(n=1, mse=1.0, rmse=1.0, mae=1.0)
FOUND = Evaluation("run", "test", 9, ERRORS, {}, GROUP, GROUP, 0.0, Interval(0.0, 0.0, 0.0))
HALF = ListQuality(Quality(0.5, 0.5), Quality(0.5, 0.5), 0.5, 1.0)
LISTS = ListEvaluation(
    k=10, users=900, liked_from=4.0, popular=HALF, rating=HALF, list=HALF,
    ndcg_difference_to_popular=Interval(0.0, 0.0, 0.0),
)  # fmt: skip


@pytest.mark.parametrize(
    ("interval", "ratings", "lists"),
    [
        ((-0.1, -0.2, -0.05), "better than damped biases, so worth using", "worse than the most"),
        ((0.1, 0.05, 0.2), "worse than damped biases, so not worth using", "better than the most"),
        ((-0.1, -0.2, 0.05), "not shown to be better than damped", "not shown to be better than"),
        ((-0.1, NAN, NAN), "too few users to tell whether", "too few users to tell whether"),
    ],
)
def test_the_interval_decides(
    interval: tuple[float, float, float], ratings: str, lists: str
) -> None:
    difference = Interval(*interval)
    said = of_ratings(replace(FOUND, mse_difference_to_bias=difference))
    assert said.startswith(f"ratings: {ratings}")
    assert f"(MSE {difference.value:+.4f}" in said
    said = of_lists(replace(LISTS, ndcg_difference_to_popular=difference))
    assert said.startswith(f"lists: {lists}")


def test_without_liked_rows_lists_cannot_be_judged() -> None:
    nothing = replace(LISTS, ndcg_difference_to_popular=Interval(NAN, NAN, NAN))
    assert of_lists(nothing) == "lists: cannot be judged, as no held-out row was rated 4 or more"


def test_lists_that_are_nearly_the_same_for_everyone_are_warned_of() -> None:
    few = replace(LISTS, popular=replace(HALF, coverage=0.01), list=replace(HALF, coverage=0.015))
    said = "lists are nearly the same for everyone: those of 900 users show 15 of 1,000 items"
    assert warn_of_same_lists(few, 1000) == said
    assert warn_of_same_lists(LISTS, 1000) is None  # half of the items
    varied = replace(few, list=replace(HALF, coverage=0.03))
    assert warn_of_same_lists(varied, 1000) is None  # three times those of the most rated
    assert warn_of_same_lists(replace(few, users=5), 1000) is None
