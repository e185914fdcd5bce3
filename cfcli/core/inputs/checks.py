"""Which rows are ratings: the checks that each must pass, all of them vectorised."""

import unicodedata
from typing import NamedTuple

import polars as pl

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.inputs.times import NULL_WORDS, Times
from cfcli.core.words import counted, either

MAX_ID = 1024  # bytes
OTHER_UNIT = "another unit of time"
WRONG_FIELDS = "wrong number of fields"


SHOWN = 40  # characters of an id in a note
AROUND = (  # what may stand around ids, and what takes it out of a text
    (
        "blanks",
        r"^\s|\s$",
        'python -c "import csv, sys; csv.writer(sys.stdout{delimiter}).writerows([f.strip() for f '
        'in row] for row in csv.reader(sys.stdin{delimiter}))" < FILE | cfcli prepare -',
    ),
    ("quotes", r'^".+"$', "tr -d '\"' < FILE | cfcli prepare -"),
    ("single quotes", r"^'.+'$", 'tr -d "\'" < FILE | cfcli prepare -'),
)
DELIMITERS = {  # for the command that takes blanks out
    ",": "",
    ";": ", delimiter=';'",
    "|": ", delimiter='|'",
    "\t": r", delimiter='\t'",
}


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
    10: Problem("weight", "missing weight", "'{value}' is not a weight"),
    11: Problem("weight", "not a weight", "'{value}' is not a finite number above 0"),
}


class Checks:
    """The checks of one input after the other.

    Args:
        config: the keys of ``[prepare]``.

    Attributes:
        times: reads the times.
    """

    def __init__(self, config: PrepareConfig) -> None:
        self.config = config
        self.times = Times(config.time_format)

    def check(self, frame: pl.DataFrame, columns: dict[str, str]) -> pl.DataFrame:
        """Checks rows.

        Args:
            frame: N rows, ids as categories.
            columns: names in it by role.

        Returns:
            N rows: ``user``, ``item``, ``rating``, where there are times ``timestamp``, and where
            there are weights ``weight`` (f32);
            ``problem``, a key of :data:`PROBLEMS` or 0; where ratings are text, ``trimmed``,
            whether blanks stood around the rating; and, where times have marks or second readings,
            ``mark`` and ``other``, as :class:`cfcli.core.inputs.times.Read` has them.
        """
        user = pl.col(columns["user"])
        item = pl.col(columns["item"])
        extra: dict[str, pl.Expr] = {}
        value, is_missing = self._number(frame, columns["rating"])
        if frame.schema[columns["rating"]] == pl.String:
            size = pl.col(columns["rating"]).str
            extra["trimmed"] = size.strip_chars().str.len_bytes() < size.len_bytes()
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
            times = self.times.read(frame[columns["time"]])
            extra["timestamp"] = times.moment
            for name in ("mark", "other"):
                if (values := getattr(times, name)) is not None:
                    extra[name] = pl.lit(values)
            if times.is_other is not None:
                checks[9] = times.is_other
                good.append(~times.is_other.fill_null(False))
        if "weight" in columns:
            number, is_absent = self._number(frame, columns["weight"])
            extra["weight"] = number.cast(pl.Float32)
            is_weight = extra["weight"].is_finite() & (extra["weight"] > 0)
            checks |= {10: is_absent, 11: ~is_weight.fill_null(False)}
            good.append(is_weight)
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

    def _number(self, frame: pl.DataFrame, column: str) -> tuple[pl.Expr, pl.Expr]:
        """A column as numbers (f64, null where it is none), and where it has no value."""
        found = pl.col(column)
        if frame.schema[column] != pl.String:
            return found.cast(pl.Float64, strict=False), found.is_null()
        text = found.str.strip_chars()
        is_missing = found.is_null() | text.str.to_lowercase().is_in(NULL_WORDS)
        number = text.str.replace(",", ".", literal=True) if self.config.decimal_comma else text
        return number.cast(pl.Float64, strict=False), is_missing


def id_notes(ids: pl.Series, column: str, separator: str | None = None) -> list[str]:
    """What looks wrong about ids, which stay as they are; one sentence each.

    Args:
        ids: unique texts.
        column: its name.
        separator: of the fields in all inputs; None where they differ, or are not texts.
    """
    notes = []
    are_numbers = ids.str.contains(r"^-?\d+(\.\d*)?([eE][+-]?\d+)?$").all()
    floats = ids.filter(ids.str.contains(r"[.eE]"))
    if are_numbers and len(floats):
        notes.append(
            f"ids in '{column}' look like floats, such as {floats[0]}: "
            "programs such as pandas write them so where values are missing"
        )
    for around, pattern, command in AROUND:
        odd = ids.filter(ids.str.contains(pattern))
        if n := len(odd):
            notes.append(
                f"{counted(n, 'id')} in '{column}' {either(n, 'has', 'have')} {around} around "
                f"{either(n, 'it', 'them')}, such as '{odd[0][:SHOWN]}', and "
                f"{either(n, 'keeps', 'keep')} them; if they do not belong to the ids, remove them"
                f"{_how(command, separator)}"
            )
    same = _alike(ids)
    if same:
        notes.append(
            f"{counted(same, 'id')} in '{column}' {either(same, 'differs', 'differ')} from others "
            "only by blanks, quotes, the form of accents or zeros (007 or 7.0 for 7)"
        )
    if ids.str.contains("[A-Z]").any():
        plain = ids.str.to_lowercase()
        # Hashes first, as they are compared in a third of the time; two may be equal by chance.
        if plain.hash().n_unique() < len(ids) and plain.n_unique() < len(ids):
            repeated = plain.filter(plain.is_duplicated())
            first, second = ids.filter(plain == repeated[0])[:2]
            same = len(repeated) - repeated.n_unique()
            notes.append(
                f"{counted(same, 'id')} in '{column}' {either(same, 'differs', 'differ')} from "
                f"others only by letter case, such as '{first[:SHOWN]}' and '{second[:SHOWN]}'"
            )
    words = ids.filter(ids.str.to_lowercase().is_in(NULL_WORDS))
    if len(words):
        notes.append(f"'{words[0]}' in '{column}' is taken as an id; is it a missing value?")
    return notes


def _how(command: str, separator: str | None) -> str:
    """The command that takes something out of a text, where there is one for its separator."""
    if separator not in DELIMITERS:
        return " from the input before"
    return f": {command.replace('{delimiter}', DELIMITERS[separator])}"


def _alike(ids: pl.Series) -> int:
    """How many ids become one with another once blanks and quotes around them go, accents are
    composed and numbers have no zeros to spare."""
    odd = ids.filter(ids.str.contains(r"""^[\s"']|[\s"']$|[^\x00-\x7f]"""))
    plain = [unicodedata.normalize("NFC", text).strip().strip("\"'").strip() for text in odd]
    numbers = ids.filter(ids.str.contains(r"^0+[0-9]+$|^[0-9]+\.0*$"))
    shortest = numbers.str.replace(r"^0*([0-9]+?)(\.0*)?$", "$1")
    before = odd.append(numbers)
    after = pl.Series(plain, dtype=pl.String).append(shortest)
    distinct = after.unique()
    already_there = int(ids.is_in(distinct.implode()).sum())
    return len(after) - len(distinct) + already_there - int((after == before).sum())
