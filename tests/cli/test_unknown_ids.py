"""Ids that a run does not know, in every command that reads ids."""

import csv
import io
import warnings
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import cfcli
from cfcli.cli.app import app
from cfcli.core.errors import InputError
from cfcli.core.runs.run import Run

DECIMAL = "(the run has '1': written as a decimal?)"
PAIRS = "userId,movieId\n1.0,2\n1,2\n2.0,3\n"


@pytest.fixture
def run(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return Run.load(project / "base")


def call(*args: object, stdin: bytes | None = None) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(a) for a in args], input=stdin, env={"COLUMNS": "100"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_predict_counts_unknown_ids(run: Run) -> None:
    code, out, err = call("predict", run.path, "-", stdin=PAIRS.encode())
    assert code == 0
    assert [row["source"] for row in rows_of(out)] == ["item_bias", "model", "item_bias"]
    assert err == f"note: 2 of 3 rows: user not in the run, such as '1.0' {DECIMAL}\n"
    assert call("predict", run.path, "-", "--quiet", stdin=PAIRS.encode())[2] == ""


def test_a_quoted_tsv_of_pairs_is_explained(run: Run) -> None:
    text = b'userId\tmovieId\n"1"\t2\n'
    assert "(the run has '1': quotes around it?)" in call("predict", run.path, "-", stdin=text)[2]


def test_new_users_alone_are_predicted(run: Run) -> None:
    code, out, err = call("predict", run.path, "-", stdin=b"userId,movieId\nann,2\nbob,3\n")
    assert (code, err) == (0, "note: 2 of 2 rows: user not in the run, such as 'ann'\n")
    assert [row["source"] for row in rows_of(out)] == ["item_bias"] * 2


@pytest.mark.parametrize("unknown", ["fallback", "nan", "skip"])
def test_pairs_of_which_nothing_is_known_are_refused(run: Run, unknown: str) -> None:
    text = b"userId,movieId\n 1, 2\n 2, 2\n"
    code, out, err = call("predict", run.path, "-", "--unknown", unknown, stdin=text)
    assert (code, out) == (3, "")
    assert "<stdin>: none of its users and none of its items are in the run; 2 of 2 rows" in err
    assert "2 of 2 rows: user not in the run, such as ' 1' (the run has '1': blanks" in err
    assert "2 of 2 rows: item not in the run, such as ' 2' (the run has '2': blanks around" in err


def test_an_error_names_the_reason_too(run: Run) -> None:
    args = ("predict", run.path, "-", "--unknown", "error")
    assert (
        f"<stdin>:2: column 'userId': '1.0' {DECIMAL} is not in"
        in call(*args, stdin=PAIRS.encode())[2]
    )


def test_ids_that_are_floats_are_refused(run: Run) -> None:
    frame = pl.DataFrame({"userId": [1.0, None], "movieId": [2, 3]})
    frame.write_parquet("floats.parquet")
    words = "column 'userId' (user) is of type Float64; make it text or a whole number"
    for args in (
        ["predict", run.path, "floats.parquet"],
        ["recommend", run.path, "--users", "floats.parquet"],
    ):
        code, out, err = call(*args)
        assert (code, out) == (3, "")
        assert f"floats.parquet: {words}" in " ".join(err.split())
    code = err.split('python -c "')[1].split('"\n')[0].replace("FILE", "floats.parquet")
    exec(code.replace("NEW", "whole.parquet"))
    assert call("predict", run.path, "whole.parquet", "--unknown", "fallback")[0] == 0
    frame.write_ipc("floats.arrow")
    assert "pl.read_ipc('FILE').cast({'userId': " in call("predict", run.path, "floats.arrow")[2]
    with pytest.raises(InputError, match=r"make it text or a whole number$"):
        cfcli.load(run.path).predict(frame)


def test_evaluate_counts_unknown_ids(run: Run) -> None:
    Path("new.csv").write_text("userId,movieId,rating\n1.0,2,3\n1.0,3,4\n2,2,4\n")
    code, _, err = call("evaluate", run.path, "--ratings", "new.csv", "--no-plots")
    assert code == 0
    assert f"note: 2 of 3 rows: user not in the run, such as '1.0' {DECIMAL}\n" in err
    Path("new.csv").write_text("userId,movieId,rating\n1.0,2.0,3\n1.0,3.0,4\n")
    code, out, err = call("evaluate", run.path, "--ratings", "new.csv", "--no-plots")
    assert (code, out) == (3, "")
    assert "new.csv: none of its users and none of its items are in the run; " in err
    assert f"2 of 2 rows: user not in the run, such as '1.0' {DECIMAL}" in err


def test_recommend_explains_unknown_users(run: Run) -> None:
    code, out, err = call("recommend", run.path, "--users", "-", stdin=b"1.0\n2.0\n")
    assert (code, out) == (3, "")
    assert f"user '1.0' {DECIMAL} (+1 more) is not in" in err


def test_unknown_users_of_a_file_are_counted_and_the_others_are_answered(run: Run) -> None:
    Path("u.txt").write_text("1\n2.0\nnobody\n3\n")
    code, out, err = call("recommend", run.path, "--users", "u.txt", "-n", 1)
    assert code == 0
    assert [row["userId"] for row in rows_of(out)] == ["1", "3"]
    assert (
        "note: u.txt: 2 of 4 rows: user not in the run, such as '2.0' (the run has '2': written as "
        "a decimal?); left out\n"
    ) in err
    assert call("recommend", run.path, "--user", "1", "--user", "nobody")[:2] == (3, "")


def test_recommend_counts_unknown_items(run: Run) -> None:
    args = ("recommend", run.path, "--user", "1", "--include-seen", "--items", "-")
    code, out, err = call(*args, stdin=b"1\n2.0\n3.0\n")
    assert code == 0
    assert [row["movieId"] for row in rows_of(out)] == ["1"]
    assert (
        "note: items to choose from: 2 of 3 rows: item not in the run, such as '2.0' (the run has "
        "'2': written as a decimal?)\n"
    ) in err
    code, out, err = call(*args, stdin=b"2.0\n3.0\n")
    assert (code, out) == (3, "")
    assert "such as '2.0' (the run has '2': written as a decimal?)" in err


def test_recommend_counts_unknown_ids_of_what_was_seen(run: Run) -> None:
    args = ("recommend", run.path, "--user", "1", "--seen", "seen.csv", "-n", 60)
    Path("seen.csv").write_text("userId,movieId,rating\n1.0,2,3\n1,3,4\n")
    code, out, err = call(*args)
    assert code == 0
    assert {"2", "3"} - {row["movieId"] for row in rows_of(out)} == {"3"}
    assert f"note: 1 of 2 rows: user not in the run, such as '1.0' {DECIMAL}\n" in err
    Path("seen.csv").write_text("userId,movieId,rating\n1.0,2,3\n2.0,3,4\n")
    code, out, err = call(*args)
    assert (code, out) == (3, "")
    assert (
        f"--seen: leaves nothing out: 2 of 2 rows: user not in the run, such as '1.0' {DECIMAL}"
        in err
    )


def test_recommend_explains_ratings_to_fold_in(run: Run) -> None:
    args = ("recommend", run.path, "--ratings", "mine.csv")
    Path("mine.csv").write_text("userId,movieId,rating\nann,1,4\nann,2.0,4\n")
    code, _, err = call(*args)
    assert code == 0
    assert err == (
        "note: 1 of 2 rows: item not in the run, such as '2.0' (the run has '2': written as a "
        "decimal?)\n"
    )
    Path("mine.csv").write_text("userId,movieId,rating\n1.0,1,4\n")
    assert f"note: 1 of 1 rows: user not in the run, such as '1.0' {DECIMAL}\n" in call(*args)[2]
    Path("mine.csv").write_text("userId,movieId,rating\nann,1.0,4\n")
    code, _, err = call(*args)
    assert code == 3
    assert f"1 of 1 rows: item not in the run, such as '1.0' {DECIMAL}" in err


@pytest.mark.parametrize("flag", ["--val-file", "--test-file"])
def test_prepare_counts_unknown_ids_of_given_splits(run: Run, project: Path, flag: str) -> None:
    args = ("prepare", project / "ratings.csv", flag, "held.csv", "--out", "d")
    known = "(training has '1': written as a decimal?)"
    Path("held.csv").write_text("userId,movieId,rating\n1.0,2,3\n1,new,4\n2,2,4\n")
    code, _, err = call(*args)
    assert code == 0
    assert f"note: held.csv: 1 of 3 rows: user not in training, such as '1.0' {known}\n" in err
    assert "note: held.csv: 1 of 3 rows: item not in training, such as 'new'\n" in err
    Path("held.csv").write_text("userId,movieId,rating\n1.0,2.0,3\n1.0,3.0,4\n")
    code, out, err = call(*args)
    assert (code, out) == (3, "")
    assert "held.csv: no row has both a user and an item of the training ratings; 2 of 2 " in err
    assert f"rows: user not in training, such as '1.0' {known}; 2 of 2 rows: item not in" in err


def test_export_counts_unknown_items_to_align_to(run: Run) -> None:
    args = ("export-embeddings", run.path, "--align-to", "old.parquet", "--out", "new.parquet")
    assert call(*args[:2], "--out", "old.parquet")[0] == 0
    old = pl.read_parquet("old.parquet").with_columns(pl.col("movieId").cast(pl.String))
    is_other = pl.int_range(pl.len()) < 3
    as_decimal = pl.col("movieId") + ".0"
    old.with_columns(pl.when(is_other).then(as_decimal).otherwise("movieId").alias("movieId")
        ).write_parquet("old.parquet")  # fmt: skip
    code, _, err = call(*args)
    assert code == 0
    note = f"3 of {old.height} rows: item not in the run, such as '1.0' {DECIMAL}\n"
    assert f"note: old.parquet: {note}" in err
    old.with_columns(as_decimal).write_parquet("old.parquet")
    code, out, err = call(*args)
    assert (code, out) == (3, "")
    assert f"{old.height} of {old.height} rows: item not in the run, such as '1.0' {DECIMAL}" in err


def test_similar_explains_an_unknown_item(run: Run) -> None:
    assert f"item '1.0' {DECIMAL} is not in" in call("similar", run.path, "1.0")[2]


def test_python_warns_of_unknown_ids(run: Run) -> None:
    loaded = cfcli.load(run.path)
    pairs = {"userId": ["1.0", "1"], "movieId": ["2", "2"]}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded.predict(pairs)
        loaded.evaluate(ratings=pairs | {"rating": [3, 4]})
        loaded.recommend("1", items=["1.0", "2"])
    note = f"1 of 2 rows: user not in the run, such as '1.0' {DECIMAL}"
    of_items = f"items to choose from: 1 of 2 rows: item not in the run, such as '1.0' {DECIMAL}"
    assert [str(one.message) for one in caught] == [note, note, of_items]
    assert {one.filename for one in caught} == {__file__}
    with pytest.raises(InputError, match="the frame: none of its users and none of its"):
        loaded.predict({"userId": ["1.0"], "movieId": ["2.0"]})


def test_tables_of_r_have_the_same_ids(run: Run) -> None:
    pairs = b'"userId"\t"movieId"\n"1"\t"2"\n'
    code, out, err = call("predict", run.path, "-", stdin=pairs)
    assert (code, err) == (0, "")
    assert [(row["userId"], row["movieId"], row["source"]) for row in rows_of(out)] == [
        ("1", "2", "model")
    ]
    users = b'"userId"\t"age"\n"1"\t20\n"2"\t30\n'
    code, out, err = call("recommend", run.path, "--users", "-", "-n", 1, stdin=users)
    assert (code, err) == (0, "")
    assert [row["userId"] for row in rows_of(out)] == ["1", "2"]


@pytest.mark.parametrize("flag", ["--users", "--items"])
def test_a_file_without_ids_is_refused(run: Run, flag: str) -> None:
    name = {"--users": "userId", "--items": "movieId"}[flag]
    users = [] if flag == "--users" else ["--user", "1"]
    for more in ([], ["--include-seen", "--out", "x.parquet"]):
        code, out, err = call(
            "recommend", run.path, *users, flag, "-", *more, stdin=f"{name}\n".encode()
        )
        assert (code, out) == (3, "")
        assert f"<stdin>: no {flag[2:]} in it" in err
    assert not Path("x.parquet").exists()
