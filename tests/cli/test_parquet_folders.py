"""Folders of Parquet parts, as Spark, Dask, DuckDB and Polars leave them: the same bytes, made by
pyarrow.

What these engines write was looked at by having them write it (docs/scale.md); each case is one of
their habits.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from cfcli.cli.app import app
from cfcli.core.data.dataset import Dataset

USERS, ITEMS = 12, 10
ROWS = [
    (u, i, (u * i % 9 + 2) / 2, 1_600_000_000 + 86_400 * u + i)
    for u in range(1, 13)
    for i in range(1, 11)
]
ODD = [
    "007",
    "7",
    "a/b",
    "50%",
    "%2F",
    "=",
    "ä",
    "..",
    ".x",
    "_y",
    "a:b",
    "[a]",
]  # a folder's name each


def table(rows: list[tuple[int, int, float, int]] = ROWS) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[]] * 4
    types = {
        "user_id": pa.int64(),
        "item_id": pa.int64(),
        "rating": pa.float64(),
        "timestamp": pa.int64(),
    }
    return pa.table(
        {name: pa.array(list(c), types[name]) for name, c in zip(types, columns, strict=True)}
    )


def changed(part: pa.Table, **columns: Any) -> pa.Table:
    for name, column in columns.items():
        part = part.set_column(part.schema.get_field_index(name), name, column)
    return part


def times(part: pa.Table, kind: pa.DataType) -> pa.Table:
    seconds = part["timestamp"].to_pylist()
    return changed(
        part, timestamp=pa.array([datetime.fromtimestamp(s, UTC) for s in seconds]).cast(kind)
    )


def written(*parts: pa.Table, folder: str = "ratings", **options: Any) -> Path:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for k, part in enumerate(parts):
        pq.write_table(part, f"{folder}/part-{k:05d}-c000.snappy.parquet", **options)
    return Path(folder)


def prepare(path: Path | str, *args: str) -> Result:
    return CliRunner().invoke(
        app, ["prepare", str(path), "--out", "data", "--force", "--accept-shrink", *args]
    )


def rows(path: Path | str, *args: str) -> pl.DataFrame:
    """What a dataset holds, by ids."""
    result = prepare(path, *args)
    assert result.exit_code == 0, result.stderr
    dataset = Dataset.load(Path("data"))
    users, items = dataset.ids
    sides = [
        dataset.split(side, times=True).with_columns(side=pl.lit(side))
        for side in ("train", "val", "test")
    ]
    every = pl.concat(sides)
    return every.with_columns(user=users.id(every["user"]), item=items.id(every["item"])).sort(
        "user", "item"
    )


def csv(users: list[str] | None = None) -> pl.DataFrame:
    lines = [f"{users[u - 1] if users else u},{i},{r},{t}\n" for u, i, r, t in ROWS]
    Path("ratings.csv").write_text("user_id,item_id,rating,timestamp\n" + "".join(lines))
    return rows("ratings.csv")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def spark() -> Path:
    """Two jobs' parts beside each other: of other types, codecs and nullability, one of them
    without rows."""
    folder = written(
        times(table(ROWS[:50]), pa.timestamp("ns")), table([]), use_deprecated_int96_timestamps=True
    )
    required = table(ROWS[50:90])
    required = required.cast(pa.schema([field.with_nullable(False) for field in required.schema]))
    pq.write_table(
        required, folder / "part-00000-d.zstd.parquet", compression="zstd", use_dictionary=False
    )
    last = times(table(ROWS[90:]), pa.timestamp("us", "UTC"))
    last = changed(
        last,
        user_id=last["user_id"].cast(pa.int32()),
        rating=last["rating"].cast(pa.decimal128(10, 2)),
    )
    pq.write_table(last, folder / "part-00001-d.gz.parquet", compression="gzip")
    pq.write_metadata(last.schema, folder / "_metadata")
    pq.write_metadata(last.schema, folder / "_common_metadata")
    for part in list(folder.iterdir()):
        (folder / f".{part.name}.crc").write_bytes(b"crc\0")
    (folder / "_SUCCESS").touch()
    return folder


def by_user(users: list[str], escape: Callable[[str], str]) -> Path:
    for k, user in enumerate(users):
        part = table([row for row in ROWS if row[0] == k + 1]).drop_columns(["user_id"])
        written(part, folder=f"by-user/user_id={escape(user)}")
    return Path("by-user")


def escaped_by_spark(value: str) -> str:
    return "".join(f"%{ord(c):02X}" if c in "\"#%'*/:=?\\{[]^" else c for c in value)


def test_a_folder_as_spark_leaves_it() -> None:
    assert rows(spark()).equals(csv())


def test_users_in_the_names_of_folders() -> None:
    assert rows(by_user(ODD, escaped_by_spark)).equals(csv(ODD))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: changed(
            t, user_id=t["user_id"].cast(pa.string()).dictionary_encode()
        ),  # Dask's categories
        lambda t: changed(t, user_id=t["user_id"].dictionary_encode()),
        lambda t: changed(
            t, user_id=t["user_id"].cast(pa.decimal128(38, 0))
        ),  # NUMBER of Oracle and Snowflake
        lambda t: changed(t, rating=t["rating"].cast(pa.decimal128(38, 18))),
        lambda t: changed(t, rating=t["rating"].cast(pa.float32())),
        lambda t: times(t, pa.timestamp("ms", "Europe/Berlin")),
        lambda t: times(t, pa.timestamp("us", "+02:00")),
    ],
)
def test_types_that_other_engines_choose(change: Callable[[pa.Table], pa.Table]) -> None:
    assert rows(written(*(change(table(part)) for part in (ROWS[:70], ROWS[70:])))).equals(csv())


def test_ids_of_decimals_are_exact() -> None:
    part = table()
    wide = pa.array(
        [Decimal(10**30 + u) for u in part["user_id"].to_pylist()], pa.decimal128(38, 0)
    )
    assert set(rows(written(changed(part, user_id=wide)))["user"]) == {
        str(10**30 + u) for u in range(1, USERS + 1)
    }
    tenths = changed(part, user_id=part["user_id"].cast(pa.decimal128(38, 1)))
    assert "(user) is of type Decimal(precision=38, scale=1)" in " ".join(
        prepare(written(tenths)).stderr.split()
    )


def test_a_part_without_any_value_has_columns_without_a_type() -> None:
    empty = pa.table({name: pa.nulls(0) for name in table().column_names})
    assert rows(written(empty, table(), empty)).equals(csv())
    timeless = changed(table(ROWS[70:]), timestamp=pa.nulls(50))
    found = rows(written(table(ROWS[:70]), timeless))
    assert found["timestamp"].null_count() == 50
    assert found.drop("timestamp").equals(csv().drop("timestamp"))


@pytest.mark.parametrize("name", ["user_id", "item_id", "rating"])
def test_the_folder_of_rows_without_a_value_is_no_value(name: str) -> None:
    part = table().drop_columns([name])
    constant = {"user_id": "7", "item_id": "7", "rating": "3.5"}[name]
    written(part[:100], folder=f"ratings/{name}={constant}")
    written(part[100:], folder=f"ratings/{name}=__HIVE_DEFAULT_PARTITION__")
    result = prepare("ratings")
    assert result.exit_code == 3
    assert f"c000.snappy.parquet:1: column '{name}'" in result.stderr
    assert "(+19 more rows)" in result.stderr
    assert prepare("ratings", "--max-bad-rows", "20").exit_code == 0
    info = Dataset.load(Path("data")).info
    assert info.ratings + info.duplicates == 100
    assert sum(info.rejected.values()) == 20


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("_delta_log/00000000000000000000.json", "is a Delta table"),
        ("metadata/v1.metadata.json", "is an Iceberg table"),
        (".hoodie/hoodie.properties", "is a Hudi table"),
        ("_spark_metadata/0", "is the output of a Spark stream"),
        (
            "_temporary/0/_temporary/attempt_1/part-00001.parquet",
            "is being written, or its writer died",
        ),
    ],
)
def test_parts_that_do_not_all_count_are_refused(mark: str, words: str) -> None:
    file = written(table()) / mark
    file.parent.mkdir(parents=True)
    file.touch()
    result = prepare("ratings")
    assert result.exit_code == 3
    assert f"error: ratings: {words}" in result.stderr
    if mark.startswith("_temporary"):  # of the next job, which adds parts when it ends
        Path("ratings/_SUCCESS").touch()
        assert prepare("ratings").exit_code == 0


def test_a_folder_may_be_called_as_a_file() -> None:
    written(table(ROWS[:50]), folder="all/1.parquet")
    written(table(ROWS[50:]), folder="all/10²5.parquet")
    assert rows("all").equals(csv())
