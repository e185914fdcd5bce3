"""Which rows are ratings: the checks that each must pass, all of them vectorised."""

import unicodedata
from typing import NamedTuple

import polars as pl

from cfcli.core.config.prepare import PrepareConfig

MAX_ID = 1024  # bytes
NULL_WORDS = ("", "na", "n/a", "nan", "null", "none", "nil", "-", "?")  # no value, in lower case
OTHER_UNIT = "another unit of time"
WRONG_FIELDS = "wrong number of fields"


SHOWN = 40  # characters of an id in a note
AROUND = (  # what may stand around ids, and how to get rid of it
    (
        "blanks",
        r"^\s|\s$",
        "if they are no part of the ids, take them out: sed 's/ *, */,/g' FILE | cfcli prepare -",
    ),
    (
        "quotes",
        r'^".+"$',
        "if they are no part of the ids, take them out: tr -d '\"' < FILE | cfcli prepare -",
    ),
)


class Problem(NamedTuple):
    """Why a row is bad.

    Attributes:
        role: of the column at fault.
        reason: as rows are counted by it.
        detail: as the user is told, with ``{value}``, ``{range}`` and ``{unit}`` to fill in.
    """

    role: str
    reason: str
    detail: str


PROBLEMS = {
    1: Problem("user", "missing user id", "the id is empty"),
    2: Problem("user", "user id too long", f"the id is longer than {MAX_ID} bytes"),
    3: Problem("item", "missing item id", "the id is empty"),
    4: Problem("item", "item id too long", f"the id is longer than {MAX_ID} bytes"),
    5: Problem("rating", "missing rating", "'{value}' is not a rating"),
    6: Problem("rating", "not a number", "'{value}' is not a number"),
    7: Problem("rating", "not a finite number", "'{value}' is not a finite number"),
    8: Problem("rating", "outside the rating range", "{value} is outside {range}"),
    9: Problem("time", OTHER_UNIT, "{value} is not in {unit}, as the times before are"),
}


class Unit(NamedTuple):
    """A unit of times since 1970.

    Attributes:
        least: the smallest number that a time of today is in this unit; smaller ones are in a
            coarser unit.
        microseconds: how many it has.
    """

    least: float
    microseconds: float


UNITS = {  # from the coarsest to the finest
    "seconds": Unit(0.0, 1_000_000.0),
    "milliseconds": Unit(1e11, 1_000.0),
    "microseconds": Unit(1e14, 1.0),
    "nanoseconds": Unit(1e17, 0.001),
}
MOST_TIME = 1e20  # above any time in the finest unit


class Checks:
    """The checks of one input after the other.

    Args:
        config: the keys of ``[prepare]``.

    Attributes:
        unit: of times that are numbers, a key of :data:`UNITS`; None before one was met.
    """

    def __init__(self, config: PrepareConfig) -> None:
        self.config = config
        self.unit: str | None = None

    def check(self, frame: pl.DataFrame, columns: dict[str, str]) -> pl.DataFrame:
        """Checks rows.

        Args:
            frame: N rows, ids as categories.
            columns: names in it by role.

        Returns:
            N rows: ``user``, ``item``, ``rating`` and, where there are times, ``timestamp``;
            ``problem``, a key of :data:`PROBLEMS` or 0; and, where ratings are text, ``trimmed``,
            whether blanks stood around the rating.
        """
        user = pl.col(columns["user"])
        item = pl.col(columns["item"])
        rating = pl.col(columns["rating"])
        extra: dict[str, pl.Expr] = {}
        is_missing = rating.is_null()
        value = rating.cast(pl.Float64, strict=False)
        if frame.schema[columns["rating"]] == pl.String:
            text = rating.str.strip_chars()
            extra["trimmed"] = text.str.len_bytes() < rating.str.len_bytes()
            is_missing = is_missing | text.str.to_lowercase().is_in(NULL_WORDS)
            number = text.str.replace(",", ".", literal=True) if self.config.decimal_comma else text
            value = number.cast(pl.Float64, strict=False)
        kept = value.cast(pl.Float32)
        checks = {
            1: user.is_null() | (user.cat.len_bytes() == 0),
            2: user.cat.len_bytes() > MAX_ID,
            3: item.is_null() | (item.cat.len_bytes() == 0),
            4: item.cat.len_bytes() > MAX_ID,
            5: is_missing,
            6: value.is_null(),
            7: ~kept.is_finite(),
        }
        # The same, in fewer steps: nearly all blocks have no problem.
        good = [
            user.cat.len_bytes().is_between(1, MAX_ID),
            item.cat.len_bytes().is_between(1, MAX_ID),
            kept.is_finite(),
        ]
        if self.config.rating_range:
            is_inside = value.is_between(*self.config.rating_range)
            checks[8] = ~is_inside
            good.append(is_inside)
        if "time" in columns:
            times = self._times(frame[columns["time"]])
            extra["timestamp"] = times.moment
            if times.is_other is not None:
                checks[9] = times.is_other
                good.append(~times.is_other.fill_null(False))
        are_good = pl.all_horizontal(is_good.fill_null(False).all() for is_good in good)
        checked = frame.select(
            user=user.to_physical(),
            item=item.to_physical(),
            rating=kept,
            problem=(~are_good).cast(pl.UInt8),
            **extra,
        )
        if not checked["problem"].max():
            return checked
        problem = pl.lit(0, pl.UInt8)
        for number_of, is_bad in reversed(checks.items()):
            problem = pl.when(is_bad).then(pl.lit(number_of, pl.UInt8)).otherwise(problem)
        return checked.with_columns(frame.select(problem=problem))

    def _times(self, column: pl.Series) -> "_Times":
        """Times of a column in UTC at microseconds: from dates, from numbers since 1970 (their
        size says in which unit) or from ISO 8601 texts."""
        time = pl.col(column.name)
        if column.dtype == pl.Date:
            return _Times(time.cast(pl.Datetime("us")))
        if isinstance(column.dtype, pl.Datetime):
            if column.dtype.time_zone:
                time = time.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            return _Times(time.dt.cast_time_unit("us"))
        if column.dtype.is_integer():
            self._detect_unit(column, time)
            return self._integers(time)
        text = time.str.strip_chars() if column.dtype == pl.String else time
        number = text.cast(pl.Float64, strict=False)
        if column.dtype == pl.String:
            values = column.to_frame().select(number).to_series()
            if values.null_count() == len(values):
                moment = text.str.to_datetime(strict=False, time_unit="us", time_zone="UTC")
                return _Times(moment.dt.replace_time_zone(None))
        self._detect_unit(column, number)
        return self._floats(number)

    def _detect_unit(self, column: pl.Series, number: pl.Expr) -> None:
        """Detects the unit from the median, once there are times."""
        if self.unit is not None:
            return
        size = column.to_frame().select(number.cast(pl.Float64).abs()).to_series()
        middle = size.filter(size.is_finite() & (size > 0)).median()
        if isinstance(middle, int | float):
            self.unit = next(name for name, unit in reversed(UNITS.items()) if middle >= unit.least)

    def _range(self) -> tuple[Unit, float]:
        """The unit, and the number from which a time is in a finer one."""
        names = list(UNITS)
        place = names.index(self.unit or "seconds")
        is_finest = place + 1 == len(names)
        most = MOST_TIME if is_finest else UNITS[names[place + 1]].least
        return UNITS[names[place]], most

    def _integers(self, time: pl.Expr) -> "_Times":
        """Times from integers, in integers all through: floats would round nanoseconds."""
        unit, limit = self._range()
        least = int(unit.least)
        most = int(min(limit, 2**63 - 1))
        if unit.microseconds >= 1:
            scaled = time.cast(pl.Int64, strict=False) * int(unit.microseconds)
        else:
            scaled = _rounded(time.cast(pl.Float64) * unit.microseconds)
        is_other = ~time.is_between(-most, most)
        if least:
            is_other = is_other | time.is_between(-least, least)
        return _Times(scaled.cast(pl.Datetime("us")), is_other & (time != 0))

    def _floats(self, time: pl.Expr) -> "_Times":
        """Times from floats, which may be none."""
        unit, most = self._range()
        scaled = _rounded(time * unit.microseconds)
        is_other = ~time.is_between(-most, most)
        if unit.least:
            is_other = is_other | time.is_between(-unit.least, unit.least)
        return _Times(scaled.cast(pl.Datetime("us")), is_other & time.is_finite() & (time != 0))


class _Times(NamedTuple):
    """The times of a column.

    Attributes:
        moment: in UTC at microseconds; null where it cannot be read.
        is_other: whether a number is in another unit than those before; None where that cannot be.
    """

    moment: pl.Expr
    is_other: pl.Expr | None = None


def _rounded(number: pl.Expr) -> pl.Expr:
    return number.round().cast(pl.Int64, strict=False)


def id_notes(ids: pl.Series, column: str) -> list[str]:
    """What looks wrong about ids, which stay as they are; one sentence each.

    Args:
        ids: unique texts.
        column: its name.
    """
    notes = []
    are_numbers = ids.str.contains(r"^-?\d+(\.\d*)?([eE][+-]?\d+)?$").all()
    if are_numbers and ids.str.contains(r"[.eE]").any():
        notes.append(
            f"ids in '{column}' look like floats, such as {ids[0]}: "
            "pandas does that where values are missing"
        )
    for around, pattern, remedy in AROUND:
        odd = ids.filter(ids.str.contains(pattern))
        if len(odd):
            notes.append(
                f"{len(odd):,} ids in '{column}' have {around} around them, such as "
                f"'{odd[0][:SHOWN]}', and keep them; {remedy}"
            )
    same = _alike(ids)
    if same:
        notes.append(
            f"{same:,} ids in '{column}' differ from others only by blanks, quotes or the form of "
            "accents"
        )
    words = ids.filter(ids.str.to_lowercase().is_in(NULL_WORDS))
    if len(words):
        notes.append(f"'{words[0]}' in '{column}' is taken as an id; is it a missing value?")
    return notes


def _alike(ids: pl.Series) -> int:
    """How many ids become one with another once blanks and quotes around them go and accents are
    composed."""
    odd = ids.filter(ids.str.contains(r"""^[\s"']|[\s"']$|[^\x00-\x7f]"""))
    plain = [unicodedata.normalize("NFC", text).strip().strip("\"'").strip() for text in odd]
    unchanged = int((pl.Series(plain, dtype=pl.String) == odd).sum())
    distinct = set(plain)
    already_there = int(ids.is_in(list(distinct)).sum()) if distinct else 0
    return len(plain) - len(distinct) + already_there - unchanged
