"""What users have in the place of a good ratings file: 63 numbered cases, each with what it must
get.

E: refused with exit code 3 and one line that says file, line, column and value. D: a bad row,
refused, or dropped and counted where --max-bad-rows lets it. W: taken, with a note. A: taken.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import planted
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shell import CFCLI, run_cfcli
from typer.testing import CliRunner

from cfcli.cli.app import app
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.info import Columns

ROWS = [(u, i, (u * i) % 5 + 1) for u in range(1, 7) for i in range(1, 7)]
HEAD = "user,item,rating\n"
CSV = HEAD + "".join(f"{u},{i},{r}\n" for u, i, r in ROWS)
N = len(ROWS)


@dataclass
class Done:
    """What a command came to; ``info`` is the dataset's manifest where there is one."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def info(self) -> dict[str, Any]:
        return Dataset.load(self.folder / "data").info

    @property
    def rejects(self) -> pl.DataFrame:
        return pl.read_csv(self.folder / "data" / "rejects.csv", infer_schema=False)

    def ratings(self) -> list[tuple[str, str, float]]:
        dataset = Dataset.load(self.folder / "data")
        users, items = dataset.ids
        rows = pl.concat(
            [
                dataset.split(name).select("user", "item", "rating")
                for name in ("train", "val", "test")
            ]
        )
        return sorted(
            zip(users.id(rows["user"]), items.id(rows["item"]), rows["rating"], strict=True)
        )


Prepare = Callable[..., Done]


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Runs ``cfcli prepare`` in an empty folder on a file with the content given."""
    monkeypatch.chdir(tmp_path)

    def run(
        content: str | bytes | None, *flags: object, name: str = "r.csv", command: str = "prepare"
    ) -> Done:
        arguments = [command]
        if content is not None:
            Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
            arguments.append(name)
        done = CliRunner().invoke(app, [*arguments, *map(str, flags)], env={"COLUMNS": "300"})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr, tmp_path)

    return run


def refused(done: Done, *words: str) -> None:
    """Exit code 3, one line with these words, and nothing left behind."""
    assert done.code == 3, (done.code, done.err)
    assert re.fullmatch(r"(note: .*\n)*error: .*\n", done.err), done.err
    for word in words:
        assert word in done.err, done.err
    assert not [path.name for path in done.folder.iterdir() if "data" in path.name]


def refused_elsewhere(done: Done, *words: str) -> None:
    assert done.code == 3, done.err
    for word in words:
        assert word in done.err, done.err


def taken(done: Done, n: int = N, *words: str) -> None:
    assert done.code == 0, done.err
    assert done.info.ratings == n
    for word in words:
        assert word in done.err, done.err


def bad_row(prepare: Prepare, row: str, words: str, reason: str, *flags: str) -> None:
    """Refused by default with its true line; dropped, counted and put aside where that is
    allowed."""
    content = CSV + row + "\n9,9,3\n"
    refused(prepare(content, *flags), f"r.csv:{N + 2}: ", words)
    done = prepare(content, "--max-bad-rows", 1, *flags)
    taken(done, N + 1)
    assert done.info.rejected == {reason: 1}
    assert done.rejects.select("source", "line", "reason").rows() == [("r.csv", str(N + 2), reason)]
    assert done.rejects["raw"][0].split(",")[0] == row.split(",")[0].strip('"')


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_case_01_empty_file(prepare: Prepare, content: bytes) -> None:
    refused(prepare(content), "r.csv: is empty")


def test_case_01_dev_null(prepare: Prepare) -> None:
    refused(prepare(None, "/dev/null"), "is empty")


def test_case_02_header_only(prepare: Prepare) -> None:
    refused(prepare(HEAD), "no ratings")


@pytest.mark.parametrize("rows", ["1,1,3\n", "1,1,3\n1,2,4\n", "1,1,3\n2,1,4\n"])
def test_case_03_one_row_or_user_or_item(prepare: Prepare, rows: str) -> None:
    taken(prepare(HEAD + rows, "--val-size", 0, "--test-size", 0), rows.count("\n"))
    done = prepare(None, command="train")
    assert done.code == 3
    assert "needs at least 2 users and 2 items" in done.err


def test_case_04_no_header(prepare: Prepare) -> None:
    content = CSV.removeprefix(HEAD)
    refused(prepare(content), "--no-header")
    refused(
        prepare("9" + content),
        "no column for the user, the item and the rating among '91', '1', '2'",
        "--no-header",
    )
    taken(prepare(content, "--no-header"))
    mapped = [
        "--user-col",
        "column_1",
        "--item-col",
        "column_0",
        "--rating-col",
        "column_2",
        "--out",
        "data2",
    ]
    assert prepare(content, "--no-header", *mapped).code == 0
    assert Dataset.load(Path("data2")).info.columns == Columns("user_id", "item_id", "rating")


def test_case_05_missing_column(prepare: Prepare) -> None:
    refused(
        prepare(CSV.replace("rating", "ratting")),
        "'user', 'item', 'ratting'",
        "is it 'ratting'?",
        "--rating-col",
    )


def test_case_06_column_twice(prepare: Prepare) -> None:
    refused(prepare("user,item,rating,rating\n1,2,3,4\n"), "column 'rating' appears twice")


def test_case_07_case_and_blanks_in_names(prepare: Prepare) -> None:
    done = prepare(CSV.replace(HEAD, "User_ID, item_id ,RATING\n"))
    taken(done, N, "blanks around the names of columns were left out")
    assert done.info.columns == Columns("User_ID", "item_id", "RATING")
    assert done.out == "data\n"
    done.folder.joinpath("data", "dataset.json").unlink()


def test_case_07_names_that_are_the_same_but_for_case(prepare: Prepare) -> None:
    refused(
        prepare("user,item,rating,Rating\n1,2,3,4\n"),
        "both 'rating' and 'Rating' may be the rating",
    )


def test_case_08_byte_order_mark(prepare: Prepare) -> None:
    done = prepare("\ufeff" + CSV)
    taken(done)
    assert done.info.columns.user == "user"


def test_case_09_crlf(prepare: Prepare) -> None:
    done = prepare(CSV.replace("\n", "\r\n"))
    taken(done)
    assert done.info.rating_scale.max == 5


def test_case_10_cr_only(prepare: Prepare) -> None:
    refused(prepare(CSV.replace("\n", "\r")), "CR line endings")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-be"])
def test_case_11_utf16_and_utf32(prepare: Prepare, encoding: str) -> None:
    mark = "\ufeff" if encoding.endswith("be") else ""
    content = (mark + CSV).encode(encoding)
    refused(prepare(content), "r.csv: is UTF-", "iconv")
    taken(prepare(content, "--encoding", encoding))


def test_case_12_latin1_byte(prepare: Prepare) -> None:
    content = CSV.encode() + "9,caf\u00e9,3\n".encode("latin-1")
    refused(prepare(content), f"r.csv:{N + 2}: byte 0xe9 is not UTF-8", "--encoding")
    done = prepare(content, "--encoding", "latin-1")
    taken(done, N + 1)
    assert ("9", "caf\u00e9", 3.0) in done.ratings()


@pytest.mark.parametrize("place", ["head", "later"])
def test_case_13_nul_bytes(prepare: Prepare, place: str) -> None:
    before = CSV if place == "head" else HEAD + "1,1,3\n" * 20_000
    refused(prepare(before + "9,9\0,3\n"), "NUL bytes")


@pytest.mark.parametrize(
    "content",
    [
        random.Random(1).randbytes(5000),
        b"PK\x03\x04" + bytes(100),
        b"\x89PNG\r\n\x1a\n" + bytes(50),
    ],
)
def test_case_14_binary(prepare: Prepare, content: bytes) -> None:
    refused(prepare(content), "r.csv: ")


def parquet(**columns: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


USER, ITEM, RATING = ([row[k] for row in ROWS] for k in range(3))


def test_case_15_parquet_and_csv_under_each_others_names(prepare: Prepare) -> None:
    taken(
        prepare(parquet(user=USER, item=ITEM, rating=RATING)),
        N,
        "r.csv is Parquet, whatever its name says",
    )
    taken(prepare(CSV, "--force", name="r.parquet"), N, "r.parquet is not a Parquet file")


def test_case_16_quoted_newlines_keep_line_numbers(prepare: Prepare) -> None:
    content = 'title,user,item,rating\n"two\nlines, and ""more""",1,1,3\nx,1,2,4\n'
    taken(prepare(content, "--val-size", 0, "--test-size", 0), 2)
    refused_elsewhere(
        prepare(content + "y,2,2,abc\n", "--out", "e"),
        "r.csv:5: column 'rating': 'abc' is not a number",
    )


@pytest.mark.parametrize("rest", ["", '9,"9",4\n'])
def test_case_17_unclosed_quote(prepare: Prepare, rest: str) -> None:
    refused(prepare(CSV + '7,"7,3\n7,8,3\n' + rest + "9,8,3\n"), f"r.csv:{N + 2}: ")


@pytest.mark.parametrize("row", ['a"b,1,3', '"ab"c,1,3', '1,x ""y"",3', '"a" ,1,3'])
def test_case_18_quote_inside_a_field(prepare: Prepare, row: str) -> None:
    refused(prepare(CSV + row + "\n9,9,3\n"), f"r.csv:{N + 2}: ")


def test_case_19_short_row(prepare: Prepare) -> None:
    bad_row(prepare, "8,8", "expected 3 fields, found 2", "wrong number of fields")


@pytest.mark.parametrize("row", ["8,8,3,4", "8,8,3,"])
def test_case_20_long_row(prepare: Prepare, row: str) -> None:
    bad_row(prepare, row, "expected 3 fields, found 4", "wrong number of fields")


def test_case_20_rows_that_are_short_and_long_by_columns_of_no_interest(prepare: Prepare) -> None:
    content = "user,item,rating,a,b\n1,1,3,,\n1,2,3,x\n1,3,3,,,\n2,1,4,x,y\n"
    refused(prepare(content), "r.csv:3: column 'b': expected 5 fields, found 4 (+1 more rows)")


def test_case_21_blank_lines(prepare: Prepare) -> None:
    taken(prepare("\n\n" + CSV.replace("\n", "\n\n", 5) + "\n   \n,,\n"))


def test_case_22_no_final_newline(prepare: Prepare) -> None:
    taken(prepare(CSV.rstrip("\n")), N, "the last line has no line break; the file may be cut off")


def test_case_22_cut_last_line(prepare: Prepare) -> None:
    refused(prepare(CSV + "9,9"), f"r.csv:{N + 2}: ", "expected 3 fields, found 2")


@pytest.mark.parametrize(
    ("separator", "shown"), [(";", ";"), ("\t", "\\t"), ("|", "|"), ("::", "::")]
)
def test_case_23_separators(prepare: Prepare, separator: str, shown: str) -> None:
    taken(prepare(CSV.replace(",", separator)), N, f"fields are separated by '{shown}'")


def test_case_23_ambiguous_separators(prepare: Prepare) -> None:
    content = "a,b,c;d;e\n" * 3
    refused(prepare(content), "',' or by ';'", "--format")


@pytest.mark.parametrize(
    "lines", ["# made by a tool\n", "Report, of, today\nall, is, well\n", "x\n\ny;z\n"]
)
def test_case_24_preamble(prepare: Prepare, lines: str) -> None:
    refused(prepare(lines + CSV), "--skip-lines")
    taken(prepare(lines + CSV, "--skip-lines", lines.count("\n")))
    bad = prepare(lines + CSV + "9,9,x\n", "--skip-lines", lines.count("\n"), "--out", "e")
    assert f"r.csv:{lines.count(chr(10)) + N + 2}: " in bad.err


def test_case_25_decimal_comma(prepare: Prepare) -> None:
    content = (CSV + "9,9,3.5\n").replace(",", ";").replace("3.5", "3,5")
    refused(
        prepare(content),
        f"r.csv:{N + 2}: column 'rating': '3,5' is not a number",
        "--decimal-comma",
    )
    done = prepare(content, "--decimal-comma")
    taken(done, N + 1)
    assert ("9", "9", 3.5) in done.ratings()


def test_case_26_thousands(prepare: Prepare) -> None:
    bad_row(prepare, '8,8,"1,234"', "'1,234' is not a number", "not a number")
    done = prepare(CSV + '"1,234",9,3\n', "--force")
    assert ("1,234", "9", 3.0) in done.ratings()


@pytest.mark.parametrize("value", ["NaN", "nan", "-nan"])
def test_case_27_nan(prepare: Prepare, value: str) -> None:
    reason = "not a finite number" if value.startswith("-") else "missing rating"
    bad_row(prepare, f"8,8,{value}", f"'{value}'", reason)


@pytest.mark.parametrize("value", ["inf", "-Infinity", "1e400", "1e39"])
def test_case_28_infinite(prepare: Prepare, value: str) -> None:
    bad_row(prepare, f"8,8,{value}", f"'{value}' is not a finite number", "not a finite number")


@pytest.mark.parametrize("value", ["", "NA", "null", "None", "-", "n/a"])
def test_case_29_missing_rating(prepare: Prepare, value: str) -> None:
    bad_row(prepare, f"8,8,{value}", f"'{value}' is not a rating", "missing rating")


@pytest.mark.parametrize("value", ["true", "0x10", "1_000"])
def test_case_30_what_other_languages_take_for_numbers(prepare: Prepare, value: str) -> None:
    bad_row(prepare, f"8,8,{value}", f"'{value}' is not a number", "not a number")


def test_case_30_blanks_are_trimmed(prepare: Prepare) -> None:
    taken(prepare(CSV + "8,8, 3\n8,7,3 \n"), N + 2, "2 ratings had blanks around them")


def test_case_31_outside_the_range(prepare: Prepare) -> None:
    bad_row(
        prepare,
        "8,8,77",
        "77 is outside 1 to 5",
        "outside the rating range",
        "--rating-range",
        "1,5",
    )
    done = prepare(CSV + "8,8,77\n", "--force")
    taken(done, N + 1, "77 \u2588")


def test_case_32_all_ratings_equal(prepare: Prepare) -> None:
    taken(
        prepare(HEAD + "".join(f"{u},{i},3\n" for u, i, _ in ROWS)), N, "all training ratings are 3"
    )
    assert prepare(None, command="train").code == 3
    assert prepare(None, "--set", "rating_range=[1, 5]", "--epochs", 1, command="train").code == 0


def test_case_33_text_far_down(prepare: Prepare) -> None:
    lines = [f"{k},{k % 97},{k % 5 + 1}" for k in range(30_000)]
    lines[20_000] = "7,8,good"
    refused(
        prepare(HEAD + "\n".join(lines) + "\n"),
        "r.csv:20002: column 'rating': 'good' is not a number",
    )


def test_case_34_exact_duplicates(prepare: Prepare) -> None:
    done = prepare(CSV + CSV.removeprefix(HEAD))
    taken(done, N, f"{N} ratings of pairs rated before")
    assert done.info.duplicates == N


@pytest.mark.parametrize(("policy", "rating"), [("last", 1.0), ("first", 4.0), ("mean", 2.5)])
def test_case_35_conflicting_ratings(prepare: Prepare, policy: str, rating: float) -> None:
    content = "user,item,rating,time\n9,9,4,100\n9,9,1,300\n9,8,5,200\n"
    done = prepare(content, "--duplicates", policy, "--val-size", 0, "--test-size", 0)
    taken(done, 2, "1 rating of pairs rated before")
    assert ("9", "9", rating) in done.ratings()
    refused_elsewhere(
        prepare(content, "--duplicates", "error", "--out", "e"), "user '9' and item '9'"
    )


def ids_stay(prepare: Prepare, ids: list[str], *words: str) -> Done:
    """Each of these is an id of its own, and comes out as it went in."""
    quoted = ['"' + text.replace('"', '""') + '"' for text in ids]
    done = prepare(
        HEAD + "".join(f"{text},{k},{k % 5}\n" for k, text in enumerate(quoted)),
        "--val-size",
        0,
        "--test-size",
        0,
    )
    taken(done, len(ids), *words)
    assert sorted(row[0] for row in done.ratings()) == sorted(ids)
    return done


def test_case_36_any_integers(prepare: Prepare) -> None:
    ids_stay(prepare, ["-5", "0", "1", "4000000000", "-0"])


def test_case_37_large_integers(prepare: Prepare) -> None:
    ids_stay(
        prepare,
        [
            "9007199254740993",
            "9007199254740992",
            "18446744073709551616",
            "170141183460469231731687303715884105728",
        ],
    )


def test_case_38_float_ids(prepare: Prepare) -> None:
    ids_stay(prepare, ["1.0", "2.0", "1e5"], "look like floats", "pandas")
    done = prepare(HEAD + "1,1,3\n5.0,2,4\n10,3,5\n", "--force", "--accept-shrink")
    assert "ids in 'user' look like floats, such as 5.0: " in done.err


def test_case_38_float_ids_among_others(prepare: Prepare) -> None:
    notes = ("look like floats, such as 1.0:", "1 id in 'user' differs from others only by")
    ids_stay(prepare, ["1", "1.0", "2", "100"], *notes)


def test_case_38_float_ids_in_the_place_of_integers(prepare: Prepare) -> None:
    taken(prepare(CSV))
    done = prepare(HEAD + "".join(f"{u}.0,{i}.0,{r}\n" for u, i, r in ROWS), "--force")
    assert done.code == 3
    assert (
        "only 0% of its users are in the new input, they were like '1' and are like '1.0'"
        in done.err
    )


def test_case_39_leading_zeros(prepare: Prepare) -> None:
    words = "2 ids in 'user' differ from others only by blanks"
    ids_stay(prepare, ["7", "007", "07", "100"], words)


def test_ids_that_differ_by_case_are_told(prepare: Prepare) -> None:
    words = "1 id in 'user' differs from others only by letter case, such as 'Ann'"
    ids_stay(prepare, ["Ann", "ann", "Bob", "a"], f"{words} and 'ann'")
    assert (
        "differ"
        not in ids_stay(
            lambda *a: prepare(*a, "--force", "--accept-shrink"), ["Ann", "Bob", "01", "2"]
        ).err
    )


def test_case_40_any_text(prepare: Prepare) -> None:
    ids = [
        "3f2b8c1e-0000-4000-8000-000000000000",
        "a@b.c",
        "\U0001f600",
        "\u00e9",
        "e\u0301",
        "x\u200b",
        "x",
        "x ",
        'q"',
        "a\nb",
    ]
    ids_stay(
        prepare,
        ids,
        "2 ids in 'user' differ from others only by blanks, quotes, the form of accents or zeros",
    )


def test_case_41_empty_and_huge_ids(prepare: Prepare) -> None:
    bad_row(prepare, ",8,3", "column 'user': the id is empty", "missing user id")
    huge = "z" * 1_000_000
    content = CSV + f"8,{huge},3\n9,9,3\n"
    assert "column 'item': the id is longer than 1024 bytes" in prepare(content).err
    taken(prepare(content, "--max-bad-rows", 1, "--force"), N + 1)
    ids_stay(lambda *a: prepare(*a, "--force", "--accept-shrink"), ["z" * 1024, "b"])


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        ("964982703", "seconds"),
        ("964982703000", "milli"),
        ("964982703000000", "micro"),
        ("964982703000000000", "nano"),
    ],
)
def test_case_42_units_of_time(prepare: Prepare, value: str, unit: str) -> None:
    content = HEAD.replace("\n", ",time\n") + "".join(f"{u},{i},{r},{value}\n" for u, i, r in ROWS)
    done = prepare(content)
    taken(done, N, *([f"read as {unit}"] if unit != "seconds" else []))
    assert Dataset.load(Path("data")).split("train", times=True)["timestamp"][0] == datetime(
        2000, 7, 30, 18, 45, 3
    )
    if unit in ("seconds", "milli"):
        mixed = prepare(
            content + "9,9,3,5\n9,8,4,964982703000999\n", "--max-bad-rows", 9, "--out", "e"
        )
        line = N + (3 if unit == "seconds" else 2)
        refused_elsewhere(mixed, f"r.csv:{line}: column 'time': ", f"not in {unit}")


def test_case_42_times_of_all_sorts(prepare: Prepare) -> None:
    soon = int((datetime.now(UTC) + timedelta(days=40)).timestamp())
    rows = [("1", -86400), ("2", 0), ("3", soon), ("4", "964982703.5"), ("5", "")]
    content = HEAD.replace("\n", ",time\n") + "".join(f"{u},1,{u},{t}\n" for u, t in rows)
    done = prepare(content, "--val-size", 0, "--test-size", 0)
    taken(done, 5, "1 rating is dated after tomorrow", "1 rating has no readable time")
    times = Dataset.load(Path("data")).split("train", times=True)["timestamp"].to_list()
    assert times[:2] == [datetime(1969, 12, 31), datetime(1970, 1, 1)]
    zoned = (
        HEAD.replace("\n", ",time\n")
        + "1,1,1,2020-01-01T12:00:00+02:00\n2,1,2,2020-01-01T12:00:00Z\n"
    )
    prepare(zoned, "--val-size", 0, "--test-size", 0, "--out", "e")
    assert [t.hour for t in Dataset.load(Path("e")).split("train", times=True)["timestamp"]] == [
        10,
        12,
    ]


def test_case_43_a_hundred_thousand_columns(prepare: Prepare) -> None:
    filler = ",".join(f"c{k}" for k in range(100_000))
    values = "," * 99_999
    content = f"user,{filler},item,rating\n" + "".join(
        f"{u},{values},{i},{r}\n" for u, i, r in ROWS
    )
    taken(prepare(content))


def test_case_44_a_line_longer_than_16_mb(prepare: Prepare) -> None:
    with open("r.csv", "w") as stream:
        stream.write(CSV + "9,")
        for _ in range(40):
            stream.write("x" * (1 << 20))
    refused(prepare(None, "r.csv"), "longer than 16 MB")


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: pa.compress(data, "zstd", asbytes=True),
    ],
)
def test_case_45_damaged_archives(prepare: Prepare, pack: Callable[[bytes], bytes]) -> None:
    whole = pack((CSV * 50).replace(HEAD, "").encode())
    refused(prepare(whole[: len(whole) // 2]), "damaged or cut off")
    if pack is gzip.compress:
        refused(prepare(whole[:-8] + bytes(4) + whole[-4:]), "damaged")  # the checksum
        refused(prepare(whole + b"rubbish"), "damaged")


def test_case_46_members_one_after_the_other(prepare: Prepare) -> None:
    half = CSV.encode()
    taken(prepare(gzip.compress(half[:100]) + gzip.compress(half[100:])))


@pytest.mark.parametrize(
    "content", [bytes(300 << 20), b"\n" * (300 << 20), b"1,1,3\n" * (50 << 20)]
)
def test_case_47_decompression_bomb(prepare: Prepare, content: bytes) -> None:
    bomb = gzip.compress(HEAD.encode() + content, 1)
    assert len(bomb) < 3 << 20
    refused(prepare(bomb))


def test_case_47_decompression_bomb_of_titles(prepare: Prepare) -> None:
    content = b"movieId,title\n" + b"1,A film of some name (1999)\n" * (10 << 20)
    Path("films.csv.gz").write_bytes(gzip.compress(content, 1))
    refused(prepare(CSV, "--items", "films.csv.gz"), "films.csv.gz: unpacks to more than 100 times")
    taken(prepare(CSV, "--items", "films.csv.gz", "--max-bytes", len(content)))


def test_case_47_stated_limits(prepare: Prepare) -> None:
    refused(prepare(CSV, "--max-rows", N - 1), f"more than {N - 1} rows", "--max-rows")
    refused(prepare(CSV, "--max-bytes", len(CSV) - 1), "--max-bytes")
    taken(prepare(CSV, "--max-rows", N, "--max-bytes", len(CSV)))


@pytest.mark.parametrize(
    "columns",
    [
        {"rating": [str(r) for r in RATING]},
        {"rating": [Decimal(r) / 2 for r in RATING]},
        {"rating": pa.array(RATING, pa.int8())},
        {"user": pa.array([2**64 - u for u in USER], pa.uint64())},
        {"user": pa.array([str(u) for u in USER]).dictionary_encode()},
        {"item": pa.array([f"i{i}" for i in ITEM], pa.large_string())},
    ],
)
def test_case_48_types_of_parquet_that_can_be_read(
    prepare: Prepare, columns: dict[str, Any]
) -> None:
    taken(
        prepare(
            parquet(**({"user": USER, "item": ITEM, "rating": RATING} | columns)), name="r.parquet"
        )
    )


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"rating": [r > 2 for r in RATING]}, "column 'rating' (rating) is of type Boolean"),
        ({"rating": [[r] for r in RATING]}, "column 'rating' (rating) is of type List"),
        ({"user": [u + 0.5 for u in USER]}, "column 'user' (user) is of type Float64"),
        ({"item": [[i] for i in ITEM]}, "column 'item' (item) is of type List"),
    ],
)
def test_case_48_types_of_parquet_that_cannot(
    prepare: Prepare, columns: dict[str, Any], words: str
) -> None:
    refused(
        prepare(
            parquet(**({"user": USER, "item": ITEM, "rating": RATING} | columns)), name="r.parquet"
        ),
        words,
    )


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["1", "2", "3", "4", "5"])])
def test_dictionaries_of_text_are_ratings_and_times(prepare: Prepare, dtype: Any) -> None:
    days = [f"2020-01-{1 + k % 28:02}" for k in range(N)]
    frame = pl.DataFrame({"user": USER, "item": ITEM})
    frame = frame.with_columns(
        pl.Series("rating", [str(r) for r in RATING], dtype=dtype),
        pl.Series("time", days, dtype=pl.Categorical),
    )
    frame.write_parquet("r.parquet")
    done = prepare(None, "r.parquet", "--val-size", 0, "--test-size", 0)
    taken(done, N)
    assert done.ratings() == sorted(
        (str(u), str(i), float(r)) for u, i, r in zip(USER, ITEM, RATING, strict=True)
    )
    times = Dataset.load(done.folder / "data").split("train", times=True)["timestamp"]
    assert sorted(times.dt.strftime("%Y-%m-%d")) == sorted(days)


@pytest.mark.parametrize("name", ["user", "rating"])
def test_decimals_of_256_bits_are_named(
    prepare: Prepare, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    wide = pa.array([Decimal(r) for r in RATING], pa.decimal256(50, 0))
    columns = {"user": USER, "item": ITEM, "rating": RATING}
    refused(
        prepare(parquet(**(columns | {name: wide})), name="r.parquet"),
        f"r.parquet: column '{name}' is of type decimal256(50, 0), which cannot be read; make it "
        "float64 or text",
    )
    assert capfd.readouterr().err == ""  # no backtrace either
    taken(prepare(parquet(**columns, other=wide), name="r.parquet"))


def test_case_49_damaged_parquet(prepare: Prepare) -> None:
    whole = parquet(user=USER, item=ITEM, rating=RATING)
    refused(prepare(whole[:-10], name="r.parquet"), "damaged Parquet")
    refused(prepare(whole[:40] + whole[60:], name="r.parquet"), "damaged Parquet")
    refused(prepare(b"PAR1" + bytes(200) + whole[-8:], name="r.parquet"), "damaged Parquet")


def test_case_50_parquet_without_rows_or_ids(prepare: Prepare) -> None:
    refused(
        prepare(
            parquet(
                user=pa.array([], pa.int64()),
                item=pa.array([], pa.int64()),
                rating=pa.array([], pa.int8()),
            )
        ),
        "no ratings",
    )
    content = parquet(user=[None, *USER], item=[1, *ITEM], rating=[3, *RATING])
    refused(prepare(content, name="r.parquet"), "r.parquet:1: column 'user': the id is empty")
    taken(prepare(content, "--max-bad-rows", 1, name="r.parquet"))


def test_case_51_directory(prepare: Prepare) -> None:
    Path("folder.csv").mkdir()
    Path("folder.csv/readme.txt").write_text("nothing")
    refused(prepare(None, "folder.csv"), "folder.csv: is a directory without Parquet files")


def test_case_52_what_cannot_be_opened(prepare: Prepare) -> None:
    Path("dangling.csv").symlink_to("nowhere")
    Path("loop.csv").symlink_to("loop.csv")
    for name, reason in (
        ("none.csv", "No such file"),
        ("dangling.csv", "No such file"),
        ("loop.csv", "symbolic links"),
    ):
        done = prepare(None, name)
        assert done.code == 4
        assert done.err.startswith(f"error: {name}: ")
        assert reason in done.err
    if os.geteuid():  # root may read all
        Path("secret.csv").write_text(CSV)
        Path("secret.csv").chmod(0)
        assert prepare(None, "secret.csv").code == 4


@pytest.mark.parametrize("name", ["a?.csv", "r[1].csv", "*.csv", "{a,b}.csv"])
def test_case_53_names_are_no_patterns(prepare: Prepare, name: str) -> None:
    Path("a1.csv").write_text(CSV + "9,9,3\n")
    taken(prepare(CSV, name=name))


def test_case_54_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=lambda: (tmp_path / "fifo").write_text(CSV))
    writer.start()
    assert run_cfcli("prepare", "fifo", "--out", "a", cwd=tmp_path).returncode == 0
    writer.join()
    assert run_cfcli("prepare", "-", "--out", "b", cwd=tmp_path, input=CSV).returncode == 0
    assert run_cfcli("prepare", "/dev/stdin", "--out", "c", cwd=tmp_path, input=CSV).returncode == 0
    (tmp_path / "r.parquet").write_bytes(parquet(user=USER, item=ITEM, rating=RATING))
    (tmp_path / "r.csv").write_text("# a remark\n" + CSV)
    script = (
        f"{CFCLI} prepare <(cat r.parquet) --out d -q && "
        f"gzip -c r.parquet | {CFCLI} prepare - --out e -q && "
        # a file that somebody has begun to read
        f"(read -r remark; {CFCLI} prepare - --out f -q) < r.csv"
    )
    subprocess.run(["bash", "-ec", script], cwd=tmp_path, check=True, capture_output=True)
    for name in "abcdef":
        assert Dataset.load(tmp_path / name).info.ratings == N


def test_case_55_links(prepare: Prepare) -> None:
    Path("link.csv").symlink_to("r.csv")
    Path("real").mkdir()
    Path("data").symlink_to("real")
    Path("r.csv").write_text(CSV)
    taken(prepare(None, "link.csv"))
    assert Path("data").is_symlink()
    assert Dataset.load(Path("real")).info.ratings == N


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "..", ".hidden", ""])
def test_case_56_names_that_leave_the_folder(prepare: Prepare, name: str) -> None:
    taken(prepare(CSV))
    manifest = Path("data/dataset.json")
    files = json.loads(manifest.read_text())["files"]
    planted.reseal(manifest, files=files | {name: files["train.parquet"]})
    done = prepare(None, command="train")
    assert done.code == 7
    assert "names a file outside its folder" in done.err


def test_case_57_output_that_would_swallow_the_input(prepare: Prepare) -> None:
    taken(prepare(CSV))
    Path("data/r.csv").write_text(CSV)
    before = sorted(Path("data").iterdir())
    around = "lies in or around the output"
    for arguments, said in (
        (("data/r.csv",), around),
        (("r.csv", "--out", "r.csv"), around),
        (("data", "--out", "data/inner"), "belongs to the dataset"),
        (("data",), "data: is a dataset already; go on with 'cfcli train --data data'"),
        (("data", "--out", "e"), "data: is a dataset already"),
    ):
        done = prepare(None, *arguments)
        assert done.code == 2, arguments
        assert said in done.err
    assert sorted(Path("data").iterdir()) == before
    assert Path("r.csv").read_text() == CSV


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.csv", "\u00fcn\u00efcode.csv".encode(), b"two\nlines.csv", b"-dash.csv"]
)
def test_case_58_odd_file_names(tmp_path: Path, name: bytes) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_text(CSV + "9,9,x\n")
    done = subprocess.run(
        [CFCLI, "prepare", "--", name], cwd=tmp_path, capture_output=True, timeout=60
    )
    assert done.returncode == 3
    assert done.stderr.count(b"\n") == 1
    assert b"is not a number" in done.stderr
    done = subprocess.run(
        [CFCLI, "prepare", "--max-bad-rows", "1", "--", name], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0
    assert Dataset.load(tmp_path / "data").info.sources[0].name == os.fsdecode(name)


@pytest.mark.parametrize(
    "args",
    [
        ["prepare", "ratings.csv", "--out", b"r\xff"],
        ["train", "--out", b"r\xff"],
        ["train", "--out", b"r\xff/run"],
        ["retrain", "ratings.csv", "--store", b"r\xff"],
        ["evaluate", b"named\xff"],
    ],
    ids=str,
)
def test_case_58_odd_names_of_folders(
    args: list[str | bytes], project: Path, tmp_path: Path
) -> None:
    """Libraries cannot take them, which is said before the work."""
    here = Path(shutil.copytree(project, tmp_path / "here"))
    (here / "base").rename(here / os.fsdecode(b"named\xff"))
    before = sorted(here.iterdir())
    done = run_cfcli(*map(os.fsdecode, args), cwd=here)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "is not a name in UTF-8; choose another" in done.stderr
    assert sorted(here.iterdir()) == before


def test_case_59_locale_that_cannot_show_an_id(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(CSV + "9,9,\u00e9\u4f60\n", encoding="utf-8")
    done = run_cfcli(
        "prepare",
        "r.csv",
        cwd=tmp_path,
        env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 3
    assert "is not a number" in done.stderr


def test_case_60_nowhere_to_write(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(CSV)
    full = run_cfcli("prepare", "r.csv", "--out", "/dev/full/data", cwd=tmp_path)
    assert full.returncode == 4
    assert full.stderr.count("\n") == 1
    assert (
        run_cfcli(
            "prepare", "r.csv", "--out", "/proc/data", cwd=tmp_path, env={"HOME": ""}
        ).returncode
        == 4
    )


def test_case_61_two_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    first = subprocess.Popen(
        [CFCLI, "prepare", "fifo", "-q"], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    with open(tmp_path / "fifo", "w") as stream:  # waits until it is opened for reading
        stream.write(CSV)
        stream.flush()
        (tmp_path / "r.csv").write_text(CSV)
        second = run_cfcli("prepare", "r.csv", cwd=tmp_path)
        assert second.returncode == 5
        assert f"process {first.pid} is writing it" in second.stderr
    assert first.wait(timeout=60) == 0
    assert Dataset.load(tmp_path / "data").info.ratings == N


def test_case_62_cold_rows(prepare: Prepare) -> None:
    Path("test.csv").write_text(HEAD + "1,1,3\nnew,1,3\n1,new,3\n")
    done = prepare(CSV, "--test-file", "test.csv")
    taken(done, N + 2, "2 cold (user or item not in train)")
    Path("test.csv").write_text(HEAD + "new,1,3\n1,new,3\n")
    done = prepare(CSV, "--test-file", "test.csv", "--out", "e")
    assert done.code == 3
    assert "test.csv: no row has both a user and an item of the training ratings" in done.err


def test_case_63_far_fewer_rows_or_other_ids_than_before(prepare: Prepare) -> None:
    taken(prepare(CSV))
    fewer = CSV[: len(CSV) // 3].rsplit("\n", 1)[0] + "\n"
    done = prepare(fewer, "--force")
    assert done.code == 3
    assert f"has {N} ratings" in done.err
    assert "--accept-shrink" in done.err
    other = HEAD + "".join(f"u{u},{i},{r}\n" for u, i, r in ROWS)
    assert "only 0% of its users" in prepare(other, "--force").err
    assert Dataset.load(Path("data")).info.ratings == N
    taken(prepare(fewer, "--force", "--accept-shrink"), fewer.count("\n") - 1)


def test_bad_rows_are_kept_for_their_owner_or_not_at_all(prepare: Prepare) -> None:
    bad = CSV + "somebody,1,bad\n"
    taken(prepare(bad, "--max-bad-rows", 1))
    assert stat.S_IMODE(Path("data/rejects.csv").stat().st_mode) == 0o600
    taken(prepare(bad, "--max-bad-rows", 1, "--no-rejects-file", "--force"))
    assert not Path("data/rejects.csv").exists()
    assert b"somebody" not in b"".join(path.read_bytes() for path in Path("data").iterdir())


def test_blanks_behind_commas_are_told(prepare: Prepare) -> None:
    rows = "".join(f"{u}, {i}, {r}\n" for u, i, r in ROWS)
    done = prepare("user, item, rating\n" + rows + "7,1,3\n")
    taken(
        done,
        N + 1,
        "6 ids in 'item' have blanks around them, such as ' 1', and keep them; if they do not belong "
        "to the ids, remove them: python -c ",
        "1 id in 'item' differs from others only by blanks, quotes, the form of accents or zeros",
    )
    assert {item for _, item, _ in done.ratings()} == {" 1", " 2", " 3", " 4", " 5", " 6", "1"}
    assert "in 'user'" not in done.err


def test_the_null_of_databases_is_no_rating(prepare: Prepare) -> None:
    done = prepare(CSV + "9,1,\\N\n")
    assert (done.code, done.err) == (
        3,
        f"error: r.csv:{N + 2}: column 'rating': '\\N' is not a rating; see --max-bad-rows\n",
    )
    taken(prepare(CSV + "\\N,1,3\n"), N + 1, "'\\N' in 'user' is taken as an id")


@pytest.mark.parametrize("blank", [" ", "\u00a0"])
def test_what_the_note_on_blanks_tells_takes_them_out(prepare: Prepare, blank: str) -> None:
    done = prepare(HEAD + "".join(f'{u},"{blank}{i}",{r}\n' for u, i, r in ROWS))
    command = done.err.split("remove them: ")[1].split(" | cfcli")[0].replace("FILE", "r.csv")
    command = command.replace("python", sys.executable, 1)
    assert subprocess.run(command, shell=True, capture_output=True).stdout.split() == [
        line.encode() for line in CSV.split()
    ]


def test_single_quotes_around_ids_are_told(prepare: Prepare) -> None:
    done = prepare(HEAD + "".join(f"'{u}',{i},{r}\n" for u, i, r in ROWS))
    taken(done, N, "6 ids in 'user' have single quotes around them, such as ''1'', and keep them")
    assert 'remove them: tr -d "\'" < FILE | cfcli prepare -' in done.err


def test_quotes_around_ids_are_told(prepare: Prepare) -> None:
    rows = "".join(f'"{u}"\t{i}\t{r}\n' for u, i, r in ROWS)
    done = prepare("user\titem\trating\n" + rows + "1\t7\t3\n", name="r.tsv")
    taken(
        done,
        N + 1,
        "6 ids in 'user' have quotes around them, such as '\"1\"', and keep them; if they do not "
        "belong to the ids, remove them: tr -d '\"' < FILE | cfcli prepare -",
        "1 id in 'user' differs from others only by blanks, quotes, the form of accents or zeros",
    )
    assert "in 'item'" not in done.err


def test_a_table_of_r_with_quotes_between_tabs_is_read(prepare: Prepare) -> None:
    rows = "".join(f'"{u}"\t"{i}"\t{r}\t"a ""b""{chr(9) * (u == i)}"\n' for u, i, r in ROWS)
    done = prepare('"user"\t"item"\t"rating"\t"note"\n' + rows, name="r.tsv")
    taken(done, N, "quotes around fields were left out")
    assert done.ratings() == sorted((str(u), str(i), float(r)) for u, i, r in ROWS)
    assert "have quotes" not in done.err


def test_titles_by_ids_that_only_look_the_same_are_told(prepare: Prepare) -> None:
    titles = "".join(f"{i}.0,Film {i}\n" for i in range(1, 7))
    Path("movies.csv").write_text("item,title\n" + titles)
    taken(
        prepare(CSV, "--items", "movies.csv"),
        N,
        "6 of 6 items have no title in movies.csv, such as '1' (there it is '1.0': written as a "
        "decimal?)",
    )


def test_what_is_known_of_people_counts_only_where_it_is_named(prepare: Prepare) -> None:
    Path("u.csv").write_text("user,age,town\n1,20,Rome\n2,30,Bern\n3,40,Rome\n")
    ratings = "user,item,rating\n" + "".join(
        f"{u},{i},{u}\n" for u in (1, 2, 3) for i in (1, 2, 3, 4)
    )
    done = prepare(ratings, "--users", "u.csv")
    assert done.code == 2
    assert done.err.endswith("as they say things about people: --attributes age,town\n")
    done = prepare(ratings, "--users", "u.csv", "--attributes", "age", "--json")
    assert json.loads(done.out)["attributes"] == {
        "user": [{"name": "age", "kind": "number", "missing": 0, "knots": [20, 30, 40]}],
        "item": [],
    }
    assert "user attribute  age: number, about 20 to 40" in done.err


def test_all_columns_that_are_missing_are_named_at_once(prepare: Prepare) -> None:
    rows = "".join(f"{u},{i},{r}\n" for u, i, r in ROWS)
    refused(
        prepare("Kunde,Film,Sterne\n" + rows),
        "no column for the user, the item and the rating among 'Kunde', 'Film', 'Sterne'; "
        "name them with --user-col, --item-col, --rating-col",
    )
    names = ("--user-col", "kunde", "--item-col", "FILM", "--rating-col", "Sterne")
    taken(prepare("Kunde,Film,Sterne\n" + rows, *names), N)
    assert Dataset.load(Path("data")).info.columns.user == "Kunde"
    twice = "".join(f"{u},{u},{i},{r}\n" for u, i, r in ROWS)
    flags = ("--user-col", "kunde", "--item-col", "Film", "--out", "e")
    done = prepare("Kunde,KUNDE,Film,rating\n" + twice, *flags)
    assert (done.code, "unknown column 'kunde'" in done.err) == (2, True)


def test_more_bad_rows_than_allowed_are_told_beside_the_limit(prepare: Prepare) -> None:
    bad = CSV + "9,1,x\n" * (2 * N)
    refused(
        prepare(bad, "--max-bad-rows", "50%"),
        f"(+{2 * N - 1} more rows); 66.7% of the rows are bad, and --max-bad-rows allows 50%",
    )
    refused(prepare(bad, "--max-bad-rows", 3), f"; {2 * N} of the rows are bad, and --max-bad-rows")


def test_the_note_on_blanks_has_the_separator_of_the_file(prepare: Prepare) -> None:
    content = (HEAD + "".join(f"{u}, {i},{r}\n" for u, i, r in ROWS)).replace(",", ";")
    done = prepare(content)
    command = done.err.split("remove them: ")[1].split(" | cfcli")[0].replace("FILE", "r.csv")
    command = command.replace("python", sys.executable, 1)
    found = subprocess.run(command, shell=True, capture_output=True).stdout.decode()
    assert found.split() == CSV.replace(",", ";").split()
    lines = [json.dumps({"user": f"{u} ", "item": i, "rating": r}) for u, i, r in ROWS]
    done = prepare("\n".join(lines), "--out", "e", name="r.jsonl")
    assert "if they do not belong to the ids, remove them from the input before\n" in done.err
