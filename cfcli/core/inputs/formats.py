"""The formats of input, all in one place.

To add one:

1. Write a module beside :mod:`cfcli.core.inputs.parquet` with a function like ``open_parquet``, a
   context manager that gives a :class:`cfcli.core.inputs.tables.Table`.
2. Add a row to :data:`FORMATS` below.
3. Add its name to ``Format`` in :mod:`cfcli.core.config.prepare`, which are the values of
   ``--format``.

Then ratings, pairs, ids and titles may all have it. A text that differs from CSV in its separator
alone needs a row in :data:`cfcli.core.inputs.records.SEPARATORS` instead of the first two. A format
that is refused needs a row in :mod:`cfcli.core.inputs.foreign` alone.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from cfcli.core.errors import ConfigError, InputError
from cfcli.core.inputs.arrow import FILE, STREAM, open_arrow
from cfcli.core.inputs.delimited import open_delimited
from cfcli.core.inputs.foreign import refuse_foreign, refuse_matrix
from cfcli.core.inputs.jsontext import open_json, open_json_lines
from cfcli.core.inputs.netflix import open_netflix
from cfcli.core.inputs.parquet import open_parquet
from cfcli.core.inputs.records import SEPARATORS
from cfcli.core.inputs.roles import refuse_repeated
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.sqlite import MAGIC as SQLITE
from cfcli.core.inputs.sqlite import open_sqlite
from cfcli.core.inputs.streams import MAGIC, Opened
from cfcli.core.inputs.tables import Reading, Table

CSV_SUFFIXES = (".csv", ".tsv")
TEXT_SUFFIXES = (*CSV_SUFFIXES, ".txt", ".dat")


@dataclass(frozen=True)
class Format:
    """A format that is detected from the content.

    Attributes:
        name: as ``--format`` has it.
        title: for messages.
        suffix: of the names of its files; empty where they have none of their own.
        recognises: whether an input that begins with these bytes, at most
            :data:`cfcli.core.inputs.streams.MAGIC`, has this format.
        open: opens an input of which nothing was read yet.
        is_text: whether it is a text, of whatever encoding.
    """

    name: str
    title: str
    suffix: str
    recognises: Callable[[bytes], bool]
    open: Callable[[Opened, Source, Reading], AbstractContextManager[Table]]
    is_text: bool = False

    @property
    def file(self) -> str:
        """What its files are called in a sentence."""
        return f"{'an' if self.title.startswith('A') else 'a'} {self.title} file"


def _is_like(pattern: bytes) -> Callable[[bytes], bool]:
    """Whether the start of a text is like a pattern, behind a byte order mark and blanks."""
    expected = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:" + pattern + rb")")
    return lambda start: expected.match(start) is not None


FORMATS = (
    Format("parquet", "Parquet", ".parquet", lambda start: start.startswith(b"PAR1"), open_parquet),
    Format("arrow", "Arrow", ".arrow", lambda start: start.startswith((FILE, STREAM)), open_arrow),
    Format("sqlite", "SQLite", ".sqlite", lambda start: start.startswith(SQLITE), open_sqlite),
    Format("jsonl", "JSON lines", ".jsonl", _is_like(rb'\{\s*(["}]|$)'), open_json_lines, True),
    # A table of SQL Server may have a first column called [user].
    Format("json", "JSON", ".json", _is_like(rb'\[\s*([\[\]{"\d-]|$)'), open_json, True),
    Format("netflix", "Netflix Prize", "", _is_like(rb"\d+:\r?\n"), open_netflix, True),
)


@contextlib.contextmanager
def open_table(opened: Opened, source: Source, reading: Reading) -> Iterator[Table]:
    """Opens a table of any format: one of :data:`FORMATS`, detected from its first bytes, else a
    delimited text.

    Args:
        opened: its bytes, of which none were read yet.
        source: that they are from.
        reading: how to read it.

    Raises:
        InputError: it is not of the format that ``reading`` demands, is not a table, or has two
            columns of one name; also later, where it cannot be read.
    """
    where = source.name
    found = _detect(opened.peek())
    if found is None or found.is_text:
        refuse_foreign(opened)
        opened.recode(reading.config.encoding)
        found = _detect(opened.peek())
    if found is None or found.name != "sqlite":
        for flag in ("table", "query"):
            if getattr(reading.config, flag) is not None:
                raise ConfigError(
                    f"{where}: is no SQLite database (or it is encrypted), and --{flag} is for one"
                )
    if found is not None and found.is_text and reading.config.format in SEPARATORS:
        found = None
    for known in FORMATS:
        if reading.config.format == known.name and known is not found:
            raise InputError(
                f"{where}: is not {known.file}; "
                "leave out --format to detect the form from the content"
            )
    open_it = open_delimited if found is None else found.open
    with open_it(opened, source, reading) as table:
        refuse_matrix(table.names, where, reading.config)
        refuse_repeated(table.names, where)
        table.notes[:0] = _surprises(where, found)
        yield table


def is_text(data: bytes) -> bool:
    """Whether an input is a text, and without NUL bytes.

    Args:
        data: all of it.
    """
    found = _detect(data[:MAGIC])
    return (found is None or found.is_text) and b"\0" not in data


def _detect(start: bytes) -> Format | None:
    """The format of an input that begins with these bytes; None for a text."""
    for known in FORMATS:
        if known.recognises(start):
            return known
    return None


def _surprises(where: str, found: Format | None) -> list[str]:
    """What the user should know where a file is not what its name says."""
    others = CSV_SUFFIXES if found is not None and found.is_text else TEXT_SUFFIXES
    if found is not None and where.endswith(others):
        return [f"{where} is {found.title}, whatever its name says"]
    notes = []
    for known in FORMATS:
        if found is None and known.suffix and where.endswith(known.suffix):
            notes.append(f"{where} is not {known.file}; read as text")
    return notes
