"""Files of other forms than MovieLens' work in every command, and as the run's own did."""

import contextlib
import json
import sqlite3
from pathlib import Path

import polars as pl
import pytest
from shell import run_cfcli, write_ratings

KUNDEN = (
    "--user-col", "kunde", "--item-col", "artikel", "--rating-col", "note", "--decimal-comma",
    "--encoding", "latin-1",
)  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    path = write_ratings(tmp_path_factory.mktemp("made") / "ratings.csv")
    ids = {"user": "K" + pl.col("userId").cast(str), "item": "Ä" + pl.col("movieId").cast(str)}
    return pl.read_csv(path).select(**ids, rating="rating", time="timestamp")


def trained(folder: Path, content: bytes, *flags: str) -> Path:
    """A folder with a run of a file ``a.csv``."""
    (folder / "a.csv").write_bytes(content)
    for command in (("prepare", "a.csv", *flags), ("train", "--epochs", "2", "--out", "r")):
        done = run_cfcli(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory, rows: pl.DataFrame) -> Path:
    """A run of a file that needs five flags."""
    lines = [f"{u};{i};{r}".replace(".", ",") for u, i, r, _ in rows.iter_rows()]
    content = "\n".join(["kunde;artikel;note", *lines, ""])
    return trained(tmp_path_factory.mktemp("german"), content.encode("latin-1"), *KUNDEN)


@pytest.fixture(scope="module")
def headerless(tmp_path_factory: pytest.TempPathFactory, rows: pl.DataFrame) -> Path:
    """A run of a file without a header, whose columns stand in another order."""
    content = rows.select(other=pl.lit("x"), i="item", u="user", r="rating")
    flags = "--user-col", "column_2", "--item-col", "column_1", "--rating-col", "column_3"
    folder = tmp_path_factory.mktemp("headerless")
    return trained(folder, content.write_csv(include_header=False).encode(), "--no-header", *flags)


def output(folder: Path, *args: object, **kwargs: str) -> str:
    done = run_cfcli(*args, cwd=folder, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_form_of_the_runs_own_file_needs_no_flags_again(german: Path) -> None:
    (german / "pairs.csv").write_text("kunde;artikel\nK1;Ä1\nK2;Ä2\n", encoding="latin-1")
    assert [
        row.split(",")[-1] for row in output(german, "predict", "r", "pairs.csv").split()[1:]
    ] == [
        "model",
        "model",
    ]
    judged = output(german, "evaluate", "r", "--ratings", "a.csv", "--json", "--include-trained")
    assert json.loads(judged)["cold"]["n"] < 50
    lists = output(german, "recommend", "r", "--ratings", "a.csv", "-n", "1")
    assert len(lists.split()) == 81
    assert output(german, "recommend", "r", "--users", "pairs.csv", "--seen", "a.csv", "-n", "1")


def test_a_database_works_in_every_command(german: Path) -> None:
    with contextlib.closing(sqlite3.connect(german / "shop.db")) as shop, shop:
        shop.execute("create table bought (kunde, artikel, note)")
        shop.execute("create table wishes (kunde, artikel)")
        shop.execute("insert into bought values ('K1', 'Ä1', '3,5'), ('K2', 'Ä2', '4')")
        shop.execute("insert into wishes values ('K3', 'Ä3')")
    wishes = output(german, "predict", "r", "shop.db", "--table", "wishes")
    assert wishes.splitlines()[1].startswith("K3,Ä3,")
    flags = "--ratings", "shop.db", "--json", "--include-trained"
    assert json.loads(output(german, "evaluate", "r", *flags))["n"] == 2
    query = "select kunde from bought where note = '4'"
    lists = output(german, "recommend", "r", "--users", "shop.db", "--query", query, "-n", "1")
    assert lists.splitlines()[1].startswith("K2,")
    done = run_cfcli("predict", "r", "shop.db", cwd=german)
    assert done.returncode == 3
    assert "several tables have columns for user, item, its tables are: 'bought'" in done.stderr


def test_flags_come_before_the_form_of_the_run(german: Path) -> None:
    pairs = "wer,was\nK1,Ä1\n"
    flags = "--user-col", "wer", "--item-col", "was", "--encoding", "utf-8"
    found = output(german, "predict", "r", "-", *flags, input=pairs)
    assert found.startswith("wer,was,prediction,source\nK1,Ä1,")
    assert found.endswith(",model\n")


def test_usual_names_are_found_for_any_run(german: Path) -> None:
    found = output(
        german, "predict", "r", "-", "--encoding", "utf-8", input="item_id,userId\nÄ1,K1\n"
    )
    assert found.endswith(",model\n")


def test_a_headerless_file_works_in_every_command(headerless: Path, rows: pl.DataFrame) -> None:
    info = json.loads((headerless / "r" / "run.json").read_text())
    assert info["columns"] == {"user": "user_id", "item": "item_id", "rating": "rating"}
    found = output(headerless, "predict", "r", "a.csv")
    assert found.startswith("column_0,item_id,user_id,rating,prediction,source\n")
    assert found.count(",model\n") > 0.9 * rows.height
    output(headerless, "export-embeddings", "r", "--out", "e.parquet")
    assert pl.read_parquet(headerless / "e.parquet").columns[0] == "item_id"
    output(headerless, "evaluate", "r", "--ratings", "a.csv")
    named = "user_id,item_id\n" + ",".join(rows.row(0)[:2]) + "\n"
    assert output(headerless, "predict", "r", "-", input=named).endswith(",model\n")


def test_names_given_for_a_headerless_file_are_its_names(
    tmp_path: Path, rows: pl.DataFrame
) -> None:
    content = rows.write_csv(include_header=False).encode()
    names = "--user-col", "who", "--item-col", "what", "--rating-col", "stars"
    trained(tmp_path, content, "--no-header", *names)
    columns = json.loads((tmp_path / "r" / "run.json").read_text())["columns"]
    assert columns == {"user": "who", "item": "what", "rating": "stars", "time": "timestamp"}


@pytest.mark.parametrize(
    ("content", "flags"),
    [
        ("ISBN;Book-Title\nÄ1;One\nÄ2;Two\n", ["--item-col", "ISBN"]),
        ("anime_id,name\nÄ1,One\nÄ2,Two\n", ["--item-col", "anime_id"]),
        ("item|title\nÄ1|One\nÄ2|Two\n", []),
        ("item,label\nÄ1,One\nÄ2,Two\n", ["--title-col", "label"]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_titles_under_other_names(
    tmp_path: Path, rows: pl.DataFrame, content: str, flags: list[str], encoding: str
) -> None:
    item = flags[1] if "--item-col" in flags else "item"
    (tmp_path / "t.csv").write_bytes(content.encode(encoding))
    rows.rename({"item": item}).write_csv(tmp_path / "a.csv")
    output(tmp_path, "prepare", "a.csv", "--items", "t.csv", *flags)
    items = pl.read_parquet(tmp_path / "data" / "items.parquet").drop_nulls("title")
    assert dict(items.select(item, "title").iter_rows()) == {"Ä1": "One", "Ä2": "Two"}


def test_rows_that_the_run_was_trained_on_are_left_out(german: Path) -> None:
    info = json.loads((german / "data" / "dataset.json").read_text())
    done = run_cfcli("evaluate", "r", "--ratings", "a.csv", "--json", cwd=german)
    found = json.loads(done.stdout)
    assert found["n"] == info["test"]
    assert found["trained_rows"] == info["train"] + info["val"]
    assert f"{found['trained_rows']:,} rows left out" in done.stderr
    whole = json.loads(
        output(german, "evaluate", "r", "--ratings", "a.csv", "--json", "--include-trained")
    )
    assert whole["n"] == info["ratings"]
    assert whole["model"]["mse"] < found["model"]["mse"]


def test_a_file_of_trained_rows_alone_cannot_be_judged(german: Path, tmp_path: Path) -> None:
    train = pl.read_parquet(german / "data" / "train.parquet").head(3)
    users = pl.read_parquet(german / "data" / "users.parquet")["kunde"]
    items = pl.read_parquet(german / "data" / "items.parquet")["artikel"]
    ids = {"user": users.gather(train["user"]), "item": items.gather(train["item"])}
    path = tmp_path / "trained.csv"
    path.write_bytes(pl.DataFrame({**ids, "rating": train["rating"]}).write_csv().encode("latin-1"))
    done = run_cfcli("evaluate", "r", "--ratings", path, cwd=german)
    assert done.returncode == 3
    assert "was trained on all 3 rows" in done.stderr


def test_ratings_of_another_scale_are_not_judged(german: Path) -> None:
    content = "user,item,rating\nK1,A,80\nK2,A,4\n"
    done = run_cfcli("evaluate", "r", "--ratings", "-", cwd=german, input=content)
    assert done.returncode == 3
    assert "1 of 2 ratings, such as 80, are outside the scale" in done.stderr
