"""What a report says first: whether a run is worth using, and which of several is better."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cfcli.core.evaluation.comparison import ComparedRun, Comparison
from cfcli.core.evaluation.evaluate import Evaluation
from cfcli.core.evaluation.lists import ListEvaluation
from cfcli.core.evaluation.worth import Worth, warn_of_same_lists, worth_of
from cfcli.core.metrics.intervals import Interval


@dataclass(frozen=True)
class Finding:
    """One answer on top of the report.

    Attributes:
        about: what it is about, in one or two words.
        worth: whether the answer is good; for runs beside each other, whether one is better.
        number: the number that says most.
        unit: what the number is.
        sentence: the answer.
    """

    about: str
    worth: Worth
    number: str
    unit: str
    sentence: str


def of_run(found: Evaluation, items: int) -> list[Finding]:
    """Whether the predicted ratings and the lists of a run are worth using.

    Args:
        found: how good the run is.
        items: how many it knows.

    Returns:
        One finding for ratings and, where lists were judged, one for lists.
    """
    findings = [_of_ratings(found)]
    if found.lists is not None:
        findings.append(_of_lists(found.lists, items))
    return findings


def of_comparison(found: Comparison, names: Sequence[str]) -> list[Finding]:
    """Which run is better, by how much.

    Args:
        found: the runs beside the first of them.
        names: of the runs, in their order.

    Returns:
        One finding for ratings and, where lists were judged, one for lists.
    """
    runs = found.runs
    rmse = [run.model.rmse for run in runs]
    findings = [_better(runs, names, rmse, "RMSE", 1)]
    ndcg = [run.lists.liked.ndcg for run in runs if run.lists is not None]
    if len(ndcg) == len(runs):
        findings.append(_better(runs, names, ndcg, "nDCG", -1))
    return findings


def rmse_difference(found: Evaluation) -> Interval:
    """What the RMSE of a run is above that of damped biases, with the interval that the MSE has.

    Args:
        found: how good the run is.
    """
    both = found.model.rmse + found.baselines["bias"].rmse
    mse = found.mse_difference_to_bias
    if both == 0:
        return mse
    return Interval(mse.value / both, mse.low / both, mse.high / both)


def _of_ratings(found: Evaluation) -> Finding:
    rmse, bias = found.model.rmse, found.baselines["bias"].rmse
    difference = rmse_difference(found)
    worth = worth_of(difference, higher_is_better=False)
    beside = f"RMSE {rmse:.3f} beside {bias:.3f} of damped biases"
    said = {
        "yes": "Its predicted ratings are worth using",
        "no": "Its predicted ratings are not worth using: damped biases are better",
        "unclear": "Its predicted ratings are not clearly better than damped biases",
    }[worth]
    sentence = f"{said}: {beside}, {_difference(difference)}."
    return Finding("Ratings", worth, f"{rmse:.3f}", "RMSE, less is better", sentence)


def _of_lists(lists: ListEvaluation, items: int) -> Finding:
    ndcg, popular = lists.list.liked.ndcg, lists.popular.liked.ndcg
    difference = lists.ndcg_difference_to_popular
    worth = worth_of(difference, higher_is_better=True)
    said = {
        "yes": "Its lists are worth using",
        "no": "Its lists are not worth using: a list of the most rated items is better",
        "unclear": "Its lists are not clearly better than a list of the most rated items",
    }[worth]
    sentence = (
        f"{said}: nDCG {ndcg:.3f} beside {popular:.3f} of the most rated items, "
        f"{_difference(difference)}."
    )
    warning = warn_of_same_lists(lists, items)
    if warning is not None:
        sentence = f"{sentence} But {warning}."
    return Finding("Lists", worth, f"{ndcg:.3f}", f"nDCG@{lists.k}, more is better", sentence)


def _better(
    runs: Sequence[ComparedRun],
    names: Sequence[str],
    values: Sequence[float],
    what: Literal["RMSE", "nDCG"],
    sign: Literal[1, -1],
) -> Finding:
    """Which of the runs is the best beside the first, or the first beside the next best.

    Args:
        runs: the runs.
        names: theirs.
        values: what they are compared by.
        what: the name of that.
        sign: 1 if less is better, -1 if more is.
    """
    order = sorted(range(len(runs)), key=lambda k: sign * values[k])
    # Differences are known to the first run alone.
    best = order[0]
    other = order[1] if best == 0 else 0
    beside = runs[max(best, other)]
    found = beside.rmse_difference if what == "RMSE" else beside.ndcg_difference
    assert found is not None
    if best == 0:  # the difference of the other to the best, turned round
        found = Interval(-found.value, -found.high, -found.low)
    worth = worth_of(found, higher_is_better=sign < 0)
    numbers = f"{what} {values[best]:.3f} beside {values[other]:.3f}, {_difference(found)}"
    task = "ratings" if what == "RMSE" else "lists"
    if worth == "yes":
        sentence = f"{names[best]} is better for {task} than {names[other]}: {numbers}."
    else:
        sentence = f"{names[best]} and {names[other]} cannot be told apart for {task}: {numbers}."
    unit = f"{what} of {names[best]}"
    return Finding(task.capitalize(), worth, f"{values[best]:.3f}", unit, sentence)


def _difference(found: Interval) -> str:
    """A difference with its interval in words."""
    if math.isnan(found.low):
        return "too few users to tell"
    if found.low <= 0 <= found.high:
        return f"{found.value:+.3f}, 95 % interval {found.low:+.3f} to {found.high:+.3f}"
    word = "less" if found.value < 0 else "more"
    low, high = sorted((abs(found.low), abs(found.high)))
    return f"{abs(found.value):.3f} {word}, 95 % interval {low:.3f} to {high:.3f}"
