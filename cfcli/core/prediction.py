"""Predictions for pairs of external ids, in a stream: the same rows in the same order, with all their columns."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PanicException, PolarsError

from cfcli.core import parquet
from cfcli.core.columns import (
    ALIASES,
    BadQuote,
    find_records,
    is_quoted,
    key_of,
    one_character,
    sniff,
    split,
    with_one_character,
)
from cfcli.core.errors import InputError
from cfcli.core.lines import behind_header, cut, first_line, line_blocks
from cfcli.core.runs import Run
from cfcli.core.sources import HEAD, Opened, Source, refuse_foreign

Unknown = Literal["fallback", "nan", "skip", "error"]
PIECE = 4 << 20  # bytes of text predicted at once
ROWS = 1 << 18  # rows of Parquet predicted at once
SOURCES = ("model", "user_bias", "item_bias", "mean")
ADDED = ("prediction", "source", "std")


class Scorer:
    """Predicts for users and items that the run may not know.

    A pair that the run knows gets the model's rating. Of others, what is known is used: mean + user bias, mean + item
    bias (damped biases of the training rows, :class:`cfcli.core.models.bias.BiasModel`), or the mean.
    """

    def __init__(self, run: Run) -> None:
        self.base, self.predictor = run.baseline(), run.predictor()
        self.low, self.high = run.info["shape"]["low"], run.info["shape"]["high"]

    def __call__(self, user: pl.Series, item: pl.Series) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Ratings (N,) and, for each, the place of its source in :data:`SOURCES`.

        Args:
            user, item: indices (N,), null where unknown.
        """
        users, knows_user = _index(user)
        items, knows_item = _index(item)
        rating = self.bias(user, item)
        known = knows_user & knows_item
        rating[known] = self.predictor.predict(users[known], items[known])
        source = np.where(known, 0, np.where(knows_user, 1, np.where(knows_item, 2, 3))).astype(np.uint8)
        return np.clip(rating, self.low, self.high), source

    def bias(self, user: pl.Series, item: pl.Series) -> NDArray[np.float64]:
        """Ratings (N,) by the damped biases alone, of what is known."""
        users, knows_user = _index(user)
        items, knows_item = _index(item)
        rating = self.base.mean + np.where(knows_user, self.base.user_bias[users], 0.0)
        rating += np.where(knows_item, self.base.item_bias[items], 0.0)
        return np.clip(rating, self.low, self.high)


def standard_deviation(run: Run, user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.float64]:
    """How far ratings (N,) of user and item indices, each (N,), fall from their predictions: the posterior predictive
    standard deviation, from the spread of the samples and the noise (Gelman et al., Bayesian Data Analysis, ch. 14).

    Raises:
        ConfigError: the run keeps no samples.
    """
    users, items = run.samples["users"], run.samples["items"]
    total, squares = np.zeros(len(user)), np.zeros(len(user))
    for p, q in zip(users, items, strict=True):
        a, b = p[user].astype(np.float32), q[item].astype(np.float32)
        rating = np.einsum("bd,bd->b", a[:, :-1], b[:, :-1]) + a[:, -1] + b[:, -1]
        total += rating
        squares += rating.astype(np.float64) ** 2
    spread = (squares - total**2 / len(users)) / (len(users) - 1)
    noise = run.samples["user_noise"][user] * run.samples["item_noise"][item].astype(np.float64)
    found: NDArray[np.float64] = np.sqrt(np.maximum(spread, 0) + noise)
    return found


def predict(run: Run, pairs: Source, unknown: Unknown = "fallback", *, std: bool = False) -> Iterator[pl.DataFrame]:
    """The rows of ``pairs``, block by block, with ``prediction`` (f32) and ``source`` (model, user_bias, item_bias,
    mean) as last columns; other columns stay as they are, in a text as texts.

    Args:
        pairs: a table with a header (CSV, TSV...) or Parquet, with a column of users and one of items, called as in
            the run, or by an alias.
        std: add ``std`` (f32), the predictive standard deviation, empty where the model knows nothing.
        unknown: for pairs with an id that the run does not know: ``fallback`` on biases, ``nan`` (an empty
            prediction and source), ``skip`` the row, or ``error``.

    Raises:
        InputError: no such columns, a row of another length, damaged, or an unknown id with ``error``.
        MachineError: it cannot be read.
    """
    score = Scorer(run)
    if std:
        _ = run.samples  # or say at once that there are none
    maps = run.id_maps()
    names = pl.Series([*SOURCES, None], dtype=pl.Enum(SOURCES))
    with pairs.opened() as opened:
        head = opened.read(HEAD)
        if head.startswith(b"PAR1"):
            tables = _parquet(opened, head, pairs)
        else:
            refuse_foreign(head, pairs.name)
            tables = _text(opened, head, pairs)
        columns = None
        for line, frame in tables:
            if columns is None:
                columns = find_pair_columns(frame.columns, run, pairs.name)
            index = [m.index(frame[name].cast(pl.String)) for m, name in zip(maps, columns, strict=True)]
            rating, source = score(index[0], index[1])
            if unknown != "fallback" and (bad := np.flatnonzero(source)).size:
                if unknown == "error":
                    row = int(bad[0])
                    which = 0 if index[0][row] is None else 1
                    shown = frame[columns[which]][row]
                    raise InputError(
                        f"{pairs.name}:{line[row]}: column '{columns[which]}': '{shown}' is not in {run.path}; "
                        "see --unknown"
                    )
                rating[bad], source[bad] = np.nan, len(SOURCES)
            prediction = pl.Series(rating, nan_to_null=True).cast(pl.Float32)
            out = frame.with_columns(prediction=prediction, source=names.gather(source))
            if std:
                known = np.flatnonzero(source == 0)
                spread = np.full(len(source), np.nan)
                spread[known] = standard_deviation(run, *(i.gather(known).to_numpy().astype(np.int64) for i in index))
                out = out.with_columns(std=pl.Series(spread, nan_to_null=True).cast(pl.Float32))
            yield out.filter(pl.col("source").is_not_null()) if unknown == "skip" else out


def find_pair_columns(names: list[str], run: Run, where: str) -> tuple[str, str]:
    """The columns of users and items: called as in the run, or by an alias.

    Raises:
        InputError: there are none, or several.
    """
    found = []
    for role in ("user", "item"):
        own = run.info["columns"][role]
        hits = [name for name in names if name == own] or [name for name in names if key_of(name) in ALIASES[role]]
        if len(hits) != 1:
            what = f"several may be the {role}: {', '.join(hits)}" if hits else f"no column for the {role}"
            shown = ", ".join(repr(name[:40]) for name in names[:20])
            raise InputError(f"{where}: {what} among {shown}; call it '{own}', as the run does")
        found.append(hits[0])
    if taken := set(ADDED) & set(names):
        raise InputError(f"{where}: has a column '{min(taken)}' already; rename it")
    return found[0], found[1]


def read_ids(source: Source, role: str, own: str) -> pl.Series:
    """Ids from a file: the column called ``own`` or by an alias of the role, or, without such a header, whole lines.

    Raises:
        InputError: nothing in it, or damaged.
    """
    data, _ = source.read()
    try:
        if data.startswith(b"PAR1"):
            frame = pl.read_parquet(data)
        else:
            text = data.decode("utf-8-sig")
            lines = [line.rstrip("\r") for line in text.split("\n")]
            first = next(line for line in lines if line.strip())
            cells = split([first], ",")[0]
            if not any(name == own or key_of(name) in ALIASES[role] for name in cells):
                return pl.Series([line for line in lines if line], dtype=pl.String)
            frame = pl.read_csv(data, infer_schema=False, glob=False)
        name = next(n for n in frame.columns if n == own or key_of(n) in ALIASES[role])
    except StopIteration:
        raise InputError(f"{source.name}: no column '{own}' in it") from None
    except (PolarsError, PanicException, UnicodeDecodeError) as error:
        raise InputError(f"{source.name}: damaged: {str(error).splitlines()[0]}") from None
    return frame[name].cast(pl.String).drop_nulls()


def _text(opened: Opened, head: bytes, pairs: Source) -> Iterator[tuple[NDArray[np.int64], pl.DataFrame]]:
    """The line on which each row begins, and the rows, every column as text."""
    start, before = first_line(head, opened, 0)
    shown = start.decode("utf-8", "replace")
    if not shown.strip():
        raise InputError(f"{pairs.name}: is empty")
    separator, names = sniff(shown if len(start) < HEAD else shown[: shown.rfind("\n")], pairs.name, fields=2)
    names = [name.strip() for name in names]
    if len(set(names)) < len(names):
        raise InputError(f"{pairs.name}: a name of a column stands there twice")
    quoted = is_quoted(separator)
    one = one_character(separator)
    schema = dict.fromkeys(names, pl.String)
    if not (body := behind_header(start, quoted)) and not opened.peek():
        yield np.empty(0, np.int64), pl.DataFrame(schema=schema)  # a header alone
    line = before + 1 + start.count(b"\n", 0, len(start) - len(body))
    for block in line_blocks(opened, body, quoted):
        for piece in cut(block, PIECE, quoted):
            data = with_one_character(piece, separator)
            try:
                found = find_records(data, one)
            except BadQuote as error:
                at = line + data.count(b"\n", 0, error.place)
                raise InputError(f"{pairs.name}:{at}: {error}") from None
            wrong = np.flatnonzero((found.fields != len(names)) & (found.fields > 0))
            if len(wrong):
                at = line + int(found.lines[wrong[0]])
                raise InputError(f"{pairs.name}:{at}: expected {len(names)} fields, found {found.fields[wrong[0]]}")
            is_row = found.fields > 0
            try:
                frame = pl.read_csv(
                    data,
                    separator=one,
                    has_header=False,
                    schema=schema,
                    quote_char='"' if quoted else None,
                    glob=False,
                )
            except (PolarsError, PanicException) as error:
                raise InputError(f"{pairs.name}:{line}: {str(error).splitlines()[0]}") from None
            if not is_row.all():
                frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
            if frame.height != is_row.sum():
                raise InputError(f"{pairs.name}:{line}: rows from here on cannot be told apart; is it a CSV file?")
            yield line + found.lines[is_row], frame
            line += piece.count(b"\n")


def _parquet(opened: Opened, head: bytes, pairs: Source) -> Iterator[tuple[NDArray[np.int64], pl.DataFrame]]:
    """The number of each row, from 1, and the rows."""
    with parquet.opened_file(opened, head, None) as file:
        names = file.schema_arrow.names
        if len(set(names)) < len(names):
            raise InputError(f"{pairs.name}: a name of a column stands there twice")
        yield np.empty(0, np.int64), parquet.from_arrow(file.schema_arrow.empty_table(), names)
        row = 1
        for frame in parquet.frames(file, ROWS, names):
            yield np.arange(row, row + frame.height), frame
            row += frame.height


def _index(column: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Indices, 0 for null, and which are none."""
    return column.fill_null(0).to_numpy().astype(np.int64), column.is_not_null().to_numpy()
