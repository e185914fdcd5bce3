"""Where a run is right and where it errs, for pictures and reports."""

import itertools
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.evaluation.evaluate import BASELINES, group_of
from cfcli.core.metrics.intervals import Interval, paired_bootstrap
from cfcli.core.pair import Pair
from cfcli.core.runs.run import SAMPLES, Run
from cfcli.core.serving.fallback import FallbackPredictor

VALUES = 20  # most different ratings that have a group each, and bins where there are more
# The least number of training ratings of each group.
ACTIVITY = np.array([0, 1, 5, *(m * 10**e for e in range(1, 9) for m in (1, 2, 5))])
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
MOST_INTERVALS = 200_000  # rows for which a deviation is computed, evenly spaced
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class RatingGroup:
    """Rows that have one rating, or ratings in one bin.

    Attributes:
        label: the rating, or the ends of the bin.
        ratings: rows with such a rating.
        predictions: rows whose prediction is nearest to it.
        prediction: mean prediction for the rows with such a rating; None where there are none.
        rmse: error of the model on these rows.
        bias_rmse: error of damped biases on these rows.
    """

    label: str
    ratings: int
    predictions: int
    prediction: float | None
    rmse: float | None
    bias_rmse: float | None


@dataclass(frozen=True)
class ActivityGroup:
    """Rows whose user, or item, has about as many training ratings.

    Attributes:
        label: the least number of training ratings.
        n: rows.
        rmse: error of the model on these rows.
        bias_rmse: error of damped biases on these rows.
    """

    label: str
    n: int
    rmse: float
    bias_rmse: float


@dataclass(frozen=True)
class Coverage:
    """How many ratings an interval holds.

    Attributes:
        level: share of ratings that the central interval of the normal distribution around the
            predictions should hold.
        share: share of ratings that lie in it.
    """

    level: float
    share: float


@dataclass(frozen=True)
class Diagnosis:
    """Where a run is right and where it errs.

    Attributes:
        by_rating: groups of rows by their ratings, in ascending order; at most 20.
        by_user: groups of rows by training ratings of their users, in ascending order.
        by_item: groups of rows by training ratings of their items, in ascending order.
        calibration: of a run with samples, in ascending order of the levels; else None.
    """

    by_rating: list[RatingGroup]
    by_user: list[ActivityGroup]
    by_item: list[ActivityGroup]
    calibration: list[Coverage] | None


def diagnose(run: Run, table: pl.DataFrame) -> Diagnosis:
    """Group the rows that a run was judged by.

    Args:
        run: the run.
        table: the rows, as :func:`cfcli.core.evaluation.evaluate.evaluate` gives them.
    """
    columns = run.info.columns
    index = Pair(run.ids.user.index(table[columns.user]), run.ids.item.index(table[columns.item]))
    rating = table["rating"].to_numpy()
    prediction = table["prediction"].to_numpy().astype(np.float64)
    squares = (rating - prediction) ** 2
    bias_squares = (rating - table["bias"].to_numpy()) ** 2
    user_n = _training_ratings(run.users, index.user)
    item_n = _training_ratings(run.items, index.item)
    calibration = None
    if SAMPLES in run.info.files:
        calibration = _calibration(run, index, rating, prediction)
    return Diagnosis(
        by_rating=_by_rating(rating, prediction, squares, bias_squares),
        by_user=_by_activity(user_n, squares, bias_squares),
        by_item=_by_activity(item_n, squares, bias_squares),
        calibration=calibration,
    )


def intervals(run: Run, table: pl.DataFrame) -> dict[str, Interval]:
    """RMSE with a 95 % interval by :func:`paired_bootstrap`.

    Args:
        run: the run.
        table: the rows, as :func:`cfcli.core.evaluation.evaluate.evaluate` gives them.

    Returns:
        The errors of each baseline and of ``model``, by their names.
    """
    group, rating = group_of(table[run.info.columns.user]), table["rating"].to_numpy()
    found = {}
    for name in (*BASELINES, "model"):
        prediction = table["prediction" if name == "model" else name].to_numpy()
        squares = (rating - prediction) ** 2
        low, high = paired_bootstrap(squares, group)
        found[name] = Interval(float(squares.mean()) ** 0.5, low**0.5, high**0.5)
    return found


def _training_ratings(entities: pl.DataFrame, index: pl.Series) -> NDArray[np.int64]:
    """How many training ratings each row's user or item has; none where the run does not know
    it."""
    n = entities["n_ratings"].to_numpy()[index.fill_null(0).to_numpy()]
    return np.where(index.is_not_null().to_numpy(), n, 0).astype(np.int64)


def _by_rating(
    rating: Numbers, prediction: Numbers, squares: Numbers, bias_squares: Numbers
) -> list[RatingGroup]:
    values = np.unique(rating)
    if len(values) <= VALUES:
        labels = [f"{value:g}" for value in values]
        edges = (values[1:] + values[:-1]) / 2
    else:
        ends = np.linspace(values[0], values[-1], VALUES + 1)
        labels = [f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(ends)]
        edges = ends[1:-1]
    rated = np.digitize(rating, edges)
    predicted = np.bincount(np.digitize(prediction, edges), minlength=len(labels))
    groups = []
    for k, label in enumerate(labels):
        is_in = rated == k
        groups.append(
            RatingGroup(
                label=label,
                ratings=int(is_in.sum()),
                predictions=int(predicted[k]),
                prediction=float(prediction[is_in].mean()) if is_in.any() else None,
                rmse=_root(squares[is_in]),
                bias_rmse=_root(bias_squares[is_in]),
            )
        )
    return groups


def _by_activity(
    n: NDArray[np.int64], squares: Numbers, bias_squares: Numbers
) -> list[ActivityGroup]:
    place = np.digitize(n, ACTIVITY) - 1
    groups = []
    for k in np.unique(place):
        is_in = place == k
        rmse, bias_rmse = squares[is_in].mean() ** 0.5, bias_squares[is_in].mean() ** 0.5
        label = _at_least(int(ACTIVITY[k]))
        groups.append(ActivityGroup(label, int(is_in.sum()), float(rmse), float(bias_rmse)))
    return groups


def _at_least(n: int) -> str:
    """The label of a range of counts that begins at n."""
    if n == 0:
        return "0"
    return f"{n // 1000}k+" if n >= 1000 else f"{n}+"


def _root(squares: Numbers) -> float | None:
    return float(squares.mean() ** 0.5) if len(squares) else None


def _calibration(
    run: Run, index: Pair[pl.Series], rating: Numbers, prediction: Numbers
) -> list[Coverage] | None:
    known = index.user.is_not_null() & index.item.is_not_null()
    rows = np.flatnonzero(known.to_numpy())
    if not len(rows):
        return None
    rows = rows[:: -(-len(rows) // MOST_INTERVALS)]
    std = FallbackPredictor(run).deviations(index.user[rows], index.item[rows])
    away = np.abs(rating[rows] - prediction[rows]) / std
    found = []
    for level in LEVELS:
        width = NormalDist().inv_cdf((1 + level) / 2)
        found.append(Coverage(level, float((away <= width).mean())))
    return found
