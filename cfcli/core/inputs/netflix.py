"""The files of the Netflix Prize: a line ``1:`` with the number of a film, then a line
``user,rating,date`` for each rating of it."""

import contextlib
from collections.abc import Iterator, Sequence

import polars as pl

from cfcli.core.inputs.checks import WRONG_FIELDS
from cfcli.core.inputs.lines import decoded, line_blocks, read_start
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.streams import Opened
from cfcli.core.inputs.tables import Malformed, Reading, Rows, Text

BLOCK = 8 << 20  # bytes that are parsed at once
FIELDS = ("user", "rating", "date")  # of a line


@contextlib.contextmanager
def open_netflix(opened: Opened, source: Source, reading: Reading) -> Iterator["NetflixTable"]:
    """Opens a file of the Netflix Prize.

    Args:
        opened: its bytes, of which none were read yet.
        source: that they are from.
        reading: how to read it.

    Raises:
        InputError: later, where it is no text.
    """
    yield NetflixTable(opened, source.name)


class NetflixTable(Text):
    """A file of the Netflix Prize.

    Args:
        opened: its bytes.
        where: name of the input, for messages.
    """

    def __init__(self, opened: Opened, where: str) -> None:
        self.where = where
        self.names = ["user", "item", "rating", "date"]
        self.notes = [f"{where}: read as a file of the Netflix Prize"]
        self._opened = opened

    def rows(self, names: Sequence[str]) -> Iterator[Rows]:
        """The rows, in pieces of about :data:`BLOCK` bytes.

        Args:
            names: of the columns to read.

        Raises:
            InputError: it is no text.
        """
        item = ""
        start = read_start(self._opened, 0)
        for data, line in line_blocks(self._opened, start, quoted=False, size=BLOCK):
            text = pl.Series("text", decoded(data, self.where, line).split("\n")).str.strip_chars()
            head = pl.when(pl.col("text").str.contains(r"^\d+:$")).then(pl.col("text"))
            lines = pl.DataFrame([text]).with_row_index("line", line).with_columns(head=head)
            item_of = pl.col("head").str.strip_suffix(":").forward_fill().fill_null(item)
            lines = lines.with_columns(item=item_of)
            item = lines["item"][-1]
            yield _rows(lines.filter(pl.col("head").is_null() & (pl.col("text") != "")), names)


def _rows(lines: pl.DataFrame, names: Sequence[str]) -> Rows:
    """The ratings of lines, each with its item."""
    fields = pl.col("text").str.split(",")
    is_good = fields.list.len() == len(FIELDS)
    malformed = [
        Malformed(line, "", WRONG_FIELDS, f"expected user,rating,date, found '{text[:40]}'", text)
        for line, text in lines.filter(~is_good).select("line", "text").iter_rows()
    ]
    good = lines.filter(is_good)
    cells = {name: fields.list.get(k).str.strip_chars() for k, name in enumerate(FIELDS)}
    texts = good["text"]
    frame = good.select(item=pl.col("item"), **cells).select(names)
    return Rows(frame, good["line"].cast(pl.Int64).to_numpy(), lambda row: texts[row], malformed)
