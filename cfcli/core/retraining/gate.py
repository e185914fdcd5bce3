"""Whether a new model may take the place of the one in use."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ConfigError
from cfcli.core.evaluation.evaluate import Evaluation, ids_of, indexed, judge, unseen
from cfcli.core.evaluation.lists import MOST_USERS, judge_beside
from cfcli.core.metrics.intervals import Interval, mean_with_interval
from cfcli.core.metrics.ratings import errors
from cfcli.core.pair import Pair
from cfcli.core.runs import warm_start
from cfcli.core.runs.run import Run
from cfcli.core.runs.verdict import BestRun, Findings, JudgedErrors
from cfcli.core.serving.fallback import FallbackPredictor

FEWEST_USERS = 200  # whose lists must be judged before they decide anything
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
        tolerance_lists: what the nDCG of its lists may be below that of the model in use.
    """

    tolerance: float = 0.01
    min_gain_over: str = "bias"
    keep: int = 7
    full_every: int = 7
    tolerance_lists: float = 0.02

    def __post_init__(self) -> None:
        for name, least in (
            ("tolerance", 0),
            ("tolerance_lists", 0),
            ("keep", 1),
            ("full_every", 1),
        ):
            if not getattr(self, name) >= least:
                raise ConfigError(
                    f"--{name.replace('_', '-')}: {getattr(self, name)} is below {least}"
                )


@dataclass(frozen=True)
class Comparison:
    """A new run beside those in use so far.

    Attributes:
        reason: why the new run is not to be published; empty where it is.
        found: what that rests on.
    """

    reason: str
    found: Findings


def compare(
    new: Run, champion: Run | None, earlier: Iterable[Run], dataset: Dataset, policy: Policy
) -> Comparison:
    """Judge runs by the test rows that none of them was trained on. A run that was trained on all
    ratings is judged by its twin.

    Args:
        new: the run that may be published.
        champion: the run in use.
        earlier: runs that were in use before it: each night may be worse than the last by the
            tolerance, but not the last of many than the first.
        dataset: that the new run was trained on.
        policy: what is demanded.
    """
    rows = dataset.split("test", times=True)
    ids, time = ids_of(dataset.ids, rows), rows.get_column("timestamp", default=None)
    by_new = indexed(new, ids, rows["rating"], time)
    judged_model: Literal["run", "twin"] = "twin" if new.twin else "run"
    new = new.judged
    fair = unseen(new, by_new)
    if champion is None:
        alone = _judged_alone(new, by_new, ids, fair, policy)
        return replace(alone, found=replace(alone.found, judged=judged_model))
    in_use = champion.path.name
    champion = champion.judged
    by_champion = indexed(champion, ids, rows["rating"], time)
    fair &= unseen(champion, by_champion)
    predictions = {}
    for run in earlier:  # one at a time: they may be large
        by_run, model = indexed(run, ids, rows["rating"], time), run.judged
        fair &= unseen(model, by_run)
        prediction, _ = FallbackPredictor(model)(by_run["user"], by_run["item"], time)
        predictions[run.path.name] = prediction
    if not fair.any():
        return NO_ROWS
    ids = ids.map(lambda column: column.filter(fair))
    evaluation, judged = judge(new, by_new.filter(fair), ids)
    former, beside = judge(champion, by_champion.filter(fair), ids)
    difference = (_squares(judged) - _squares(beside)).to_numpy()
    rating, is_fair = judged["rating"].to_numpy(), fair.to_numpy()
    rmse = {
        name: errors(rating, prediction[is_fair]).rmse for name, prediction in predictions.items()
    }
    rmse[in_use] = former.model.rmse
    name = min(rmse, key=lambda name: rmse[name])
    best = BestRun(name, rmse[name])
    found = Findings(
        n=evaluation.n,
        model=_with_coverage(evaluation),
        champion=_with_coverage(former),
        baselines=evaluation.baselines,
        mse_difference=mean_with_interval(difference, rows["user"].filter(fair).to_numpy()),
        best=best,
        judged=judged_model,
    )
    lists = _compare_lists(new, champion, dataset, by_new, by_champion, fair)
    found = replace(
        found,
        model=_with_coverage(evaluation, lists.new),
        champion=_with_coverage(former, lists.champion),
        ndcg_difference=lists.difference,
        note=lists.note,
    )
    reason = _below_baseline(evaluation, policy)
    if not reason:
        reason = _worse(evaluation, former, best, policy)
    return Comparison(reason or lists.worse(policy), found)


@dataclass(frozen=True)
class ListComparison:
    """The lists of a new run beside those of the run in use, by the same rows and candidates.

    Attributes:
        note: why they were not judged.
        new: nDCG for liked rows of the new run,
        champion: and of the run in use.
        difference: between them, with an interval over users.
    """

    note: str | None = None
    new: float | None = None
    champion: float | None = None
    difference: Interval | None = None

    def worse(self, policy: Policy) -> str:
        """Why the new lists are worse, or an empty text.

        Args:
            policy: what is demanded.
        """
        found = self.difference
        if found is None or found.value >= -policy.tolerance_lists or found.high >= 0:
            return ""
        return (
            f"nDCG of its lists {self.new:.4f} is more than {policy.tolerance_lists:g} below that "
            f"of the model in use, {self.champion:.4f}"
        )


def _compare_lists(
    new: Run,
    champion: Run,
    dataset: Dataset,
    by_new: pl.DataFrame,
    by_champion: pl.DataFrame,
    fair: pl.Series,
) -> ListComparison:
    """Judges lists by the rows that neither run was fitted on. What users rated otherwise in the
    new dataset is no candidate for either."""
    for run in (new, champion):
        if run.interest is None:
            return ListComparison(f"lists are not judged: {run.name} has no interest model")
    rows = pl.DataFrame(
        {
            "user": by_new["user"],
            "item": by_new["item"],
            "former_user": by_champion["user"],
            "former_item": by_champion["item"],
            "rating": by_new["rating"],
        }
    )
    unfitted = unseen(new, by_new, by="weight") & unseen(champion, by_champion, by="weight")
    rows = rows.filter(fair & unfitted).drop_nulls()
    users = rows["user"].unique().sort()
    if len(users) < FEWEST_USERS:
        return ListComparison(f"lists are not judged: {len(users)} users are too few")
    if len(users) > MOST_USERS:
        rows = rows.filter(pl.col("user").is_in(users.sample(MOST_USERS, seed=0).implode()))
    pairs = pl.concat([dataset.split(side).select("user", "item") for side in ("train", "val")])
    former = warm_start.rows_of(champion, dataset)
    former_pairs = pl.DataFrame(
        {name: side.gather(pairs[name]) for name, side in former.named()}
    ).drop_nulls()
    judged = judge_beside(new, rows.select("user", "item", "rating"), pairs.sort("user"))
    renamed = rows.select("rating", user="former_user", item="former_item")
    beside = judge_beside(champion, renamed, former_pairs.sort("user"))
    same = rows.select("user", "former_user").unique()
    both = same.join(judged.users, on="user").join(
        beside.users.rename({"user": "former_user", "ndcg": "former"}), on="former_user"
    )
    both = both.sort("user").filter(pl.col("ndcg").is_not_nan() & pl.col("former").is_not_nan())
    if both.height < FEWEST_USERS:
        return ListComparison(f"lists are not judged: {both.height} users are too few")
    difference = (both["ndcg"] - both["former"]).to_numpy()
    return ListComparison(
        new=float(both["ndcg"].to_numpy().mean()),
        champion=float(both["former"].to_numpy().mean()),
        difference=mean_with_interval(difference, both["user"].to_numpy()),
    )


def _judged_alone(
    new: Run, rows: pl.DataFrame, ids: Pair[pl.Series], fair: pl.Series, policy: Policy
) -> Comparison:
    """A run beside the baselines, where nothing is in use."""
    if not fair.any():
        return NO_ROWS
    evaluation, _ = judge(new, rows.filter(fair), ids.map(lambda column: column.filter(fair)))
    found = Findings(
        n=evaluation.n, model=_with_coverage(evaluation), baselines=evaluation.baselines
    )
    return Comparison(_below_baseline(evaluation, policy), found)


def _squares(rows: pl.DataFrame) -> pl.Series:
    return (rows["prediction"] - rows["rating"]) ** 2


def _coverage(evaluation: Evaluation) -> float:
    return evaluation.warm.n / evaluation.n


def _with_coverage(evaluation: Evaluation, ndcg: float | None = None) -> JudgedErrors:
    model = evaluation.model
    return JudgedErrors(model.mse, model.rmse, model.mae, model.r2, _coverage(evaluation), ndcg)


def _below_baseline(evaluation: Evaluation, policy: Policy) -> str:
    """Why a model is no gain over the baseline, or an empty text."""
    name, rmse = policy.min_gain_over, evaluation.model.rmse
    if name == "none":
        return ""
    bar = evaluation.baselines[name].rmse
    if rmse < bar:
        return ""
    return f"RMSE {rmse:.4f} is not below that of the baseline '{name}', {bar:.4f}"


def _worse(evaluation: Evaluation, former: Evaluation, best: BestRun, policy: Policy) -> str:
    """Why a model is worse than those in use so far, or an empty text."""
    rmse = evaluation.model.rmse
    if not rmse <= best.rmse * (1 + policy.tolerance):
        whose = f"{best.run}, in use before"
        if best.rmse == former.model.rmse:
            whose = "the model in use"
        return (
            f"RMSE {rmse:.4f} is more than {policy.tolerance:.1%} above that of {whose}, "
            f"{best.rmse:.4f}"
        )
    coverage, before = _coverage(evaluation), _coverage(former)
    if coverage < before - COVERAGE:
        return (
            f"knows user and item of {coverage:.1%} of the rows, the model in use of {before:.1%}"
        )
    return ""


NO_ROWS = Comparison("no rows to judge by that neither model was trained on", Findings(n=0))
