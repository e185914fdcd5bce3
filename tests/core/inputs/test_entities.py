"""Titles and genres, in the three forms that MovieLens has used."""

import io

import polars as pl
import pytest

from cfcli.core.errors import InputError
from cfcli.core.inputs.entities import read_items
from cfcli.core.inputs.sources import Source


def read(data: bytes) -> tuple[pl.DataFrame, list[str]]:
    found = read_items(Source("movies", lambda: io.BytesIO(data)))
    return found.frame, found.notes


def test_movies_csv_with_quoted_commas() -> None:
    frame, notes = read(
        b'movieId,title,genres\n007,"Film, The (1999)",Drama|War\n2,"Say ""x""",\n007,again,\n2,"Say ""x""",\n'
    )
    assert frame.rows() == [("007", "Film, The (1999)", "Drama|War"), ("2", 'Say "x"', None)]
    assert notes == ["movies: 1 titles are of ids titled before; kept: first"]


def test_a_table_without_genres() -> None:
    assert read(b"title,item_id\nA,1\n")[0].rows() == [("1", "A", None)]


def test_movies_dat_in_latin_1() -> None:
    frame, notes = read("1::Amélie (2001)::Comedy|Romance\n2::A: B::Drama\n".encode("latin-1"))
    assert frame.rows() == [("1", "Amélie (2001)", "Comedy|Romance"), ("2", "A: B", "Drama")]
    assert notes == ["movies is not UTF-8; read as Latin-1"]


def test_u_item_turns_flags_into_genres() -> None:
    flags = ["0"] * 19
    flags[3] = flags[5] = "1"
    lines = [
        f'1|Toy "Story" (1995)|01-Jan-1995||http://x|{"|".join(flags)}',
        f"2|B|||u|{'|'.join(['0'] * 19)}",
    ]
    frame, _ = read("\n".join(lines).encode())
    assert frame.rows() == [("1", 'Toy "Story" (1995)', "Animation|Comedy"), ("2", "B", "")]


def test_parquet() -> None:
    stream = io.BytesIO()
    pl.DataFrame({"movieId": [7], "title": ["A"]}).write_parquet(stream)
    assert read(stream.getvalue())[0].rows() == [("7", "A", None)]


def test_parquet_with_lists_of_genres() -> None:
    stream = io.BytesIO()
    pl.DataFrame(
        {"movieId": [7, 8], "title": ["A", "B"], "genres": [["x", "y"], None], "no": [{"a": 1}] * 2}
    ).write_parquet(stream)
    assert read(stream.getvalue())[0].rows() == [("7", "A", "x|y"), ("8", "B", None)]


def test_a_byte_order_mark_and_crlf_are_no_part_of_an_item() -> None:
    assert read("\ufeff1::A::x\r\n2::B::y\r\n".encode())[0].rows() == [
        ("1", "A", "x"),
        ("2", "B", "y"),
    ]
    assert read("\ufeffmovieId,title\r\n1,A\r\n".encode())[0].rows() == [("1", "A", None)]


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbf\n", b"1::A\n", b"a,b\n1,2\n", b"movieId\n1\n", b"PAR1"]
)
def test_other_tables_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^movies: "):
        read(data)
