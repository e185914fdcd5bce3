"""Inputs come whole, hashed and in records, wherever they are cut."""

import bz2
import gzip
import hashlib
import io
import itertools
import lzma
import os
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfcli.core.errors import InputError, MachineError
from cfcli.core.inputs import lines
from cfcli.core.inputs.lines import Lines, ahead, line_blocks
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.streams import SourceRecord


def source(data: bytes) -> Source:
    return Source("r.csv", lambda: io.BytesIO(data))


PACKED = [
    bytes,
    gzip.compress,
    bz2.compress,
    lzma.compress,
    lambda data: pa.compress(data, "zstd", asbytes=True),
]


@pytest.mark.parametrize("pack", PACKED)
def test_what_is_hashed_is_what_lies_on_the_disk(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    data = os.urandom(1000) * 2000
    path = tmp_path / "x"
    path.write_bytes(pack(data))
    with Source.of(path).opened() as opened:
        assert opened.read() == data
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    assert opened.record(7) == SourceRecord(str(path), path.stat().st_size, checksum, 7)


def test_a_pipe_may_give_a_byte_at_a_time() -> None:
    class Slow(io.RawIOBase):
        left = gzip.compress(b"a,b\n1,2\n")

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            n = len(self.left[:1])
            buffer[:n], self.left = self.left[:1], self.left[1:]
            return n

    assert Source("pipe", Slow).read() == b"a,b\n1,2\n"  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["grows", "shrinks", "is touched"])
def test_a_file_that_changes_under_the_reader_is_refused(change: str, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"1,2,3\n" * 10_000)
    with (
        pytest.raises(InputError, match="changed while it was read"),
        Source.of(path).opened() as opened,
    ):
        opened.read(100)
        if change == "grows":
            with open(path, "ab") as stream:
                stream.write(b"x")
        elif change == "shrinks":
            os.truncate(path, 50_000)
        else:
            os.utime(path, ns=(1, 1))
        opened.read()


def test_an_error_of_the_disk_is_not_called_damage() -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            raise OSError(5, "Input/output error")

    with pytest.raises(MachineError, match="Input/output error"):
        Source("r.csv", Broken).read()  # type: ignore[arg-type]


RECORDS = st.lists(st.tuples(st.text("ab", max_size=5), st.text('ab\n,"', max_size=5)), max_size=30)


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.integers(1, 40), st.booleans())
def test_blocks_end_where_records_end(
    records: list[tuple[str, str]], size: int, on_disk: bool
) -> None:
    import csv
    import tempfile

    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(records)
    data = stream.getvalue().encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.csv"
        path.write_bytes(data)
        with (Source.of(path) if on_disk else source(data)).opened() as opened:
            found = list(line_blocks(opened, Lines(opened.read(3), 1), quoted=True, size=size))
    blocks = [block.data for block in found]
    assert b"".join(blocks) == data
    ends = itertools.accumulate(block.count(b"\n") for block in blocks)
    assert [block.first for block in found] == [1, *(1 + end for end in ends)][: len(found)]
    rows = [
        tuple(row)
        for block in blocks
        for row in csv.reader(io.StringIO(block.decode(), newline=""))
    ]
    assert rows == records


def test_long_lines_are_refused_wherever_they_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 50)
    for before in range(0, 120, 7):
        for length, is_long in ((50, False), (51, True), (500, True)):
            data = b"x" * before + b"\n" + b"y" * length + b"\nz\n"
            with source(data).opened() as opened:
                blocks = line_blocks(opened, Lines(b"", 1), quoted=False, size=100)
                if is_long or before > 50:
                    with pytest.raises(InputError, match="longer than"):
                        list(blocks)
                    opened.read()
                else:
                    assert b"".join(block.data for block in blocks) == data


def test_the_next_is_made_while_one_is_in_use_and_errors_come_through() -> None:
    made = []

    def numbers():  # type: ignore[no-untyped-def]
        for k in range(4):
            made.append(threading.current_thread() is threading.main_thread())
            yield Lines(b"x", k)
        raise ValueError("at the end")

    seen = []
    with pytest.raises(ValueError, match="at the end"):
        for k in ahead(numbers()):
            seen.append(k.first)
    assert seen == [0, 1, 2, 3]
    assert made == [False] * 4
    assert next(ahead(iter([Lines(b"", 1), Lines(b"", 2)]))).first == 1  # and one may stop


def test_folders_of_other_engines(tmp_path: Path) -> None:
    part = pl.DataFrame({"x": [1]})
    names = [f"part.{k}.parquet" for k in range(12)]  # Dask, which does not pad its numbers
    for name in [*names, "_metadata", ".part.0.parquet.crc", "_temporary/part.parquet"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        part.write_parquet(tmp_path / name)
    (tmp_path / "_SUCCESS").touch()
    assert [s.name for s in Source.all_of(tmp_path)] == [str(tmp_path / name) for name in names]
    with pytest.raises(InputError, match="without Parquet files"):
        (tmp_path / "empty").mkdir()
        Source.all_of(tmp_path / "empty")


def test_values_in_the_names_of_folders(tmp_path: Path) -> None:
    for value in ("user=a", "user=b%2Fc"):
        (tmp_path / value).mkdir()
        pl.DataFrame({"x": [1]}).write_parquet(tmp_path / value / "data_0.parquet")
    assert [s.columns for s in Source.all_of(tmp_path)] == [{"user": "a"}, {"user": "b/c"}]


def test_other_encodings() -> None:
    text = "a,\u00e9\n" * 300_000
    with source(text.encode("latin-1")).opened() as opened:
        opened.recode("latin-1")
        assert opened.read().decode() == text
    with (
        pytest.raises(InputError, match="choose another --encoding"),
        source(b"\xff").opened() as opened,
    ):
        opened.recode("ascii")
        opened.read()
