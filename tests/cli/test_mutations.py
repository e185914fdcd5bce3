"""Damaged files: hundreds of small ones, in a soak thousands, none of which may crash, hang or
panic."""

import gzip
import io
import itertools
import random
import signal
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from soak import SOAK
from typer.testing import CliRunner

from cfcli.cli.app import app

ROWS = [(f"u{k % 7}", k * 37 % 11, k % 9 / 2 + 0.5, 964982703 + 86400 * k) for k in range(60)]
FRAME = pl.DataFrame(ROWS, schema=["user_id", "item_id", "rating", "timestamp"], orient="row")


def csv(**options: str) -> bytes:
    stream = io.BytesIO()
    FRAME.with_columns(title=pl.lit('a "b", c\nd')).write_csv(stream, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def parquet(**options: object) -> bytes:
    stream = io.BytesIO()
    FRAME.write_parquet(stream, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def arrow(**options: object) -> bytes:
    stream = io.BytesIO()
    FRAME.write_ipc(stream, **options)  # type: ignore[call-overload]
    return stream.getvalue()


def arrow_stream() -> bytes:
    stream = io.BytesIO()
    FRAME.with_columns(pl.col("user_id").cast(pl.Categorical)).write_ipc_stream(stream)
    return stream.getvalue()


def database() -> bytes:
    with closing(sqlite3.connect(":memory:")) as made:
        made.execute(f"create table ratings ({', '.join(FRAME.columns)})")
        made.execute("create index by_user on ratings (user_id)")
        made.execute("create view good as select item_id from ratings where rating > 3")
        made.executemany("insert into ratings values (?, ?, ?, ?)", ROWS)
        made.commit()
        return made.serialize()


def spreadsheet() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml"):
            archive.writestr(name, "<Types/>")
        cells = "".join(f"<row><c><v>{k}</v></c></row>" for k in range(50))
        archive.writestr("xl/worksheets/sheet1.xml", f"<sheetData>{cells}</sheetData>")
    return stream.getvalue()


VALID = {
    "plain.csv": csv(),
    "quoted.csv": csv(quote_style="always", line_terminator="\r\n"),
    "packed.csv.gz": gzip.compress(csv(), mtime=0),
    "u.data": csv(separator="\t", quote_style="never").replace(b"\nd", b""),
    "zstd.parquet": parquet(compression="zstd"),
    "plain.parquet": parquet(compression="uncompressed", use_pyarrow=True),
    "lines.jsonl": FRAME.write_ndjson().encode(),
    "array.json": FRAME.write_json().encode(),
    "blanks.txt": csv(separator=" ", quote_style="never").replace(b'a "b", c\nd', b"title"),
    "netflix.txt": b"".join(
        b"%d:\n" % (k // 6) * (k % 6 == 0)
        + b"u%d,%g,2005-09-%02d\n" % (k % 7, k % 9 / 2 + 0.5, k % 30 + 1)
        for k in range(60)
    ),
    "zstd.arrow": arrow(compression="zstd"),
    "plain.arrow": arrow(compression="uncompressed"),
    "stream.arrows": arrow_stream(),
    "ratings.db": database(),
    "groups.parquet": parquet(compression="snappy", row_group_size=16, use_pyarrow=True),
}
REFUSED = {"sheet.xlsx": spreadsheet()}
SECONDS = 60  # that a file may take, also where much else is going on
TIMES = 300 if SOAK else 40  # of each


def mutants(data: bytes, seed: int) -> Iterator[bytes]:
    """Endless damage: bytes flipped, cut out, put in, repeated or exchanged."""
    chance = random.Random(seed)
    while True:
        changed = bytearray(data)
        for _ in range(chance.choice([1, 1, 1, 2, 5])):
            place = chance.randrange(len(changed) + 1)
            n = chance.choice([1, 1, 1, 2, 8, 60])
            kind = chance.randrange(5)
            if kind == 0 and place < len(changed):
                changed[place] ^= 1 << chance.randrange(8)
            elif kind == 1:
                del changed[place : place + n]
            elif kind == 2:
                changed[place:place] = chance.randbytes(n)
            elif kind == 3:
                changed[place:place] = changed[place : place + n]
            else:
                changed[place : place + n] = (
                    bytes(chance.choice([b'"', b"\n", b",", b"\0", b"\xff", b"9"])) * n
                )
        if chance.randrange(20) == 0:
            del changed[chance.randrange(len(changed) + 1) :]
        yield bytes(changed)


def test_the_files_are_valid_before_they_are_damaged(tmp_path: Path) -> None:
    for name, content in VALID.items():
        (tmp_path / name).write_bytes(content)
        done = CliRunner().invoke(
            app, ["prepare", str(tmp_path / name), "--out", str(tmp_path / "d"), "--force"]
        )
        assert done.exit_code == 0, (name, done.stderr)


def test_what_is_refused_comes_with_the_line_that_converts_it(tmp_path: Path) -> None:
    path = tmp_path / "sheet.xlsx"
    path.write_bytes(REFUSED["sheet.xlsx"])
    done = CliRunner().invoke(app, ["prepare", str(path), "--out", str(tmp_path / "d")])
    assert done.exit_code == 3
    assert "(.xlsx or .ods); convert it with: python -c" in done.stderr


@pytest.mark.parametrize("name", [*VALID, *REFUSED])
def test_damage_ends_in_a_dataset_or_in_one_line(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def too_slow(number: int, frame: object) -> None:
        raise AssertionError(f"over {SECONDS} seconds")

    former = signal.signal(signal.SIGALRM, too_slow)
    codes = set()
    try:
        for k, data in enumerate(
            itertools.islice(mutants((VALID | REFUSED)[name], seed=len(name)), TIMES)
        ):
            path = tmp_path / name
            path.write_bytes(data)
            flags = ["--force", "--accept-shrink", *(["--max-bad-rows", "50%"] if k % 2 else [])]
            signal.alarm(SECONDS)
            done = CliRunner().invoke(
                app, ["prepare", str(path), "--out", str(tmp_path / "d"), "-q", *flags]
            )
            signal.alarm(0)
            assert done.exit_code in (0, 3, 4), (k, data, done.exception)
            assert isinstance(done.exception, SystemExit | None), (k, data, done.exception)
            assert done.stderr.count("\n") == (done.exit_code != 0), (k, done.stderr)
            codes.add(done.exit_code)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
    # A packed file is hardly ever still whole.
    assert codes >= ({0, 3} if name in VALID and not name.endswith(".gz") else {3})
    said = capfd.readouterr().err
    assert "panicked" not in said
    assert "Traceback" not in said
