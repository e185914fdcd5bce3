"""What a table is once it is open, whatever its format.

A format gives its rows in two ways. :meth:`Table.rows` reads them exactly, each with its line.
:meth:`Table.blocks` is for files of many millions of rows: large blocks, parsed at once where all
is well, and again exactly where something is not.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.inputs.roles import Form

Types = Mapping[str, pl.DataType | type[pl.DataType]]


@dataclass(frozen=True)
class Malformed:
    """A row of a text that cannot be read, such as one with too few fields.

    Attributes:
        line: on which it begins, from 1.
        column: the name of the column at fault; empty where it is the row as a whole.
        reason: as rows are counted by it.
        detail: what is wrong with it.
        text: as it stands in the input.
    """

    line: int
    column: str
    reason: str
    detail: str
    text: str


@dataclass(frozen=True)
class Rows:
    """Some rows of a table, read exactly.

    Attributes:
        frame: N rows.
        lines: shape (N,), the line of a text on which each begins, else the number of the row; from
            1.
        text: gives the text of a row, by its place in the frame; "" where all its fields are blank.
        malformed: rows that stand among them and are in no frame.
    """

    frame: pl.DataFrame
    lines: NDArray[np.int64]
    text: Callable[[int], str]
    malformed: Sequence[Malformed] = ()


@dataclass(frozen=True)
class Block:
    """Many rows of a table.

    Attributes:
        quick: all of them, parsed at once; None where only ``exact`` can read them.
        exact: reads the same rows exactly.
    """

    quick: pl.DataFrame | None
    exact: Callable[[], Iterator[Rows]]

    @classmethod
    def of(cls, rows: Rows) -> "Block":
        """A block whose rows were read exactly already.

        Args:
            rows: these.
        """
        return cls(None, lambda: iter([rows]))


@dataclass(frozen=True)
class Layout:
    """How the records of a text are laid out.

    Attributes:
        separator: of its fields.
        names: of its columns.
        quoted: whether double quotes may stand around fields.
        has_header: whether the first record holds the names, and no data.
    """

    separator: str
    names: list[str]
    quoted: bool
    has_header: bool = True


DetectLayout = Callable[[str, str, PrepareConfig], Layout]  # from the first lines and a name


@dataclass(frozen=True)
class Reading:
    """How to read a table.

    Attributes:
        form: that the input has.
        roles: of the columns that are needed, keys of :data:`cfcli.core.inputs.roles.ALIASES`.
        detect: finds the layout of a text from its first lines, the name of the input and
            ``config``.
        scratch: a folder for what must be on disk to be read; None for the temporary folder.
    """

    form: Form
    roles: Sequence[str]
    detect: DetectLayout
    scratch: Path | None = None

    @property
    def config(self) -> PrepareConfig:
        """The keys of ``[prepare]`` that say what form the input has."""
        return self.form.config


class Table(Protocol):
    """A table that is open for reading.

    Attributes:
        where: name of the input, for messages.
        names: of the columns.
        notes: what the user should know about its form, one sentence each; complete once all was
            read.
    """

    where: str
    names: list[str]
    notes: list[str]

    def types(self, names: Sequence[str]) -> pl.Schema:
        """The types of columns; a text has only ``pl.String``.

        Args:
            names: of the columns.
        """

    def rows(self, names: Sequence[str]) -> Iterator[Rows]:
        """The rows, in pieces of a few megabytes.

        Args:
            names: of the columns to read.
        """

    def blocks(self, types: Types, guesses: Types) -> Iterator[Block]:
        """The rows, in blocks of about a million.

        Args:
            types: the columns to read; for a text, the type to parse each as.
            guesses: numbers that columns of a text may be, which are faster to parse than text.
        """


class Text(Table):
    """A table all of whose columns are text."""

    def types(self, names: Sequence[str]) -> pl.Schema:
        """Text for each column.

        Args:
            names: of the columns.
        """
        return pl.Schema(dict.fromkeys(names, pl.String))

    def blocks(self, types: Types, guesses: Types) -> Iterator[Block]:
        """The rows as :meth:`Table.rows` gives them; to be replaced where many can be parsed at
        once.

        Args:
            types: the columns to read.
            guesses: not used.
        """
        return map(Block.of, self.rows(list(types)))


def whole_rows(table: Table, names: Sequence[str]) -> Iterator[Rows]:
    """The rows of a table of which none may be malformed.

    Args:
        table: to read.
        names: of the columns to read.

    Raises:
        InputError: a row cannot be read.
    """
    for rows in table.rows(names):
        for bad in rows.malformed:
            raise InputError.at(table.where, bad.line, bad.detail, bad.column)
        yield rows
