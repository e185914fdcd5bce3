"""Which rows are ratings: the checks that each must pass, all of them vectorised."""

import unicodedata

import polars as pl

from cfcli.core.config.prepare import PrepareConfig

MAX_ID = 1024  # bytes
NULL_WORDS = (
    "",
    "na",
    "n/a",
    "nan",
    "null",
    "none",
    "nil",
    "-",
    "?",
)  # a rating that says that there is none
OTHER_UNIT, FIELDS = "another unit of time", "wrong number of fields"
PROBLEMS = {  # why a row is bad: the role of the column, the reason as it is counted, the reason as it is told
    1: ("user", "missing user id", "the id is empty"),
    2: ("user", "user id too long", f"the id is longer than {MAX_ID} bytes"),
    3: ("item", "missing item id", "the id is empty"),
    4: ("item", "item id too long", f"the id is longer than {MAX_ID} bytes"),
    5: ("rating", "missing rating", "'{value}' is no rating"),
    6: ("rating", "not a number", "'{value}' is not a number"),
    7: ("rating", "not a finite number", "'{value}' is not a finite number"),
    8: ("rating", "outside the rating range", "{value} is outside {range}"),
    9: ("time", OTHER_UNIT, "{value} is not in {unit}, as the times before are"),
}
UNITS = {
    "seconds": (0.0, 1_000_000.0),
    "milliseconds": (1e11, 1_000.0),
    "microseconds": (1e14, 1.0),
}
UNITS["nanoseconds"] = (
    1e17,
    0.001,
)  # each: the least size of a time of now in it, and how many microseconds it has


class Checks:
    """The checks of one input after the other.

    Attributes:
        unit: of times that are numbers, once one was met.
    """

    def __init__(self, config: PrepareConfig) -> None:
        self.config = config
        self.unit: str | None = None

    def check(self, frame: pl.DataFrame, columns: dict[str, str]) -> pl.DataFrame:
        """``user, item, rating[, timestamp]``, ``problem`` (a key of :data:`PROBLEMS`, or 0) and,
        for texts, ``trimmed`` (whether blanks stood around the rating)."""
        user, item, rating = (pl.col(columns[role]) for role in ("user", "item", "rating"))
        value, missing = rating.cast(pl.Float64, strict=False), rating.is_null()
        extra: dict[str, pl.Expr] = {}
        if frame.schema[columns["rating"]] == pl.String:
            text = rating.str.strip_chars()
            extra["trimmed"] = text.str.len_bytes() < rating.str.len_bytes()
            missing = missing | text.str.to_lowercase().is_in(NULL_WORDS)
            value = (
                text.str.replace(",", ".", literal=True) if self.config.decimal_comma else text
            ).cast(pl.Float64, strict=False)
        checks = [
            (1, user.is_null() | (user.cat.len_bytes() == 0)),
            (2, user.cat.len_bytes() > MAX_ID),
            (3, item.is_null() | (item.cat.len_bytes() == 0)),
            (4, item.cat.len_bytes() > MAX_ID),
            (5, missing),
            (6, value.is_null()),
            (7, ~value.cast(pl.Float32).is_finite()),
        ]
        good = [
            user.cat.len_bytes().is_between(1, MAX_ID),
            item.cat.len_bytes().is_between(1, MAX_ID),
        ]
        good.append(value.cast(pl.Float32).is_finite())
        if self.config.rating_range:
            checks.append((8, ~value.is_between(*self.config.rating_range)))
            good.append(value.is_between(*self.config.rating_range))
        if "time" in columns:
            extra["timestamp"], is_other = self._times(frame[columns["time"]])
            if is_other is not None:
                checks.append((9, is_other))
                good.append(~is_other.fill_null(False))
        checked = frame.select(
            user=user.to_physical(),
            item=item.to_physical(),
            rating=value.cast(pl.Float32),
            problem=(~pl.all_horizontal(is_good.fill_null(False).all() for is_good in good)).cast(
                pl.UInt8
            ),
            **extra,
        )
        if not checked["problem"].max():
            return checked
        problem = pl.lit(0, pl.UInt8)
        for number, is_bad in reversed(checks):
            problem = pl.when(is_bad).then(pl.lit(number, pl.UInt8)).otherwise(problem)
        return checked.with_columns(frame.select(problem=problem))

    def _times(self, column: pl.Series) -> tuple[pl.Expr, pl.Expr | None]:
        """Of a column: times in UTC at microseconds, from numbers since 1970 (the unit told by
        their size) or ISO 8601 texts; and which numbers are in another unit than those before."""
        time = pl.col(column.name)
        if column.dtype == pl.Date:
            return time.cast(pl.Datetime("us")), None
        if isinstance(column.dtype, pl.Datetime):
            if column.dtype.time_zone:
                time = time.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            return time.dt.cast_time_unit("us"), None
        number = time
        if not column.dtype.is_integer():
            number = (time.str.strip_chars() if column.dtype == pl.String else time).cast(
                pl.Float64, strict=False
            )
        if self.unit is None or column.dtype == pl.String:
            size = column.to_frame().select(number.cast(pl.Float64).abs()).to_series()
            if column.dtype == pl.String and size.null_count() == len(size):
                moment = time.str.strip_chars().str.to_datetime(
                    strict=False, time_unit="us", time_zone="UTC"
                )
                return moment.dt.replace_time_zone(None), None
            middle = size.filter(size.is_finite() & (size > 0)).median()
            if self.unit is None and isinstance(middle, int | float):
                self.unit = next(
                    name for name, (least, _) in reversed(UNITS.items()) if middle >= least
                )
        names = list(UNITS)
        place = names.index(self.unit or "seconds")
        least, microseconds = UNITS[names[place]]
        most = UNITS[names[place + 1]][0] if place + 1 < len(names) else 1e20
        if column.dtype.is_integer():
            least, most = int(least), int(min(most, 2**63 - 1))  # floats would make floats of all
        is_other = ~number.is_between(-most, most)
        if least:
            is_other = is_other | number.is_between(-least, least)
        if column.dtype.is_integer() and microseconds >= 1:
            scaled = number.cast(pl.Int64, strict=False) * int(microseconds)
        else:
            scaled = (number.cast(pl.Float64) * microseconds).round().cast(pl.Int64, strict=False)
        if not column.dtype.is_integer():
            is_other = is_other & number.is_finite()
        return scaled.cast(pl.Datetime("us")), is_other & (number != 0)


def id_notes(ids: pl.Series, what: str) -> list[str]:
    """What looks wrong about ids (unique texts), one sentence each; they stay as they are.

    Args:
        what: their column.
    """
    notes = []
    if (
        ids.str.contains(r"^-?\d+(\.\d*)?([eE][+-]?\d+)?$").all()
        and ids.str.contains(r"[.eE]").any()
    ):
        notes.append(
            f"ids in '{what}' look like floats, such as {ids[0]}: pandas does that where values are missing"
        )
    odd = ids.filter(ids.str.contains(r"^\s|\s$|[^\x00-\x7f]"))
    if odd.len():
        plain = {unicodedata.normalize("NFC", i).strip() for i in odd}
        same = (
            odd.len()
            - len(plain)
            + int(ids.is_in(plain).sum())
            - sum(unicodedata.normalize("NFC", i).strip() == i for i in odd)
        )
        if same:
            notes.append(
                f"{same:,} ids in '{what}' differ from others only by blanks or by the form of accents"
            )
    words = [word for word in ids.filter(ids.str.to_lowercase().is_in(NULL_WORDS))]
    if words:
        notes.append(f"'{words[0]}' in '{what}' is taken as an id; is it a missing value?")
    return notes
