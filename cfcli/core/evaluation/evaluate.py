"""How good a run is on rows it was not trained on, beside the baselines that cost nothing."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.ids import IdMap
from cfcli.core.data.unknown import notes_on, unknown_ids
from cfcli.core.errors import GateError, InputError
from cfcli.core.evaluation.lists import ListEvaluation, judge_lists
from cfcli.core.inputs import ratings
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source
from cfcli.core.metrics.intervals import Interval, mean_with_interval
from cfcli.core.metrics.lists import K
from cfcli.core.metrics.ratings import Errors, Floats, ModelErrors, errors, model_errors
from cfcli.core.pair import Pair
from cfcli.core.runs.run import SEEN, Run
from cfcli.core.serving.fallback import FallbackPredictor, index_of

BASELINES = ("mean", "user_mean", "item_mean", "bias")


@dataclass(frozen=True, kw_only=True)
class GroupErrors(Errors):
    """Errors on some of the rows.

    Attributes:
        n: how many rows these are.
    """

    n: int


@dataclass(frozen=True)
class Evaluation:
    """How good a run is on rows it was not trained on.

    Attributes:
        run: its folder.
        split: where the rows are from: a side of the split, or the name of a file.
        n: how many rows there are.
        model: errors of the model.
        baselines: errors of the baselines, by their names.
        warm: errors of the model on rows whose user and item have training ratings.
        cold: errors of the model on all other rows.
        mse_gain_over_mean: what the MSE of the training mean is above that of the model.
        mse_difference_to_bias: what the MSE of the model is above that of damped biases.
        lists: quality of the lists; None where they are not judged.
        trained_rows: rows that the model was trained on; they were left out, unless it was asked to
            judge them, too.
        judged: whether it is the run that was judged, or its twin, which has not seen the rows.
    """

    run: str
    split: str
    n: int
    model: ModelErrors
    baselines: dict[str, Errors]
    warm: GroupErrors
    cold: GroupErrors
    mse_gain_over_mean: float
    mse_difference_to_bias: Interval
    lists: ListEvaluation | None = None
    trained_rows: int = 0
    judged: Literal["run", "twin"] = "run"

    @property
    def rating(self) -> ModelErrors:
        """Errors of the predicted ratings, another name of ``model``."""
        return self.model


class Evaluated(NamedTuple):
    """An evaluation and the rows that it rests on.

    Attributes:
        evaluation: the errors.
        rows: per row the ids, ``rating``, ``prediction``, the prediction of each baseline, and
            ``warm``.
    """

    evaluation: Evaluation
    rows: pl.DataFrame


@dataclass(frozen=True)
class ListOptions:
    """How lists are judged.

    Attributes:
        k: places of a list.
        liked_from: lowest rating of what a user liked; by default a quarter below the top of the
            scale.
    """

    k: int = K
    liked_from: float | None = None


def evaluate(
    run: Run,
    *,
    split: str = "test",
    source: Source | None = None,
    data: Path | None = None,
    lists: ListOptions | None = ListOptions(),
    form: Form | None = None,
    include_trained: bool = False,
    note: Callable[[str], object] | None = None,
) -> Evaluated:
    """Errors of the model and of four baselines on the same rows, and the quality of its lists.

    A run that was trained on the side asked for is judged by its twin, which was not. Without one,
    rows that it was trained on are left out, but for ``train``. Rows that the models were fitted on
    say nothing of lists: there are none for ``train``, nor for ``val`` where the interest model has
    seen it.

    Baselines, from the rows that the judged model was trained on: ``mean``; ``user_mean`` and
    ``item_mean`` (the mean for those without ratings); ``bias``,
    :class:`cfcli.core.models.biases.BiasModel`. A row is cold when its user or item has no training
    rating.

    Args:
        run: the run.
        split: side of the run's dataset; not used with ``source``.
        source: other ratings, by external ids.
        data: where the run's dataset is now.
        lists: how lists are judged; None not to judge them.
        form: of ``source``; by default that of the run's own ratings.
        include_trained: judge also rows that the model was trained on, and no twin.
        note: is called with what a person should know, such as how many ids are unknown.

    Raises:
        InputError: no rows to judge by, the run knows none of their ids or was trained on all, or
            ratings are outside its scale.
        ArtifactError: the run's dataset is gone, or is another one now.
    """
    shown = str(run.path)
    judged_by: Literal["run", "twin"] = "run"
    if source is None:
        rows = run.rows(split, data).with_columns(pl.col("rating").cast(pl.Float64))
        ids, where, name = ids_of(run.ids, rows), f"split {split}", split
        is_trained = split in run.trained_sides and split != "train"
        twin = run.twin if is_trained and not include_trained else None
        if twin is not None:
            run, judged_by, is_trained = twin, "twin", False
    else:
        is_trained = SEEN in run.info.files
        frame, repeats = ratings.read_distinct(source, form or run.form())
        ids = Pair(frame["user_id"], frame["item_id"])
        rows = indexed(run, ids, frame["rating"], frame.get_column("timestamp", default=None))
        where = name = source.name
        counted = unknown_ids(run.ids)
        counted.user.count(ids.user, rows["user"])
        counted.item.count(ids.item, rows["item"])
        for text in repeats + notes_on(counted, name):
            if note is not None:
                note(text)
        run.check_scale(rows["rating"], where)
    trained_rows = 0
    if is_trained:
        new = unseen(run, rows)
        trained_rows = rows.height - int(new.sum())
        if not include_trained:
            if trained_rows and trained_rows == rows.height:
                raise InputError(
                    f"{where}: {run.path} was trained on all {trained_rows:,} rows; "
                    "--include-trained judges them, but their errors say little"
                )
            rows, ids = rows.filter(new), ids.map(lambda side: side.filter(new))
    if rows.height == 0:
        raise InputError(f"{where}: no rows to evaluate on; choose another --split")
    evaluation, judged_rows = judge(run, rows, ids, name)
    evaluation = replace(evaluation, run=shown, trained_rows=trained_rows, judged=judged_by)
    is_fitted = source is None and split in run.fitted_sides
    if lists is None or is_fitted or SEEN not in run.info.files:
        return Evaluated(evaluation, judged_rows)
    judged = judge_lists(
        run, rows, are_of_dataset=source is None, k=lists.k, liked_from=lists.liked_from
    )
    return Evaluated(replace(evaluation, lists=judged), judged_rows)


def ids_of(maps: Pair[IdMap], rows: pl.DataFrame) -> Pair[pl.Series]:
    """The ids of users and items in rows.

    Args:
        maps: of a run or a dataset.
        rows: its indices in ``user`` and ``item``, (N,).

    Returns:
        External ids, each (N,).
    """
    return Pair(maps.user.id(rows["user"]), maps.item.id(rows["item"]))


def indexed(
    run: Run, ids: Pair[pl.Series], rating: pl.Series, time: pl.Series | None = None
) -> pl.DataFrame:
    """Rows by the run's indices.

    Args:
        run: the run.
        ids: external ids, each (N,).
        rating: their ratings, (N,).
        time: of each, (N,), if they have times.

    Returns:
        Columns ``user`` and ``item``, null where the run does not know the id, ``rating``, and
        perhaps ``timestamp``.
    """
    columns = {
        "user": run.ids.user.index(ids.user),
        "item": run.ids.item.index(ids.item),
        "rating": rating.cast(pl.Float64),
    }
    return pl.DataFrame(columns if time is None else columns | {"timestamp": time})


def unseen(
    run: Run, rows: pl.DataFrame, by: Literal["trained", "weight", "any"] = "trained"
) -> pl.Series:
    """Which rows the run was not trained on.

    Args:
        run: the run.
        rows: as :func:`indexed` gives them.
        by: ``trained`` for its rating model, ``weight`` for its interest model; ``any`` for all
            rows of its dataset, trained on or not.

    Returns:
        A boolean for each row, (N,).
    """
    pairs = run.seen_pairs()
    if by != "any":
        pairs = pairs.filter(pl.col(by).cast(pl.Boolean))
    seen = pairs.select("user", "item", seen=True)
    return rows.join(seen, on=["user", "item"], how="left", maintain_order="left")["seen"].is_null()


def judge(run: Run, rows: pl.DataFrame, ids: Pair[pl.Series], split: str = "test") -> Evaluated:
    """Errors on rows, see :func:`evaluate`.

    Args:
        run: the run.
        rows: as :func:`indexed` gives them.
        ids: of users and items, each (N,).
        split: where the rows are from.
    """
    names = run.info.columns
    table = _predictions(run, rows).with_columns(
        ids.user.rename(names.user), ids.item.rename(names.item), rating=rows["rating"]
    )
    rating, prediction = table["rating"].to_numpy(), table["prediction"].to_numpy()
    warm = table["warm"].to_numpy()
    model = model_errors(rating, prediction)
    baselines = {name: errors(rating, table[name].to_numpy()) for name in BASELINES}
    difference = (rating - prediction) ** 2 - (rating - table["bias"].to_numpy()) ** 2
    evaluation = Evaluation(
        run=str(run.path),
        split=split,
        n=table.height,
        model=model,
        baselines=baselines,
        warm=_group_errors(rating[warm], prediction[warm]),
        cold=_group_errors(rating[~warm], prediction[~warm]),
        mse_gain_over_mean=baselines["mean"].mse - model.mse,
        mse_difference_to_bias=mean_with_interval(difference, group_of(ids.user)),
    )
    shown = table.select(names.user, names.item, "rating", "prediction", *BASELINES, "warm")
    return Evaluated(evaluation, shown)


def group_of(ids: pl.Series) -> NDArray[np.uint32]:
    """A number for each user, also for users that the run does not know.

    Args:
        ids: of users, (N,).

    Returns:
        The number of each row's user, (N,).
    """
    return ids.cast(pl.Categorical).to_physical().to_numpy()


def check_bars(
    evaluation: Evaluation, min_gain_over: str, max_mse: float | None, min_ndcg_over: str = "none"
) -> None:
    """Check that a model is as good as demanded.

    Args:
        evaluation: of the model.
        min_gain_over: the baseline whose MSE it must be below, or ``none``.
        max_mse: the highest MSE that will do.
        min_ndcg_over: the order whose nDCG for liked rows its lists must be above, ``popular`` or
            ``rating``, or ``none``.

    Raises:
        GateError: it is not.
    """
    mse = evaluation.model.mse
    if min_gain_over != "none":
        bar = evaluation.baselines[min_gain_over].mse
        if not mse < bar:
            raise GateError(
                f"MSE {mse:.4f} is not below that of the baseline '{min_gain_over}', {bar:.4f}"
            )
    if max_mse is not None and not mse <= max_mse:
        raise GateError(f"MSE {mse:.4f} is above --max-mse {max_mse:g}")
    if min_ndcg_over != "none":
        lists = evaluation.lists
        if lists is None:
            raise GateError("no lists were judged, so their nDCG is not above anything")
        least = (lists.popular if min_ndcg_over == "popular" else lists.rating).liked.ndcg
        if not lists.list.liked.ndcg > least:
            raise GateError(
                f"nDCG of the lists for liked rows, {lists.list.liked.ndcg:.4f}, is not above that "
                f"of '{min_ndcg_over}', {least:.4f}"
            )


def _group_errors(rating: Floats, prediction: Floats) -> GroupErrors:
    found = errors(rating, prediction)
    return GroupErrors(n=len(rating), mse=found.mse, rmse=found.rmse, mae=found.mae)


def _predictions(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    """Predictions of model and baselines for rows whose ``user`` and ``item`` may be null, as the
    run does not know them."""
    score = FallbackPredictor(run)
    base = score.base
    prediction, _ = score(rows["user"], rows["item"], rows.get_column("timestamp", default=None))
    user_n, user_mean = _of_rows(rows["user"], base.user_n, base.user_mean, base.mean)
    item_n, item_mean = _of_rows(rows["item"], base.item_n, base.item_mean, base.mean)
    return pl.DataFrame(
        {
            "prediction": prediction,
            "mean": np.full(rows.height, base.mean),
            "user_mean": user_mean,
            "item_mean": item_mean,
            "bias": score.bias(rows["user"], rows["item"]),
            "warm": (user_n > 0) & (item_n > 0),
        }
    )


def _of_rows(
    entity: pl.Series, n: NDArray[np.int64], mean: Floats, unknown: float
) -> tuple[NDArray[np.int64], Floats]:
    """The number of training ratings and the mean of each row's user or item."""
    index, known = index_of(entity)
    return np.where(known, n[index], 0), np.where(known, mean[index], unknown)
