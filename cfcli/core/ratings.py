"""Ratings files, whatever their form, to one validated frame.

Everything is read as text: types that a reader infers would merge ``007`` with ``7`` and round ids beyond 2^53. The
whole input is parsed by Polars at once; only when a row turns out bad does a second, slower pass with Python's csv
module find the true line numbers (a quoted newline makes rows differ from lines).
"""

import bz2
import csv
import gzip
import hashlib
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import polars as pl
from polars.exceptions import PolarsError

from cfcli.core.config import PrepareConfig, known_key
from cfcli.core.errors import InputError, MachineError

ALIASES = {
    "user": ("userid", "user", "uid"),
    "item": ("itemid", "item", "movieid", "iid", "bookid", "productid"),
    "rating": ("rating", "score", "stars", "value"),
    "time": ("timestamp", "time", "datetime", "date"),
}
HEADERLESS = ("user_id", "item_id", "rating", "timestamp")  # MovieLens' u.data and ratings.dat
SEPARATORS = {"csv": ",", "tsv": "\t", "dat": "::"}
UNIT = "\x1f"  # stands for '::', because Polars and csv take one-character separators only
FORMAT_BYTES = {
    b"PK\x03\x04": "a zip archive or spreadsheet; unpack it, or save it as CSV",
    b"\xff\xfe": "UTF-16; convert it with 'iconv -f UTF-16 -t UTF-8'",
    b"\xfe\xff": "UTF-16; convert it with 'iconv -f UTF-16 -t UTF-8'",
}


@dataclass(frozen=True)
class Source:
    """One input: a name for messages, and how to open its bytes."""

    name: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    @classmethod
    def of(cls, path: str | Path) -> "Source":
        """A file by its path, or standard input for ``-``."""
        if str(path) == "-":
            return cls("<stdin>", lambda: open(sys.stdin.fileno(), "rb", closefd=False))
        return cls(str(path), lambda: open(path, "rb"))

    def read(self) -> tuple[bytes, dict[str, Any]]:
        """The bytes, unpacked (gzip, bz2 and xz by content), and a record of name, size and sha256 as they lie on disk.

        Raises:
            InputError: a folder, nothing in it, damaged, or no text.
            MachineError: it cannot be opened or read.
        """
        try:
            with self.open() as stream:
                data = stream.read()
        except IsADirectoryError:
            raise InputError(f"{self.name}: is a directory; give the files in it") from None
        except OSError as error:
            raise MachineError(f"{self.name}: {error.strerror or error}") from None
        record = {"name": self.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        unpack = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ\x00": lzma.decompress}
        for magic, function in unpack.items():
            if data.startswith(magic):
                try:
                    data = function(data)
                except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
                    raise InputError(f"{self.name}: damaged or cut off: {error}") from None
        if data.startswith(b"\x28\xb5\x2f\xfd"):
            data = _unzstd(data, self.name)
        if not data.strip():
            raise InputError(f"{self.name}: is empty")
        for magic, what in FORMAT_BYTES.items():
            if data.startswith(magic):
                raise InputError(f"{self.name}: is {what}")
        return data, record


@dataclass(frozen=True)
class Ratings:
    """What was read.

    Attributes:
        frame: columns ``user_id`` and ``item_id`` (text, exact), ``rating`` (f64, finite) and, where the input has
            times, ``timestamp`` (microseconds, UTC, null where unreadable), in the order of the input.
        columns: the input's name for each role: user, item, rating and perhaps time.
        sources: name, bytes, sha256 and rows of each input.
        rejects: bad rows that were dropped: ``source, line, column, reason, raw``.
        notes: what a user should know, one sentence each.
    """

    frame: pl.DataFrame
    columns: dict[str, str]
    sources: list[dict[str, Any]]
    rejects: pl.DataFrame
    notes: list[str] = field(default_factory=list)


REJECT = {"source": pl.String, "line": pl.Int64, "column": pl.String, "reason": pl.String, "raw": pl.String}


def read(sources: Sequence[Source], config: PrepareConfig) -> Ratings:
    """All ratings of all sources, in order.

    Raises:
        InputError: no ratings in it, columns missing or ambiguous, more bad rows than allowed.
        MachineError: a source cannot be read.
    """
    frames, records, rejects, notes = [], [], [], []
    columns: dict[str, str] = {}
    for source in sources:
        data, record = source.read()
        frame, found, bad = (_parquet if data.startswith(b"PAR1") else _text)(data, source.name, config)
        columns = columns or found
        records.append(record | {"rows": frame.height + bad.height})
        frames.append(frame)
        rejects.append(bad)
    frame = pl.concat(frames, how="diagonal")
    rejected = pl.concat(rejects)
    if rejected.height > config.bad_rows_allowed(frame.height + rejected.height):
        worst = rejected.row(0, named=True)
        more = f" (+{rejected.height - 1} more rows)" if rejected.height > 1 else ""
        where = f"{worst['source']}:{worst['line']}: column '{worst['column']}'"
        raise InputError(f"{where}: {worst['reason']}{more}; see --max-bad-rows")
    if frame.height == 0:
        raise InputError(f"{sources[0].name}: no ratings in it")
    if "timestamp" in frame.columns and (missing := frame["timestamp"].null_count()):
        notes.append(f"{missing:,} ratings have no readable time; they count as the oldest")
    return Ratings(frame, columns, records, rejected, notes)


def find_columns(names: Sequence[str], config: PrepareConfig, where: str) -> dict[str, str]:
    """Which column plays which role: user, item, rating and perhaps time.

    Raises:
        InputError: a role has no column or two; names given twice.
        ConfigError: a column that was asked for by name is not there.
    """
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{where}: column '{min(twice)}' stands there twice; rename one")
    found = {}
    for role, aliases in ALIASES.items():
        if wanted := getattr(config, f"{role}_col"):
            found[role] = known_key(wanted, names, f"{where}: --{role}-col")
            continue
        hits = [name for name in names if re.sub(r"[\s_]", "", name).casefold() in aliases]
        if len(hits) > 1:
            raise InputError(f"{where}: both '{hits[0]}' and '{hits[1]}' may be the {role}; choose with --{role}-col")
        if hits:
            found[role] = hits[0]
        elif role != "time":
            raise InputError(
                f"{where}: no column for the {role} among {', '.join(repr(n[:40]) for n in names[:20])}; "
                f"name it with --{role}-col (the first line must hold the column names)"
            )
    roles: dict[str, str] = {}
    for role, name in found.items():
        if name in roles:
            raise InputError(f"{where}: column '{name}' cannot be both the {roles[name]} and the {role}")
        roles[name] = role
    return found


def sniff(data: bytes, where: str, format: str = "auto", *, fields: int = 3) -> tuple[str, list[str]]:
    """The separator (``::`` comes back as it is) and the fields of the first line.

    The separator is the one that cuts most of the first lines into as many fields as the first, at least ``fields``;
    ``::`` before the tab before the comma, as they are found less often by chance.
    """
    head = data.lstrip(b"\r\n")[: 1 << 16]
    lines = head.decode("utf-8-sig", "replace").splitlines()[:100]
    if len(head) == 1 << 16 and len(lines) > 1:
        del lines[-1]  # perhaps cut
    if b"\0" in head:
        raise InputError(f"{where}: holds NUL bytes, so it is no text; is it a CSV file?")
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise InputError(f"{where}: is empty")
    if format in SEPARATORS:
        separator = SEPARATORS[format]
        return separator, next(csv.reader([lines[0].replace("::", UNIT)], delimiter=_one(separator)))
    for separator in ("::", "\t", ",", ";", "|"):
        text = [line.replace("::", UNIT) for line in lines] if separator == "::" else lines
        rows = list(csv.reader(text, delimiter=_one(separator), quoting=_quoting(separator)))
        widths = [len(row) for row in rows]
        if widths[0] >= fields and widths.count(widths[0]) > len(widths) / 2:
            return separator, rows[0]
    raise InputError(f"{where}: no separator found (comma, tab, '::', ';' or '|') in: {lines[0][:80]}")


def text_frame(data: bytes, separator: str, header: bool, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The table in ``data``, every column as text; raises Polars' errors where rows are too long or not UTF-8."""
    if separator == "::":
        data = data.replace(b"::", UNIT.encode())
    frame = pl.read_csv(
        data,
        separator=_one(separator),
        has_header=header,
        quote_char='"' if separator in ",;|" else None,
        infer_schema=False,
        columns=columns,
        glob=False,
    )
    return frame


def _quoting(separator: str) -> Literal[0, 3]:
    return csv.QUOTE_MINIMAL if separator in ",;|" else csv.QUOTE_NONE


def _one(separator: str) -> str:
    return UNIT if separator == "::" else separator


def _text(data: bytes, where: str, config: PrepareConfig) -> tuple[pl.DataFrame, dict[str, str], pl.DataFrame]:
    separator, first = sniff(data, where, config.format)
    names = [name.strip() for name in first]
    header = not (len(names) in (3, 4) and separator in ("::", "\t") and _is_number(names[2]))
    if header:
        columns = find_columns(names, config, where)
    else:
        names = list(HEADERLESS[: len(names)])
        columns = find_columns(names, config, where)
    if b"\r" in data and b"\n" not in data:
        raise InputError(f'{where}: has CR line endings alone; convert it with \'tr "\\r" "\\n"\'')
    try:
        frame = text_frame(data, separator, header)
        frame.columns = names
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))  # blank lines
        checked = _checked(frame, columns, config)
        # Polars fills up short rows: a null at the end is an empty field only if the separators say so.
        cut = frame[names[-1]].has_nulls() and (
            b'"' in data or data.count(separator.encode()) != (len(names) - 1) * (frame.height + header)
        )
        if not cut and checked["problem"].null_count() == checked.height:
            return checked.drop("problem", "column", "raw"), columns, pl.DataFrame(schema=REJECT)
    except PolarsError:
        pass
    return _line_by_line(data, where, config, separator, header, names, columns)


def _line_by_line(
    data: bytes,
    where: str,
    config: PrepareConfig,
    separator: str,
    header: bool,
    names: list[str],
    columns: dict[str, str],
) -> tuple[pl.DataFrame, dict[str, str], pl.DataFrame]:
    """The slow pass: good rows, and bad ones with the physical line on which each ends."""
    if separator == "::":
        data = data.replace(b"::", UNIT.encode())
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1  # its object lacks the byte order mark
        byte = error.object[error.start]
        raise InputError(
            f"{where}:{line}: byte 0x{byte:02x} is not UTF-8; convert it with 'iconv -f LATIN1 -t UTF-8'"
        ) from None
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=_one(separator), quoting=_quoting(separator), strict=True
    )
    rows: list[list[str]] = []
    lines: list[int] = []
    rejects: list[tuple[str, int, str, str, str]] = []
    try:
        for row in reader:
            if not "".join(row).strip():
                continue  # a blank line
            if header:
                header = False
            elif len(row) == len(names):
                rows.append(row)
                lines.append(reader.line_num)
            else:
                reason = f"expected {len(names)} fields, found {len(row)}"
                rejects.append((where, reader.line_num, names[-1], reason, separator.join(row)[:200]))
    except csv.Error as error:
        raise InputError(f"{where}:{reader.line_num}: {error}") from None
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    checked = _checked(frame, columns, config).with_columns(line=pl.Series(lines, dtype=pl.Int64))
    bad = checked.filter(pl.col("problem").is_not_null()).select(
        pl.lit(where).alias("source"), "line", "column", pl.col("problem").alias("reason"), "raw"
    )
    rejected = pl.concat([pl.DataFrame(rejects, schema=REJECT, orient="row"), bad]).sort("line")
    return checked.filter(pl.col("problem").is_null()).drop("problem", "column", "raw", "line"), columns, rejected


def _parquet(data: bytes, where: str, config: PrepareConfig) -> tuple[pl.DataFrame, dict[str, str], pl.DataFrame]:
    try:
        schema = pl.read_parquet_schema(io.BytesIO(data))
        columns = find_columns(list(schema), config, where)
        for role, name in columns.items():
            kind = schema[name]
            good = kind == pl.String or kind.is_integer() or (role in ("rating", "time") and (kind.is_numeric()))
            if not good and not (role == "time" and kind in (pl.Date, pl.Datetime)):
                raise InputError(f"{where}: column '{name}' ({role}) is of type {kind}; make it text or a number")
        frame = pl.read_parquet(io.BytesIO(data), columns=list(columns.values()))
    except (PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(f"{where}: damaged Parquet: {str(error).splitlines()[0]}") from None
    checked = _checked(frame, columns, config).with_row_index("line", offset=1)
    bad = checked.filter(pl.col("problem").is_not_null()).select(
        pl.lit(where).alias("source"), pl.col("line").cast(pl.Int64), "column", pl.col("problem").alias("reason"), "raw"
    )
    return checked.filter(pl.col("problem").is_null()).drop("line", "problem", "column", "raw"), columns, bad


def _checked(frame: pl.DataFrame, columns: dict[str, str], config: PrepareConfig) -> pl.DataFrame:
    """``user_id, item_id, rating[, timestamp]`` and, for a bad row, ``problem``, ``column`` and ``raw``."""
    user, item, rating = (pl.col(columns[role]) for role in ("user", "item", "rating"))
    text = rating.cast(pl.String).str.strip_chars()
    value = text.cast(pl.Float64, strict=False)
    low, high = config.rating_range or (-float("inf"), float("inf"))
    problems = [
        ("user", user.is_null() | (user.cast(pl.String) == ""), pl.lit("the id is empty")),
        ("item", item.is_null() | (item.cast(pl.String) == ""), pl.lit("the id is empty")),
        ("rating", text.is_null() | (text == ""), pl.lit("the rating is empty")),
        ("rating", value.is_null(), pl.format("'{}' is not a number", text.str.slice(0, 40))),
        (
            "rating",
            ~value.cast(pl.Float32).is_finite(),
            pl.format("'{}' is not a finite number", text.str.slice(0, 40)),
        ),
        ("rating", ~value.is_between(low, high), pl.format("{} is outside " + f"{low:g} to {high:g}", text)),
    ]
    names = frame.columns
    raw = pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in names[:20]], separator=",")
    problem, column = pl.lit(None, pl.String), pl.lit(None, pl.String)
    for role, is_bad, reason in reversed(problems):
        problem = pl.when(is_bad).then(reason).otherwise(problem)
        column = pl.when(is_bad).then(pl.lit(columns[role])).otherwise(column)
    selected: list[Any] = [
        user.cast(pl.String).alias("user_id"),
        item.cast(pl.String).alias("item_id"),
        value.alias("rating"),
    ]
    if "time" in columns:
        selected.append(_time(frame[columns["time"]]).alias("timestamp"))
    checked = frame.select(*selected, problem=problem)
    if checked["problem"].null_count() == checked.height:
        return checked.with_columns(column=pl.lit(None, pl.String), raw=pl.lit(None, pl.String))
    return checked.with_columns(frame.select(column.alias("column"), raw.str.slice(0, 200).alias("raw")))


def _time(column: pl.Series) -> pl.Series:
    """Times in UTC at microseconds: numbers since 1970 (the unit told by their size), or ISO 8601 texts."""
    if column.dtype == pl.Date or column.dtype == pl.Datetime:
        moment = column.cast(pl.Datetime("us")) if column.dtype == pl.Date else column.dt.cast_time_unit("us")
        return (
            moment.dt.replace_time_zone(None)
            if getattr(column.dtype, "time_zone", None) is None
            else (moment.dt.convert_time_zone("UTC").dt.replace_time_zone(None))
        )
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    number = column.cast(pl.Float64, strict=False)
    if number.null_count() == len(number) and column.dtype == pl.String:
        moment = column.str.to_datetime(strict=False, time_unit="us", time_zone="UTC", format=None)
        return moment.dt.replace_time_zone(None)
    size = number.filter(number.is_finite()).abs().median()
    unit = 1_000_000
    if isinstance(size, int | float):
        unit = 1_000_000 if size < 1e11 else 1_000 if size < 1e14 else 1
    return (number * unit).round().cast(pl.Int64, strict=False).cast(pl.Datetime("us"))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _unzstd(data: bytes, name: str) -> bytes:
    import pyarrow as pa

    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            return bytes(stream.read())
    except OSError as error:
        raise InputError(f"{name}: damaged or cut off: {error}") from None
