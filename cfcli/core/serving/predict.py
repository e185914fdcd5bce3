"""Predictions for pairs of external ids: the same rows in the same order, with all their
columns."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.unknown import example_of, notes_on, unknown_ids
from cfcli.core.errors import InputError
from cfcli.core.inputs.pairs import read_pairs
from cfcli.core.inputs.ratings import refuse_type
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.tables import Rows
from cfcli.core.models.kinds import KINDS
from cfcli.core.pair import Entity, Pair
from cfcli.core.runs.run import Run
from cfcli.core.serving.fallback import SOURCES, FallbackPredictor
from cfcli.core.serving.folding import folded_in
from cfcli.core.serving.pair_times import PairTimes
from cfcli.core.threads import in_threads

Unknown = Literal["fallback", "nan", "skip", "error"]
ADDED = ("prediction", "source", "std")
THREADS = 2  # beside the one that reads; more would wait for it
FRAME = "the frame"  # what errors call a table in memory
HELD = 16  # blocks that are held back until the run knows an id in one of them
SOURCE_NAMES = pl.Series([*SOURCES, None], dtype=pl.Enum(SOURCES))  # the last for no prediction


class PairColumns(NamedTuple):
    """Names of the columns of users and items.

    Attributes:
        user: of the users' ids.
        item: of the items' ids.
    """

    user: str
    item: str


def predict(
    run: Run,
    pairs: Source,
    unknown: Unknown = "fallback",
    *,
    std: bool = False,
    probabilities: bool = False,
    ratings: Source | None = None,
    form: Form | None = None,
    note: Callable[[str], object] | None = None,
) -> Iterator[pl.DataFrame]:
    """Predicts ratings for the rows of a table, block by block.

    Args:
        run: whose model predicts.
        pairs: a table with a header (CSV, TSV...) or Parquet, with a column of users and one of
            items, called as in the run or by an alias.
        unknown: for pairs with an id that the run does not know: ``fallback`` on biases, ``nan``
            (an empty prediction and source), ``skip`` the row, or ``error``.
        std: add the predictive standard deviation.
        probabilities: add the probability of each step of the rating scale.
        ratings: ratings of users who are folded into the model.
        form: of ``pairs`` and ``ratings``; by default that of the run's own ratings.
        note: is called at the end with what a person should know, such as how many ids are unknown.

    Yields:
        The same rows in the same order with all their columns, which stay as they are (texts, in
        a text), and as last columns ``prediction`` (f32), ``source`` (one of
        :data:`cfcli.core.serving.fallback.SOURCES`) and perhaps ``std`` and ``p_1``, ``p_2`` and so
        on (f32), which are empty where there is no prediction.

    Raises:
        InputError: there are no such columns, or they are of a type that no id has; a row has
            another length, the table is damaged; an id is unknown with ``error``, or all are.
        ConfigError: ``std`` or ``probabilities``, and the run does not have what they need;
            ``ratings``, and its model can fold no users in.
        MachineError: it cannot be read.
    """
    form = form or run.form()
    if ratings is not None:
        run = folded_in(run, ratings, form, note)
    predicting = _Predicting(run, unknown, std, probabilities)
    held: list[pl.DataFrame] = []
    # A network's products are divided among the cores as they are.
    threads = THREADS if KINDS[run.info.model].has_linear_space else 1
    with contextlib.closing(read_pairs(pairs, form)) as pieces:
        first = next(pieces)
        columns = predicting.columns(first.frame.schema, form, pairs.name)

        def answer(piece: tuple[Rows, pl.Series | None]) -> _Answer:
            """Some rows with their predictions.

            Args:
                piece: the rows as they were read, and their times.
            """
            rows, time = piece
            return predicting.rows(rows.frame, columns, pairs.name, rows.lines, time)

        timed = ((rows, predicting.time_of(rows.frame)) for rows in chain([first], pieces))
        for answered in in_threads(answer, timed, threads):
            held.append(predicting.counted_in(answered))
            if predicting.knows_some or len(held) > HELD:
                yield from held
                held.clear()
    predicting.finish(pairs.name, note)
    yield from held


def predict_frame(
    run: Run,
    frame: pl.DataFrame,
    unknown: Unknown = "fallback",
    *,
    std: bool = False,
    probabilities: bool = False,
    ratings: Source | None = None,
    note: Callable[[str], object] | None = None,
) -> pl.DataFrame:
    """Predicts ratings for the rows of a frame, as :func:`predict` does for those of a table.

    Args:
        run: whose model predicts.
        frame: with a column of user ids and one of item ids, called as in the run or by an alias.
        unknown: for pairs with an id that the run does not know, as in :func:`predict`.
        std: add the predictive standard deviation.
        probabilities: add the probability of each step of the rating scale.
        ratings: ratings of users who are folded into the model.
        note: as in :func:`predict`.

    Raises:
        InputError: there are no such columns, or they are of a type that no id has; an id is
            unknown with ``error``, or all are.
        ConfigError: ``std`` or ``probabilities``, and the run does not have what they need.
    """
    if ratings is not None:
        run = folded_in(run, ratings, run.form(), note)
    predicting = _Predicting(run, unknown, std, probabilities)
    columns = predicting.columns(frame.schema, run.form(), FRAME)
    time = predicting.time_of(frame)
    answered = predicting.rows(frame, columns, FRAME, np.arange(frame.height), time)
    found = predicting.counted_in(answered)
    predicting.finish(FRAME, note)
    return found


@dataclass(frozen=True)
class _Answer:
    """Rows with their predictions.

    Attributes:
        frame: these.
        ids: of users and items, before rows were left out.
        index: of these, null where unknown.
    """

    frame: pl.DataFrame
    ids: Pair[pl.Series]
    index: Pair[pl.Series]


class _Predicting:
    """Adds predictions to frames; the arguments are those of :func:`predict`."""

    def __init__(self, run: Run, unknown: Unknown, std: bool, probabilities: bool) -> None:
        self.run, self.unknown, self.std = run, unknown, std
        self.score = FallbackPredictor(run)
        self.user_ids, self.item_ids = run.ids
        self.counted = unknown_ids(run.ids)
        if std or probabilities:
            _ = run.samples  # raises at once where there are none
        self.ordinal = run.ordinal if probabilities else None
        self.times: PairTimes | None = None

    def columns(self, schema: pl.Schema, form: Form, where: str) -> PairColumns:
        """The columns of users and items, see :func:`find_pair_columns`.

        Args:
            schema, form, where: as there.
        """
        if self.run.info.times is not None:
            self.times = PairTimes(schema.names(), form, where)
        return find_pair_columns(schema, form, where, self.ordinal.columns if self.ordinal else ())

    @property
    def knows_some(self) -> bool:
        """Whether the run knows a user or an item of the rows so far."""
        return any(counted.missing < counted.rows for counted in self.counted)

    def finish(self, name: str, note: Callable[[str], object] | None) -> None:
        """Says what a person should know about all rows.

        Args:
            name: of the table, for errors.
            note: is called with each sentence.

        Raises:
            InputError: there are rows, and the run knows none of their ids.
        """
        for text in notes_on(self.counted, name) + (self.times.notes(name) if self.times else []):
            if note is not None:
                note(text)

    def time_of(self, frame: pl.DataFrame) -> pl.Series | None:
        """The times of rows, which must be asked for in order; see :meth:`PairTimes.read`.

        Args:
            frame: the next rows of the table.
        """
        return self.times.read(frame) if self.times else None

    def rows(
        self,
        frame: pl.DataFrame,
        columns: PairColumns,
        name: str,
        line: NDArray[np.int64],
        time: pl.Series | None,
    ) -> _Answer:
        """The frame with its predictions; several threads may ask at once.

        Args:
            frame: some rows (N) of a table.
            columns: those of users and items.
            name: of the table, for errors.
            line: the number of each row in the table, (N,), for errors.
            time: of each row, see :meth:`time_of`.

        Raises:
            InputError: an id is unknown with ``error``.
        """
        ids = Pair(frame[columns.user], frame[columns.item])
        user, item = self.user_ids.index(ids.user), self.item_ids.index(ids.item)
        scores, source = self.score.scores(user, item, time)
        rating = self.score.bounded(scores)
        is_guess = (user.is_null() | item.is_null()).to_numpy()
        if self.unknown == "error" and is_guess.any():
            row = int(np.flatnonzero(is_guess)[0])
            role: Entity = "user" if user[row] is None else "item"
            column = getattr(columns, role)
            example = example_of(frame[column][row : row + 1].cast(pl.String), self.run.ids[role])
            raise InputError(
                f"{name}:{line[row]}: column '{column}': {example} is not in {self.run.path}; "
                "see --unknown"
            )
        if self.unknown != "fallback":
            rating[is_guess] = np.nan
            source[is_guess] = len(SOURCES)
        out = frame.with_columns(
            prediction=pl.Series(rating, nan_to_null=True).cast(pl.Float32),
            source=SOURCE_NAMES.gather(source),
        )
        if self.std or self.ordinal:
            is_empty = np.isnan(rating)
            out = out.with_columns(self._uncertainty(user, item, scores, is_empty))
        if self.unknown == "skip":
            out = out.filter(pl.col("source").is_not_null())
        return _Answer(out, ids, Pair(user, item))

    def counted_in(self, answer: _Answer) -> pl.DataFrame:
        """The frame of an answer, once its unknown ids are counted.

        Args:
            answer: the next one, in order.
        """
        for counted, ids, index in zip(self.counted, answer.ids, answer.index, strict=True):
            counted.count(ids, index)
        return answer.frame

    def _uncertainty(
        self,
        user: pl.Series,
        item: pl.Series,
        scores: NDArray[np.float64],
        is_empty: NDArray[np.bool_],
    ) -> list[pl.Series]:
        """Standard deviations and probabilities of ratings by index, each (N,); null where there is
        no prediction."""
        spread = self.score.deviations(user, item)
        found = {"std": spread} if self.std else {}
        if self.ordinal:
            shares = self.ordinal.probabilities(scores, spread)
            found |= dict(zip(self.ordinal.columns, shares.T, strict=True))
        return [
            pl.Series(name, np.where(is_empty, np.nan, values), nan_to_null=True).cast(pl.Float32)
            for name, values in found.items()
        ]


def find_pair_columns(
    schema: pl.Schema, form: Form, where: str, added: Sequence[str] = ()
) -> PairColumns:
    """Finds the columns of users and items: called as in the run, or by an alias.

    Args:
        schema: names and types of all columns.
        form: says how they may be called.
        where: name of the table, for errors.
        added: columns that are to be added beside :data:`ADDED`.

    Raises:
        InputError: there are none, or several, or they are of a type that no id has; or a column
            that is to be added is there already.
    """
    names = schema.names()
    user = _find_column("user", names, form, where)
    item = _find_column("item", names, form, where)
    taken = {*ADDED, *added} & set(names)
    if taken:
        raise InputError(f"{where}: has a column '{min(taken)}' already; rename it")
    refuse_type(schema[user], "user", user, where)
    refuse_type(schema[item], "item", item, where)
    return PairColumns(user, item)


def _find_column(role: Entity, names: list[str], form: Form, where: str) -> str:
    """The column of users, or that of items."""
    hits = form.with_role(names, role, where)
    if len(hits) == 1:
        return hits[0]
    what = f"several may be the {role}: {', '.join(hits)}" if hits else f"no column for the {role}"
    shown = ", ".join(repr(name[:40]) for name in names[:20])
    if not hits and any(name.strip().isdecimal() for name in names):
        raise InputError(
            f"{where}: no column for the {role} among {shown}; if the first line is data, add "
            "--no-header: the first column is then the user, and the second one the item"
        )
    raise InputError(
        f"{where}: {what} among {shown}; call it '{form.own.get(role, role)}', as the run does, "
        f"or name it with --{role}-col; where the first line holds no names, see --no-header"
    )
