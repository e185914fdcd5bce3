"""What is known of items and users, in the forms that MovieLens has used and in others."""

import io
import json
from datetime import date

import polars as pl
import pytest

from cfcli.core.errors import InputError
from cfcli.core.inputs.entities import read_items, read_users
from cfcli.core.inputs.sources import Source


def read(data: bytes) -> tuple[pl.DataFrame, list[str]]:
    found = read_items(Source("movies", lambda: io.BytesIO(data)))
    return found.frame, found.notes


def test_movies_csv_with_quoted_commas() -> None:
    frame, notes = read(
        b'movieId,title,genres\n007,"Film, The (1999)",Drama|War\n2,"Say ""x""",\n007,again,\n2,"Say ""x""",\n'
    )
    assert frame.rows() == [("007", "Film, The (1999)", "Drama|War"), ("2", 'Say "x"', None)]
    assert notes == ["movies: 1 title is of ids titled before; kept: first"]


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


def of_users(text: str) -> pl.DataFrame:
    return read_users(Source("users", lambda: io.BytesIO(text.encode()))).frame


def test_users_of_movielens_have_names() -> None:
    frame = of_users("1|24|M|technician|85711\n2|53|F|other|V3N4P\n")
    assert frame.columns == ["id", "age", "gender", "occupation", "zip_code"]
    assert frame.rows() == [
        ("1", 24.0, "M", "technician", "85711"), ("2", 53.0, "F", "other", "V3N4P"),
    ]  # fmt: skip
    frame = of_users("1::F::1::10::48067\n2::M::56::16::70072\n")
    assert frame.columns == ["id", "gender", "age", "occupation", "zip_code"]
    assert frame.rows() == [("1", "F", 1.0, "10", "48067"), ("2", "M", 56.0, "16", "70072")]
    with pytest.raises(InputError, match=r"^users: "):
        of_users("1::Heat (1995)::Action\n")


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("price", ["1", " -2.5", "NA", r"\N"], [1.0, -2.5, None, None]),
        ("price", ["1", "cheap", "", "?"], ["1", "cheap", None, None]),
        ("plan", ["007", "12", "1", "1"], ["007", "12", "1", "1"]),  # a name made of digits
        ("studio_id", ["7", "8", "9", ""], ["7", "8", "9", None]),
        (
            "day",
            ["2020-01-31", "1999-12-01", "", "2000-01-01T10:00"],
            [2020.0, 1999.0, None, 2000.0],
        ),
        ("day", ["01-Jan-1995", "3/4/2001", "", ""], [1995.0, 2001.0, None, None]),
        ("tags", ["[1, 2]", '["a"]', "[]", ""], ["1|2", "a", "", None]),
    ],
)
def test_texts_are_numbers_years_or_lists_where_all_of_them_are(
    name: str, values: list[str], expected: list[object]
) -> None:
    lines = [{"user": str(k), name: value} for k, value in enumerate(values)]
    text = "\n".join(json.dumps(line) for line in lines)
    assert of_users(text)[name].to_list() == expected


def test_typed_columns() -> None:
    frame = pl.DataFrame(
        {
            "user": [1, 2],
            "born": [date(1990, 5, 1), None],
            "tags": [["a", "b"], None],
            "member": [True, False],
            "plan_code": [3.0, None],
            "paid": [float("nan"), 2.0],
            "job": ["10", "7"],
            "nested": [{"a": 1}] * 2,
        }
    )
    stream = io.BytesIO()
    frame.write_parquet(stream)
    found = read_users(Source("users", lambda: io.BytesIO(stream.getvalue())))
    assert found.frame.rows() == [
        ("1", 1990.0, "a|b", "true", "3", None, "10"),
        ("2", None, None, "false", None, 2.0, "7"),
    ]  # fmt: skip
    assert found.left_out == {"nested": "neither texts nor numbers"}


def test_years_of_titles() -> None:
    frame, _ = read(b"item,title\n1,Heat (1995)\n2,Ash (2015-2018)\n3,1984\n")
    assert frame["year"].to_list() == [1995.0, 2015.0, None]
    assert "year" not in read(b"item,title\n1,Heat (1995)\n2,Ash\n3,1984\n")[0].columns
    frame, _ = read(b"item,title,year\n1,Heat (1995),1996\n")
    assert frame["year"].to_list() == [1996.0]
