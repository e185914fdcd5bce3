"""Ratings files, whatever their form, to blocks of validated rows.

Ids are read as text: types that a reader infers would merge ``007`` with ``7`` and round ids beyond 2^53. Each block of
lines is parsed by Polars at once. Only where something in it is odd (quotes, columns left out, a value that is no
number) is it cut into pieces whose records are found first, so that each has its true line (a quoted newline makes rows
differ from lines) and its true number of fields.
"""

import csv
import itertools
import os
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import polars as pl
from polars.exceptions import PanicException, PolarsError

from cfcli.core.columns import (
    HEADERLESS,
    UNIT,
    BadQuote,
    find_columns,
    find_records,
    one_character,
    quoting,
    sniff,
    split,
)
from cfcli.core.config import PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.sources import HEAD, MAX_LINE, Opened, Source, ahead, line_blocks, refuse_foreign

MAX_ID = 1024  # bytes
PARQUET_ROWS = 1 << 20  # rows that are decoded at once
PIECE = 4 << 20  # bytes of a block with something odd in it that are looked at record by record
NULL_WORDS = ("", "na", "n/a", "nan", "null", "none", "nil", "-", "?")  # a rating that says that there is none
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
UNITS = {"seconds": (0.0, 1_000_000.0), "milliseconds": (1e11, 1_000.0), "microseconds": (1e14, 1.0)}
UNITS["nanoseconds"] = (1e17, 0.001)  # each: the least size of a time of now in it, and how many microseconds it has


REJECTS = "rejects.csv"
REJECT = {
    "source": pl.String, "line": pl.Int64, "column": pl.String, "reason": pl.String, "detail": pl.String,
    "raw": pl.String,
}  # fmt: skip


def read(
    sources: Sequence[Source], config: PrepareConfig, scratch: Path | None = None
) -> tuple[pl.DataFrame, "Reader"]:
    """All ratings of small inputs, in order: ``user_id`` and ``item_id`` (text, exact), ``rating`` (f32, finite) and,
    where there are times, ``timestamp`` (microseconds, UTC, null where unreadable); and the reader that knows the rest.

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
    return frame.select(**ids, **{name: name for name in ("rating", "timestamp") if name in frame.columns}), reader


@dataclass
class Reader:
    """Reads sources into blocks, and keeps what is true of all of them.

    Attributes:
        user_ids, item_ids: every id met so far, also in rows that were dropped; its place is its code.
        columns: the first input's name for each role: user, item, rating and perhaps time.
        sources: name, bytes, sha256 and rows of each input.
        rejected: how many bad rows were dropped, by reason; they stand in ``scratch``, in :data:`REJECTS`.
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
    line: int = 1  # that comes next in the text that is being read
    has_times: bool = False
    worst: tuple[str, int, str, str, str] | None = None  # the first bad row
    unit: str | None = None  # of times that are numbers
    trimmed: int = 0
    no_time: int = 0
    future: int = 0
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Polars forgets categories when no column has them any more, and would give their codes to others.
        self._anchors = [pl.Series([], dtype=pl.Categorical(ids)) for ids in (self.user_ids, self.item_ids)]

    def blocks(self, source: Source) -> Iterator[pl.DataFrame]:
        """The rows of a source, in order: ``user`` and ``item`` (u32, codes), ``rating`` (f32, finite) and, where the
        source has times, ``timestamp`` (microseconds, UTC, null where unreadable).

        Raises:
            InputError: it cannot be used, or has more bad rows than allowed.
            MachineError: it cannot be read.
        """
        before = self.rows + self.rejected.total()
        with source.opened(self.config.encoding, self.config.max_bytes) as opened:
            head = opened.read(HEAD)
            is_parquet = head.startswith(b"PAR1")
            if source.name.endswith(".parquet") != is_parquet:
                if is_parquet and source.name.endswith((".csv", ".tsv", ".txt", ".dat")):
                    self.said.append(f"{source.name} is Parquet, whatever its name says")
                if not is_parquet and source.name.endswith(".parquet"):
                    self.said.append(f"{source.name} is no Parquet file; read as text")
            blocks = (self._parquet if is_parquet else self._text)(source, opened, head)
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
                    if (newest := block["timestamp"].max()) is not None and newest > soon:  # type: ignore[operator]
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
            notes.append(f"{self.no_time:,} ratings have no readable time; they count as the oldest")
        if self.future:
            notes.append(f"{self.future:,} ratings are dated after tomorrow")
        if self.unit not in (None, "seconds"):
            notes.append(f"times are read as {self.unit} since 1970")
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
        if self.scratch:
            frame = pl.DataFrame([(_printable(row[0]), *row[1:]) for row in rows], schema=REJECT, orient="row")
            with open(self.scratch / REJECTS, "ab", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
                frame.write_csv(file, include_header=is_first)
        is_share = self.config.max_bad_rows.endswith("%")
        if not is_share and self.rejected.total() > self.config.bad_rows_allowed(0) + 10_000:
            self._refuse(" and")  # enough is known

    def _remember(self, columns: dict[str, str]) -> None:
        self.columns = self.columns or columns

    def _text(self, source: Source, opened: Opened, head: bytes) -> Iterator[pl.DataFrame]:
        where, config = source.name, self.config
        refuse_foreign(head, where)
        start, lines = _first_line(head, opened, config.skip_lines)
        text = start.decode("utf-8", "replace")
        if "\0" in text:
            raise InputError(f"{where}: holds NUL bytes, so it is no text; is it a CSV file?")
        if len(start) >= HEAD and "\n" in text:
            text = text[: text.rindex("\n")]
        if not text.strip():
            raise InputError(f"{where}: is empty")
        if b"\n" not in start and b"\r" in start:
            raise InputError(f'{where}: has CR line endings alone; convert it with \'tr "\\r" "\\n"\'')
        separator, first = sniff(text, where, config.format)
        names = [name.strip() for name in first]
        if names != first:
            self.said.append(f"{where}: blanks around the names of columns were left out")
        if separator in ";|" or (separator != "," and where.endswith(".csv")):
            self.said.append(f"{where}: fields are separated by '{separator}'".replace("\t", "\\t"))
        header = not config.no_header
        if len(names) in (3, 4) and separator in ("::", "\t") and _is_number(names[2]):
            header = False
        if not header:
            plain = len(names) in (3, 4) and not (config.user_col or config.item_col or config.rating_col)
            names = list(HEADERLESS[: len(names)]) if plain else [f"column_{k}" for k in range(len(names))]
        columns = find_columns(names, config, where)
        self._remember(columns)
        form = _Form(where, separator, names, columns)
        if header:  # it ends with its line, or, in quotes, with a later one
            end = start.find(b"\n") + 1 or len(start)
            while form.quoted and start.count(b'"', 0, end) % 2 and end < len(start):
                end = start.find(b"\n", end) + 1 or len(start)
            lines += start.count(b"\n", 0, end)
            start = start[end:]
        self.line = lines + 1
        whole = True
        for data in ahead(line_blocks(opened, start, form.quoted)):
            whole = data.endswith(b"\n")
            yield from self._block(form, data)
        if not whole:
            self.said.append(f"{where}: the last line has no line break; the file may be cut off")

    def _block(self, form: "_Form", data: bytes, size: int = PIECE) -> Iterator[pl.DataFrame]:
        """The rows of some whole lines, the first of which is number ``self.line``: all at once or, where that does
        not go, in pieces of ``size`` bytes."""
        if data[:HEAD].isspace() and data.isspace():
            self.line += data.count(b"\n")
        elif b"\0" in data:
            line = self.line + data.count(b"\n", 0, data.index(b"\0"))
            raise InputError(f"{form.where}:{line}: holds NUL bytes, so it is no text")
        elif (frame := self._at_once(form, data)) is not None:
            yield frame
        else:
            for piece in _cut(data, size, form.quoted):
                if (frame := self._by_record(form, piece)) is not None:
                    yield frame
                elif size == 1:
                    self._cannot_parse(form, piece)
                else:
                    yield from self._block(form, piece, max(1, size // 64))
                    continue
                self.line += piece.count(b"\n")

    def _at_once(self, form: "_Form", data: bytes) -> pl.DataFrame | None:
        """All rows of a block, or None when some line may not be as it should be."""
        if form.leaves_out or (form.quoted and b'"' in data) or form.has_unit(data):
            return None
        for types in form.types(data, self.config):
            frame = self._parse(form, form.one_character(data), types)
            if frame is not None:
                form.known = types
                break
        else:
            return None
        height = frame.height
        if frame[form.columns["user"]].has_nulls():
            frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))  # blank lines
        if frame[form.names[-1]].has_nulls():
            return None  # Polars fills up short rows
        checked = self._checked(frame, form.columns)
        if checked["problem"].max():
            return None
        self.line += height  # without quotes, rows are lines
        return self._accept(checked)

    def _by_record(self, form: "_Form", data: bytes) -> pl.DataFrame | None:
        """The good rows of some lines, the bad ones put aside; or None when Polars cannot read them."""
        if form.has_unit(data):
            return None
        text, separator = form.one_character(data), one_character(form.separator)
        try:
            found = find_records(text, separator)
        except BadQuote as error:
            line = self.line + text.count(b"\n", 0, error.place)
            raise InputError(f"{form.where}:{line}: {error}") from None
        is_good = found.fields == len(form.names)
        keep = np.ones(len(text), bool)
        for k in np.flatnonzero(~is_good).tolist():
            keep[found.starts[k] : found.ends[k] + 1] = False
        frame = self._parse(form, np.frombuffer(text, np.uint8)[keep].tobytes(), {}) if is_good.any() else None
        if frame is None or frame.height != is_good.sum():
            if is_good.any():
                return None
            frame = pl.DataFrame(schema=form.schema({}, self))

        def raw(k: int) -> str:
            return text[found.starts[k] : found.ends[k]].decode("utf-8", "replace").rstrip("\r")

        rejects = []
        for k in np.flatnonzero(~is_good & (found.fields > 0)).tolist():
            if "".join(itertools.chain(*split([raw(k)], separator))).strip():
                column = form.names[min(found.fields[k], len(form.names)) - (found.fields[k] > len(form.names))]
                detail = f"expected {len(form.names)} fields, found {found.fields[k]}"
                shown = raw(k).replace(separator, form.separator)[:200]
                rejects.append((form.where, self.line + int(found.lines[k]), column, FIELDS, detail, shown))
        places = np.flatnonzero(is_good)

        def row(k: int) -> tuple[int, str] | None:
            cells = split([raw(places[k])], separator)
            if not "".join(itertools.chain(*cells)).strip():
                return None  # a blank line
            return self.line + int(found.lines[places[k]]), raw(places[k]).replace(separator, form.separator)[:200]

        return self._put_aside(frame, form.columns, form.where, row, rejects)

    def _parse(self, form: "_Form", data: bytes, types: dict[str, Any]) -> pl.DataFrame | None:
        try:
            return pl.read_csv(
                data,
                separator=one_character(form.separator),
                has_header=False,
                schema=form.schema(types, self),
                columns=form.needed if form.leaves_out else None,
                quote_char='"' if form.quoted else None,
                glob=False,
            )
        except (PolarsError, PanicException):
            return None

    def _cannot_parse(self, form: "_Form", data: bytes) -> NoReturn:
        """Says why a single record cannot be read."""
        try:
            data.decode("utf-8")
            reason = "holds control characters that no table has, such as CR inside a line"
        except UnicodeDecodeError as error:
            reason = f"byte 0x{data[error.start]:02x} is not UTF-8; say what it is with --encoding, such as latin-1"
        raise InputError(f"{form.where}:{self.line}: {reason}")

    def _put_aside(
        self,
        frame: pl.DataFrame,
        columns: dict[str, str],
        where: str,
        row: Callable[[int], tuple[int, str] | None],
        rejects: list[tuple[str, int, str, str, str, str]],
    ) -> pl.DataFrame:
        """The good rows of a frame; the bad ones are rejected, beside ``rejects``. ``row`` gives a row's line and raw
        text, or None for a blank line."""
        checked = self._checked(frame, columns)
        low, high = self.config.rating_range or (0, 0)
        for k in np.flatnonzero(checked["problem"].to_numpy()).tolist():
            if (told := row(k)) is None:
                continue
            role, reason, detail = PROBLEMS[checked["problem"][k]]
            value = str(frame[columns[role]][k] or "")[:40]
            detail = detail.format(value=value, range=f"{low:g} to {high:g}", unit=self.unit)
            if reason == OTHER_UNIT:
                raise InputError(f"{where}:{told[0]}: column '{columns[role]}': {detail}")
            rejects.append((where, told[0], columns[role], reason, detail, told[1]))
        self._reject(rejects)
        return self._accept(checked.filter(pl.col("problem") == 0))

    def _accept(self, checked: pl.DataFrame) -> pl.DataFrame:
        if "trimmed" in checked.columns:
            self.trimmed += int(checked["trimmed"].sum())
        return checked.drop("problem", "trimmed", strict=False)

    def _parquet(self, source: Source, opened: Opened, head: bytes) -> Iterator[pl.DataFrame]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # It is read from its end, so it must lie on a disk whole; it is hashed first, as other sources are.
        with tempfile.TemporaryFile(dir=self.scratch) as copy:
            direct = opened.state() is not None and not opened.is_packed
            data = head
            while data:
                if not direct:
                    copy.write(data)
                data = opened.read(1 << 20)
            stream: Any = opened.raw if direct else copy
            try:
                with pq.ParquetFile(stream, page_checksum_verification=True) as file:
                    inside = file.schema_arrow.names
                    names = [*inside, *(name for name in source.columns if name not in inside)]
                    columns = find_columns(names, self.config, source.name)
                    self._remember(columns)
                    wanted = [name for name in columns.values() if name in inside]
                    types = _from_arrow(file.schema_arrow.empty_table(), wanted)
                    for role, name in columns.items():
                        if name in inside:
                            _refuse_type(types.schema[name], role, name, source.name)
                    row = 0
                    for batch in file.iter_batches(PARQUET_ROWS, columns=wanted, use_threads=True):
                        batch.validate(full=True)  # texts may be no UTF-8, which Polars takes on trust
                        frame = _from_arrow(batch, wanted)
                        yield self._parquet_block(frame, source, columns, row)
                        row += frame.height
            except (PolarsError, PanicException, pa.ArrowException, OSError, ValueError, MemoryError) as error:
                text = (str(error).splitlines() or [""])[0]
                raise InputError(f"{source.name}: damaged Parquet: {text}") from None

    def _parquet_block(self, frame: pl.DataFrame, source: Source, columns: dict[str, str], start: int) -> pl.DataFrame:
        constant = [pl.lit(source.columns[n]).alias(n) for n in columns.values() if n not in frame.columns]
        frame = frame.with_columns(constant)
        ids = ((columns["user"], self.user_ids), (columns["item"], self.item_ids))
        coded = frame.with_columns(pl.col(name).cast(pl.String).cast(pl.Categorical(known)) for name, known in ids)

        def row(k: int) -> tuple[int, str]:
            return start + k + 1, ",".join(str(cell) for cell in frame.row(k))[:200]

        return self._put_aside(coded, columns, source.name, row, [])

    def _checked(self, frame: pl.DataFrame, columns: dict[str, str]) -> pl.DataFrame:
        """``user, item, rating[, timestamp]``, ``problem`` (a key of :data:`PROBLEMS`, or 0) and, for texts,
        ``trimmed`` (whether blanks stood around the rating)."""
        user, item, rating = (pl.col(columns[role]) for role in ("user", "item", "rating"))
        value, missing = rating.cast(pl.Float64, strict=False), rating.is_null()
        extra: dict[str, pl.Expr] = {}
        if frame.schema[columns["rating"]] == pl.String:
            text = rating.str.strip_chars()
            extra["trimmed"] = text.str.len_bytes() < rating.str.len_bytes()
            missing = missing | text.str.to_lowercase().is_in(NULL_WORDS)
            value = (text.str.replace(",", ".", literal=True) if self.config.decimal_comma else text).cast(
                pl.Float64, strict=False
            )
        checks = [
            (1, user.is_null() | (user.cat.len_bytes() == 0)),
            (2, user.cat.len_bytes() > MAX_ID),
            (3, item.is_null() | (item.cat.len_bytes() == 0)),
            (4, item.cat.len_bytes() > MAX_ID),
            (5, missing),
            (6, value.is_null()),
            (7, ~value.cast(pl.Float32).is_finite()),
        ]
        good = [user.cat.len_bytes().is_between(1, MAX_ID), item.cat.len_bytes().is_between(1, MAX_ID)]
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
            problem=(~pl.all_horizontal(is_good.fill_null(False).all() for is_good in good)).cast(pl.UInt8),
            **extra,
        )
        if not checked["problem"].max():
            return checked
        problem = pl.lit(0, pl.UInt8)
        for number, is_bad in reversed(checks):
            problem = pl.when(is_bad).then(pl.lit(number, pl.UInt8)).otherwise(problem)
        return checked.with_columns(frame.select(problem=problem))

    def _times(self, column: pl.Series) -> tuple[pl.Expr, pl.Expr | None]:
        """Of a column: times in UTC at microseconds, from numbers since 1970 (the unit told by their size) or ISO 8601
        texts; and which numbers are in another unit than those before."""
        time = pl.col(column.name)
        if column.dtype == pl.Date:
            return time.cast(pl.Datetime("us")), None
        if isinstance(column.dtype, pl.Datetime):
            if column.dtype.time_zone:
                time = time.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            return time.dt.cast_time_unit("us"), None
        number = time
        if not column.dtype.is_integer():
            number = (time.str.strip_chars() if column.dtype == pl.String else time).cast(pl.Float64, strict=False)
        if self.unit is None or column.dtype == pl.String:
            size = column.to_frame().select(number.cast(pl.Float64).abs()).to_series()
            if column.dtype == pl.String and size.null_count() == len(size):
                moment = time.str.strip_chars().str.to_datetime(strict=False, time_unit="us", time_zone="UTC")
                return moment.dt.replace_time_zone(None), None
            middle = size.filter(size.is_finite() & (size > 0)).median()
            if self.unit is None and isinstance(middle, int | float):
                self.unit = next(name for name, (least, _) in reversed(UNITS.items()) if middle >= least)
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


@dataclass
class _Form:
    """The form of one text: its separator, its columns, and the types that its fields have turned out to have."""

    where: str
    separator: str
    names: list[str]
    columns: dict[str, str]
    known: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.quoted = quoting(self.separator) == csv.QUOTE_MINIMAL
        self.needed = sorted(self.names.index(name) for name in self.columns.values())
        self.leaves_out = len(self.needed) < len(self.names)

    def one_character(self, data: bytes) -> bytes:
        """The text with a separator that Polars takes."""
        return data.replace(b"::", UNIT.encode()) if self.separator == "::" else data

    def has_unit(self, data: bytes) -> bool:
        """Whether that character stands there already."""
        return self.separator == "::" and UNIT.encode() in data

    def schema(self, types: dict[str, Any], reader: Reader) -> dict[str, Any]:
        """The types to parse the columns as."""
        schema: dict[str, Any] = {name: types.get(name, pl.String) for name in self.names}
        schema[self.columns["user"]] = pl.Categorical(reader.user_ids)
        schema[self.columns["item"]] = pl.Categorical(reader.item_ids)
        return schema

    def types(self, data: bytes, config: PrepareConfig) -> list[dict[str, Any]]:
        """The types of the columns of ratings and times to parse with: numbers where they are, which is faster, and
        text, which always is right."""
        if self.known is None:
            self.known = {}
            rows = split(data[:HEAD].decode("utf-8", "replace").split("\n")[:50], self.separator)
            if not config.decimal_comma:
                self.known[self.columns["rating"]] = pl.Float64
            if "time" in self.columns:
                place = self.names.index(self.columns["time"])
                values = [row[place] for row in rows if len(row) == len(self.names)]
                if all(re.fullmatch(r"-?\d{1,18}", value) for value in values):
                    self.known[self.columns["time"]] = pl.Int64
        return [self.known, {}] if self.known else [{}]


def id_notes(ids: pl.Series, what: str) -> list[str]:
    """What looks wrong about ids (unique texts), one sentence each; they stay as they are.

    Args:
        what: their column.
    """
    notes = []
    if ids.str.contains(r"^-?\d+(\.\d*)?([eE][+-]?\d+)?$").all() and ids.str.contains(r"[.eE]").any():
        notes.append(f"ids in '{what}' look like floats, such as {ids[0]}: pandas does that where values are missing")
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
            notes.append(f"{same:,} ids in '{what}' differ from others only by blanks or by the form of accents")
    words = [word for word in ids.filter(ids.str.to_lowercase().is_in(NULL_WORDS))]
    if words:
        notes.append(f"'{words[0]}' in '{what}' is taken as an id; is it a missing value?")
    return notes


def _first_line(head: bytes, opened: Opened, skip: int) -> tuple[bytes, int]:
    """``head``, read on until its first line is whole and others are there to tell its form by, without a byte order
    mark, ``skip`` lines and blank ones after them; and how many lines that were."""
    data, lines = head.removeprefix(b"\xef\xbb\xbf"), 0
    while skip > lines:
        end = data.find(b"\n") + 1
        lines += end > 0
        data = data[end:] if end else opened.read(HEAD)
        if not data:
            return b"", lines
    while not (body := data.lstrip()):
        lines += data.count(b"\n")
        if not (data := opened.read(HEAD)):
            return b"", lines
    start = data.rfind(b"\n", 0, len(data) - len(body)) + 1
    lines += data.count(b"\n", 0, start)
    data = data[start:]
    while (b"\n" not in data or len(data) < HEAD) and len(data) <= MAX_LINE and (more := opened.read(HEAD)):
        data += more
    return data, lines


def _cut(data: bytes, size: int, quoted: bool) -> Iterator[bytes]:
    """Whole records of about ``size`` bytes each."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + size) + 1 or len(data)
        while quoted and data.count(b'"', start, end) % 2 and end < len(data):
            end = data.find(b"\n", end) + 1 or len(data)
        yield data[start:end]
        start = end


def _from_arrow(table: Any, names: list[str]) -> pl.DataFrame:
    """Columns alone: damaged metadata beside them makes Polars panic."""
    return pl.DataFrame({name: pl.from_arrow(table.column(name)) for name in names})


def _refuse_type(kind: pl.DataType, role: str, name: str, where: str) -> None:
    good = kind in (pl.String, pl.Categorical, pl.Enum) or kind.is_integer()
    if role in ("rating", "time"):
        good |= kind.is_numeric()
    if role == "time":
        good |= kind in (pl.Date, pl.Datetime)
    if not good:
        raise InputError(f"{where}: column '{name}' ({role}) is of type {kind}; make it text or a number")


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()  # the name of a file may be no text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
