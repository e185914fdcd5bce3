"""Where a run is right and where it errs: what pictures and reports show of the rows that it was
judged by."""

import itertools
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.evaluation.evaluate import BASELINES
from cfcli.core.metrics.intervals import Interval, paired_bootstrap
from cfcli.core.runs.run import SAMPLES, Run
from cfcli.core.serving.fallback import standard_deviation

VALUES = 20  # different ratings that are told apart; where there are more, so many bins of the same width
ACTIVITY = np.array(
    [0, 1, 5, *(m * 10**e for e in range(1, 9) for m in (1, 2, 5))]
)  # ratings from which a bin goes
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
    """Sums over the rows that a run was judged by.

    Args:
        table: as :func:`cfcli.core.evaluation.evaluate.evaluate` gives it.
    """
    rating, prediction = (
        table["rating"].to_numpy(),
        table["prediction"].to_numpy().astype(np.float64),
    )
    squares = (rating - prediction) ** 2
    bias_squares = (rating - table["bias"].to_numpy()) ** 2
    index = [
        ids.index(table[run.info["columns"][name]])
        for ids, name in zip(run.id_maps(), ("user", "item"), strict=True)
    ]
    activity = {}
    for name, found, entities in zip(("user", "item"), index, (run.users, run.items), strict=True):
        n = entities["n_ratings"].to_numpy()[found.fill_null(0).to_numpy()]
        n = np.where(found.is_not_null().to_numpy(), n, 0)
        activity[f"by_{name}"] = _by_activity(n, squares, bias_squares)
    return Diagnosis(
        by_rating=_by_rating(rating, prediction, squares, bias_squares),
        **activity,
        calibration=_calibration(run, index, rating, prediction)
        if SAMPLES in run.info["files"]
        else None,
    )


def rmse_with_intervals(run: Run, table: pl.DataFrame) -> dict[str, Interval]:
    """RMSE of the baselines and of the ``model``, each with a 95 % interval by
    :func:`paired_bootstrap`."""
    group = table[run.info["columns"]["user"]].cast(pl.Categorical).to_physical().to_numpy()
    rating, found = table["rating"].to_numpy(), {}
    for name in (*BASELINES, "model"):
        squares = (rating - table["prediction" if name == "model" else name].to_numpy()) ** 2
        low, high = paired_bootstrap(squares, group)
        found[name] = Interval(float(squares.mean() ** 0.5), low**0.5, high**0.5)
    return found


def _by_rating(
    rating: Numbers, prediction: Numbers, squares: Numbers, bias_squares: Numbers
) -> list[RatingGroup]:
    values = np.unique(rating)
    if len(values) <= VALUES:
        labels, edges = [f"{value:g}" for value in values], (values[1:] + values[:-1]) / 2
    else:
        ends = np.linspace(values[0], values[-1], VALUES + 1)
        labels, edges = (
            [f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(ends)],
            ends[1:-1],
        )
    rated, predicted = (
        np.digitize(rating, edges),
        np.bincount(np.digitize(prediction, edges), minlength=len(labels)),
    )
    rows = []
    for k, label in enumerate(labels):
        of = rated == k
        errors = _errors(squares[of], bias_squares[of])
        rows.append(
            RatingGroup(
                label, int(of.sum()), int(predicted[k]), _mean(prediction[of]), *errors.values()
            )
        )
    return rows


def _by_activity(n: NDArray[Any], squares: Numbers, bias_squares: Numbers) -> list[ActivityGroup]:
    place = np.digitize(n, ACTIVITY) - 1
    rows = []
    for k in np.unique(place):
        low, of = int(ACTIVITY[k]), place == k
        label = f"{low // 1000}k+" if low >= 1000 else f"{low}+" if low else "0"
        rows.append(
            ActivityGroup(
                label,
                int(of.sum()),
                float(squares[of].mean() ** 0.5),
                float(bias_squares[of].mean() ** 0.5),
            )
        )
    return rows


def _errors(squares: Numbers, bias_squares: Numbers) -> dict[str, float | None]:
    found = {"rmse": _mean(squares), "bias_rmse": _mean(bias_squares)}
    return {name: None if mse is None else mse**0.5 for name, mse in found.items()}


def _mean(values: Numbers) -> float | None:
    return float(values.mean()) if len(values) else None


def _calibration(
    run: Run, index: list[pl.Series], rating: Numbers, prediction: Numbers
) -> list[Coverage] | None:
    rows = np.flatnonzero((index[0].is_not_null() & index[1].is_not_null()).to_numpy())
    if not len(rows):
        return None
    rows = rows[:: -(-len(rows) // MOST_INTERVALS)]
    deviation = standard_deviation(
        run, index[0].to_numpy()[rows].astype(np.int64), index[1].to_numpy()[rows].astype(np.int64)
    )
    away = np.abs(rating[rows] - prediction[rows]) / deviation
    return [Coverage(p, float((away <= NormalDist().inv_cdf((1 + p) / 2)).mean())) for p in LEVELS]
