"""Whether a model is worth using, in one sentence each for ratings and for lists."""

import math
from typing import Literal

from cfcli.core.evaluation.evaluate import Evaluation
from cfcli.core.evaluation.lists import ListEvaluation
from cfcli.core.metrics.intervals import Interval

Worth = Literal["yes", "no", "unclear"]

FEW_USERS = 20  # whose lists say nothing about how alike lists are
SAME, TIMES = 0.1, 2.0  # share of the items on lists, and how many more than most rated shows


def of_ratings(found: Evaluation) -> str:
    """Whether predicted ratings are worth using: surely better than those of damped biases, or not.

    Args:
        found: the evaluation.
    """
    difference = found.mse_difference_to_bias
    return _said(difference, "ratings", "damped biases", "MSE", higher_is_better=False)


def of_lists(found: ListEvaluation) -> str:
    """Whether lists are worth using: surely better than the most rated items, or not.

    Args:
        found: the evaluation of the lists.
    """
    difference = found.ndcg_difference_to_popular
    if math.isnan(difference.value):
        return f"lists: cannot be judged, as no held-out row was rated {found.liked_from:g} or more"
    return _said(difference, "lists", "the most rated items", "nDCG", higher_is_better=True)


def warn_of_same_lists(found: ListEvaluation, items: int) -> str | None:
    """A warning where lists are nearly the same for everyone; None where they are not.

    They are where they show few items, and hardly more than lists of the most rated items do. These
    are not all the same, as nobody gets what they have rated.

    Args:
        found: the evaluation of the lists.
        items: how many there are.
    """
    share = found.list.coverage
    if found.users < FEW_USERS or share >= SAME or share > TIMES * found.popular.coverage:
        return None
    return (
        f"lists are nearly the same for everyone: those of {found.users:,} users show "
        f"{round(share * items):,} of {items:,} items"
    )


def worth_of(difference: Interval, *, higher_is_better: bool) -> Worth:
    """Whether a difference is surely for the better, surely for the worse, or neither.

    Args:
        difference: to what it is compared with.
        higher_is_better: whether a positive difference is one for the better.
    """
    if not (difference.high < 0 or difference.low > 0):  # also where there is no interval
        return "unclear"
    return "yes" if (difference.low > 0) == higher_is_better else "no"


def _said(found: Interval, what: str, other: str, measure: str, *, higher_is_better: bool) -> str:
    value = f"{measure} {found.value:+.4f}"
    if math.isnan(found.low):
        return f"{what}: too few users to tell whether they are better than {other} ({value})"
    interval = f"({value}, 95 % interval {found.low:+.4f} to {found.high:+.4f})"
    return {
        "yes": f"{what}: better than {other}, so worth using {interval}",
        "no": f"{what}: worse than {other}, so not worth using {interval}",
        "unclear": f"{what}: not shown to be better than {other}, which may do as well {interval}",
    }[worth_of(found, higher_is_better=higher_is_better)]
