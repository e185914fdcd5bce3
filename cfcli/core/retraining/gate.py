"""Whether a new model may take the place of the one in use."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ConfigError
from cfcli.core.evaluation.evaluate import ids_of, indexed, judge, unseen
from cfcli.core.metrics.intervals import paired_bootstrap
from cfcli.core.metrics.ratings import errors
from cfcli.core.runs.run import Run
from cfcli.core.serving.fallback import FallbackPredictor

COVERAGE = 0.01  # of the rows, by which those with a known user and item may fall


@dataclass(frozen=True)
class Policy:
    """When a new model is published, and what is kept.

    Attributes:
        tolerance: share by which its RMSE may be above the lowest of the model in use and of those
            before it.
        min_gain_over: the baseline whose error it must be below, or ``none``.
        keep: runs to keep.
        full_every: of so many trainings one begins anew, the others with the vectors in use.
    """

    tolerance: float = 0.01
    min_gain_over: str = "bias"
    keep: int = 7
    full_every: int = 7

    def __post_init__(self) -> None:
        for name, least in (("tolerance", 0), ("keep", 1), ("full_every", 1)):
            if not getattr(self, name) >= least:
                raise ConfigError(
                    f"--{name.replace('_', '-')}: {getattr(self, name)} is below {least}"
                )


def compare(
    new: Run, champion: Run | None, earlier: Iterable[Run], dataset: Dataset, policy: Policy
) -> tuple[str, dict[str, Any]]:
    """Judges runs by the test rows that none of them was trained on.

    Args:
        champion: the run in use.
        earlier: runs that were in use before it: each night may be worse than the last by the
            tolerance, but not the last of many than the first.

    Returns:
        Why the new run is not to be published, or an empty text; and what that rests on: ``n``
        rows, ``model`` and ``champion`` (errors, and ``coverage``: the share of rows whose user and
        item it knows), ``baselines``, ``mse_difference`` of the two with a 95 % interval, ``best``
        of champion and earlier runs.
    """
    rows = dataset.split("test")
    ids = ids_of(dataset, rows)
    runs = [new, champion] if champion else [new]
    tables = [indexed(run, ids, rows["rating"]) for run in runs]
    fair = reduce(and_, map(unseen, runs, tables))
    predictions = {}
    for run in earlier if champion else ():  # one at a time: they may be large
        table = indexed(run, ids, rows["rating"])
        fair &= unseen(run, table)
        predictions[run.path.name] = FallbackPredictor(run)(table["user"], table["item"])[0]
    tables, ids = [table.filter(fair) for table in tables], [column.filter(fair) for column in ids]
    n = tables[0].height
    found: dict[str, Any] = dict.fromkeys(
        ("model", "champion", "baselines", "mse_difference", "best")
    ) | {"n": n}
    if not n:
        return "no rows to judge by that neither model was trained on", found
    report, judged = judge(new, tables[0], ids)
    found |= {"model": _with_coverage(report), "baselines": report["baselines"]}
    if champion:
        former, beside = judge(champion, tables[1], ids)
        found["champion"] = _with_coverage(former)
        squares = [
            ((table["prediction"] - table["rating"]) ** 2).to_numpy() for table in (judged, beside)
        ]
        low, high = paired_bootstrap(squares[0] - squares[1], rows["user"].filter(fair).to_numpy())
        found["mse_difference"] = {
            "value": float((squares[0] - squares[1]).mean()),
            "low": low,
            "high": high,
        }
        rating, mask = tables[0]["rating"].to_numpy(), fair.to_numpy()
        rmse = {
            name: errors(rating, prediction[mask])["rmse"]
            for name, prediction in predictions.items()
        }
        rmse[champion.path.name] = former["model"]["rmse"]
        best = min(rmse, key=rmse.__getitem__)  # type: ignore[arg-type]
        found["best"] = {"run": best, "rmse": rmse[best]}
    return _why_not(found, policy), found


def _with_coverage(report: dict[str, Any]) -> dict[str, Any]:
    return {**report["model"], "coverage": report["warm"]["n"] / report["n"]}


def _why_not(found: dict[str, Any], policy: Policy) -> str:
    model, champion, best = found["model"], found["champion"], found["best"]
    if policy.min_gain_over != "none":
        bar = found["baselines"][policy.min_gain_over]["rmse"]
        if not model["rmse"] < bar:
            return f"RMSE {model['rmse']:.4f} is not below that of the baseline '{policy.min_gain_over}', {bar:.4f}"
    if champion is None:
        return ""
    if not model["rmse"] <= best["rmse"] * (1 + policy.tolerance):
        whose = (
            "the model in use"
            if best["rmse"] == champion["rmse"]
            else f"{best['run']}, in use before"
        )
        return f"RMSE {model['rmse']:.4f} is more than {policy.tolerance:.1%} above that of {whose}, {best['rmse']:.4f}"
    if model["coverage"] < champion["coverage"] - COVERAGE:
        shares = (
            f"{model['coverage']:.1%} of the rows, the model in use of {champion['coverage']:.1%}"
        )
        return f"knows user and item of {shares}"
    return ""
