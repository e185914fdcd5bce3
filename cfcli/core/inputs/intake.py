"""What is known of the ratings that were read so far, from one input after the other."""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.inputs.checks import OTHER_UNIT, PROBLEMS, Checks
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.streams import SourceRecord
from cfcli.core.inputs.tables import Rows
from cfcli.core.inputs.times import KIND, LONG_AGO, PLAIN, Value
from cfcli.core.words import counted, either

REJECTS = "rejects.csv"
SHOWN = 200  # characters of a bad row that are kept
ENOUGH = 10_000  # bad rows more than are allowed, after which reading ends


class Reject(NamedTuple):
    """A bad row, as it stands in :data:`REJECTS`.

    Attributes:
        source: the name of the input.
        line: its line, or the number of its row.
        column: the name of the column at fault.
        reason: as rows are counted by it.
        detail: what is wrong with the value.
        raw: the row's text, the start of a long one.
    """

    source: str
    line: int
    column: str
    reason: str
    detail: str
    raw: str


SCHEMA = {
    "source": pl.String, "line": pl.Int64, "column": pl.String, "reason": pl.String,
    "detail": pl.String, "raw": pl.String,
}  # fmt: skip


def _categories(name: str) -> pl.Categories:
    return pl.Categories.random(name, pl.UInt32)


@dataclass
class Intake:
    """Collects what is true of all inputs: ids, bad rows, notes, counts.

    Attributes:
        form: of the inputs.
        scratch: a folder for bad rows and for what must be on disk to be read; None to keep no bad
            rows.
        user_ids, item_ids: every id met so far, also in rows that were dropped; its place is its
            code.
        columns: the first input's name for each role: user, item, rating and perhaps time and
            weight.
        sources: what is known of each input.
        separators: of the fields in each input; None for one that is not a delimited text.
        rejected: how many bad rows were dropped, by reason; they stand in ``scratch``, in
            :data:`REJECTS`.
        first_reject: the first bad row.
        rows: how many were kept.
        has_times: whether an input had a column of times.
        trimmed: how many ratings had blanks around them.
        no_time: how many ratings have no readable time; all, where no input has a column of times.
        past: how many are dated before 1980.
        future: how many are dated after tomorrow.
        newest: the newest time; None where there is none.
        notes: what the user should know about the form of the inputs, one sentence each.
    """

    form: Form
    scratch: Path | None = None
    user_ids: pl.Categories = field(default_factory=lambda: _categories("user"))
    item_ids: pl.Categories = field(default_factory=lambda: _categories("item"))
    columns: dict[str, str] = field(default_factory=dict)
    sources: list[SourceRecord] = field(default_factory=list)
    separators: set[str | None] = field(default_factory=set)
    rejected: Counter[str] = field(default_factory=Counter)
    first_reject: Reject | None = None
    rows: int = 0
    has_times: bool = False
    trimmed: int = 0
    no_time: int = 0
    past: int = 0
    future: int = 0
    newest: datetime | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.checks = Checks(self.config)
        self.times = self.checks.times
        # Polars forgets categories when no column has them any more, and would give their codes to
        # others.
        self._anchors = [
            pl.Series([], dtype=pl.Categorical(ids)) for ids in (self.user_ids, self.item_ids)
        ]

    @property
    def config(self) -> PrepareConfig:
        """The keys of ``[prepare]``."""
        return self.form.config

    @property
    def rows_read(self) -> int:
        """How many rows were read, bad ones included."""
        return self.rows + self.rejected.total()

    def accept(self, checked: pl.DataFrame, where: str) -> pl.DataFrame:
        """Counts good rows in.

        Args:
            checked: rows as :meth:`Checks.check` gives them, all without a problem.
            where: name of their input.

        Returns:
            ``user``, ``item``, ``rating`` and perhaps ``timestamp`` and ``weight``.

        Raises:
            InputError: there are more rows than allowed.
        """
        self.rows += checked.height
        if self.config.max_rows is not None and self.rows > self.config.max_rows:
            raise InputError(
                f"{where}: there are more than {self.config.max_rows:,} rows; see --max-rows"
            )
        if "trimmed" in checked.columns:
            self.trimmed += int(checked["trimmed"].sum())
        if "mark" in checked.columns:
            self.has_times = True
            self.times.count(checked["mark"])
        elif "timestamp" in checked.columns:
            self._look_at_times(checked["timestamp"])
        else:
            self.no_time += checked.height
        return checked.drop("problem", "trimmed", strict=False)

    def needs_lines(self, checked: pl.DataFrame) -> bool:
        """Whether an error may have to name a row of these, so that lines must be known.

        Args:
            checked: rows as :meth:`Checks.check` gives them.
        """
        return "mark" in checked.columns and self.times.is_news(checked["mark"])

    def settled(self, block: pl.DataFrame) -> pl.DataFrame:
        """The rows with the times that they have, now that all were read.

        Args:
            block: as it was accepted.

        Returns:
            The block with ``timestamp`` where any block has times, and with ``unread``, whether
            there is a time that cannot be read, where any block has such a row.
        """
        if not self.has_times:
            return block
        if "timestamp" not in block.columns:
            block = block.with_columns(timestamp=pl.lit(None, KIND))
        was_marked = "mark" in block.columns
        block = self.times.settle(block)
        if was_marked:
            self._look_at_times(block["timestamp"])
        return block

    def require_times(self, purpose: str) -> None:
        """Raises an InputError where a time cannot be read.

        Args:
            purpose: what it is needed for, a flag.
        """
        if not self.times.unread_rows:
            return
        value, why = self.times.first_unread()
        more = self.times.unread_rows - 1
        rest = f" (+{more:,} more rows)" if more else ""
        hint = "" if self.config.time_format else f"; {purpose} needs the times, see --time-format"
        raise InputError.at(value.where, value.line, f"{why}{rest}{hint}", value.column)

    def sort_out(self, rows: Rows, columns: dict[str, str], where: str) -> pl.DataFrame:
        """Checks rows, rejects the bad ones and counts the good ones in.

        Args:
            rows: with ids as categories.
            columns: names in it by role.
            where: name of the input.

        Returns:
            The good rows, as :meth:`accept` gives them.

        Raises:
            InputError: more bad rows or rows than allowed, or times in several units.
        """
        rejects = [
            Reject(where, bad.line, bad.column, bad.reason, bad.detail, bad.text[:SHOWN])
            for bad in rows.malformed
        ]
        checked = self.checks.check(rows.frame, columns)
        for k in np.flatnonzero(checked["problem"].to_numpy()).tolist():
            text = rows.text(k)
            if text:  # else it is a blank line
                reject = self._explain(rows, k, checked["problem"][k], columns, where)
                if reject.reason == OTHER_UNIT:
                    raise _error(reject)
                rejects.append(reject)
        self._reject(rejects)
        is_good = checked["problem"] == 0
        if self.needs_lines(checked):
            self._remember_times(
                rows, checked["mark"], np.flatnonzero(is_good), columns["time"], where
            )
        return self.accept(checked.filter(is_good), where)

    def finish(self) -> None:
        """Raises an InputError where all was read and there are no ratings, or more bad rows than
        allowed."""
        if self.rejected.total() > self.config.bad_rows_allowed(self.rows_read):
            self._refuse()
        if self.rows == 0:
            raise InputError(f"{self.sources[0].name}: no ratings in it")

    def all_notes(self) -> list[str]:
        """What the user should know about the ratings, one sentence each."""
        notes = list(dict.fromkeys(self.notes))
        if self.trimmed:
            notes.append(f"{counted(self.trimmed, 'rating')} had blanks around them")
        if self.no_time and self.has_times:
            example = ""
            if self.times.unread_rows:
                value = self.times.first_unread()[0]
                example = (
                    f", such as '{value.text}' ({value.where}:{value.line}; see --time-format)"
                )
            notes.append(
                f"{counted(self.no_time, 'rating')} {either(self.no_time, 'has', 'have')} no "
                f"readable time{example}; {either(self.no_time, 'it counts', 'they count')} as the "
                "oldest"
            )
        if self.past and self.newest and self.newest >= LONG_AGO:
            notes.append(f"{_dated(self.past)} before 1980; numbers are read as time since 1970")
        if self.future:
            notes.append(f"{_dated(self.future)} after tomorrow")
        return notes + self.times.notes(self.newest)

    def _remember_times(
        self, rows: Rows, mark: pl.Series, kept: NDArray[np.int64], column: str, where: str
    ) -> None:
        """Remembers the first row with each mark, among those that are kept."""
        marks, firsts = np.unique(mark.to_numpy()[kept], return_index=True)
        for each, first in zip(marks.tolist(), firsts.tolist(), strict=True):
            if each != PLAIN and each not in self.times.firsts:
                k = int(kept[first])
                text = str(rows.frame[column][k]).strip()[:40]
                line = int(rows.lines[k])
                self.times.firsts[each] = Value(self.rows + first, where, line, column, text)

    def _look_at_times(self, times: pl.Series) -> None:
        self.has_times = True
        self.no_time += times.null_count()
        soon = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1)
        oldest, newest = times.min(), times.max()
        if isinstance(oldest, datetime) and oldest < LONG_AGO:
            self.past += int((times < LONG_AGO).sum())
        if isinstance(newest, datetime):
            self.newest = max(newest, self.newest or newest)
            if newest > soon:
                self.future += int((times > soon).sum())

    def _explain(
        self, rows: Rows, k: int, problem: int, columns: dict[str, str], where: str
    ) -> Reject:
        """What is wrong with row ``k``."""
        role, reason, detail = PROBLEMS[problem]
        low, high = self.config.rating_range or (0, 0)
        found = rows.frame[columns[role]][k]
        value = "" if found is None else str(found)[:40]
        detail = detail.format(value=value, range=f"{low:g} to {high:g}", unit=self.times.unit)
        line = int(rows.lines[k])
        return Reject(where, line, columns[role], reason, detail, rows.text(k)[:SHOWN])

    def _reject(self, rejects: list[Reject]) -> None:
        """Counts bad rows, and keeps them in a file."""
        if not rejects:
            return
        rejects.sort(key=lambda reject: reject.line)
        if self.first_reject is None:
            self.first_reject = rejects[0]
        if self.scratch and not self.config.no_rejects_file:
            self._write(rejects, self.scratch / REJECTS)
        self.rejected.update(reject.reason for reject in rejects)
        is_share = self.config.max_bad_rows.endswith("%")
        if not is_share and self.rejected.total() > self.config.bad_rows_allowed(0) + ENOUGH:
            self._refuse(is_all=False)

    def _write(self, rejects: list[Reject], path: Path) -> None:
        """Adds bad rows to a file that only its owner may read: they may hold ids of people."""
        shown = [reject._replace(source=_printable(reject.source)) for reject in rejects]
        frame = pl.DataFrame(shown, schema=SCHEMA, orient="row")
        is_first = not self.rejected
        with open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(frame.write_csv(include_header=is_first).encode())

    def _refuse(self, *, is_all: bool = True) -> None:
        assert self.first_reject is not None
        more = self.rejected.total() - 1
        rest = ""
        if more:
            rest = f" (+{more:,} more rows)" if is_all else f" (+{more:,} and more rows)"
        raise _error(self.first_reject, f"{rest}; {self._hint(self.first_reject, is_all=is_all)}")

    def _hint(self, first: Reject, *, is_all: bool) -> str:
        limit = self.config.max_bad_rows
        is_no_number = first.reason == "not a number"
        if is_no_number and re.match(r"'-?\d+,\d+'", first.detail):
            return "see --decimal-comma" + (" and --max-bad-rows" if self.scratch else "")
        if is_no_number and self.config.no_header and first.line == 1 + self.config.skip_lines:
            return "if this line names the columns, leave out --no-header"
        if not self.rows:
            return "no row is a rating, so change the file, or name its form and columns by flags"
        if not self.scratch:
            return "change the row, or leave it out"
        return (
            "see --max-bad-rows"
            if limit == PrepareConfig().max_bad_rows
            else self._above(limit, is_all=is_all)
        )

    def _above(self, limit: str, *, is_all: bool) -> str:
        """By how much bad rows are above the ``--max-bad-rows`` that was given.

        Args:
            limit: a count, or a share in percent.
            is_all: whether all rows were read.
        """
        bad = self.rejected.total()
        if limit.endswith("%"):
            found = f"{100 * bad / self.rows_read:.3g}%"
        else:
            found = f"{bad:,}" if is_all else f"more than {bad - 1:,}"
        return f"{found} of the rows are bad, and --max-bad-rows allows {limit}"


def _dated(n: int) -> str:
    return f"{counted(n, 'rating')} {either(n, 'is', 'are')} dated"


def _error(reject: Reject, rest: str = "") -> InputError:
    """The error of a bad row.

    Args:
        reject: the row.
        rest: what else to say.
    """
    return InputError.at(reject.source, reject.line, reject.detail + rest, reject.column)


def _printable(name: str) -> str:
    """A file's name as text; on disk it may be any bytes."""
    return name.encode("utf-8", "backslashreplace").decode()
