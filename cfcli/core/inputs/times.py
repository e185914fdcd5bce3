"""Times of ratings, in UTC at microseconds: from dates, from numbers since 1970 and from texts.

How a value is read depends on the value and on what is true of all inputs, never on the block that
it came in. Some values have two readings until all were read: ``03/04/2020`` is in March or in
April, ``20200101`` is a date or a second of August 1970. Such rows carry a mark and both readings,
and :class:`Times` chooses at the end.
"""

import contextlib
import itertools
import re
from collections import Counter
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from cfcli.core.config.prepare import TIME_UNITS
from cfcli.core.errors import ConfigError

# No value, in lower case; databases write \N.
NULL_WORDS = ("", "na", "n/a", "nan", "null", "none", "nil", "-", "?", r"\n")
KIND = pl.Datetime("us")

# What the mark of a row says. Rows without one have one reading, or no time at all.
PLAIN = 0
EITHER = 1  # month and day may change places
MONTH_FIRST = 2  # they may not: the second number is no month
DAY_FIRST = 3
UNREADABLE = 4
NUMBER = 5  # that cannot be a date, where the first number of the column can
DIGITS = 6  # a number that can be a date


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

DIGIT_FORMATS = {
    4: "%Y", 6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S",
}  # fmt: skip
YEARS = (1900, 2100)  # of dates in digits alone
NEVER = 9999  # a year that stands for no end


class Shape(NamedTuple):
    """A form of texts.

    Attributes:
        pattern: of the whole text.
        format: of the text without its zone, as Polars takes it; empty for numbers.
        day_first: the same with day and month in each other's place; empty where they have one.
        has_zone: whether a zone stands at the end.
    """

    pattern: str
    format: str
    day_first: str = ""
    has_zone: bool = False


OFFSET = " ?[+-][01][0-9](?::?[0-9]{2})?"
ZONES = (" ?(?:Z|UTC|GMT)", OFFSET)
_HOUR, _TWO = "[0-9]{1,2}", "[0-9]{2}"
_CLOCKS = {
    f"{_HOUR}:{_TWO}:{_TWO}": "%H:%M:%S",
    f"{_HOUR}:{_TWO}": "%H:%M",
    f"{_HOUR}:{_TWO}:{_TWO}[.][0-9]{{1,9}}": "%H:%M:%S%.f",
    f"{_HOUR}:{_TWO} ?[AaPp][Mm]": "%I:%M %p",
    f"{_HOUR}:{_TWO}:{_TWO} ?[AaPp][Mm]": "%I:%M:%S %p",
    "[0-9]{6}": "%H%M%S",
}
_ISO_DATES = {
    **{f"[0-9]{{4}}{s}{_HOUR}{s}{_HOUR}": f"%Y{s}%m{s}%d" for s in ("-", "/", "[.]")},
    "[0-9]{8}": "%Y%m%d",
}
_OTHER_DATES = {f"{_HOUR}{s}{_HOUR}{s}[0-9]{{4}}": f"%m{s}%d{s}%Y" for s in ("/", "[.]", "-")}


def _swapped(form: str) -> str:
    return form.translate({ord("m"): "d", ord("d"): "m"})


def _shapes(dates: dict[str, str], *, have_two_readings: bool = False) -> list[Shape]:
    """Dates alone or with a time of day, and with a zone or without."""
    clocks = {"": ""} | {
        gap + pattern: gap + clock for gap in (" ", "T") for pattern, clock in _CLOCKS.items()
    }
    found = []
    for date, clock, zone in itertools.product(dates, clocks, ("", *ZONES)):
        form = (dates[date] + clocks[clock]).replace("[.]", ".")
        other = _swapped(dates[date]).replace("[.]", ".") + clocks[clock]
        day_first = other if have_two_readings else ""
        found.append(Shape(f"^{date}{clock}{zone}$", form, day_first, bool(zone)))
    return found


_NUMBER = Shape(r"^[+-]?(?:[0-9]+(?:[.][0-9]*)?|[.][0-9]+)(?:[eE][+-]?[0-9]+)?$", "")
_ISO = [Shape("^[0-9]{4}$", "%Y"), *_shapes(_ISO_DATES)]
_ALL = [_NUMBER, *_shapes(_ISO_DATES), *_shapes(_OTHER_DATES, have_two_readings=True)]


class Read(NamedTuple):
    """The times of a block.

    Attributes:
        moment: null where it cannot be read, or there is none.
        is_other: whether a number is in another unit than those before; None where that cannot be.
        mark: of each row; None where all are plain.
        other: the second reading of each row, null where there is none; None where no row has one.
    """

    moment: pl.Expr
    is_other: pl.Expr | None = None
    mark: pl.Series | None = None
    other: pl.Series | None = None


class Value(NamedTuple):
    """A time as it stands in an input.

    Attributes:
        row: its place among the rows that were kept, from 0.
        where: the name of the input.
        line: its line, or the number of its row.
        column: the name of the column.
        text: the value.
    """

    row: int
    where: str
    line: int
    column: str
    text: str


class Times:
    """Reads the times of one input after the other by one rule.

    Args:
        form: how times are written, as ``time_format`` of the configuration; None to detect it.

    Attributes:
        unit: of times that are numbers, a key of :data:`UNITS`; None before one was met.
        firsts: the first row with each mark, of those that were counted.

    Raises:
        ConfigError: there is no such format.
    """

    def __init__(self, form: str | None) -> None:
        self._form = form
        self._named_unit = TIME_UNITS.get(form or "")
        self.unit = self._named_unit
        self._shapes = _named_shapes(form) if form else _ALL
        self._digits = 0  # of the dates that numbers may be
        self.firsts: dict[int, Value] = {}
        self._counts: Counter[int] = Counter()

    def read(self, column: pl.Series) -> Read:
        """Reads times.

        Args:
            column: of dates, numbers or texts; it is in the frame that the result is for.
        """
        time = pl.col(column.name)
        if column.dtype == pl.Date:
            return Read(time.cast(KIND))
        if isinstance(column.dtype, pl.Datetime):
            if column.dtype.time_zone:
                time = time.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            return Read(time.dt.cast_time_unit("us"))
        if not column.dtype.is_numeric():
            return self._texts(column.cast(pl.String))
        if _NUMBER not in self._shapes:
            return self._texts(column.cast(pl.String).str.strip_suffix(".0"))
        self._learn(column)
        read = (
            self._integers(time)
            if column.dtype.is_integer()
            else self._floats(time.cast(pl.Float64, strict=False))
        )
        if not self._digits:
            return read
        mark, other = self._as_digits(column)
        return read._replace(mark=mark, other=other)

    def is_news(self, mark: pl.Series) -> bool:
        """Whether there is a mark that no row before has.

        Args:
            mark: of some rows.
        """
        return not set(mark.unique()) <= {PLAIN, *self.firsts}

    def count(self, mark: pl.Series) -> None:
        """Counts rows in.

        Args:
            mark: of rows that are kept.
        """
        counts = np.bincount(mark.to_numpy())
        self._counts.update({k: n for k, n in enumerate(counts.tolist()) if n and k != PLAIN})

    @property
    def are_marked(self) -> bool:
        """Whether rows have a mark, so that :meth:`settle` is needed."""
        return bool(self._counts)

    def settle(self, block: pl.DataFrame) -> pl.DataFrame:
        """Chooses one reading for each row, once all were counted.

        Args:
            block: with ``timestamp`` and perhaps ``mark`` and ``other``.

        Returns:
            The block with ``timestamp``, and with ``unread`` where a row of any block cannot be
            read.
        """
        unread = pl.lit(False)
        if "mark" in block.columns:
            mark = pl.col("mark")
            takes_other = [DIGITS] if self._are_dates else []
            takes_other += [EITHER, DAY_FIRST] if self._order == DAY_FIRST else []
            unread = mark.is_in(self._unread)
            moment = pl.col("timestamp")
            if "other" in block.columns:
                moment = pl.when(mark.is_in(takes_other)).then("other").otherwise(moment)
            block = block.with_columns(timestamp=pl.when(~unread).then(moment), unread=unread)
            block = block.drop("mark", "other", strict=False)
        else:
            block = block.with_columns(unread=unread)
        return block if self.unread_rows else block.drop("unread")

    @property
    def unread_rows(self) -> int:
        """How many rows have a time that cannot be read, or not in one way only."""
        return sum(self._counts[mark] for mark in self._unread)

    def first_unread(self) -> tuple[Value, str]:
        """The first row with a time that cannot be read, and what is wrong with it; there must be
        one."""
        marks = [mark for mark in self._unread if mark in self.firsts]
        mark = min(marks, key=lambda mark: self.firsts[mark].row)
        value = self.firsts[mark]
        if mark == EITHER:
            return value, self._both_readings(value.text)
        if mark == NUMBER:
            return value, f"'{value.text}' is not a date, as '{self.firsts[DIGITS].text}' is"
        if mark in (MONTH_FIRST, DAY_FIRST):
            rule = self.firsts[self._order]
            return value, (
                f"'{value.text}' has day and month the other way round than '{rule.text}' "
                f"({rule.where}:{rule.line})"
            )
        if self._form:
            return value, f"'{value.text}' does not fit --time-format {self._form}"
        return value, f"'{value.text}' cannot be read as a time"

    def notes(self) -> list[str]:
        """How times were read, where that is not plain; one sentence each."""
        notes = []
        if EITHER in self.firsts and self._order == EITHER:
            notes.append(
                f"{self._counts[EITHER]:,} dates, such as '{self.firsts[EITHER].text}', have two "
                "readings and are left out; choose one with --time-format"
            )
        if self._order != EITHER:
            order = "day first" if self._order == DAY_FIRST else "month first"
            notes.append(f"dates such as '{self.firsts[self._order].text}' are read {order}")
        if self._are_dates:
            notes.append(f"times such as {self.firsts[DIGITS].text} are read as dates")
        elif self.unit not in (None, "seconds"):
            notes.append(f"times are read as {self.unit} since 1970")
        return notes

    @property
    def _order(self) -> int:
        """Which comes first, by the first date that has one reading only; EITHER where none has."""
        clear = [mark for mark in (MONTH_FIRST, DAY_FIRST) if mark in self.firsts]
        return min(clear, key=lambda mark: self.firsts[mark].row, default=EITHER)

    @property
    def _are_dates(self) -> bool:
        """Whether numbers are dates: most of them can be, which by chance few can."""
        return self._counts[DIGITS] > self._counts[NUMBER]

    @property
    def _unread(self) -> list[int]:
        wrong = {EITHER: EITHER, MONTH_FIRST: DAY_FIRST, DAY_FIRST: MONTH_FIRST}[self._order]
        return [UNREADABLE, wrong, *([NUMBER] if self._are_dates else [])]

    def _both_readings(self, text: str) -> str:
        shape = next(shape for shape in _ALL if re.fullmatch(shape.pattern, text))
        frame = _dates(pl.Series([text]), shape)
        readings = []
        for name, form in (("moment", shape.format), ("other", shape.day_first)):
            day = frame[name].cast(KIND)[0].date()
            readings.append(f"{day} (--time-format {re.split('[ T]', form)[0]})")
        return f"'{text}' is {readings[0]} or {readings[1]}"

    def _texts(self, column: pl.Series) -> Read:
        """Times of texts: those of one shape after those of the other, as few are mixed."""
        text = column.str.strip_chars()
        places = np.flatnonzero(text.is_not_null().to_numpy())
        rest = text.drop_nulls()
        found = _Found(len(text))
        while len(rest):
            shape = next((s for s in self._shapes if re.search(s.pattern, rest[0])), None)
            is_of = rest.str.contains(
                shape.pattern if shape else "|".join(s.pattern for s in self._shapes)
            )
            is_of = is_of if shape else ~is_of
            here, texts = places[is_of.to_numpy()], rest.filter(is_of)
            if shape is None:
                found.add_odd(here, texts)
            elif shape is _NUMBER:
                found.add(here, self._number_texts(texts))
            else:
                dates = _dates(texts, shape)
                found.add(here, dates)
                is_bad = dates["moment"].is_null()
                found.add_odd(here[is_bad.to_numpy()], texts.filter(is_bad))
            places, rest = places[~is_of.to_numpy()], rest.filter(~is_of)
        return found.read()

    def _number_texts(self, text: pl.Series) -> pl.DataFrame:
        """``moment``, ``other``, ``mark`` and ``is_other`` of numbers."""
        frame = pl.DataFrame(
            {
                "whole": text.cast(pl.Int64, strict=False),
                "number": text.cast(pl.Float64, strict=False),
            }
        )
        self._learn(frame["number"])
        whole, number = self._integers(pl.col("whole")), self._floats(pl.col("number"))
        columns = {"moment": pl.coalesce(whole.moment, number.moment).cast(pl.Int64)}
        if whole.is_other is not None and number.is_other is not None:
            columns["is_other"] = pl.coalesce(whole.is_other, number.is_other)
        found = frame.select(**columns)
        if self._digits:
            mark, other = self._as_digits(frame["number"])
            found = found.with_columns(mark=mark, other=other.cast(pl.Int64))
        return found

    def _learn(self, column: pl.Series) -> None:
        """Learns from the first number in which unit times are, and whether they may be dates."""
        if self.unit is not None:
            return
        size = column.cast(pl.Float64, strict=False)
        first = size.filter(size.is_finite() & (size != 0)).head(1)
        if not len(first):
            return
        value = abs(first[0])
        self.unit = next(name for name, unit in reversed(UNITS.items()) if value >= unit.least)
        self._digits = len(str(int(value))) if value < 1e15 else 0
        if self._digits not in DIGIT_FORMATS or self._as_digits(first)[0][0] != DIGITS:
            self._digits = 0

    def _as_digits(self, column: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Whether numbers may be dates of as many digits as the first, and these dates."""
        frame = pl.DataFrame({"number": column.cast(pl.Float64, strict=False)})
        number = pl.col("number")
        whole = number.cast(pl.Int64, strict=False)
        form = DIGIT_FORMATS[self._digits]
        text = whole.cast(pl.String)
        is_long = (text.str.len_bytes() == self._digits) & (whole == number)
        if form.endswith("%H"):  # Polars wants minutes, too
            text, form = text + "00", form + "%M"
        moment = pl.when(is_long).then(text).str.to_datetime(form, strict=False, time_unit="us")
        year = moment.dt.year()
        is_date = (year.is_between(*YEARS) | (year == NEVER)).fill_null(False)
        is_number = number.is_finite() & (number != 0)
        mark = pl.when(is_date).then(DIGITS).when(is_number).then(NUMBER).otherwise(PLAIN)
        found = frame.select(mark=mark.cast(pl.UInt8), other=pl.when(is_date).then(moment))
        return found["mark"], found["other"]

    def _range(self) -> tuple[Unit, float]:
        """The unit, and the number from which a time is in a finer one."""
        names = list(UNITS)
        place = names.index(self.unit or "seconds")
        is_finest = place + 1 == len(names)
        most = MOST_TIME if is_finest else UNITS[names[place + 1]].least
        return UNITS[names[place]], most

    def _integers(self, time: pl.Expr) -> Read:
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
        return Read(scaled.cast(KIND), None if self._named_unit else is_other & (time != 0))

    def _floats(self, time: pl.Expr) -> Read:
        """Times from floats, which may be none."""
        unit, most = self._range()
        scaled = _rounded(time * unit.microseconds)
        is_other = ~time.is_between(-most, most)
        if unit.least:
            is_other = is_other | time.is_between(-unit.least, unit.least)
        is_other = is_other & time.is_finite() & (time != 0)
        return Read(scaled.cast(KIND), None if self._named_unit else is_other)


class _Found:
    """The times of texts, which come in any order.

    Args:
        rows: how many there are.
    """

    def __init__(self, rows: int) -> None:
        self._moment = np.full(rows, _NONE)
        self._other: NDArray[np.int64] | None = None
        self._mark: NDArray[np.uint8] = np.zeros(rows, np.uint8)
        self._is_other: NDArray[np.bool_] | None = None

    def add(self, places: NDArray[np.int64], found: pl.DataFrame) -> None:
        """Adds rows.

        Args:
            places: of them.
            found: ``moment`` and perhaps ``other``, ``mark`` and ``is_other``.
        """
        self._moment[places] = found["moment"].fill_null(_NONE).to_numpy()
        if "mark" in found.columns:
            if self._other is None:
                self._other = np.full(len(self._moment), _NONE)
            self._mark[places] = found["mark"].to_numpy()
            self._other[places] = found["other"].fill_null(_NONE).to_numpy()
        if "is_other" in found.columns:
            if self._is_other is None:
                self._is_other = np.zeros(len(self._moment), bool)
            self._is_other[places] = found["is_other"].fill_null(False).to_numpy()

    def add_odd(self, places: NDArray[np.int64], text: pl.Series) -> None:
        """Adds rows that are no times.

        Args:
            places: of them.
            text: what stands there.
        """
        is_missing = text.str.to_lowercase().is_in(NULL_WORDS).to_numpy()
        self._mark[places] = np.where(is_missing, PLAIN, UNREADABLE)

    def read(self) -> Read:
        """All of them."""
        moment = pl.lit(_moments(self._moment))
        is_other = None if self._is_other is None else pl.lit(pl.Series(self._is_other))
        if not self._mark.any():
            return Read(moment, is_other)
        other = None if self._other is None else _moments(self._other)
        return Read(moment, is_other, pl.Series(self._mark), other)


_NONE = np.iinfo(np.int64).min


def _moments(ticks: NDArray[np.int64]) -> pl.Series:
    frame = pl.DataFrame({"ticks": ticks})
    return frame.select(pl.when(pl.col("ticks") != _NONE).then(pl.col("ticks").cast(KIND)))["ticks"]


def _dates(text: pl.Series, shape: Shape) -> pl.DataFrame:
    """``moment`` of texts of one shape, and ``other`` and ``mark`` where the shape has two
    readings."""
    body, shift = text, pl.lit(0, pl.Int64)
    if shape.has_zone:
        body = text.str.replace(f"(?:{'|'.join(ZONES)})$", "")
        parts = text.str.extract_groups(r"([+-])([0-9]{2}):?([0-9]{2})?$").struct.unnest()
        if shape.pattern.endswith(OFFSET + "$"):
            hours, minutes = (parts[name].cast(pl.Int64).fill_null(0) for name in ("2", "3"))
            sign = pl.select(pl.when(parts["1"] == "-").then(-1).otherwise(1)).to_series()
            shift = pl.lit(sign * (hours * 60 + minutes) * 60_000_000)
    moment = pl.lit(_parsed(body, shape.format)) - shift
    if not shape.day_first:
        return pl.select(moment=moment)
    other = pl.lit(_parsed(body, shape.day_first)) - shift
    mark = (
        pl.when(moment.is_null() & other.is_null()).then(UNREADABLE)
        .when(other.is_null()).then(MONTH_FIRST)
        .when(moment.is_null()).then(DAY_FIRST)
        .when(moment != other).then(EITHER)
        .otherwise(PLAIN)
    )  # fmt: skip
    return pl.select(moment=pl.coalesce(moment, other), other=other, mark=mark.cast(pl.UInt8))


def _parsed(text: pl.Series, form: str) -> pl.Series:
    """Microseconds in UTC."""
    moment = text.str.to_datetime(form, strict=False, time_unit="us")
    return moment.dt.replace_time_zone(None).cast(pl.Int64)


def _named_shapes(form: str) -> list[Shape]:
    """What values may look like, of a form that was named; a time of day may follow a date."""
    if form in TIME_UNITS:
        return [_NUMBER]
    if form == "ISO":
        return _ISO
    dates = {}
    for pattern, date in _OTHER_DATES.items():
        if form in (date.replace("[.]", "."), _swapped(date).replace("[.]", ".")):
            dates[pattern] = form
    return _shapes(dates) if dates else [Shape("", _checked_format(form))]


def _checked_format(form: str) -> str:
    """The format as Polars takes it.

    Raises:
        ConfigError: it takes none of this kind.
    """
    ours = form.replace(".%f", "%.f")
    example = datetime(2020, 11, 22, 13, 14, 15, tzinfo=UTC).strftime(form.replace("%.f", ".%f"))
    is_known = False
    # Names of zones are skipped, not read; a fraction without its point would be nanoseconds.
    if "%f" not in ours and "%Z" not in ours:
        with contextlib.suppress(PolarsError):
            is_known = _parsed(pl.Series([example]), ours).cast(KIND).dt.year()[0] == 2020
    if not is_known:
        raise ConfigError(
            f"time_format: cannot read times by '{form}'; a format has day, month and year, such "
            "as %d/%m/%Y or '%Y-%m-%d %H:%M:%S.%f', and %z for offsets"
        )
    return ours


def _rounded(number: pl.Expr) -> pl.Expr:
    return number.round().cast(pl.Int64, strict=False)
