"""What a report says first."""

import math

import pytest

from cfcli.core.evaluation.comparison import ComparedRun, Comparison
from cfcli.core.evaluation.evaluate import Evaluation, GroupErrors
from cfcli.core.evaluation.lists import ListEvaluation, ListQuality
from cfcli.core.metrics.intervals import Interval
from cfcli.core.metrics.lists import Quality
from cfcli.core.metrics.ratings import Errors, ModelErrors
from cfcli.core.reporting import findings

NONE = Interval(0.0, math.nan, math.nan)


def judged(mse: Interval, ndcg: Interval | None = None) -> Evaluation:
    """A model of RMSE 0.8 beside damped biases of RMSE 1, and lists of nDCG 0.3 beside 0.1."""
    lists = None
    if ndcg is not None:
        own, popular = quality(0.3), quality(0.1)
        lists = ListEvaluation(
            k=10,
            users=50,
            liked_from=4,
            popular=popular,
            rating=own,
            list=own,
            ndcg_difference_to_popular=ndcg,
        )
    return Evaluation(
        run="run",
        split="test",
        n=100,
        model=ModelErrors(mse=0.64, rmse=0.8, mae=0.6, r2=0.3),
        baselines={"bias": Errors(mse=1.0, rmse=1.0, mae=0.8)},
        warm=GroupErrors(n=100, mse=0.64, rmse=0.8, mae=0.6),
        cold=GroupErrors(n=0, mse=None, rmse=None, mae=None),
        mse_gain_over_mean=0.5,
        mse_difference_to_bias=mse,
        lists=lists,
    )


def quality(ndcg: float) -> ListQuality:
    return ListQuality(Quality(ndcg, ndcg), Quality(ndcg, ndcg), 0.5, 5.0)


@pytest.mark.parametrize(
    ("mse", "worth", "sentence"),
    [
        (
            Interval(-0.36, -0.45, -0.27),
            "yes",
            "Its predicted ratings are worth using: RMSE 0.800 beside 1.000 of damped biases, "
            "0.200 less, 95 % interval 0.150 to 0.250.",
        ),
        (Interval(0.36, 0.27, 0.45), "no", "0.200 more, 95 % interval 0.150 to 0.250."),
        (Interval(-0.09, -0.18, 0.09), "unclear", "-0.050, 95 % interval -0.100 to +0.050."),
        (NONE, "unclear", "too few users to tell."),
    ],
)
def test_ratings_beside_damped_biases(mse: Interval, worth: str, sentence: str) -> None:
    found = findings.of_run(judged(mse), 100)
    assert [(one.about, one.worth, one.number) for one in found] == [("Ratings", worth, "0.800")]
    assert found[0].sentence.endswith(sentence)


@pytest.mark.parametrize(
    ("ndcg", "worth"),
    [
        (Interval(0.2, 0.1, 0.3), "yes"),
        (Interval(-0.2, -0.3, -0.1), "no"),
        (Interval(0, -0.1, 0.1), "unclear"),
    ],
)
def test_lists_beside_the_most_rated_items(ndcg: Interval, worth: str) -> None:
    found = findings.of_run(judged(NONE, ndcg), 100)[1]
    assert (found.about, found.worth, found.number) == ("Lists", worth, "0.300")
    assert "nDCG 0.300 beside 0.100 of the most rated items" in found.sentence


def compared(rmse: float, difference: Interval | None = None) -> ComparedRun:
    return ComparedRun(
        run="x",
        judged="run",
        model=ModelErrors(mse=rmse**2, rmse=rmse, mae=0.5, r2=0.3),
        rmse_difference=difference,
    )


def test_the_better_of_two_runs_is_named_whatever_their_order() -> None:
    other = compared(0.9, Interval(0.1, 0.05, 0.15))
    found = Comparison(split="test", n=9, runs=[compared(0.8), other])
    expected = (
        "mf 16 is better for ratings than ncf 5: RMSE 0.800 beside 0.900, 0.100 less, "
        "95 % interval 0.050 to 0.150."
    )
    [finding] = findings.of_comparison(found, ["mf 16", "ncf 5"])
    assert (finding.sentence, finding.unit) == (expected, "RMSE of mf 16")
    other = compared(0.8, Interval(-0.1, -0.15, -0.05))
    found = Comparison(split="test", n=9, runs=[compared(0.9), other])
    assert findings.of_comparison(found, ["ncf 5", "mf 16"])[0].sentence == expected


def test_runs_that_cannot_be_told_apart() -> None:
    other = compared(0.9, Interval(0.1, -0.05, 0.15))
    found = Comparison(split="test", n=9, runs=[compared(0.8), other])
    [finding] = findings.of_comparison(found, ["a", "b"])
    assert finding.worth == "unclear"
    assert finding.sentence.startswith("a and b cannot be told apart for ratings")
