"""SQLite databases: one table or view of it, or what one SELECT gives."""

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import numpy as np
import polars as pl

from cfcli.core.errors import ConfigError, InputError, MachineError
from cfcli.core.inputs.roles import RATING_ROLES, SHOWN
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.streams import BUFFER, Opened
from cfcli.core.inputs.tables import Malformed, Reading, Rows, Text

MAGIC = b"SQLite format 3\0"
ROWS_AT_ONCE = 1 << 15
SMALLEST_PAGE = 512  # bytes, of which all pages are multiples
READS = (
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
)  # fmt: skip
OF_THE_MACHINE = (
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM,
)  # fmt: skip
TABLES = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"


@contextlib.contextmanager
def open_sqlite(opened: Opened, source: Source, reading: Reading) -> Iterator["SqliteTable"]:
    """Opens a table of a SQLite database, which stays as it is.

    Args:
        opened: its bytes, of which none were read yet.
        source: that they are from.
        reading: how to read it.

    Raises:
        InputError: it is not clear which table is meant; or what is read is damaged.
        ConfigError: there is no such table, or the query is not one SELECT.
        MachineError: another program has locked it, or it cannot be opened.
    """
    query = reading.config.query
    with (
        _address(opened, source, reading.scratch) as address,
        _errors(source.name, query),
        contextlib.closing(sqlite3.connect(address, uri=True)) as database,
    ):
        database.set_authorizer(_permit)
        notes = []
        if query is None:
            table = _chosen(database, source.name, reading)
            query = _all_of(table)
            if reading.config.table is None:
                notes.append(f"{source.name}: read table '{table}'")
        yield SqliteTable(database.execute(query), source.name, reading, notes)


class SqliteTable(Text):
    """The rows of a SELECT.

    Args:
        cursor: gives them.
        where: name of the input, for messages.
        reading: how to read it.
        notes: what the user should know.

    Raises:
        ConfigError: it gives no rows, as it is no SELECT.
    """

    def __init__(
        self, cursor: sqlite3.Cursor, where: str, reading: Reading, notes: list[str]
    ) -> None:
        if cursor.description is None:
            raise ConfigError(f"{where}: --query: is empty; give one SELECT")
        self.where = where
        self.notes = notes
        self.names = [column[0] for column in cursor.description]
        self._cursor = cursor
        roles = [role for role in RATING_ROLES[:2] if role in reading.roles]
        self._ids = {
            name for role in roles for name in reading.form.with_role(self.names, role, where)
        }

    def rows(self, names: Sequence[str]) -> Iterator[Rows]:
        """The rows, at most :data:`ROWS_AT_ONCE` at once; to be called once.

        Args:
            names: of the columns to read.
        """
        row = 1
        while cells := self._cursor.fetchmany(ROWS_AT_ONCE):
            columns = dict(zip(self.names, zip(*cells, strict=True), strict=True))
            yield _rows({name: columns[name] for name in names}, row, self._ids)
            row += len(cells)


def _rows(columns: dict[str, tuple[object, ...]], first: int, ids: AbstractSet[str]) -> Rows:
    """Cells as texts; each may be of another type than its column, and ids must be exact."""
    frame = pl.DataFrame(
        {name: list(map(_text, cells)) for name, cells in columns.items()},
        dict.fromkeys(columns, pl.String),
    )

    def text(row: int) -> str:
        return ",".join(cell or "" for cell in frame.row(row))

    malformed = {}
    for name in ids & columns.keys():
        if {float, bytes} & set(map(type, columns[name])):
            for k, cell in enumerate(columns[name]):
                if isinstance(cell, float | bytes):
                    kind = "REAL" if isinstance(cell, float) else "BLOB"
                    value = frame[name][k][:SHOWN]
                    detail = f"{value} is of type {kind}; make it text or a whole number"
                    malformed[k] = Malformed(first + k, name, f"of type {kind}", detail, text(k))
    kept = np.delete(np.arange(frame.height), list(malformed))
    return Rows(
        frame[kept], first + kept, lambda row: text(int(kept[row])), list(malformed.values())
    )


def _text(cell: object) -> str | None:
    """A cell as SQL has it, so that no BLOB is taken for a number."""
    if isinstance(cell, bytes):
        return f"X'{cell.hex()}'"
    return None if cell is None else str(cell)


def _chosen(database: sqlite3.Connection, where: str, reading: Reading) -> str:
    """The table that a flag names, or else the only one with the columns that are needed."""
    names = [str(name) for (name,) in database.execute(TABLES)]
    shown = ", ".join(repr(name[:40]) for name in names[:SHOWN]) or "none"
    if (table := reading.config.table) is not None:
        if table not in names:
            raise ConfigError(f"{where}: --table: no '{table}' among its tables: {shown}")
        return table
    fitting = []
    for name in names:
        with contextlib.suppress(sqlite3.OperationalError):  # of another program's extension
            found = database.execute(f"{_all_of(name)} LIMIT 0").description
            if reading.form.fits([column[0] for column in found], reading.roles):
                fitting.append(name)
    chosen = fitting or names
    if len(chosen) == 1:
        return chosen[0]
    what = "several tables have" if fitting else "no table has"
    hint = "; choose with --table NAME or --query SQL"
    if "title" in reading.roles:
        hint = "; write the titles to a file of their own"
    raise InputError(
        f"{where}: {what} columns for {', '.join(reading.roles)}, its tables are: {shown}{hint}"
    )


def _all_of(table: str) -> str:
    quoted = table.replace('"', '""')
    return f'SELECT * FROM "{quoted}"'


@contextlib.contextmanager
def _address(opened: Opened, source: Source, scratch: Path | None) -> Iterator[str]:
    """The file itself where it lies on disk, as its last rows may be in a log beside it; else a
    copy. By then it was hashed."""
    has_log = opened.peek(20)[18:19] == b"\2"
    with tempfile.NamedTemporaryFile(dir=scratch) as copy:
        path = _original(source)
        size = 0
        while data := opened.read(BUFFER):
            size += len(data)
            if path is None:
                copy.write(data)
        copy.flush()
        if size % SMALLEST_PAGE:  # SQLite itself would fill the last page with zeros
            raise InputError(f"{source.name}: damaged SQLite: it is cut off")
        # Else SQLite would make an empty log and leave it.
        is_whole = path is None or (has_log and not Path(f"{path}-wal").exists())
        uri = (path or Path(copy.name)).as_uri()
        yield f"{uri}?mode=ro{'&immutable=1' if is_whole else ''}"


def _original(source: Source) -> Path | None:
    """The file of a source, unless that is a pipe, or packed."""
    path = source.path.resolve() if source.path else None
    if path is None or not path.is_file():
        return None
    with open(path, "rb") as file:
        return path if file.read(len(MAGIC)) == MAGIC else None


def _permit(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in READS else sqlite3.SQLITE_DENY


@contextlib.contextmanager
def _errors(where: str, query: str | None) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning, UnicodeError, OverflowError) as error:
        is_no_text = isinstance(error, sqlite3.OperationalError | UnicodeDecodeError)
        without = sqlite3.SQLITE_CORRUPT if is_no_text else sqlite3.SQLITE_ERROR
        code = getattr(error, "sqlite_errorcode", without) & 0xFF
        why = (str(error).splitlines() or [""])[0]
        if code in OF_THE_MACHINE:
            raise MachineError(
                f"{where}: {why}; try again when no other program writes to it"
            ) from None
        if query is not None and code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise ConfigError(f"{where}: --query: {why}; give one SELECT") from None
        raise InputError(f"{where}: damaged SQLite: {why}") from None
