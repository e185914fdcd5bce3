"""Inputs by their names: files, folders of Parquet parts, and standard input."""

import contextlib
import dataclasses
import io
import re
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from cfcli.core.errors import InputError, MachineError
from cfcli.core.inputs.streams import Opened, Pieces, pieces

if TYPE_CHECKING:
    import polars as pl

PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")
NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"  # no value, as Spark, DuckDB, Polars and Dask write it
LOGS = {  # what lies in a folder of parts of which only a log says which count
    "_delta_log": "a Delta table",
    "_spark_metadata": "the output of a Spark stream",
    ".hoodie": "a Hudi table",
}


@dataclass(frozen=True)
class Source:
    """One input.

    Attributes:
        name: its path, or what stands for it in messages.
        open: gives its bytes as they lie on disk.
        columns: values that hold for all its rows, from the names of folders
            (``user_id=7/part-0.parquet``); None for a missing value.
        path: the file, or the folder that was given, if it lies on a disk.
        dataset: the name of the known dataset that it is from.
        watch: hears how many bytes were read, whenever some were.
    """

    name: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    columns: dict[str, str | None] = field(default_factory=dict)
    path: Path | None = None
    dataset: str | None = None
    watch: Callable[[int], object] | None = field(default=None, compare=False)

    @classmethod
    def of(cls, path: str | Path) -> "Source":
        """A file or standard input.

        Args:
            path: of the file; ``-`` for standard input.
        """
        if str(path) == "-":
            return cls("<stdin>", _standard_input)
        return cls(str(path), lambda: open(path, "rb", buffering=0), path=Path(path))

    @classmethod
    def of_frame(cls, frame: "pl.DataFrame", name: str, dataset: str | None = None) -> "Source":
        """A table in memory, read as a Parquet file is.

        Args:
            frame: the table.
            name: for messages.
            dataset: the name of the known dataset that it is from.
        """
        stream = io.BytesIO()
        frame.write_parquet(stream)
        return cls(name, lambda: io.BytesIO(stream.getvalue()), dataset=dataset)

    @classmethod
    def all_of(cls, path: str | Path) -> "list[Source]":
        """A file or standard input; or, for a folder, the Parquet parts that other engines have
        left in it.

        Args:
            path: of the file or folder; ``-`` for standard input.

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
            if any(_is_hidden(parent) for parent in inside):
                continue
            _refuse_table(part)
            if part.suffix in PARQUET_SUFFIXES and not _is_hidden(name) and part.is_file():
                columns = dict(_value(parent) for parent in inside if "=" in parent)
                parts.append(dataclasses.replace(cls.of(part), columns=columns, path=folder))
        if not parts:
            raise InputError(f"{path}: is a directory without Parquet files; give the files in it")
        return sorted(parts, key=lambda part: _natural_order(part.name))

    @contextlib.contextmanager
    def opened(self, max_bytes: int | None = None) -> "Iterator[Opened]":
        """Its content, unpacked; gzip, bz2, xz and zstd are detected from the content.

        Args:
            max_bytes: most bytes after unpacking; None for no limit but that on decompression
                bombs.

        Raises:
            InputError: damaged, larger than allowed, or changed while it was read.
            MachineError: it cannot be opened or read.
        """
        try:
            with self.open() as raw:
                opened = Opened(self.name, raw, max_bytes, self.watch)
                yield opened
                opened.finish()
        except IsADirectoryError:
            raise InputError(f"{self.name}: is a directory; give the files in it") from None
        except OSError as error:
            raise MachineError(f"{self.name}: {error.strerror or error}") from None

    def read(self, max_bytes: int | None = None) -> bytes:
        """All of a small input, unpacked.

        Args:
            max_bytes: as :meth:`opened` has it.

        Raises:
            InputError: as :meth:`opened`; larger than a gigabyte.
            MachineError: it cannot be opened or read.
        """
        with self.opened(max_bytes) as opened:
            return opened.read_all("a table", "give a smaller one")


def _standard_input() -> AbstractContextManager[IO[bytes]]:
    """Standard input as it stands: opened by its number as a file of its own, it would begin anew
    though somebody has read a part of it."""
    return cast("IO[bytes]", Pieces(pieces(sys.stdin.buffer)))


def _is_hidden(name: str) -> bool:
    """Whether engines leave out what is called so."""
    return name.startswith(("_", "."))


def _natural_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by value: ``part.2`` before ``part.10``."""
    key = []
    for text in re.split(r"(\d+)", name):
        key.append((int(text), "") if text.isdecimal() else (-1, text))
    return key


def _value(folder: str) -> tuple[str, str | None]:
    """Column and value of a folder's name, as ``user_id=7``."""
    key, value = (urllib.parse.unquote(part) for part in folder.split("=", 1))
    return key, None if value == NULL_FOLDER else value


def _refuse_table(path: Path) -> None:
    """Raises an InputError where the parts around a path do not all count, or are not all there
    yet."""
    folder = path.parent
    what = LOGS.get(path.name)
    if path.name.endswith(".metadata.json") and folder.name == "metadata":
        folder = folder.parent
        what = "an Iceberg table"
    if what:
        raise InputError(
            f"{folder}: is {what}, of which only its log tells which parts count; "
            "write it to a folder of plain Parquet first"
        )
    if path.name == "_temporary" and not (folder / "_SUCCESS").exists():
        raise InputError(
            f"{folder}: is being written, or its writer died ('_temporary', no '_SUCCESS'); "
            "wait for it"
        )
