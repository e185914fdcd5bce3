"""SQLite: which table is read, that its cells stay exact, and that the file stays as it was."""

import gzip
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.errors import CfcliError, ConfigError, InputError, MachineError
from cfcli.core.inputs import ratings
from cfcli.core.inputs.entities import read_items
from cfcli.core.inputs.pairs import read_ids, read_pairs
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source

RATINGS = "create table ratings (user_id, item_id, rating)"
ONE = ["insert into ratings values ('u', 1, 2.5)"]


def made(folder: Path, *statements: str, rows: list[tuple[Any, ...]] | None = None) -> Path:
    path = folder / "r.db"
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            database.executemany(f"insert into ratings values ({marks})", rows)
    return path


def read(path: Path, **config: Any) -> ratings.Ratings:
    return ratings.read([Source.of(path)], Form(PrepareConfig(**config)), path.parent)


def refusal(path: Path, kind: type[CfcliError], **config: Any) -> str:
    with pytest.raises(kind) as error:
        read(path, **config)
    assert type(error.value) is kind
    assert "\n" not in str(error.value)
    return str(error.value)


# What CSV and a cell of SQLite can both hold.
IDS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=9),
)
STARS = st.floats(-1e30, 1e30, allow_subnormal=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(IDS, IDS, STARS, st.integers(0, 4 * 10**9)), min_size=1, max_size=20))
def test_the_rows_are_those_of_the_csv(rows: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        names = ["user", "item", "rating", "time"]
        path = made(Path(folder), f"create table ratings ({', '.join(names)})", rows=rows)
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
        csv = path.with_suffix(".csv")
        texts = {name: list(map(str, cells)) for name, cells in columns.items()}
        pl.DataFrame(texts).write_csv(csv, quote_style="always")
        assert read(path).frame.equals(read(csv).frame)


def test_the_only_table_with_ratings_is_read(tmp_path: Path) -> None:
    others = "create table movies (item_id, title)", "create view v as select * from gone"
    path = made(tmp_path, RATINGS, *others, *ONE)
    found = read(path)
    assert found.frame.rows() == [("u", "1", 2.5)]
    assert found.intake.notes == [f"{path}: read table 'ratings'"]
    assert read(path, table="ratings").intake.notes == []
    stars = read(path, query="with a as (select * from ratings) select *, 4 as stars from a",
                 rating_col="stars")  # fmt: skip
    assert stars.frame["rating"].to_list() == [4.0]


def test_where_it_is_not_clear_which_table_is_meant(tmp_path: Path) -> None:
    path = made(tmp_path, RATINGS, 'create view "old ""ones""" as select * from ratings', *ONE)
    message = refusal(path, InputError)
    assert "several tables have columns for user, item, rating" in message
    assert "'old \"ones\"', 'ratings'; choose with --table NAME or --query SQL" in message
    assert read(path, table='old "ones"').frame.height == 1
    message = refusal(path, ConfigError, table="rating")
    assert "--table: no 'rating' among its tables: " in message
    named = made(
        tmp_path, "create table b (kunde, artikel, note)", "insert into b values (1, 2, 3)"
    )
    columns = {"user_col": "kunde", "item_col": "artikel", "rating_col": "note"}
    assert read(named, **columns).frame.rows() == [("1", "2", 3.0)]


@pytest.mark.parametrize(
    "query",
    ["", "delete from ratings", "select 1; select 2", "selec", "select * from gone",
     "attach 'new.db' as new", "create table a (b)", "pragma journal_mode = wal", "select '\udce9'"],
)  # fmt: skip
def test_a_query_is_one_select(query: str, tmp_path: Path) -> None:
    path = made(tmp_path, RATINGS, *ONE)
    before = path.read_bytes()
    assert "--query: " in refusal(path, ConfigError, query=query)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["r.db"]


def test_cells_that_are_no_exact_id_and_no_rating(tmp_path: Path) -> None:
    rows = [
        ("7", 1, 2), (7.0, 1, 2), (7, b"1", 2), (None, 1, 2), (7, 1, b"3"), (7, 1, None),
        ("007", 2**63 - 1, "3.5"),
    ]  # fmt: skip
    found = read(made(tmp_path, RATINGS, rows=rows), max_bad_rows="9", user_col="user_id")
    assert found.frame.rows() == [("7", "1", 2.0), ("007", str(2**63 - 1), 3.5)]
    rejects = pl.read_csv(tmp_path / "rejects.csv", infer_schema=False)
    assert rejects.select("line", "column", "detail", "raw").rows() == [
        ("2", "user_id", "7.0 is of type REAL; make it text or a whole number", "7.0,1,2"),
        ("3", "item_id", "X'31' is of type BLOB; make it text or a whole number", "7,X'31',2"),
        ("4", "user_id", "the id is empty", ",1,2"),
        ("5", "rating", "'X'33'' is not a number", "7,1,X'33'"),
        ("6", "rating", "'' is not a rating", "7,1,"),
    ]


def test_pairs_ids_and_titles(tmp_path: Path) -> None:
    titles = "create table movies (item_id, title)", "insert into movies values (1, 'One')"
    path = made(tmp_path, RATINGS, *titles, *ONE)
    first, rows = read_pairs(Source.of(path))
    assert first.frame.columns == ["user_id", "item_id", "rating"]
    assert rows.frame.rows() == [("u", "1", "2.5")]
    assert read_ids(Source.of(path), "user", Form()).to_list() == ["u"]
    assert read_items(Source.of(path)).frame.rows() == [("1", "One", None)]


def test_rows_in_the_log_count_and_no_log_is_made(tmp_path: Path) -> None:
    path = made(tmp_path, "pragma journal_mode = wal", RATINGS, *ONE)
    assert read(path).frame.height == 1
    assert [file.name for file in tmp_path.iterdir()] == ["r.db"]
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("insert into ratings values ('v', 1, 2.5)")
        writer.commit()
        assert read(path).frame["user_id"].to_list() == ["u", "v"]
        link = tmp_path / "link.db"
        link.symlink_to(path)
        assert read(link).frame.height == 2
    packed = tmp_path / "r.db.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read(packed).frame.height == 2


def test_a_database_that_is_locked_or_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path, RATINGS, *ONE)
    connect = sqlite3.connect
    with closing(connect(path)) as writer:
        writer.execute("begin exclusive")
        monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, timeout=0, **k))
        assert "database is locked; try again when" in refusal(path, MachineError)
    path.write_bytes(path.read_bytes()[:5000])
    assert "damaged SQLite: it is cut off" in refusal(path, InputError)
    path.write_bytes(b"SQLite format 3\0" + b"\xaa" * 4080)
    assert "damaged SQLite: " in refusal(path, InputError)


@pytest.mark.parametrize("flags", [{}, {"query": "select * from ratings"}])
def test_text_that_is_not_utf8_is_damage(flags: dict[str, str], tmp_path: Path) -> None:
    path = made(tmp_path, RATINGS, "insert into ratings values (cast(x'ff41' as text), 1, 2)")
    assert "damaged SQLite: Could not decode to UTF-8" in refusal(path, InputError, **flags)


@pytest.mark.parametrize("flag", ["table", "query"])
def test_the_flags_are_for_sqlite_alone(flag: str, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("user,item,rating\n1,2,3\n")
    assert f"and --{flag} is for one" in refusal(path, ConfigError, **{flag: "ratings"})
    with pytest.raises(ConfigError, match="give table or query, one of them"):
        PrepareConfig(table="a", query="b")
