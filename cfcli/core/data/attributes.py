"""Attributes of users and items: what values they have, and the columns that a model sees of them.

A category is one column for each of its values, a list likewise, and a number is a piecewise linear
function: each column is a hat over one knot, so that a weight for each makes any curve through the
knots. What is missing is 0 everywhere. The description alone says what the columns mean, so that
entities that come later get the same ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.data.info import Attribute
from cfcli.core.errors import ArtifactError
from cfcli.core.inputs.entities import SEPARATOR
from cfcli.core.inputs.times import NULL_WORDS

NO_VALUE = ("(no genres listed)",)  # as MovieLens writes it, beside NULL_WORDS
LEAST = 3  # entities that must have a value, so that it counts
LEVELS = 200  # values of an attribute that count at most: the most frequent
KNOTS = 8
QUANTILES = np.linspace(0.01, 0.99, KNOTS)  # outliers bend no hat
COVERED = 0.1  # share of the entities with a value that must have one that counts


@dataclass(frozen=True)
class Encoded:
    """The attributes of all users, or of all items, of a dataset.

    Attributes:
        described: A columns in all.
        matrix: their values, (N, A).
    """

    described: list[Attribute]
    matrix: NDArray[np.float32]


def describe(frame: pl.DataFrame, names: Iterable[str]) -> list[Attribute]:
    """Describes the columns of a table.

    Args:
        frame: one row for each of N users or items.
        names: of columns: numbers, texts, or lists of texts. A text is a list where any of the
            column has a ``|``, and ``genres`` always are one.

    Returns:
        One attribute for each, also for a column without any value that counts.
    """
    return [_described(frame[name]) for name in names]


def encode(attributes: Sequence[Attribute], frame: pl.DataFrame) -> NDArray[np.float32]:
    """The columns that a model sees.

    Args:
        attributes: A columns in all.
        frame: one row for each of N users or items; a column that is not there has no values.

    Returns:
        (N, A): 1 for each value that an entity has; the two hats beside a number add up to 1, and
        beyond the last knot its hat stays 1; all 0 where the value is missing or does not count.
    """
    matrix = np.zeros((frame.height, sum(each.columns for each in attributes)), np.float32)
    first = 0
    for each in attributes:
        part = matrix[:, first : first + each.columns]
        first += each.columns
        if each.name not in frame.columns or not each.columns:
            continue
        if each.knots is not None:
            part[:] = _hats(numbers(frame[each.name]), each.knots)
        elif each.values is not None:
            found = _values(frame[each.name], each.kind == "list")
            place = found["value"].cast(pl.Enum(each.values), strict=False).to_physical()
            counts = place.is_not_null().to_numpy()
            part[found["row"].to_numpy()[counts], place.drop_nulls().to_numpy()] = 1
    return matrix


def check_attributes(path: Path, attributes: Iterable[Attribute]) -> None:
    """Check that descriptions in a manifest are such as :func:`describe` gives.

    Args:
        path: of the manifest, for messages.
        attributes: these.

    Raises:
        ArtifactError: values are not sorted, or there are none.
    """
    for each in attributes:
        if each.kind == "number":
            found: Sequence[float | str] = each.knots or ()
            is_right = bool(np.isfinite(each.knots or ()).all())
        else:
            found = each.values or ()
            is_right = True
        if not found or not is_right or list(found) != sorted(set(found)):
            raise ArtifactError(
                f"{path}: damaged: the attribute {each.name!r} has no sorted values"
            )


def names(attributes: Sequence[Attribute]) -> list[str]:
    """The names of the columns that :func:`encode` makes, as ``genres=Comedy`` and ``year~1995``.

    Args:
        attributes: A columns in all.
    """
    found = []
    for each in attributes:
        found += [f"{each.name}={value}" for value in each.values or ()]
        found += [f"{each.name}~{knot:.10g}" for knot in each.knots or ()]
    return found


def unheard(attributes: Iterable[Attribute], frame: pl.DataFrame) -> list[str]:
    """Notes on values that the descriptions do not have, one sentence for each attribute.

    Args:
        attributes: of a training.
        frame: one row for each of N users or items.
    """
    notes = []
    for each in attributes:
        if each.values is None or each.name not in frame.columns:
            continue
        found = _values(frame[each.name], each.kind == "list")
        others = found.filter(~pl.col("value").is_in(each.values))
        if others.height:
            rows, example = others["row"].n_unique(), others.sort("row")["value"][0][:40]
            notes.append(
                f"{rows:,} of {frame.height:,} rows: a value of {each.name} that training did not "
                f"know, such as '{example}'"
            )
    return notes


def why_useless(attribute: Attribute, frame: pl.DataFrame) -> str:
    """Why an attribute says nothing of most entities; empty where it says something.

    Args:
        attribute: as :func:`describe` gives it.
        frame: that it describes.
    """
    known = frame.height - attribute.missing
    if known < LEAST:
        return "hardly any values" if known else "no values"
    if attribute.columns == 1 and (encode([attribute], frame) == 1).all():
        return "the same for all"
    covered = encode([attribute], frame).any(axis=1).sum()
    return "hardly any value occurs often" if covered < COVERED * known else ""


def numbers(column: pl.Series) -> NDArray[np.float64]:
    """The values of a column as numbers, NaN where there is none, (N,).

    Args:
        column: numbers or texts, (N,).
    """
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    found = column.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    return np.where(np.isfinite(found), found, np.nan)


def _described(column: pl.Series) -> Attribute:
    if column.dtype.is_numeric():
        values = numbers(column)
        known = values[~np.isnan(values)]
        knots = np.unique(np.quantile(known, QUANTILES, method="nearest")) if len(known) else known
        missing = len(values) - len(known)
        return Attribute(column.name, "number", missing, knots=knots.tolist())
    is_list = column.name == "genres" or isinstance(column.dtype, pl.List)
    if not is_list:
        is_list = bool(column.cast(pl.String).str.contains(SEPARATOR, literal=True).any())
    found = _values(column, is_list)
    counts = found.group_by("value").len().filter(pl.col("len") >= LEAST)
    counting = counts.sort("len", "value", descending=[True, False]).head(LEVELS)
    return Attribute(
        column.name,
        "list" if is_list else "category",
        missing=len(column) - found["row"].n_unique(),
        values=counting["value"].sort().to_list(),
    )


def _values(column: pl.Series, is_list: bool) -> pl.DataFrame:
    """Columns ``row`` and ``value``: what values the entities have, each of an entity once."""
    value = pl.col("value")
    frame = pl.DataFrame({"row": np.arange(len(column)), "value": column})
    if isinstance(column.dtype, pl.List):
        frame = frame.with_columns(value.cast(pl.List(pl.String))).explode("value")
    elif is_list:
        frame = frame.with_columns(value.cast(pl.String).str.split(SEPARATOR)).explode("value")
    frame = frame.with_columns(value.cast(pl.String).str.strip_chars())
    words = [*NULL_WORDS, *NO_VALUE]
    frame = frame.filter(value.is_not_null() & ~value.str.to_lowercase().is_in(words))
    return frame.unique() if is_list else frame


def _hats(values: NDArray[np.float64], knots: Sequence[float]) -> NDArray[np.float64]:
    """The hat of each knot at each value, (N, K)."""
    places = np.arange(len(knots))
    place = np.interp(values, knots, places)
    hats: NDArray[np.float64] = np.maximum(0, 1 - np.abs(place[:, None] - places))
    return np.nan_to_num(hats)
