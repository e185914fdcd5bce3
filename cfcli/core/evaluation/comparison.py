"""Several runs on the same rows: which differences are more than chance."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import polars as pl

from cfcli.core.config.toml import Value
from cfcli.core.errors import ArtifactError, ConfigError, InputError
from cfcli.core.evaluation.evaluate import evaluate, group_of, indexed, unseen
from cfcli.core.evaluation.lists import MOST_USERS, JudgedLists, ListQuality, judge_beside
from cfcli.core.inputs.sources import Source
from cfcli.core.metrics.intervals import Interval, mean_with_interval
from cfcli.core.metrics.lists import K, liked_from
from cfcli.core.metrics.ratings import ModelErrors, model_errors
from cfcli.core.pair import Pair
from cfcli.core.runs.run import SEEN, Run
from cfcli.core.storage.schema import left_out

KEYS = ["user", "item"]


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """A run beside the first one.

    Attributes:
        run: its folder.
        judged: whether it is the run that was judged, or its twin, which has not seen the rows.
        model: its errors.
        lists: quality of its lists, in the order of ``recommend``; None where lists are not judged.
        mse_difference: what its MSE is above that of the first run; None for the first run.
        rmse_difference: the same of its RMSE.
        ndcg_difference: what the nDCG of its lists for liked rows is above that of the first run.
        verdict: what the differences say, in one line.
    """

    run: str
    judged: Literal["run", "twin"]
    model: ModelErrors
    lists: ListQuality | None = None
    mse_difference: Interval | None = left_out()
    rmse_difference: Interval | None = left_out()
    ndcg_difference: Interval | None = left_out()
    verdict: str | None = left_out()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs beside the first of them, all on the same rows.

    Attributes:
        split: where the rows are from: a side of the split, or the name of a file.
        n: how many rows there are.
        users: whose lists are compared; None where lists are not judged.
        liked_from: lowest rating of what a user liked.
        runs: the runs, as they were named.
    """

    split: str
    n: int
    users: int | None = None
    liked_from: float | None = None
    runs: list[ComparedRun]


def compare(
    runs: Sequence[Run],
    *,
    split: str = "test",
    source: Source | None = None,
    form: Mapping[str, Value] | None = None,
    data: Path | None = None,
    note: Callable[[str], object] | None = None,
) -> Comparison:
    """Errors and lists of runs on the same rows, and how each differs from the first run.

    Differences are paired: of each row, or of each user's list, that of the first run is taken off.
    Intervals are those of :func:`cfcli.core.metrics.intervals.paired_bootstrap`. A run that was
    trained on the rows is judged by its twin, as :func:`cfcli.core.evaluation.evaluate.evaluate`
    does; of ``source``, rows that a run was trained on are left out for all.

    The difference of two RMSE is that of the MSE divided by the sum of both RMSE. Its interval is
    that of the MSE divided by the same sum, which hardly varies beside the difference.

    Args:
        runs: two or more.
        split: side of the dataset to judge by; not used with ``source``.
        source: other ratings, by external ids; it is read once for each run.
        form: values of keys of ``[prepare]`` that say what form ``source`` has; by default it is
            that of each run's own ratings.
        data: where the runs' dataset is now, if it moved; not used with ``source``.
        note: is called with what a person should know.

    Raises:
        ConfigError: fewer than two runs, or a source that can be read only once.
        InputError: no rows are left to judge by.
        ArtifactError: the rows of the runs differ, or a dataset is gone.
    """
    if len(runs) < 2:
        raise ConfigError("compare: give two runs or more")
    if source is not None and source.name == "<stdin>":
        raise ConfigError("--ratings: compare reads the file once for each run; name a file")
    notes: dict[str, None] = {}
    found = [_judged(run, split, source, form, data, notes) for run in runs]
    if source is None:
        _refuse_other_rows(found, split)
    sides = {one.model.trained_sides: one.run.path for one in reversed(found)}
    if len(sides) > 1:
        said = (f"{path} on {' and '.join(names)} rows" for names, path in sides.items())
        notes[f"judged are models that were trained on different rows: {', '.join(said)}"] = None
    table = _joined(found)
    trained = max(one.rows.height for one in found) - table.height
    if trained:
        notes[f"{trained:,} more rows left out: another run was trained on them"] = None
    if not table.height:
        raise InputError("no rows are left that no run was trained on; choose other --ratings")
    lists = _Lists.of([one.model for one in found], table, split if source is None else None)
    if lists.reason:
        notes[lists.reason] = None
    for text in notes:
        if note is not None:
            note(text)
    return Comparison(
        split=split if source is None else source.name,
        n=table.height,
        users=lists.users,
        liked_from=lists.liked_from,
        runs=[_beside(found, table, lists, k) for k in range(len(found))],
    )


@dataclass(frozen=True)
class _Judged:
    """A run, the model that is judged in its place, and its rows: ``user`` and ``item`` (external
    ids), ``rating`` and ``prediction``, sorted by ids."""

    run: Run
    model: Run
    judged: Literal["run", "twin"]
    rows: pl.DataFrame


def _judged(
    run: Run,
    split: str,
    source: Source | None,
    form: Mapping[str, Value] | None,
    data: Path | None,
    notes: dict[str, None],
) -> _Judged:
    """A run and its predictions, see :func:`compare`.

    Raises:
        InputError: it was trained on all rows.
    """
    if source is None and split in run.trained_sides[1:] and run.twin is None:
        raise InputError(
            f"{run.path}: was trained on the {split} rows; compare on another --split, or train "
            "it with --refit none"
        )
    evaluation, rows = evaluate(
        run,
        split=split,
        source=source,
        data=data,
        lists=None,
        form=run.form(form),
        note=notes.setdefault,
    )
    if evaluation.trained_rows:
        notes[f"{run.path}: was trained on {evaluation.trained_rows:,} of the rows"] = None
    model = run if evaluation.judged == "run" else run.judged
    return _Judged(run, model, evaluation.judged, _with_plain_names(model, rows))


def _with_plain_names(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    columns = run.info.columns
    named = rows.select(
        pl.col(columns.user).alias("user"),
        pl.col(columns.item).alias("item"),
        "rating",
        "prediction",
    )
    return named.sort(KEYS)


def _refuse_other_rows(found: Sequence[_Judged], split: str) -> None:
    """Raises an ArtifactError unless all runs were judged by the same rows."""
    first = found[0]
    names = [*KEYS, "rating"]
    for other in found[1:]:
        if not other.rows.select(names).equals(first.rows.select(names)):
            raise ArtifactError(
                f"{other.run.path}: its {split} rows are not those of {first.run.path}; compare "
                "runs of the same dataset, or give --ratings FILE with rows for all"
            )


def _joined(found: Sequence[_Judged]) -> pl.DataFrame:
    """The rows that all runs were judged by: ``user``, ``item``, ``rating`` and the prediction of
    each run under its number."""
    table = found[0].rows.rename({"prediction": "0"})
    for k, other in enumerate(found[1:], 1):
        predictions = other.rows.select(*KEYS, pl.col("prediction").alias(str(k)))
        table = table.join(predictions, on=KEYS, how="inner", maintain_order="left")
    return table


def _beside(found: Sequence[_Judged], table: pl.DataFrame, lists: "_Lists", k: int) -> ComparedRun:
    """The run of number ``k`` beside that of number 0."""
    rating = table["rating"].to_numpy()
    first, own = table["0"].to_numpy(), table[str(k)].to_numpy()
    model = model_errors(rating, own)
    one = found[k]
    alone = ComparedRun(
        run=str(one.run.path), judged=one.judged, model=model, lists=lists.quality(k)
    )
    if k == 0:
        return alone
    squares = (rating - own) ** 2 - (rating - first) ** 2
    mse = mean_with_interval(squares, group_of(table["user"]))
    rmse = _divided(mse, model.rmse + model_errors(rating, first).rmse)
    ndcg = lists.difference(k)
    return replace(
        alone,
        mse_difference=mse,
        rmse_difference=rmse,
        ndcg_difference=ndcg,
        verdict=_verdict(rmse, ndcg),
    )


def _divided(found: Interval, by: float) -> Interval:
    if by == 0:  # all predictions are exact
        return found
    return Interval(found.value / by, found.low / by, found.high / by)


@dataclass(frozen=True)
class _Lists:
    """The lists of all runs for the same users and rows, or why there are none.

    Attributes:
        found: of each run.
        ndcg: a column per run, under its number, and a row per user with a liked row.
        liked_from: lowest rating of what a user liked.
        reason: why lists are not judged.
    """

    found: list[JudgedLists]
    ndcg: pl.DataFrame
    liked_from: float | None = None
    reason: str = ""

    @classmethod
    def of(cls, runs: Sequence[Run], table: pl.DataFrame, split: str | None) -> "_Lists":
        """Judges lists by the rows that all runs know and none was fitted on.

        Args:
            runs: that are judged.
            table: ``user`` and ``item`` (external ids) and ``rating``.
            split: the side of the split that the rows are from; None for other rows, of which
                those in a dataset of a run do not count.
        """
        for run in runs:
            if SEEN not in run.info.files:
                return cls.none(f"{run.name} keeps no record of what users rated")
            if split in run.fitted_sides:
                return cls.none(f"{run.name} was fitted on these rows")
        ids = Pair(table["user"], table["item"])
        by_run = [indexed(run, ids, table["rating"]) for run in runs]
        counts = pl.Series([True] * table.height)
        for run, rows in zip(runs, by_run, strict=True):
            counts &= rows["user"].is_not_null() & rows["item"].is_not_null()
            if split is None:
                counts &= unseen(run, rows, "any")
        users = table["user"].filter(counts).unique(maintain_order=True)
        if len(users) > MOST_USERS:
            users = users.sample(MOST_USERS, seed=0)
            counts &= table["user"].is_in(users.implode())
        if not len(users):
            return cls.none("no row has a user and an item that all runs know and is new to all")
        shape = runs[0].info.shape
        least = liked_from(shape.low, shape.high)
        found = []
        for run, rows in zip(runs, by_run, strict=True):
            rows = rows.filter(counts).with_columns(pl.col(KEYS).cast(pl.UInt32))
            pairs = run.seen_pairs().select(KEYS)
            others = pairs.join(rows, on=KEYS, how="anti", maintain_order="left")
            found.append(judge_beside(run, rows, others, K, least))
        return cls(found, _by_user(runs, found), least)

    @classmethod
    def none(cls, reason: str) -> "_Lists":
        """No lists.

        Args:
            reason: why.
        """
        return cls([], pl.DataFrame(), reason=f"lists are not compared: {reason}")

    @property
    def users(self) -> int | None:
        """How many users have lists, for whom a liked row is held out."""
        return self.ndcg.height if self.found else None

    def quality(self, k: int) -> ListQuality | None:
        """Of the lists of a run.

        Args:
            k: its number.
        """
        return self.found[k].evaluation.list if self.found else None

    def difference(self, k: int) -> Interval | None:
        """What the nDCG of a run is above that of the first one.

        Args:
            k: its number.
        """
        if not self.ndcg.height:
            return None
        difference = (self.ndcg[str(k)] - self.ndcg["0"]).to_numpy()
        return mean_with_interval(difference, group_of(self.ndcg["user"]))


def _by_user(runs: Sequence[Run], found: Sequence[JudgedLists]) -> pl.DataFrame:
    """The nDCG of each user's lists, see :class:`_Lists`."""
    table: pl.DataFrame | None = None
    for k, (run, lists) in enumerate(zip(runs, found, strict=True)):
        own = pl.DataFrame(
            {"user": run.ids.user.id(lists.users["user"]), str(k): lists.users["ndcg"]}
        )
        table = own if table is None else table.join(own, on="user", maintain_order="left")
    if table is None:
        return pl.DataFrame()
    return table.filter(pl.all_horizontal(pl.exclude("user").is_not_nan())).sort("user")


def _verdict(rmse: Interval, ndcg: Interval | None) -> str:
    """What differences to the first run say."""
    parts = [_said(rmse, "RMSE", "", higher_is_better=False)]
    if ndcg is not None:
        parts.append(_said(ndcg, "nDCG", "lists: ", higher_is_better=True))
    return "; ".join(parts)


def _said(found: Interval, what: str, before: str, *, higher_is_better: bool) -> str:
    if math.isnan(found.low):
        return f"{before}too few users to tell ({what} {found.value:+.4f})"
    if found.low <= 0 <= found.high:
        interval = f"{what} {found.value:+.4f}, {found.low:+.4f} to {found.high:+.4f}"
        return f"{before}no difference can be told ({interval})"
    word = "better" if (found.value > 0) == higher_is_better else "worse"
    low, high = sorted((abs(found.low), abs(found.high)))
    return f"{before}{word} by {abs(found.value):.4f} {what} ({low:.4f} to {high:.4f})"
