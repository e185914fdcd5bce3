"""Whatever form the ratings have, they are read whole or the reason is said."""

import bz2
import csv
import gzip
import io
import lzma
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.inputs import ratings
from cfcli.core.inputs.intake import REJECTS, SCHEMA
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.streams import SourceRecord

CSV = b"userId,movieId,rating,timestamp\n1,10,4.5,964982703\n2,007,3,964982703\n"
ROWS = [("1", "10", 4.5), ("2", "007", 3.0)]


@dataclass
class Found:
    """What was read, and the rejected rows."""

    frame: pl.DataFrame
    rejects: pl.DataFrame
    columns: dict[str, str]
    sources: list[SourceRecord]
    notes: list[str]


def read(data: bytes | Sequence[Source], name: str = "ratings.csv", **settings: Any) -> Found:
    sources = [Source(name, lambda: io.BytesIO(data))] if isinstance(data, bytes) else data
    with tempfile.TemporaryDirectory() as folder:
        frame, intake = ratings.read(sources, Form(PrepareConfig(**settings)), Path(folder))
        path = Path(folder) / REJECTS
        rejects = pl.read_csv(path, schema=SCHEMA) if path.exists() else pl.DataFrame(schema=SCHEMA)
    assert rejects.height == intake.rejected.total()
    return Found(frame, rejects, intake.columns, intake.sources, intake.all_notes())


def rows(found: Found) -> list[tuple[str, str, float]]:
    return found.frame.select("user_id", "item_id", "rating").rows()


@pytest.mark.parametrize(
    "data",
    [
        CSV,
        b"\xef\xbb\xbf" + CSV,
        CSV.replace(b"\n", b"\r\n"),
        CSV.replace(b"\n", b"\n\n"),
        CSV.rstrip(b"\n"),
        b"\n\r\n" + CSV,
        b"\n" * 70_000 + CSV,  # more than the form is detected from
        CSV + b"   \n,,,\n",  # what spreadsheets leave at the end
        CSV.replace(b",", b";"),
        CSV.replace(b",", b"|"),
        CSV.replace(b"userId", b"User_ID")
        .replace(b"movieId", b" item id ")
        .replace(b"rating", b"STARS"),
        CSV.replace(b"4.5", b" 4.5 "),
        b"1\t10\t4.5\t964982703\n2\t007\t3\t964982703\n",
        b"1::10::4.5::964982703\n2::007::3::964982703\n",
        b"\xef\xbb\xbf1\t10\t4.5\t964982703\n2\t007\t3\t964982703\n",
        CSV.replace(b",", b", ").replace(b" 10", b"10").replace(b" 007", b"007"),
        gzip.compress(CSV[:40], mtime=0) + gzip.compress(CSV[40:], mtime=0),
        bz2.compress(CSV),
        lzma.compress(CSV),
        pa.compress(CSV, "zstd", asbytes=True),
    ],
)
def test_known_forms_read_alike(data: bytes) -> None:
    found = read(data)
    assert rows(found) == ROWS
    assert found.rejects.height == 0
    assert str(found.frame["timestamp"][0]) == "2000-07-30 18:45:03"


@pytest.mark.parametrize("kind", [pl.String, pl.Int64, pl.UInt64])
def test_parquet_is_known_by_its_content(kind: type[pl.DataType]) -> None:
    stream = io.BytesIO()
    frame = pl.DataFrame(
        {"uid": ["1", "18446744073709551615"[: 19 if kind == pl.Int64 else 20]], "item": ["5", "6"]}
    )
    frame.select(
        pl.col("uid").cast(kind, strict=False).fill_null(3), "item", rating=pl.Series([1, 2])
    ).write_parquet(stream)
    found = read(stream.getvalue())
    assert found.columns == {"user": "uid", "item": "item", "rating": "rating"}
    assert found.frame["user_id"][0] == "1"
    assert found.frame["rating"].to_list() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"abc", "'abc' is not a number"),
        (b"0x10", "'0x10' is not a number"),
        (b"nan", "'nan' is not a rating"),
        (b"1e400", "'1e400' is not a finite number"),
        (b"1e39", "'1e39' is not a finite number"),  # in the 32 bits in which it is kept
        (b"-inf", "'-inf' is not a finite number"),
        (b"", "'' is not a rating"),
        (b"6", "6 is outside 0.5 to 5"),
    ],
)
def test_a_bad_rating_is_named_with_its_line(value: bytes, reason: str) -> None:
    data = b'title,user,item,rating\n"two\nlines",1,1,3\nx,1,2,' + value + b"\ny,1,3,4\n"
    with pytest.raises(InputError) as error:
        read(data, rating_range=(0.5, 5.0))
    assert str(error.value) == f"ratings.csv:4: column 'rating': {reason}; see --max-bad-rows"
    found = read(data, rating_range=(0.5, 5.0), max_bad_rows="1")
    assert found.frame.height == 2
    assert found.rejects.select("line", "column", "detail").rows() == [(4, "rating", reason)]


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"user,item,rating\n1,1,3\n1,2\n", 3, "column 'rating': expected 3 fields, found 2"),
        (b"user,item,rating\n1,1,3\n1,2,3,\n", 3, "column 'rating': expected 3 fields, found 4"),
        (b"user,item,rating\n1,1,3\n,2,3\n", 3, "column 'user': the id is empty"),
        (b"user,item,rating\n1,1,3\n1,\xe9,3\n", 3, "byte 0xe9 is not UTF-8"),
        (b"\xef\xbb\xbfuser,item,rating\n1,\xe9b,3\n", 2, "byte 0xe9 is not UTF-8"),
        (
            b"user,item,rating,time\n1,1,3,5\n1,2,3\n",
            3,
            "column 'time': expected 4 fields, found 3",
        ),
        (b"user,item,rating,tag\n1,1,3,\n1,2,3\n", 3, "column 'tag': expected 4 fields, found 3"),
        (b"\n\nuser,item,rating\n\n1,1,x\n", 5, "'x' is not a number"),
        (b'user,item,rating\n1,"a"b,3\n1,2,3\n', 2, "a double quote stands inside a field"),
        (b"user,item,rating\n1,1,x\n1,2,y\n1,3,4\n", 2, "'x' is not a number (+1 more rows)"),
    ],
)
def test_a_bad_row_is_named_with_its_line(data: bytes, line: int, message: str) -> None:
    with pytest.raises(InputError) as error:
        read(data)
    assert str(error.value).startswith(f"ratings.csv:{line}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        ("\u00a0\n".encode(), "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"user,item,rating\n", "no ratings in it"),
        (b"PK\x03\x04rest", "a zip archive; unpack it"),
        (CSV.decode().encode("utf-16"), "UTF-16"),
        (b"user,item,rating\n1,2\0,3\n", "NUL bytes"),
        (
            b"user,uid,item,rating\n1,1,2,3\n",
            "both 'user' and 'uid' may be the user; choose with --user-col",
        ),
        (b"user,item,rating,rating\n1,2,3,4\n", "column 'rating' appears twice"),
        (b"person,item,rating\n1,2,3\n", "no column for the user among 'person', 'item', 'rating'"),
        (b"1,2,3\n1,3,4\n", "the first line must hold the column names"),
        (b"user,item,rating\r1,2,3\r", "CR line endings"),
        (b"just one column\nof text\n", "no separator found"),
        (b'"user", "item", "rating"\n1, "a, b", 3\n', "blanks stand between ',' and quotes"),
        (b'"user","item","rating"\n"1",7,8,3\n"2",7,9,4\n', "one field more than the 3 names"),
        (b'"user" "item" "rating"\n"1" 7 8 3\n"2" 7 9 4\n', "one field more than the 3 names"),
        (b"\0" * 257 + b"ustar\0" + b"00" * 200, "is a tar archive; unpack it with 'tar -xf'"),
        (
            b"reviewerID,asin,overall\n1,2,3\n",
            "flags such as --user-col reviewerID --item-col asin --rating-col overall (the first line",
        ),
        (b"user,item\n1,2\n", "no column for the rating among 'user', 'item'; name it with"),
        (b'{"user": 1, "item": 2, "stern": 3}\n', "'item', 'stern'; name it with --rating-col"),
        (gzip.compress(CSV, mtime=0)[:-5], "damaged or cut off"),
        (b"PAR1 and no more", "damaged Parquet"),
    ],
)
def test_what_cannot_be_ratings_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as error:
        read(data)
    assert message in str(error.value)
    assert str(error.value).startswith("ratings.csv: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "flags", "message"),
    [
        (
            b"user,item,rating\n1,2,3,\n1,3,4,\n",
            {},
            "2: column 'rating': expected 3 fields, found 4",
        ),
        (b"user;item;rating\n1;2\n1;3\n", {}, "2: column 'rating': expected 3 fields, found 2"),
        (b"user,item,rating\n1,2,good\n", {}, "'good' is not a number; no row is a rating"),
        (
            CSV,
            {"no_header": True},
            "1: column 'rating': 'rating' is not a number; if this line names",
        ),
    ],
)
def test_no_row_that_is_good_has_a_cause_other_than_bad_rows(
    data: bytes, flags: dict[str, bool], message: str
) -> None:
    with pytest.raises(InputError) as error:
        read(data, **flags)
    assert message in str(error.value)
    assert "see --max-bad-rows" not in str(error.value)


def test_only_prepare_has_a_flag_for_bad_rows() -> None:
    data = Source("r.csv", lambda: io.BytesIO(b"user,item,rating\n1,2,3\n1,3,x\n"))
    with pytest.raises(InputError, match=r"'x' is not a number; change the row, or leave it out$"):
        ratings.read([data], Form())


def test_places_name_all_columns() -> None:
    flags = {"no_header": True, "user_col": "column_1", "item_col": "column_0"}
    with pytest.raises(InputError, match=r"--rating-col \(flags that choose by place have to"):
        read(b"7,1,3\n", **flags)
    assert rows(read(b"7,1,3\n", **flags, rating_col="column_2")) == [("1", "7", 3.0)]


def test_a_column_by_name_and_one_that_is_not_there() -> None:
    found = read(b"person,what,rating\n1,2,3\n", user_col="person", item_col="what")
    assert found.columns == {"user": "person", "item": "what", "rating": "rating"}
    with pytest.raises(InputError, match="'person' cannot be both the user and the item"):
        read(b"person,what,rating\n1,2,3\n", user_col="person", item_col="person")
    with pytest.raises(
        ConfigError, match="unknown column 'x'; the columns are 'person', 'item', 'r"
    ):
        read(b"person,item,rating\n1,2,3\n", user_col="x")
    with pytest.raises(ConfigError, match="did you mean 'person'"):
        read(b"person,item,rating\n1,2,3\n", user_col="persom")


def test_a_row_of_a_dat_file_is_shown_as_it_stands() -> None:
    found = read(b"1::2::3::4\n1::2::3\n2::2::3::4\n", max_bad_rows="1")
    assert found.rejects.rows() == [
        (
            "ratings.csv",
            2,
            "timestamp",
            "wrong number of fields",
            "expected 4 fields, found 3",
            "1::2::3",
        ),
    ]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_damaged_archives_are_refused(pack: Any) -> None:
    whole = pack(
        "\n".join(["user,item,rating", *(f"{i},{i * 7 % 11},{i % 5}" for i in range(300))]).encode()
    )
    start = 20  # behind the header, which has fields that mean nothing
    for place in range(start, len(whole), len(whole) // 40):
        flipped = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        for data in (flipped, whole[:place]):
            with pytest.raises(InputError, match=r"^ratings.csv: damaged or cut off"):
                read(data)


def test_an_empty_last_field_is_no_short_row() -> None:
    found = read(b'user,item,rating,tag\n1,1,3,\n1,2,3,"a,b"\n1,3,4,""\n')
    assert rows(found) == [("1", "1", 3.0), ("1", "2", 3.0), ("1", "3", 4.0)]
    assert found.rejects.height == 0


def parquet(**columns: Any) -> bytes:
    stream = io.BytesIO()
    pl.DataFrame(columns).write_parquet(stream)
    return stream.getvalue()


def test_bad_rows_of_parquet_are_counted_by_row() -> None:
    data = parquet(
        user=["a", None, "", "b"], item=[1, 2, 3, 4], rating=[float("nan"), 1.0, 2.0, 3.5]
    )
    found = read(data, max_bad_rows="3")
    assert rows(found) == [("b", "4", 3.5)]
    assert found.rejects.select("line", "column", "detail").rows() == [
        (1, "rating", "'nan' is not a finite number"),
        (2, "user", "the id is empty"),
        (3, "user", "the id is empty"),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rating": [True]}, "column 'rating' (rating) is of type Boolean"),
        ({"rating": [[1]]}, "column 'rating' (rating) is of type List"),
        ({"user": [1.0]}, "column 'user' (user) is of type Float64"),
        ({"time": [timedelta(1)]}, "column 'time' (time) is of type Duration"),
    ],
)
def test_parquet_of_other_types_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        read(parquet(**({"user": ["a"], "item": [1], "rating": [1]} | change)))
    assert message in str(error.value)


@pytest.mark.parametrize(
    "time",
    [
        datetime(2000, 7, 30, 18, 45, 3),
        datetime(2000, 7, 30, 18, 45, 3, tzinfo=UTC),
        datetime(2000, 7, 30, 20, 45, 3, tzinfo=timezone(timedelta(hours=2))),
        964982703,
        964982703.0,
        964982703000,
        "2000-07-30T20:45:03+02:00",
    ],
)
def test_times_of_parquet(time: Any) -> None:
    found = read(parquet(user=["a"], item=[1], rating=[1], time=[time]))
    assert found.frame["timestamp"].to_list() == [datetime(2000, 7, 30, 18, 45, 3)]


@pytest.mark.parametrize("allowed", ["2", "40%"])
def test_bad_rows_are_dropped_up_to_a_limit(allowed: str) -> None:
    data = b"user,item,rating\n1,1,3\n1,2,x\n1,3\n1,4,4\n1,5,5\n"
    assert read(data, max_bad_rows=allowed).frame.height == 3
    with pytest.raises(InputError, match=r"ratings.csv:3: .*\(\+1 more rows\)"):
        read(data, max_bad_rows="1")


@pytest.mark.parametrize(
    "text",
    [
        "964982703",
        " 964982703 ",
        "964982703.0",
        "964982703000",
        "964982703000000",
        "2000-07-30T18:45:03",
        "2000-07-30 18:45:03",
        "2000-07-30T18:45:03Z",
        "2000-07-30T16:45:03-02:00",
    ],
)
def test_times_in_any_unit_are_the_same(text: str) -> None:
    found = read(f"user,item,rating,time\n1,2,3,{text}\n".encode())
    assert str(found.frame["timestamp"][0]) == "2000-07-30 18:45:03"


def test_a_time_that_cannot_be_read_is_said_and_kept() -> None:
    found = read(b"user,item,rating,time\n1,2,3,964982703\n1,3,3,soon\n")
    assert found.frame["timestamp"].null_count() == 1
    assert found.notes == [
        "1 rating has no readable time, such as 'soon' (ratings.csv:3; see --time-format); "
        "it counts as the oldest"
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_ratings_of_a_source_without_times_are_told(order: int) -> None:
    untimed = Source("a.csv", lambda: io.BytesIO(b"user,item,rating\n1,2,3\n1,4,3\n"))
    timed = Source("b.csv", lambda: io.BytesIO(b"user,item,rating,time\n1,3,3,964982703\n"))
    found = read([untimed, timed][::order])
    assert found.frame["timestamp"].null_count() == 2
    assert found.notes == ["2 ratings have no readable time; they count as the oldest"]
    assert read([untimed]).notes == []


def test_several_sources_keep_their_order_and_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(CSV)
    (tmp_path / "b[1].csv").write_bytes(b"user;item;rating\n3;4;5\n")
    found = read([Source.of(tmp_path / "a.csv"), Source.of(tmp_path / "b[1].csv")])
    assert rows(found) == [*ROWS, ("3", "4", 5.0)]
    assert [(s.rows, s.bytes) for s in found.sources] == [(2, len(CSV)), (1, 23)]
    assert len(found.sources[0].sha256) == 64
    with pytest.raises(InputError, match="is a directory"):
        read([Source.of(tmp_path)])


CELL = st.text(
    st.characters(codec="utf-8", exclude_characters='\r\n\0"', exclude_categories=("Cs",)),
    max_size=6,
)
RATING = st.sampled_from(["3", "4.5", "-1", "x", "nan", "", "1e999", "7"])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(CELL, CELL, RATING), min_size=1, max_size=20))
def test_every_row_is_kept_or_rejected_with_a_reason(table: list[tuple[str, str, str]]) -> None:
    lines = "\n".join(",".join(f'"{cell}"' for cell in row) for row in table)
    good = [(u, i, float(r)) for u, i, r in table if u and i and r in ("3", "4.5", "-1", "7")]
    table = [row for row in table if "".join(row).strip()]  # others are blank lines
    config = {"max_bad_rows": "100%"}
    data = f"user,item,rating\n{lines}\n".encode()
    if not good:
        with pytest.raises(InputError, match="no ratings"):
            read(data, **config)
        return
    found = read(data, **config)
    assert rows(found) == good
    assert found.frame.height + found.rejects.height == len(table) == found.sources[0].rows
    assert found.rejects["reason"].null_count() == 0


ANY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(ANY, ANY, st.integers(-10, 100)), min_size=1, max_size=12), st.booleans())
def test_both_passes_read_the_same(table: list[tuple[str, str, int]], quoted: bool) -> None:
    stream = io.StringIO()
    quoting: Any = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    csv.writer(stream, quoting=quoting, lineterminator="\r\n").writerows(
        [("user", "item", "rating"), *table]
    )
    data = stream.getvalue().encode()
    assert rows(read(data, format="csv")) == table
    assert rows(read(data + b"1,2\n", format="csv", max_bad_rows="1")) == table
