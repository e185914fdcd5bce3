"""Predictions for pairs of external ids, in a stream: the same rows in the same order, with all
their columns."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import polars as pl

from cfcli.core.errors import InputError
from cfcli.core.inputs.pairs import parquet_pairs, text_pairs
from cfcli.core.inputs.roles import ALIASES, key_of
from cfcli.core.inputs.sources import Source, refuse_foreign
from cfcli.core.inputs.streams import HEAD
from cfcli.core.runs.run import Run
from cfcli.core.serving.scorer import SOURCES, Scorer, standard_deviation

Unknown = Literal["fallback", "nan", "skip", "error"]
ADDED = ("prediction", "source", "std")


def predict(
    run: Run, pairs: Source, unknown: Unknown = "fallback", *, std: bool = False
) -> Iterator[pl.DataFrame]:
    """The rows of ``pairs``, block by block, with ``prediction`` (f32) and ``source`` (model,
    user_bias, item_bias, mean) as last columns; other columns stay as they are, in a text as texts.

    Args:
        pairs: a table with a header (CSV, TSV...) or Parquet, with a column of users and one of
            items, called as in the run, or by an alias.
        std: add ``std`` (f32), the predictive standard deviation, empty where the model knows
            nothing.
        unknown: for pairs with an id that the run does not know: ``fallback`` on biases, ``nan``
            (an empty prediction and source), ``skip`` the row, or ``error``.

    Raises:
        InputError: no such columns, a row of another length, damaged, or an unknown id with
            ``error``.
        MachineError: it cannot be read.
    """
    score = Scorer(run)
    if std:
        _ = run.samples  # or say at once that there are none
    maps = run.ids
    names = pl.Series([*SOURCES, None], dtype=pl.Enum(SOURCES))
    with pairs.opened() as opened:
        head = opened.read(HEAD)
        if head.startswith(b"PAR1"):
            tables = parquet_pairs(opened, head, pairs)
        else:
            refuse_foreign(head, pairs.name)
            tables = text_pairs(opened, head, pairs)
        columns = None
        for line, frame in tables:
            if columns is None:
                columns = find_pair_columns(frame.columns, run, pairs.name)
            index = [
                m.index(frame[name].cast(pl.String)) for m, name in zip(maps, columns, strict=True)
            ]
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
                spread[known] = standard_deviation(
                    run, *(i.gather(known).to_numpy().astype(np.int64) for i in index)
                )
                out = out.with_columns(std=pl.Series(spread, nan_to_null=True).cast(pl.Float32))
            yield out.filter(pl.col("source").is_not_null()) if unknown == "skip" else out


def find_pair_columns(names: list[str], run: Run, where: str) -> tuple[str, str]:
    """The columns of users and items: called as in the run, or by an alias.

    Raises:
        InputError: there are none, or several.
    """
    found = []
    for role in ("user", "item"):
        own = run.info.columns[role]
        hits = [name for name in names if name == own] or [
            name for name in names if key_of(name) in ALIASES[role]
        ]
        if len(hits) != 1:
            what = (
                f"several may be the {role}: {', '.join(hits)}"
                if hits
                else f"no column for the {role}"
            )
            shown = ", ".join(repr(name[:40]) for name in names[:20])
            raise InputError(f"{where}: {what} among {shown}; call it '{own}', as the run does")
        found.append(hits[0])
    if taken := set(ADDED) & set(names):
        raise InputError(f"{where}: has a column '{min(taken)}' already; rename it")
    return found[0], found[1]
