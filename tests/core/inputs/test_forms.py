"""Every form of the same ratings gives the same rows, and what is no form of them is named."""

import bz2
import gzip
import io
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pytest

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import InputError
from cfcli.core.inputs import jsontext, netflix, ratings
from cfcli.core.inputs.entities import read_items
from cfcli.core.inputs.intake import Reject
from cfcli.core.inputs.pairs import read_ids, read_pairs
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source

FRAME = pl.DataFrame(
    {
        "user": ["007", "7", "é, ü"],
        "item": [2**60 + 1, 5, -6],
        "rating": [1.5, 2.0, 3.0],
        "time": [964982703, 964982704, 964982705],
    }
)
ROWS = [("007", str(2**60 + 1), 1.5), ("7", "5", 2.0), ("é, ü", "-6", 3.0)]


def source(data: bytes, name: str = "r.txt") -> Source:
    return Source(name, lambda: io.BytesIO(data))


def read(data: bytes | str, name: str = "r.txt", **settings: Any) -> ratings.Ratings:
    raw = data.encode() if isinstance(data, str) else data
    return ratings.read([source(raw, name)], Form(PrepareConfig(**settings)))


def rows(data: bytes | str, **settings: Any) -> list[tuple[str, str, float]]:
    return read(data, **settings).frame.select("user_id", "item_id", "rating").rows()


def refusal(data: bytes | str, name: str = "r.txt", **settings: Any) -> str:
    with pytest.raises(InputError) as error:
        read(data, name, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def first_reject(data: bytes | str) -> Reject:
    found = read(data, max_bad_rows="100").intake.first_reject
    assert found is not None
    return found


def written(write: Callable[..., object], **options: Any) -> bytes:
    stream = io.BytesIO()
    write(stream, **options)
    return stream.getvalue()


def feather() -> bytes:
    return written(
        lambda stream: pa.feather.write_feather(FRAME.to_arrow(), stream, compression="lz4")
    )


FORMS = {
    "jsonl": written(FRAME.write_ndjson),
    "jsonl.bz2": bz2.compress(written(FRAME.write_ndjson)),
    "json": written(FRAME.write_json),
    "json with a mark": b"\xef\xbb\xbf \n" + written(FRAME.write_json),
    "arrow": written(FRAME.write_ipc),
    "arrow.gz": gzip.compress(written(FRAME.write_ipc, compression="zstd")),
    "arrow of few rows": written(FRAME.write_ipc, record_batch_size=1),
    "arrow stream": written(FRAME.write_ipc_stream),
    "feather": feather(),
    "categories": written(FRAME.cast({"user": pl.Categorical}).write_ipc),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_ratings_in_each_form(form: str) -> None:
    csv = read(written(FRAME.write_csv))
    found = read(FORMS[form])
    assert rows(FORMS[form]) == ROWS
    assert found.frame.equals(csv.frame)
    assert found.intake.sources[0].rows == csv.intake.sources[0].rows == 3


@pytest.mark.parametrize("form", ["jsonl", "json", "arrow"])
def test_a_format_by_name(form: str) -> None:
    assert rows(FORMS[form], format=form) == ROWS
    title = {"jsonl": "a JSON lines", "json": "a JSON", "arrow": "an Arrow"}[form]
    assert f"r.txt: is not {title} file" in refusal("user,item,rating\n1,2,3\n", format=form)


def test_the_names_of_files_that_are_something_else() -> None:
    assert "r.csv is JSON lines, whatever its name says" in read(FORMS["jsonl"], "r.csv")[1].notes
    assert (
        "r.arrow is not a Arrow file; read as text" not in read(FORMS["arrow"], "r.arrow")[1].notes
    )
    csv = read("user,item,rating\n1,2,3\n", "r.jsonl")
    assert "r.jsonl is not a JSON lines file; read as text" in csv.intake.notes


def test_a_text_whose_first_column_has_brackets_or_braces() -> None:
    csv = "[user],[item],[rating]\n1,2,3\n"
    assert rows(csv, user_col="[user]", item_col="[item]", rating_col="[rating]") == [("1", "2", 3)]
    csv = '{},"item",rating\nuser,2,3\n'
    assert rows(csv, user_col="{}", format="csv") == [("user", "2", 3)]


LINES = [
    '{"user": 99999999999999999999999999, "item": 9007199254740993, "rating": 4}',
    '{"rating": "3.5", "item": "007", "user": "1", "extra": [1, {"user": 5}]}',
    '{"user": 1, "item": 1.0, "rating": 1e0}',
    '{"user": "\\u00e9\\ud83d\\ude00", "item": "a\\"b\\n", "rating": 2, "more": true}',
    '{"user": true, "item": 12345678901234567.25, "rating": -0.5}',
]
EXACT = [
    ("99999999999999999999999999", "9007199254740993", 4.0),
    ("1", "007", 3.5),
    ("1", "1.0", 1.0),
    ("é😀", 'a"b\n', 2.0),
    ("true", "12345678901234567.25", -0.5),
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n  \n"])
def test_values_of_json_are_taken_as_they_are_written(end: str) -> None:
    assert rows(end.join(LINES)) == EXACT
    assert rows(end.join(LINES) + end) == EXACT
    assert rows(f"[{(',' + end).join(LINES)}]{end}") == EXACT
    for line, expected in zip(LINES, EXACT, strict=True):  # also where it is parsed by Polars
        assert rows(line + end) == [expected]


def test_texts_of_json_with_what_looks_like_keys() -> None:
    lines = [
        '{"user": "\\"item\\": 5", "item": 1, "rating": 2}',
        '{"x": {"user": 9}, "user": 3, "item": 4, "rating": 5}',
    ]
    assert rows("\n".join(lines)) == [('"item": 5', "1", 2.0), ("3", "4", 5.0)]


GOOD = '{"user": 1, "item": 2, "rating": 3, "time": 5}'


@pytest.mark.parametrize(
    ("line", "column", "detail"),
    [
        ('{"user": [1], "item": 2, "rating": 3}', "user", "is a list; it must be a single value"),
        ('{"user": 1, "item": {}, "rating": 3}', "item", "is an object; it must be a single value"),
        ('{"item": 2, "rating": 3}', "user", "the id is empty"),
        ('{"user": null, "item": 2, "rating": 3}', "user", "the id is empty"),
        ('{"user": 1, "item": 2}', "rating", "'' is not a rating"),
        ('{"user": 1, "item": 2, "rating": true}', "rating", "'true' is not a number"),
        ('{"user": 1, "item": 2, "rating": NaN}', "rating", "'NaN' is not a rating"),
        ('{"user": 1, "item": 2, "rating": "x"}', "rating", "'x' is not a number"),
        ('{"user": 1, "item": 2, "rating": 3', "", "is no JSON object: Expecting ',' delimiter"),
        ('{"user": 1, "user": 2, "item": 2, "rating": 3}', "", "a key stands twice in an object"),
        ('{"user": "\\ud83d", "item": 2, "rating": 3}', "", "half a character"),
        ("5", "", "is no JSON object, which has braces around it"),
        ("[" * 100_000, "", "nested too deep"),
    ],
)
def test_bad_rows_of_json_lines(line: str, column: str, detail: str) -> None:
    data = f"{GOOD}\n\n{line}\n{GOOD}\n"
    found = first_reject(data)
    assert (found.line, found.column, found.raw) == (3, column, line[:200])
    assert detail in found.detail
    assert len(rows(data, max_bad_rows="1")) == 2
    named = f"column '{column}': " if column else ""
    assert refusal(data).startswith(f"r.txt:3: {named}{found.detail[:20]}")


@pytest.mark.parametrize("is_array", [False, True])
def test_a_key_of_times_that_comes_late_is_told(is_array: bool) -> None:
    lines = [f'{{"user": "timestamp", "item": {k}, "rating": 3' for k in range(3000)]
    lines = [line + (', "date": "2020-01-31"' if k >= 2000 else "") for k, line in enumerate(lines)]
    text = "[" + "},".join(lines) + "}]" if is_array else "}\n".join(lines) + "}\n"
    notes = read(text).intake.notes
    assert len(notes) == 1
    assert 'the key "date" comes only after the first rows and is left out' in notes[0]
    known = read(text.replace("3", '3, "date": null', 1))
    assert known.intake.notes == []
    assert known.frame["timestamp"].count() == 1000


def test_values_that_are_no_single_ones_are_kept_where_they_are_not_needed() -> None:
    data = b'{"user": "1", "item": 2, "tags": ["\xc3\xa4", 1], "x": {"y": 2.5}}\n'
    for text in (data, b"[" + data + b"]"):
        frame = pl.concat([part.frame for part in read_pairs(source(text))])
        assert frame.rows() == [("1", "2", '["ä", 1]', '{"y": 2.5}')]
    with pytest.raises(InputError, match="1: column 'item': is a list; it must be a single value"):
        list(read_pairs(source(b'{"user": "1", "item": [2]}\n')))


def test_a_missing_time_is_no_bad_row() -> None:
    found = read(f'{GOOD}\n{{"user": 1, "item": 3, "rating": 3}}\n')
    assert found.frame["timestamp"].is_null().to_list() == [False, True]


def test_columns_are_the_keys_of_the_first_rows() -> None:
    first = '{"item": 2, "user": 1}\n{"rating": 3, "user": 1, "item": 2}\n'
    assert rows(first, max_bad_rows="1") == [("1", "2", 3.0)]
    many = "".join(f'{{"user": {k}, "item": 2, "rating": 3}}\n' for k in range(5000))
    late = '{"user": 1, "item": 2, "rating": 3, "date": 5}\n'
    assert read(many + late).frame.columns == ["user_id", "item_id", "rating"]
    assert "no column for the user among 'item', 'rating'" in refusal('{"item": 1, "rating": 2}')


def test_json_lines_in_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsontext, "BLOCK", 1000)
    lines = [f'{{"user": {k}, "item": "é{k % 7}", "rating": {k % 5}}}' for k in range(9000)]
    expected = [(str(k), f"é{k % 7}", float(k % 5)) for k in range(9000)]
    assert rows("\n".join(lines)) == expected
    lines[7000] = "{"
    assert first_reject("\n".join(lines)).line == 7001


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "r.txt:1: is no JSON object: Expecting property name"),
        ('\n{\n "user": 1\n}\n', "r.txt:2: is no JSON object"),
        ("[]", "r.txt: is a JSON array without objects"),
        ("[1, 2]", "r.txt: is a JSON array without objects"),
        (f"[{GOOD},\n{GOOD}", "r.txt:2: the JSON array is damaged or cut off"),
        (f"[{GOOD},\n{GOOD[:-9]}", "r.txt:2: the JSON array is damaged: "),
        (f"[{GOOD}\n\n{GOOD}]", "r.txt:3: the JSON array is damaged"),
        (f"[{GOOD}\n]\n]", "r.txt:3: something stands behind the JSON array"),
        (f"[\n{GOOD},\n[1]]", "r.txt:3: is no JSON object"),
        (b'{"user": "\xe9", "item": 1, "rating": 2}', "r.txt:1: byte 0xe9 is not UTF-8"),
        (f"{GOOD}\n{GOOD}\0\n".encode(), "r.txt:2: holds NUL bytes"),
        (FORMS["arrow"][:-40], "r.txt: damaged Arrow: "),
        (FORMS["arrow stream"][:-40], "r.txt: damaged Arrow: "),
        (b"ARROW1\0\0", "r.txt: damaged Arrow: "),
    ],
)
def test_what_cannot_be_read_of_json_and_arrow(data: bytes | str, message: str) -> None:
    assert refusal(data).startswith(message)


def test_json_of_other_encodings() -> None:
    line = '{"user": "é", "item": 1, "rating": 2}'
    for encoding in ("latin-1", "utf-16", "utf-32"):
        for text in (line, f"[{line}]"):
            assert rows(text.encode(encoding), encoding=encoding) == [("é", "1", 2.0)]


PAIRS = pl.DataFrame({"user": ["007", "7"], "note": ["a", None], "item": [1, 2]})


@pytest.mark.parametrize("write", [PAIRS.write_ndjson, PAIRS.write_json, PAIRS.write_ipc])
def test_pairs_and_ids_of_other_forms(write: Callable[..., object]) -> None:
    data = written(write)
    blocks = [rows.frame for rows in read_pairs(source(data))]
    found = pl.concat(blocks).cast(pl.String).rows()
    assert found == [("007", "a", "1"), ("7", None, "2")]
    assert read_ids(source(data), "user", Form(own={"user": "uid"})).to_list() == ["007", "7"]


def test_a_bad_pair_of_json_lines_has_its_line() -> None:
    with pytest.raises(InputError, match=r"^p:2: is no JSON object: "):
        list(read_pairs(source(b'{"user": 1, "item": 2}\n{"user"\n', "p")))


def test_titles_of_other_forms() -> None:
    rows = [("1", "A", "x|y"), ("2", "B", None)]
    lines = b'{"item": 1, "title": "A", "genres": ["x", "y"]}\n{"item": 2, "title": "B"}\n'
    assert read_items(source(lines)).frame.rows() == rows
    array = b"[" + lines.strip().replace(b"\n", b",\n") + b"]"
    assert read_items(source(array)).frame.rows() == rows
    frame = pl.DataFrame({"item": [1, 2], "title": ["A", "B"], "genres": [["x", "y"], None]})
    assert read_items(source(written(frame.write_ipc))).frame.rows() == rows
    latin = '{"item": 1, "title": "é"}\n'.encode("latin-1")
    assert read_items(source(latin)).frame["title"].to_list() == ["é"]


BLANKS = "196 242 3 881250949\n186  302   3 891717742\n007 377 1.5 878887116 \n"
BLANK_ROWS = [("196", "242", 3.0), ("186", "302", 3.0), ("007", "377", 1.5)]


def test_blanks_separate_where_nothing_else_does() -> None:
    assert rows(BLANKS) == BLANK_ROWS
    assert rows(" user  item rating time\n" + BLANKS) == BLANK_ROWS
    assert rows(BLANKS.replace("\n", "  \r\n \r\n"), format="blanks") == BLANK_ROWS
    found = first_reject("user item rating\n1 2 3\n1   2\n2 3 4\n")
    assert (found.line, found.detail) == (3, "expected 3 fields, found 2")
    assert "fields are separated by ' '" in " ".join(read(BLANKS).intake.notes)
    assert rows("user,item,rating\na b c,d e f,3\n") == [("a b c", "d e f", 3.0)]
    pairs = list(read_pairs(source(b"user  item\n1 2\n007   3\n")))
    assert pairs[1].frame.rows() == [("1", "2"), ("007", "3")]
    assert read_ids(
        source(b"user  item\n1 2\n007   3\n"), "item", Form(own={"item": "item"})
    ).to_list() == ["2", "3"]
    assert read_ids(source(b"user 1\nuser 2\n"), "user", Form(own={"user": "uid"})).to_list() == [
        "user 1",
        "user 2",
    ]


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', "SEP=;;;;;\r\n", "\ufeffsep=;\n"])
def test_a_first_line_names_the_separator(first: str) -> None:
    text = first + "user;item;rating\n1,5;2;3\nx;2;4\n"
    assert rows(text) == [("1,5", "2", 3.0), ("x", "2", 4.0)]
    assert first_reject(text + "1;2\n").line == 5
    assert read_ids(source(text.encode()), "user", Form(own={"user": "uid"})).to_list() == [
        "1,5",
        "x",
    ]


def test_a_first_line_names_a_separator_that_cannot_be_read() -> None:
    assert "r.txt:1: '^' separates the fields" in refusal("sep=^\nuser^item^rating\n1^2^3\n")
    # That of two separators which both cut the lines evenly.
    text = "user;item;rating,x,y\n1;2;3,4,5\n"
    assert "say so with --format csv or --format semicolon" in refusal(text)
    named = refusal("sep=;\n" + text, rating_col="rating,x,y")
    assert "r.txt:3: column 'rating,x,y': '3,4,5' is not a number" in named


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_without_a_name_at_the_end_are_left_out(separator: str) -> None:
    text = "user,item,rating,,\n007,1,3,,\n8,2,4,,\n".replace(",", separator)
    found = read(text)
    assert rows(text) == [("007", "1", 3.0), ("8", "2", 4.0)]
    assert "r.txt: columns without a name at the end were left out" in found.intake.notes
    pairs = list(read_pairs(source(text.encode())))
    assert pairs[1].frame.columns == ["user", "item", "rating"]
    assert first_reject(text + "1,2,3\n".replace(",", separator)).line == 4


NETFLIX = "1:\n007,3,2005-09-06\n8,5,2005-05-13\r\n\n2:\n8,4,2005-12-26\n"


@pytest.mark.parametrize("size", [5, 8 << 20])
def test_files_of_the_netflix_prize(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netflix, "BLOCK", size)
    csv = "user,item,rating,date\n007,1,3,2005-09-06\n8,1,5,2005-05-13\n8,2,4,2005-12-26\n"
    assert read(NETFLIX).frame.equals(read(csv).frame)
    found = first_reject(NETFLIX + "9,4\n")
    assert (found.line, found.raw) == (7, "9,4")
    assert found.detail == "expected user,rating,date, found '9,4'"
    assert first_reject(NETFLIX + "9,x,2005-12-26\n").line == 7
    assert read_ids(source(NETFLIX.encode()), "item", Form(own={"item": "item"})).to_list() == [
        "1",
        "1",
        "2",
    ]


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return stream.getvalue()


def orc() -> bytes:
    return written(lambda stream: pa.orc.write_table(FRAME.to_arrow(), stream))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (
            "x.xlsx",
            zipped("[Content_Types].xml", "xl/workbook.xml"),
            'a spreadsheet (.xlsx or .ods); convert it with: python -c "import pandas as pd; '
            "pd.read_excel('x.xlsx').to_csv('x.csv', index=False)\"",
        ),
        ("x.zip", zipped("ratings.csv"), "is a zip archive; unpack it"),
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "pd.read_excel('x.xls')"),
        ("x.pkl", pickle.dumps(FRAME), "is a pickle, which may run any program"),
        ("x.pkl", pickle.dumps({"user": [1]}, 2), "is a pickle"),
        ("x.npy", written(lambda stream: np.save(stream, np.ones((2, 3)))), "is a NumPy array"),
        ("x.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "is HDF5; convert it with: "),
        ("x.avro", written(FRAME.write_avro), "is Avro; convert it with: "),
        ("x.orc", orc(), "is ORC; convert it with: "),
        ("x.csv", b" \n<!DOCTYPE html>\n<html>", "x.csv: is a web page (HTML)"),
        ("x.feather", b"FEA1" + bytes(99), "is Feather version 1"),
        (
            "it's.xls",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "pd.read_excel('FILE').to_csv('FILE.csv'",
        ),
    ],
)
def test_other_kinds_of_files_are_named(name: str, data: bytes, words: str) -> None:
    assert words in refusal(data, name)


def test_texts_that_begin_like_other_kinds() -> None:
    assert rows("ORCID,item,rating\n1,2,3\n", user_col="ORCID") == [("1", "2", 3.0)]
    assert rows("<user>,item,rating\n1,2,3\n", user_col="<user>") == [("1", "2", 3.0)]


def run_hint(message: str) -> None:
    code = message.split('python -c "', 1)[1].rsplit('"', 1)[0]
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["x.avro", "x.npy", "x.orc", "x.pkl"])
def test_the_line_that_converts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pl.DataFrame({"user": [1, 2], "item": [3, 4], "rating": [5, 6]})
    data = {
        "x.avro": written(frame.write_avro),
        "x.npy": written(lambda stream: np.save(stream, frame.to_numpy())),
        "x.orc": written(lambda stream: pa.orc.write_table(frame.to_arrow(), stream)),
        "x.pkl": pickle.dumps(frame.to_pandas()),
    }[name]
    Path(name).write_bytes(data)
    run_hint(refusal(data, name))
    assert rows(Path("x.csv").read_bytes()) == [("1", "3", 5.0), ("2", "4", 6.0)]


@pytest.mark.parametrize("head", ["user_id,{}", ",{}", ""])
def test_a_matrix_of_users_by_items(
    head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    items = [str(k) for k in range(100, 130)]
    users = [
        ("u1" if head else "7", ["99"] * 29 + ["3.5"]),
        ("u2" if head else "8", ["4"] + [""] * 29),
    ]
    lines = [",".join([user, *values]) for user, values in users]
    if head:
        lines.insert(0, head.format(",".join(items)))
    text = "\n".join(lines) + "\n"
    Path("m.csv").write_text(text)
    message = refusal(text, "m.csv")
    assert "m.csv: looks like a matrix of users by items (31 columns" in message
    run_hint(message)
    found = rows(Path("m-new.csv").read_bytes())
    if head:
        assert sorted(found) == [("u1", "129", 3.5), ("u2", "100", 4.0)]
    else:
        assert ("0", "column_30", 3.5) in found
        assert ("1", "column_1", 4.0) in found


def test_a_matrix_with_titles_for_columns_and_wide_tables_that_are_none() -> None:
    others = ",".join(f"Film {k}" for k in range(30))
    values = ",".join(["3"] * 30)
    assert "looks like a matrix" in refusal(f",{others}\nu1,{values}\n")
    assert rows(f"user,item,rating,{others}\n1,2,3,{values}\n") == [("1", "2", 3.0)]
    numbers = ",".join(map(str, range(30)))
    assert rows(f"user,item,rating,{numbers}\n1,2,3,{values}\n") == [("1", "2", 3.0)]
    named = {"user_col": "0", "item_col": "1", "rating_col": "2"}
    assert rows(f"{numbers}\n{values}\n", **named) == [("3", "3", 3.0)]
