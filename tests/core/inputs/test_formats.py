"""A new format is one module and one row, and every reader knows it then."""

import contextlib
import io
import json
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import pytest

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.inputs import formats, ratings
from cfcli.core.inputs.entities import read_items
from cfcli.core.inputs.formats import Format
from cfcli.core.inputs.pairs import read_ids, read_pairs
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.streams import Opened
from cfcli.core.inputs.tables import Block, Reading, Rows, Types


class ToyTable:
    """A JSON object of columns, behind the word TOY."""

    def __init__(self, frame: pl.DataFrame, where: str) -> None:
        self.where = where
        self.names = frame.columns
        self.notes: list[str] = []
        self.frame = frame

    def types(self, names: Sequence[str]) -> pl.Schema:
        return self.frame.select(names).schema

    def rows(self, names: Sequence[str]) -> Iterator[Rows]:
        lines = np.arange(1, self.frame.height + 1)
        yield Rows(self.frame.select(names), lines, lambda row: str(self.frame.row(row)))

    def blocks(self, types: Types, guesses: Types) -> Iterator[Block]:
        yield Block(None, lambda: self.rows(list(types)))


@contextlib.contextmanager
def open_toy(opened: Opened, source: Source, reading: Reading) -> Iterator[ToyTable]:
    columns = json.loads(opened.read().removeprefix(b"TOY"))
    yield ToyTable(pl.DataFrame(columns), source.name)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Format("toy", "Toy", ".toy", lambda start: start.startswith(b"TOY"), open_toy)
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, row))


def source(columns: dict[str, list[object]]) -> Source:
    data = b"TOY" + json.dumps(columns).encode()
    return Source("r.toy", lambda: io.BytesIO(data))


def test_ratings_of_a_new_format() -> None:
    columns = {"user": ["a", "b", "c"], "item": [1, 2, 2], "rating": [3.0, 4.5, None]}
    found = ratings.read([source(columns)], Form(PrepareConfig(max_bad_rows="1")))
    assert found.frame.rows() == [("a", "1", 3.0), ("b", "2", 4.5)]
    assert found.intake.first_reject is not None
    assert found.intake.first_reject.line == 3


def test_pairs_ids_and_titles_of_a_new_format() -> None:
    pairs = source({"user": ["a", "b"], "item": [1, 2]})
    assert [rows.frame.rows() for rows in read_pairs(pairs)] == [[], [("a", 1), ("b", 2)]]
    assert read_ids(pairs, "user", Form(own={"user": "user"})).to_list() == ["a", "b"]
    titles = read_items(source({"item": [1, 2], "title": ["A", "B"]}))
    assert titles.frame.rows() == [("1", "A", None), ("2", "B", None)]


@pytest.mark.parametrize("separator", [",", "\t", "::", ";", "|"])
def test_ids_and_titles_have_any_separator(separator: str) -> None:
    rows = [("age", "user_id"), ("30", "007"), ("31", ""), ("32", "x y")]
    text = "\n".join(separator.join(row) for row in rows).encode()
    ids = read_ids(Source("ids", lambda: io.BytesIO(text)), "user", Form(own={"user": "user_id"}))
    assert [value for value in ids if value] == ["007", "x y"]
    movies = [("item_id", "title", "genres"), ("007", "A: B", "x"), ("8", "C", "")]
    text = "\n".join(separator.join(row) for row in movies).encode()
    frame = read_items(Source("titles", lambda: io.BytesIO(text))).frame
    assert frame.select("id", "title").rows() == [("007", "A: B"), ("8", "C")]


def test_ids_without_a_header_are_whole_lines() -> None:
    text = Source("ids", lambda: io.BytesIO(b"7\na,b\n"))
    assert read_ids(text, "user", Form(own={"user": "user_id"})).to_list() == ["7", "a,b"]
