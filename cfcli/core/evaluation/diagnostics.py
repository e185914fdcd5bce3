"""Where a run is right and where it errs: what pictures and reports show of the rows that it was
judged by."""

import itertools
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.evaluation.evaluate import BASELINES
from cfcli.core.metrics.intervals import paired_bootstrap
from cfcli.core.runs.run import SAMPLES, Run
from cfcli.core.serving.scorer import standard_deviation

VALUES = 20  # different ratings that are told apart; where there are more, so many bins of the same width
ACTIVITY = np.array(
    [0, 1, 5, *(m * 10**e for e in range(1, 9) for m in (1, 2, 5))]
)  # ratings from which a bin goes
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
MOST_INTERVALS = 200_000  # rows for which a deviation is computed, evenly spaced
Numbers = NDArray[np.float64]


def diagnose(run: Run, table: pl.DataFrame) -> dict[str, Any]:
    """Sums over the rows that a run was judged by.

    Args:
        table: as :func:`cfcli.core.evaluation.evaluate.evaluate` gives it.

    Returns:
        - ``by_rating``: for each rating, or each of 20 bins of ratings: its ``label``; ``ratings``
          and ``predictions``, the rows that have it, or are nearest to it; of the former
          ``prediction``, their mean, and ``rmse`` and ``bias_rmse``, of the model and of damped
          biases (None without rows).
        - ``by_user``, ``by_item``: for each range of numbers of training ratings: ``label``, where
          it begins, ``n`` rows, ``rmse``, ``bias_rmse``.
        - ``calibration``: of a run with samples, for each ``level`` p the ``share`` of ratings that
          lie in the central interval of p of the normal distribution around their predictions; else
          None.
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
    return {
        "by_rating": _by_rating(rating, prediction, squares, bias_squares),
        **activity,
        "calibration": _calibration(run, index, rating, prediction)
        if SAMPLES in run.info["files"]
        else None,
    }


def intervals(run: Run, table: pl.DataFrame) -> dict[str, dict[str, float]]:
    """RMSE of the baselines and of the ``model``, each with a 95 % interval by
    :func:`paired_bootstrap`: ``rmse``, ``low``, ``high``."""
    group = table[run.info["columns"]["user"]].cast(pl.Categorical).to_physical().to_numpy()
    rating, found = table["rating"].to_numpy(), {}
    for name in (*BASELINES, "model"):
        squares = (rating - table["prediction" if name == "model" else name].to_numpy()) ** 2
        low, high = paired_bootstrap(squares, group)
        found[name] = {"rmse": float(squares.mean() ** 0.5), "low": low**0.5, "high": high**0.5}
    return found


def _by_rating(
    rating: Numbers, prediction: Numbers, squares: Numbers, bias_squares: Numbers
) -> list[dict[str, Any]]:
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
        row = {"label": label, "ratings": int(of.sum()), "predictions": int(predicted[k])}
        rows.append(
            row | {"prediction": _mean(prediction[of])} | _errors(squares[of], bias_squares[of])
        )
    return rows


def _by_activity(n: NDArray[Any], squares: Numbers, bias_squares: Numbers) -> list[dict[str, Any]]:
    place = np.digitize(n, ACTIVITY) - 1
    rows = []
    for k in np.unique(place):
        low, of = int(ACTIVITY[k]), place == k
        label = f"{low // 1000}k+" if low >= 1000 else f"{low}+" if low else "0"
        rows.append({"label": label, "n": int(of.sum()), **_errors(squares[of], bias_squares[of])})
    return rows


def _errors(squares: Numbers, bias_squares: Numbers) -> dict[str, float | None]:
    found = {"rmse": _mean(squares), "bias_rmse": _mean(bias_squares)}
    return {name: None if mse is None else mse**0.5 for name, mse in found.items()}


def _mean(values: Numbers) -> float | None:
    return float(values.mean()) if len(values) else None


def _calibration(
    run: Run, index: list[pl.Series], rating: Numbers, prediction: Numbers
) -> list[dict[str, float]] | None:
    rows = np.flatnonzero((index[0].is_not_null() & index[1].is_not_null()).to_numpy())
    if not len(rows):
        return None
    rows = rows[:: -(-len(rows) // MOST_INTERVALS)]
    deviation = standard_deviation(
        run, index[0].to_numpy()[rows].astype(np.int64), index[1].to_numpy()[rows].astype(np.int64)
    )
    away = np.abs(rating[rows] - prediction[rows]) / deviation
    return [
        {"level": p, "share": float((away <= NormalDist().inv_cdf((1 + p) / 2)).mean())}
        for p in LEVELS
    ]
