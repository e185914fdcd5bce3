"""``cfcli predict`` and ``cfcli recommend`` as people and pipes use them."""

import csv
import gzip
import io
import json
import os
import pty
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shell import CFCLI, run_cfcli
from typer.testing import CliRunner

from cfcli.cli.app import app
from cfcli.core.runs.run import Run


@pytest.fixture
def run(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run of the README's commands, from an empty folder: its dataset is elsewhere."""
    monkeypatch.chdir(tmp_path)
    return Run.load(project / "base")


def call(*args: object, stdin: bytes | None = None) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(a) for a in args], input=stdin, env={"COLUMNS": "100"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


PAIRS = 'note,userId,movieId\n"a ""b"",\nc",1,10\n,nobody,10\n=x,1,nothing\n\nlast,nobody,nothing\n'


def test_rows_come_back_in_order_with_all_their_columns(run: Run) -> None:
    Path("pairs.csv").write_text(PAIRS)
    code, out, err = call("predict", run.path, "pairs.csv")
    assert (code, err) == (
        0,
        "note: 2 of 4 rows: user not in the run, such as 'nobody'\n"
        "note: 2 of 4 rows: item not in the run, such as 'nothing'\n",
    )
    found = rows_of(out)
    assert [(r["note"], r["userId"], r["movieId"]) for r in found] == [
        ('a "b",\nc', "1", "10"), ("", "nobody", "10"), ("=x", "1", "nothing"), ("last", "nobody",
        "nothing"),
    ]  # fmt: skip
    assert [r["source"] for r in found] == ["model", "item_bias", "user_bias", "mean"]
    users, items = run.ids
    index = [m.index(pl.Series([i])).to_numpy() for m, i in ((users, "1"), (items, "10"))]
    tensors = run.tensors
    sides = []  # of each: the vector of the one that is known, and the mean of all
    for name, one, weight in (
        ("user", index[0][0], run.users["n_ratings"] > 0),
        ("item", index[1][0], run.items["n_ratings"] ** 0.5),
    ):
        table = np.column_stack([tensors[f"{name}_embedding.weight"], tensors[f"{name}_bias"]])
        sides.append((table[one], np.average(table, axis=0, weights=weight.to_numpy())))
    offset = tensors["linear.bias"][0]
    (user, any_user), (item, any_item) = sides
    expected = [
        offset + p[:-1] @ q[:-1] + p[-1] + q[-1]
        for p, q in ((user, item), (any_user, item), (user, any_item), (any_user, any_item))
    ]
    np.testing.assert_allclose([float(r["prediction"]) for r in found], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("unknown", "predictions"),
    [("nan", [True, False, False, False]), ("skip", [True]), ("fallback", [True] * 4)],
)
def test_unknown_ids(run: Run, unknown: str, predictions: list[bool]) -> None:
    code, out, _ = call("predict", run.path, "-", "--unknown", unknown, stdin=PAIRS.encode())
    assert code == 0
    assert [bool(r["prediction"]) for r in rows_of(out)] == predictions


def test_unknown_ids_may_be_an_error(run: Run) -> None:
    code, _, err = call("predict", run.path, "-", "--unknown", "error", stdin=PAIRS.encode())
    assert code == 3
    assert "<stdin>:4: column 'userId': 'nobody' is not in" in err


def test_only_some_runs_know_how_sure_they_are(run: Run) -> None:
    assert (
        call(
            "train",
            "--data",
            run.dataset().path,
            "--solver",
            "adam",
            "--epochs",
            1,
            "--out",
            "adam",
        )[0]
        == 0
    )
    for flag in ("--std", "--probabilities"):
        code, _, err = call("predict", "adam", "-", flag, "--json", stdin=PAIRS.encode())
        assert code == 2
        assert "--solver gibbs" in err


def test_probabilities_in_all_forms(run: Run) -> None:
    """The run was trained on with its validation rows, which the probabilities are from."""
    names = [f"p_{k / 2:g}" for k in range(1, 11)]
    ask = "predict", run.path, "-", "--probabilities"
    code, out, _ = call(*ask, "--std", stdin=PAIRS.encode())
    assert code == 0
    known, *others = rows_of(out)
    assert list(known)[-13:] == ["prediction", "source", "std", *names]
    for row in (known, *others):
        assert sum(float(row[name]) for name in names) == pytest.approx(1, abs=1e-5)
    assert all(float(row["std"]) > float(known["std"]) for row in others)
    flags = "--json", "--unknown", "nan"
    first, second, *_ = map(json.loads, call(*ask, *flags, stdin=PAIRS.encode())[1].splitlines())
    assert (first["userId"], first["p_5"]) == ("1", pytest.approx(float(known["p_5"]), abs=1e-6))
    assert second["p_0.5"] is None
    assert call(*ask, "--out", "p.parquet", "-q", stdin=PAIRS.encode())[0] == 0
    assert pl.read_parquet("p.parquet").select(names).schema == dict.fromkeys(names, pl.Float32)


def test_forms_in_and_out(run: Run) -> None:
    frame = pl.DataFrame({"user": [1, 2, 3], "item": [5, 6, 99999], "when": [1.5, None, 2.5]})
    frame.write_parquet("in.parquet")
    Path("in.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    Path("in.tsv").write_text(frame.write_csv(separator="\t"))
    results = []
    for name in ("in.parquet", "in.csv.gz", "in.tsv"):
        assert call("predict", run.path, name, "--out", f"{name}.parquet", "-q")[0] == 0
        results.append(pl.read_parquet(f"{name}.parquet"))
    assert results[0].schema["when"] == pl.Float64
    assert results[0]["user"].to_list() == [1, 2, 3]
    for other in results[1:]:
        assert other.select("prediction", "source").equals(
            results[0].select("prediction", "source")
        )
    _, out, _ = call("predict", run.path, "in.parquet", "--json")
    assert [json.loads(line)["source"] for line in out.splitlines()] == [
        "model",
        "model",
        "user_bias",
    ]


def test_pairs_like_movielens_files_need_no_header_as_ratings_do(run: Run) -> None:
    named = call("predict", run.path, "-", stdin=b"userId,movieId,rating\n1,5,3\n2,6,4\n")
    for content in (b"1\t5\t3\n2\t6\t4\n", b"1::5::3\n2::6::4\n"):
        assert call("predict", run.path, "-", stdin=content) == named
    plain = call("predict", run.path, "-", "--no-header", stdin=b"1,5,3\n2,6,4\n")
    assert plain == named


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"user,thing\n1,2\n", "no column for the item among 'user', 'thing'; call it 'movieId'"),
        (b"1,2\n1,3\n", "if the first line is data, add --no-header: the first column is then"),
        (b"user,item,prediction\n1,2,3\n", "has a column 'prediction' already"),
        (b"user,item,x\n1,2,3\n1,2\n", "<stdin>:3: column 'x': expected 3 fields, found 2"),
        (b'user,item,x\n1,2,3\n1,"2"x,3\n', "<stdin>:3: a double quote"),
        (b"user,item,x\n1,\xff,3\n", "<stdin>:2: "),
        (b"PAR1 and no more", "damaged Parquet"),
    ],
)
def test_what_is_no_table_of_pairs_is_refused_in_one_line(
    run: Run, content: bytes, words: str
) -> None:
    code, _, err = call("predict", run.path, "-", stdin=content)
    assert code == 3
    assert words in err
    assert err.count("\n") == 1


def test_an_error_amid_parquet_ends_the_process_in_order(project: Path, tmp_path: Path) -> None:
    """Arrow's threads, still reading from Python at its end, aborted one run in nine."""
    pl.DataFrame({"thing": [1], "x": [2]}).write_parquet(tmp_path / "p.parquet")
    for _ in range(4):
        assert run_cfcli("predict", project / "base", "p.parquet", cwd=tmp_path).returncode == 3


def test_a_header_alone_gives_a_header(run: Run) -> None:
    assert (
        call("predict", run.path, "-", stdin=b"user,item\n")[1] == "user,item,prediction,source\n"
    )


def test_as_a_filter(project: Path) -> None:
    script = f"""
        (echo user,item; yes 1,10) | {CFCLI} predict base | head -n 3; echo "${{PIPESTATUS[1]}}"
        cut -d, -f1,2 ratings.csv | {CFCLI} predict base - | wc -l
    """
    done = subprocess.run(
        ["bash", "-c", script], cwd=project, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    lines = done.stdout.split()
    assert lines[0] == "user,item,prediction,source"
    assert lines[3] == "141"
    assert int(lines[4]) == len((project / "ratings.csv").read_text().splitlines())


@pytest.mark.parametrize(
    "args",
    [
        ["predict", "-"],
        ["recommend", "--user", "1"],
        ["similar", "10"],
        ["export-embeddings", "--out", "e.csv"],
    ],
)
def test_no_torch_is_needed(project: Path, args: list[str]) -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom cfcli.cli.app import app\n"
        f"args = [{args[0]!r}, 'base', *{args[1:]!r}]\n"
        "done = CliRunner().invoke(app, args, input=b'user,item\\n1,1\\n')\n"
        "assert done.exit_code == 0, done.output\n"
        "print(sorted({'torch', 'pytorch_lightning', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_recommendations_are_the_best_that_the_user_has_not_rated(run: Run) -> None:
    users = "--user", 7, "--user", 3
    code, out, _ = call("recommend", run.path, *users, "-n", 5, "--by", "rating")
    assert code == 0
    found = rows_of(out)
    columns = ["userId", "movieId", "rank", "score", "prediction", "ratings", "title"]
    assert list(found[0]) == columns
    assert [r["userId"] for r in found] == ["7"] * 5 + ["3"] * 5
    starts, seen = run.seen()
    users, items = run.ids
    for k, who in enumerate(("7", "3")):
        index = int(users.index(pl.Series([who]))[0])
        rating = run.predictor().predict(np.full(len(items), index), np.arange(len(items)))
        score = run.predictor().scores(run.predictor().user_vectors(np.array([index])))[
            0
        ]  # beyond the range too
        score[seen[starts[index] : starts[index + 1]]] = -9
        best = np.argsort(-score, kind="stable")[:5]
        mine = found[5 * k : 5 * k + 5]
        assert [r["movieId"] for r in mine] == items.id(pl.Series(best)).to_list()
        np.testing.assert_allclose([float(r["score"]) for r in mine], score[best], atol=1e-5)
        np.testing.assert_allclose([float(r["prediction"]) for r in mine], rating[best], atol=1e-5)
        assert [r["rank"] for r in mine] == list("12345")


def test_lists_have_an_order_reasons_and_variety(run: Run) -> None:
    one = "recommend", run.path, "--user", 7, "-n", 6
    plain, by_interest = rows_of(call(*one)[1]), rows_of(call(*one, "--by", "interest")[1])
    assert len(plain) == len(by_interest) == 6
    assert [r["movieId"] for r in plain] == [
        r["movieId"] for r in rows_of(call(*one, "--diversify", 0)[1])
    ]
    reasons = rows_of(call(*one, "--why", 2)[1])
    assert [r["movieId"] for r in reasons] == [r["movieId"] for r in plain]
    starts, seen = run.seen()
    index = int(run.ids.user.index(pl.Series(["7"]))[0])
    rated = set(run.ids.item.id(pl.Series(seen[starts[index] : starts[index + 1]])))
    for row in reasons:
        assert {str(item) for item in json.loads(row["because"])} <= rated
    varied = rows_of(call(*one, "--diversify", 0.9)[1])
    assert varied[0]["movieId"] == plain[0]["movieId"]
    assert [r["movieId"] for r in varied] != [r["movieId"] for r in plain]
    often = rows_of(call(*one, "--min-ratings", 30)[1])
    assert all(int(r["ratings"]) >= 30 for r in often)


def test_whom_and_what_by_files(run: Run) -> None:
    Path("users.txt").write_text("5\n6\n")
    Path("users.csv").write_text("name,userId\nx,6\n")
    Path("items.csv").write_text("movieId\n10\n11\n12\n")
    assert {
        r["userId"] for r in rows_of(call("recommend", run.path, "--users", "users.txt")[1])
    } == {"5", "6"}
    found = rows_of(
        call(
            "recommend", run.path, "--users", "users.csv", "--items", "items.csv", "--include-seen"
        )[1]
    )
    assert sorted(r["movieId"] for r in found) == ["10", "11", "12"]
    everyone = rows_of(call("recommend", run.path, "--all", "-n", 2)[1])
    assert len(everyone) == 2 * run.users.height
    assert (
        call("recommend", run.path, "--users", "-", "--out", "r.parquet", "-q", stdin=b"5\n")[0]
        == 0
    )
    assert pl.read_parquet("r.parquet").schema["userId"] == pl.Int64
    Path("seen.csv").write_text("user,item,rating\n5,10,3\n")
    left = rows_of(
        call("recommend", run.path, "--user", 5, "--seen", "seen.csv", "--items", "items.csv")[1]
    )
    assert sorted(r["movieId"] for r in left) == ["11", "12"]


@pytest.mark.parametrize("content", ["", "\n", "user,item,rating\n"])
def test_an_empty_file_says_that_nothing_was_seen(run: Run, content: str) -> None:
    Path("seen.csv").write_text(content)
    code, out, err = call("recommend", run.path, "--user", 5, "--seen", "seen.csv", "-n", 99)
    assert (code, len(rows_of(out))) == (0, 60), err


def test_what_was_seen_counts_beside_ratings_to_fold_in(run: Run) -> None:
    Path("mine.csv").write_text("user,item,rating\nme,1,5\nme,2,1\n5,3,4\n")
    Path("seen.csv").write_text("user,item,rating\nme,10,3\n5,11,3\nother,12,3\n5,gone,3\n")
    args = ("recommend", run.path, "--ratings", "mine.csv", "--seen", "seen.csv", "-n", 99)
    code, out, err = call(*args)
    assert code == 0
    left = {user: set(range(1, 61)) for user in ("me", "5")}
    for row in rows_of(out):
        left[row["userId"]].remove(int(row["movieId"]))
    assert left == {"me": {1, 2, 10}, "5": {3, 11}}
    assert "note: --seen: 1 of 4 rows: item not in the run, such as 'gone'\n" in err
    Path("seen.csv").write_text("user,item,rating\n5.0,10,3\n")
    assert (
        "--seen: 1 of 1 rows: user not in --ratings, such as '5.0' (--ratings has '5'"
        in call(*args)[2]
    )
    code, _, err = call(*args, "--include-seen")
    assert (code, "give one of them" in err) == (2, True)


def test_a_new_user_is_folded_in_from_their_ratings(run: Run, project: Path) -> None:
    """Odd and even items are two tastes; someone who likes even ones gets even ones, and nothing
    that they rated."""
    Path("mine.csv").write_text(
        "user,item,rating\n" + "".join(f"me,{i},{5 if i % 2 else 1}\n" for i in range(1, 21))
    )
    found = rows_of(call("recommend", run.path, "--ratings", "mine.csv", "-n", 8)[1])
    assert [int(r["movieId"]) % 2 for r in found] == [1] * 8
    assert min(int(r["movieId"]) for r in found) > 20


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ([], 2, "choose users by one of"),
        (["--user", "1", "--all"], 2, "choose users by one of"),
        (["--ratings", "mine.csv", "--all"], 2, "--all means all users of the run"),
        (["--user", "nobody"], 3, "user 'nobody' is not in"),
        (["--user", "1", "--items", "items.txt"], 3, "no item to choose from"),
        (["--ratings", "mine.csv"], 3, "no rating of an item that"),
    ],
)
def test_recommend_says_what_is_wrong(run: Run, args: list[str], code: int, words: str) -> None:
    Path("items.txt").write_text("nothing\n")
    Path("mine.csv").write_text("user,item,rating\nme,nothing,3\n")
    found = call("recommend", run.path, *args)
    assert found[0] == code
    assert words in found[2]


def test_excel_safe(run: Run) -> None:
    code, out, _ = call("predict", run.path, "-", "--excel-safe", stdin=PAIRS.encode())
    assert code == 0
    assert [r["note"] for r in rows_of(out)][2] == "'=x"


def test_a_terminal_gets_no_control_characters(project: Path) -> None:
    own, other = pty.openpty()
    pairs = "user,item,title\n1,10,\x1b[2Jgone\u202e\n"
    with subprocess.Popen(
        [CFCLI, "predict", "base", "-"], cwd=project, stdin=subprocess.PIPE, stdout=other
    ) as process:
        process.communicate(pairs.encode(), timeout=60)
    shown = os.read(own, 10_000).decode()
    os.close(own)
    os.close(other)
    assert "\ufffd[2Jgone\ufffd," in shown
    assert "\x1b" not in shown


def test_the_dataset_may_be_gone(project: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", project / "base", tmp_path / "alone"], check=True)
    for args in (
        ["recommend", "alone", "--user", "1"],
        ["predict", "alone", "p.csv"],
        ["similar", "alone", "10"],
    ):
        (tmp_path / "p.csv").write_text("user,item\n1,2\n")
        assert run_cfcli(*args, cwd=tmp_path).returncode == 0


ODD = {
    "tags": pa.array([["a", 'b "c"'], None]),
    "more": pa.array([{"n": 1, "raw": b"\xff"}, None]),
    "pages": pa.array([[{"at": date(2020, 1, 2)}], []]),
    "counts": pa.array([[(7, 1)], None], pa.map_(pa.int64(), pa.int64())),
    "hash": pa.array([b"\x00\xff", None]),
    "took": pa.array([timedelta(days=1, seconds=2), None]),
}


@pytest.fixture
def odd(run: Run) -> str:
    table = pa.table({"userId": ["1", "2"], "movieId": ["2", "2"], **ODD})
    pq.write_table(table, "odd.parquet")
    return "odd.parquet"


def test_columns_of_any_type_go_to_csv(run: Run, odd: str) -> None:
    code, out, err = call("predict", run.path, odd)
    assert (code, err) == (0, "")
    first, second = rows_of(out)
    assert {name: first[name] for name in ODD} == {
        "tags": '["a", "b \\"c\\""]',
        "more": '{"n": 1, "raw": "ff"}',
        "pages": '[{"at": "2020-01-02"}]',
        "counts": '{"7": 1}',
        "hash": "00ff",
        "took": "P1DT2S",
    }
    assert [second[name] for name in ODD] == ["", "", "[]", "", "", ""]
    assert {first["source"], second["source"]} == {"model"}


def test_columns_of_any_type_go_to_json(run: Run, odd: str) -> None:
    code, out, err = call("predict", run.path, odd, "--json")
    assert (code, err) == (0, "")
    first, second = map(json.loads, out.splitlines())
    assert {name: first[name] for name in ODD} == {
        "tags": ["a", 'b "c"'],
        "more": {"n": 1, "raw": "ff"},
        "pages": [{"at": "2020-01-02"}],
        "counts": {"7": 1},
        "hash": "00ff",
        "took": "P1DT2S",
    }
    assert [second[name] for name in ODD] == [None, None, [], None, None, None]


def test_columns_of_any_type_stay_as_they_are_in_parquet(run: Run, odd: str) -> None:
    assert call("predict", run.path, odd, "--out", "out.parquet")[0] == 0
    before, after = pq.read_table(odd), pq.read_table("out.parquet")
    assert after.select([*ODD]).to_pylist() == before.select([*ODD]).to_pylist()


@pytest.mark.parametrize("name", ["none.parquet", "none.csv"])
def test_no_pairs_make_a_table_without_rows(run: Run, name: str) -> None:
    code, _, err = call("predict", run.path, "-", "--out", name, "--std", stdin=b"userId,movieId\n")
    assert (code, err) == (0, "0 rows\n")
    found = pl.read_parquet(name) if name.endswith("parquet") else pl.read_csv(name)
    assert found.columns == ["userId", "movieId", "prediction", "source", "std"]
    assert found.height == 0
    pl.DataFrame(schema={"userId": pl.String, "movieId": pl.Int64}).write_parquet("pairs.parquet")
    assert call("predict", run.path, "pairs.parquet", "--out", name)[0] == 0
    found = pl.read_parquet(name) if name.endswith("parquet") else pl.read_csv(name)
    assert (found.columns, found.height) == (["userId", "movieId", "prediction", "source"], 0)
