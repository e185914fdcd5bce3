"""Inputs: opened, hashed while they are read, and unpacked."""

import contextlib
import dataclasses
import re
import signal
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import polars as pl  # noqa: F401 - before the line on signals

from cfcli.core.errors import InputError, MachineError
from cfcli.core.inputs.streams import Chain, Opened

# Polars' handler of SIGINT has reads that wait for input begun again, so that nothing could end
# them.
signal.siginterrupt(signal.SIGINT, True)
FORMAT_BYTES = {
    b"PK\x03\x04": "a zip archive or spreadsheet; unpack it, or save it as CSV",
    b"\xff\xfe": "UTF-16 or UTF-32; read it with --encoding utf-16 (utf-32), or convert it with 'iconv -t UTF-8'",
    b"\xfe\xff": "UTF-16; read it with --encoding utf-16, or convert it with 'iconv -f UTF-16 -t UTF-8'",
    b"\0\0\xfe\xff": "UTF-32; read it with --encoding utf-32, or convert it with 'iconv -f UTF-32 -t UTF-8'",
}
NULL_FOLDER = (
    "__HIVE_DEFAULT_PARTITION__"  # the value of rows without one: Spark, DuckDB, Polars, Dask
)
LOGS = {  # what lies in a folder of parts of which only a log tells which count
    "_delta_log": "a Delta table",
    "_spark_metadata": "the output of a Spark stream",
    ".hoodie": "a Hudi table",
}


@dataclass(frozen=True)
class Source:
    """One input.

    Attributes:
        name: for messages.
        open: gives its bytes as they lie on disk.
        columns: values that hold for all its rows, from a folder's name
            (``user_id=7/part-0.parquet``); None for none.
        path: the file, or the folder that was given, if it lies on a disk.
        dataset: the name of the known dataset that it is from.
    """

    name: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    columns: dict[str, str | None] = field(default_factory=dict)
    path: Path | None = None
    dataset: str | None = None

    @classmethod
    def of(cls, path: str | Path) -> "Source":
        """A file by its path, or standard input for ``-``."""
        if str(path) == "-":
            # Never as a file of its own: somebody may have read a part of it, and may want the
            # rest.
            return cls("<stdin>", lambda: cast(Any, Chain(b"", sys.stdin.buffer)))
        return cls(str(path), lambda: open(path, "rb", buffering=0), path=Path(path))

    @classmethod
    def all_of(cls, path: str | Path) -> "list[Source]":
        """A file or standard input; or, for a folder, the Parquet parts that other engines have
        left in it.

        Raises:
            InputError: a folder without Parquet files; not all of them count, or not all are there
                yet.
        """
        folder = Path(path)
        if str(path) == "-" or not folder.is_dir():
            return [cls.of(path)]
        parts = []
        for part in folder.rglob("*"):
            *inside, name = part.relative_to(folder).parts
            if any(n.startswith(("_", ".")) for n in inside):
                continue
            _refuse_table(part)
            if (
                part.suffix in (".parquet", ".parq", ".pq")
                and name[0] not in "_."
                and part.is_file()
            ):
                columns = dict(_value(n) for n in inside if "=" in n)
                parts.append(dataclasses.replace(cls.of(part), columns=columns, path=folder))
        if not parts:
            raise InputError(f"{path}: is a directory without Parquet files; give the files in it")
        return sorted(
            parts,
            key=lambda s: [
                (int(t), "") if t.isdecimal() else (-1, t) for t in re.split(r"(\d+)", s.name)
            ],
        )

    @contextlib.contextmanager
    def opened(self, encoding: str = "utf-8", max_bytes: int | None = None) -> "Iterator[Opened]":
        """Its content, unpacked (gzip, bz2, xz and zstd, by content) and, if need be, recoded to
        UTF-8.

        Args:
            encoding: of text; Parquet is never recoded.
            max_bytes: most bytes after unpacking.

        Raises:
            InputError: damaged, larger than allowed, or changed while it was read.
            MachineError: it cannot be opened or read.
        """
        try:
            with self.open() as raw:
                opened = Opened(self.name, raw, encoding, max_bytes)
                before = opened.state()
                yield opened
                opened.drain()
                if before != opened.state() or (before and before[0] != opened.packed.bytes):
                    raise InputError(
                        f"{self.name}: changed while it was read; try again when nothing writes to it"
                    )
        except IsADirectoryError:
            raise InputError(f"{self.name}: is a directory; give the files in it") from None
        except OSError as error:
            raise MachineError(f"{self.name}: {error.strerror or error}") from None

    def read(self) -> tuple[bytes, dict[str, Any]]:
        """All of a small input, unpacked, and its record; as :meth:`opened`, and an InputError
        where nothing is in it or more than a gigabyte."""
        with self.opened(max_bytes=1 << 30) as opened:
            data = opened.read()
        if not data.strip():
            raise InputError(f"{self.name}: is empty")
        refuse_foreign(data, self.name)
        return data, opened.record()


def refuse_foreign(head: bytes, name: str) -> None:
    """Raises an InputError for what no ratings file begins with."""
    for magic, what in FORMAT_BYTES.items():
        if head.startswith(magic):
            raise InputError(f"{name}: is {what}")


def _value(folder: str) -> tuple[str, str | None]:
    """Column and value of a folder's name, as ``user_id=7``."""
    key, value = (urllib.parse.unquote(part) for part in folder.split("=", 1))
    return key, None if value == NULL_FOLDER else value


def _refuse_table(path: Path) -> None:
    """Raises an InputError where the parts around a path do not all count, or are not all there
    yet."""
    folder, hint = path.parent, "write it to a folder of plain Parquet first"
    if kind := LOGS.get(path.name):
        raise InputError(
            f"{folder}: is {kind}, of which only its log tells which parts count; {hint}"
        )
    if path.name.endswith(".metadata.json") and folder.name == "metadata":
        raise InputError(
            f"{folder.parent}: is an Iceberg table, of which only its log tells which parts count; {hint}"
        )
    if path.name == "_temporary" and not (folder / "_SUCCESS").exists():
        raise InputError(
            f"{folder}: is being written, or its writer died ('_temporary', no '_SUCCESS'); wait for it"
        )
