"""Ratings files, whatever their form, to blocks of validated rows."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.inputs import delimited, parquet
from cfcli.core.inputs.checks import OTHER_UNIT, PROBLEMS, Checks
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.streams import HEAD

REJECTS = "rejects.csv"
REJECT = {
    "source": pl.String, "line": pl.Int64, "column": pl.String, "reason": pl.String, "detail": pl.String,
    "raw": pl.String,
}  # fmt: skip


def read(
    sources: Sequence[Source], config: PrepareConfig, scratch: Path | None = None
) -> tuple[pl.DataFrame, "Reader"]:
    """All ratings of small inputs, in order: ``user_id`` and ``item_id`` (text, exact), ``rating``
    (f32, finite) and, where there are times, ``timestamp`` (microseconds, UTC, null where
    unreadable); and the reader that knows the rest.

    Args:
        scratch: a folder for bad rows.

    Raises:
        InputError: no ratings in it, columns missing or ambiguous, more bad rows than allowed.
        MachineError: a source cannot be read.
    """
    reader = Reader(config, scratch)
    blocks = [block for source in sources for block in reader.blocks(source)]
    reader.finish()
    frame = pl.concat(blocks, how="diagonal")
    users, items = reader.user_ids.to_series(), reader.item_ids.to_series()
    ids = {"user_id": users.gather(frame["user"]), "item_id": items.gather(frame["item"])}
    return frame.select(
        **ids, **{name: name for name in ("rating", "timestamp") if name in frame.columns}
    ), reader


@dataclass
class Reader:
    """Reads sources into blocks, and keeps what is true of all of them.

    Attributes:
        user_ids, item_ids: every id met so far, also in rows that were dropped; its place is its
            code.
        columns: the first input's name for each role: user, item, rating and perhaps time.
        sources: name, bytes, sha256 and rows of each input.
        rejected: how many bad rows were dropped, by reason; they stand in ``scratch``, in
            :data:`REJECTS`.
        rows: rows kept.
    """

    config: PrepareConfig
    scratch: Path | None = None  # a folder for what must be on disk to be read
    user_ids: pl.Categories = field(default_factory=lambda: pl.Categories.random("user", pl.UInt32))
    item_ids: pl.Categories = field(default_factory=lambda: pl.Categories.random("item", pl.UInt32))
    columns: dict[str, str] = field(default_factory=dict)
    sources: list[dict[str, Any]] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    has_times: bool = False
    worst: tuple[str, int, str, str, str] | None = None  # the first bad row
    trimmed: int = 0
    no_time: int = 0
    future: int = 0
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.checks = Checks(self.config)
        # Polars forgets categories when no column has them any more, and would give their codes to
        # others.
        self._anchors = [
            pl.Series([], dtype=pl.Categorical(ids)) for ids in (self.user_ids, self.item_ids)
        ]

    def blocks(self, source: Source) -> Iterator[pl.DataFrame]:
        """The rows of a source, in order: ``user`` and ``item`` (u32, codes), ``rating`` (f32,
        finite) and, where the source has times, ``timestamp`` (microseconds, UTC, null where
        unreadable).

        Raises:
            InputError: it cannot be used, or has more bad rows than allowed.
            MachineError: it cannot be read.
        """
        before = self.rows + self.rejected.total()
        with source.opened(self.config.encoding, self.config.max_bytes) as opened:
            head = opened.read(HEAD)
            is_parquet = head.startswith(b"PAR1")
            if self.config.format == "parquet" and not is_parquet:
                raise InputError(
                    f"{source.name}: is no Parquet file; leave out --format to have it told by its content"
                )
            if is_parquet and source.name.endswith((".csv", ".tsv", ".txt", ".dat")):
                self.said.append(f"{source.name} is Parquet, whatever its name says")
            if not is_parquet and source.name.endswith(".parquet"):
                self.said.append(f"{source.name} is no Parquet file; read as text")
            blocks = (parquet if is_parquet else delimited).blocks(self, source, opened, head)
            for block in blocks:
                self.rows += block.height
                if self.config.max_rows is not None and self.rows > self.config.max_rows:
                    raise InputError(
                        f"{source.name}: there are more than {self.config.max_rows:,} rows; see --max-rows"
                    )
                if "timestamp" in block.columns:
                    self.has_times = True
                    self.no_time += block["timestamp"].null_count()
                    soon = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1)
                    if (newest := block["timestamp"].max()) is not None and newest > soon:
                        self.future += int((block["timestamp"] > soon).sum())
                yield block
        self.sources.append(opened.record() | {"rows": self.rows + self.rejected.total() - before})

    def finish(self) -> None:
        """To be called when all is read.

        Raises:
            InputError: there are no ratings, or more bad rows than allowed.
        """
        if self.rejected.total() > self.config.bad_rows_allowed(self.rows + self.rejected.total()):
            self._refuse()
        if self.rows == 0:
            raise InputError(f"{self.sources[0]['name']}: no ratings in it")

    def notes(self) -> list[str]:
        """What a user should know, one sentence each."""
        notes = list(dict.fromkeys(self.said))
        if self.trimmed:
            notes.append(f"{self.trimmed:,} ratings had blanks around them")
        if self.no_time:
            notes.append(
                f"{self.no_time:,} ratings have no readable time; they count as the oldest"
            )
        if self.future:
            notes.append(f"{self.future:,} ratings are dated after tomorrow")
        if self.checks.unit not in (None, "seconds"):
            notes.append(f"times are read as {self.checks.unit} since 1970")
        return notes

    def _refuse(self, more: str = "") -> None:
        assert self.worst is not None
        source, line, column, reason, detail = self.worst
        n = self.rejected.total()
        rest = f" (+{n - 1:,}{more} more rows)" if n > 1 else ""
        hint = "--max-bad-rows"
        if reason == "not a number" and re.match(r"'-?\d+,\d+'", detail):
            hint = "--decimal-comma and --max-bad-rows"
        raise InputError(f"{source}:{line}: column '{column}': {detail}{rest}; see {hint}")

    def _reject(self, rows: list[tuple[str, int, str, str, str, str]]) -> None:
        """Puts bad rows aside: source, line, column, reason, detail and raw text of each."""
        if not rows:
            return
        rows.sort(key=lambda row: row[1])
        self.worst = self.worst or rows[0][:5]
        is_first = not self.rejected
        self.rejected.update(row[3] for row in rows)
        if self.scratch and not self.config.no_rejects_file:
            frame = pl.DataFrame(
                [(_printable(row[0]), *row[1:]) for row in rows], schema=REJECT, orient="row"
            )
            with open(
                self.scratch / REJECTS, "ab", opener=lambda p, flags: os.open(p, flags, 0o600)
            ) as file:
                file.write(frame.write_csv(include_header=is_first).encode())
        is_share = self.config.max_bad_rows.endswith("%")
        if not is_share and self.rejected.total() > self.config.bad_rows_allowed(0) + 10_000:
            self._refuse(" and")  # enough is known

    def put_aside(
        self,
        frame: pl.DataFrame,
        columns: dict[str, str],
        where: str,
        row: Callable[[int], tuple[int, str] | None],
        rejects: list[tuple[str, int, str, str, str, str]],
    ) -> pl.DataFrame:
        """The good rows of a frame; the bad ones are rejected, beside ``rejects``. ``row`` gives a
        row's line and raw text, or None for a blank line."""
        checked = self.checks.check(frame, columns)
        low, high = self.config.rating_range or (0, 0)
        for k in np.flatnonzero(checked["problem"].to_numpy()).tolist():
            if (told := row(k)) is None:
                continue
            role, reason, detail = PROBLEMS[checked["problem"][k]]
            value = str(frame[columns[role]][k] or "")[:40]
            detail = detail.format(value=value, range=f"{low:g} to {high:g}", unit=self.checks.unit)
            if reason == OTHER_UNIT:
                raise InputError(f"{where}:{told[0]}: column '{columns[role]}': {detail}")
            rejects.append((where, told[0], columns[role], reason, detail, told[1]))
        self._reject(rejects)
        return self.accept(checked.filter(pl.col("problem") == 0))

    def accept(self, checked: pl.DataFrame) -> pl.DataFrame:
        if "trimmed" in checked.columns:
            self.trimmed += int(checked["trimmed"].sum())
        return checked.drop("problem", "trimmed", strict=False)


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()  # the name of a file may be no text
