"""``cfcli similar``: the forms of its arguments, what it prints, what it says."""

import csv
import io
import json
import math
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from planted import checkerboard, dataset, run, write_csv
from shell import on_terminal, run_cfcli

from cfcli.core.data.dataset import Dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``runs/latest`` (titles ``Film 100, Even``, ids 100, 99, 98 ...) and ``other``,
    a run without."""
    folder = tmp_path_factory.mktemp("similar")
    path = run(
        dataset(folder / "d", checkerboard(60, 24), titles=True), folder / "runs" / "one", dim=4
    )
    (folder / "runs" / "latest").symlink_to(path.name)
    run(dataset(folder / "e", checkerboard(60, 24), text=True), folder / "other", dim=4, epochs=2)
    return folder


def rows(done: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_run_may_be_left_out(place: Path) -> None:
    short = run_cfcli("similar", "100", "--json", cwd=place)
    full = run_cfcli("similar", "runs/latest", "100", "--json", cwd=place)
    assert rows(short) == rows(full)
    assert [
        row["query"]
        for row in rows(run_cfcli("similar", "100", "99", "-n", "1", "--json", cwd=place))
    ] == [
        "100",
        "99",
    ]


def test_another_run_comes_first(place: Path) -> None:
    found = rows(run_cfcli("similar", "other", "i 003", "i 004", "-n", "2", "--json", cwd=place))
    assert [(row["query"], row["rank"]) for row in found] == [
        ("i 003", 1),
        ("i 003", 2),
        ("i 004", 1),
        ("i 004", 2),
    ]
    assert set(found[0]) == {"query", "movieId", "rank", "score", "ratings"}


def test_a_folder_is_a_run_though_an_item_has_its_name(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "runs", tmp_path / "runs", symlinks=True)
    (tmp_path / "100").mkdir()
    refused = run_cfcli("similar", "100", cwd=tmp_path)
    assert refused.returncode == 2
    assert (
        "name items by ITEM_ID or by --title ('100' is a folder, so it is read as RUN)"
        in refused.stderr
    )
    empty = run_cfcli("similar", "100", "99", cwd=tmp_path)
    assert empty.returncode == 7
    assert "100: no run there" in empty.stderr
    assert len(rows(run_cfcli("similar", "runs/latest", "100", "--json", cwd=tmp_path))) == 10


def test_planted_neighbours_with_all_columns(place: Path) -> None:
    found = rows(run_cfcli("similar", "100", "-n", "8", "--json", cwd=place))
    assert [row["rank"] for row in found] == list(range(1, 9))
    assert {int(row["movieId"]) % 2 for row in found} == {0}
    assert list(found[0]) == ["query", "movieId", "rank", "score", "ratings", "title"]
    assert found[0]["title"] == f"Film {found[0]['movieId']}, Even"
    assert [row["score"] for row in found] == sorted((row["score"] for row in found), reverse=True)


def test_metrics_by_their_definition(place: Path, tmp_path: Path) -> None:
    exported = run_cfcli(
        "export-embeddings", "--format", "csv", "--out", tmp_path / "v.csv", cwd=place
    )
    assert exported.returncode == 0
    lines = (tmp_path / "v.csv").read_text().splitlines()[1:]
    vectors = {line.split(",")[0]: [float(x) for x in line.split(",")[1:]] for line in lines}
    for metric, by in (
        ("dot", lambda q, v: sum(a * b for a, b in zip(q, v, strict=True))),
        ("euclidean", lambda q, v: -math.dist(q, v)),
    ):
        expected = {i: by(vectors["97"], v) for i, v in vectors.items() if i != "97"}
        found = rows(
            run_cfcli("similar", "97", "--metric", metric, "-n", "30", "--json", cwd=place)
        )
        assert [row["movieId"] for row in found] == sorted(expected, key=lambda i: -expected[i])
        assert [row["score"] for row in found] == pytest.approx(
            [expected[row["movieId"]] for row in found], abs=2e-6
        )


def test_min_ratings(place: Path) -> None:
    every = rows(run_cfcli("similar", "100", "-n", "30", "--json", cwd=place))
    least = sorted(row["ratings"] for row in every)[12]
    some = rows(
        run_cfcli("similar", "100", "-n", "30", "--min-ratings", least, "--json", cwd=place)
    )
    assert [row["movieId"] for row in some] == [
        row["movieId"] for row in every if row["ratings"] >= least
    ]


def test_several_titles_are_listed_and_the_most_rated_is_taken(place: Path) -> None:
    done = run_cfcli("similar", "--title", ", even", "-n", "3", "--json", cwd=place)
    note, *listed = done.stderr.splitlines()
    taken = rows(done)[0]["query"]
    assert (
        note
        == f"note: 12 titles match ', even'; using Film {taken}, Even, the one with the most ratings"
    )
    assert len(listed) == 6
    assert listed[0].startswith(f"  Film {taken}, Even, ")
    assert listed[-1] == "  and 7 more"
    counts = [int(line.split()[-2]) for line in listed[:5]]
    assert counts == sorted(counts, reverse=True)
    quiet = run_cfcli("similar", "--title", ", even", "-q", "--json", cwd=place)
    assert (quiet.stderr, rows(quiet)[0]["query"]) == ("", taken)


def test_items_of_one_title_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    write_csv(tmp_path / "r.csv", checkerboard(20, 6))
    (tmp_path / "m.csv").write_text("movieId,title\n100,Twin\n99,Twin\n98,Other twin\n")
    assert run_cfcli("prepare", "r.csv", "--items", "m.csv", cwd=tmp_path).returncode == 0
    run(Dataset.load(tmp_path / "data"), tmp_path / "r", dim=2, epochs=1)
    done = run_cfcli("similar", "r", "--title", "twin", "--json", cwd=tmp_path)
    listed = [line.rsplit(", ", 1)[0].strip() for line in done.stderr.splitlines()[1:]]
    assert sorted(listed) == ["Other twin", "Twin, movieId 100", "Twin, movieId 99"]


def test_the_exact_title_wins_and_one_hit_needs_no_note(place: Path) -> None:
    done = run_cfcli("similar", "runs/latest", "--title", "film 93, odd", "--json", cwd=place)
    assert done.stderr == ""
    assert {row["query"] for row in rows(done)} == {"93"}
    assert {int(row["movieId"]) % 2 for row in rows(done)[:8]} == {1}


def test_the_table_names_its_columns(place: Path) -> None:
    shown = on_terminal("similar", "100", "-n", "2", cwd=place)
    assert "nearest to Film 100, Even, movieId 100" in shown
    assert all(word in shown for word in ("rank", "score", "movieId", "title", "ratings"))
    assert "title" not in on_terminal("similar", "other", "i 003", cwd=place)


def cells(shown: str, place: int) -> str:
    """All that a table on the terminal shows in a column, its folded lines joined."""
    rows = [line.split("│") for line in shown.splitlines() if line.startswith("│")]
    return "".join(row[place + 1].strip() for row in rows)


@pytest.mark.parametrize("columns", [80, 60])
def test_ids_and_titles_are_folded_and_not_cut(columns: int, tmp_path: Path) -> None:
    ids = {str(100 - k): str(uuid.UUID(int=k * 7**40)) for k in range(12)}
    title = "千と千尋の神隠し" * 8
    path = write_csv(tmp_path / "plain.csv", checkerboard(40, 12))
    rows = pl.read_csv(path, infer_schema=False).with_columns(pl.col("movieId").replace(ids))
    rows.write_csv(tmp_path / "r.csv")
    names = pl.DataFrame({"movieId": list(ids.values()), "title": title})
    names.write_csv(tmp_path / "movies.csv")
    for args in (
        ["prepare", "r.csv", "--items", "movies.csv"],
        ["train", "--epochs", "2", "--dim", "2", "--no-interest", "--no-plots", "--out", "run"],
    ):
        assert run_cfcli(*args, cwd=tmp_path).returncode == 0
    for id, name, args in (
        (2, 3, ["similar", "run", ids["100"]]),
        (0, 5, ["recommend", "run", "--user", "100", "--include-seen"]),
    ):
        done = run_cfcli(*args, "-n", "3", "--json", cwd=tmp_path)
        expected = [json.loads(line) for line in done.stdout.splitlines()]
        shown = on_terminal(*args, "-n", "3", cwd=tmp_path, columns=columns)
        assert len(expected) == 3
        assert cells(shown, id) == "".join(row["movieId"] for row in expected)
        assert cells(shown, name) == title * 3


def test_a_pipe_gets_csv(place: Path) -> None:
    done = run_cfcli("similar", "100", "99", "-n", "2", cwd=place)
    found = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["query"] for row in found] == ["100", "100", "99", "99"]
    assert list(found[0]) == ["query", "movieId", "rank", "score", "ratings", "title"]


@pytest.mark.parametrize(
    ("code", "args", "message"),
    [
        (2, [], "name items by ITEM_ID or by --title"),
        (2, ["runs/latest"], "'runs/latest' is a folder, so it is read as RUN"),
        (2, ["runs/latest", "100", "--title", "x"], "not both"),
        (2, ["100", "--metric", "manhattan"], "manhattan"),
        (3, ["100", "nobody"], "item 'nobody' is not in runs/"),
        (3, ["--title", "no such film"], "no title holds 'no such film'"),
        (3, ["other", "--title", "film"], "knows no titles"),
        (7, ["nowhere", "--title", "film"], "nowhere: no run there"),
    ],
)
def test_errors(code: int, args: list[str], message: str, place: Path) -> None:
    done = run_cfcli("similar", *args, cwd=place)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run_cfcli("similar", "runs/lost", "1", cwd=tmp_path)
    assert done.returncode == 7
    assert "runs/lost: no run there" in done.stderr


def test_a_rare_item_is_warned_about(tmp_path: Path) -> None:
    lines = [f"{u},{i},{1 + (u + i) % 5}" for u in range(30) for i in range(6)] + [
        "1,rare\x1b[31m,5"
    ]
    (tmp_path / "r.csv").write_text("userId,itemId,rating\n" + "\n".join(lines) + "\n")
    assert (
        run_cfcli(
            "prepare", "r.csv", "--val-size", "0", "--test-size", "0", cwd=tmp_path
        ).returncode
        == 0
    )
    assert run_cfcli("train", "--epochs", "1", "-q", cwd=tmp_path).returncode == 0
    done = run_cfcli("similar", "rare\x1b[31m", cwd=tmp_path)
    assert done.returncode == 0
    assert "training ratings of rare\\x1b[31m: 1; its neighbours are mostly chance" in done.stderr
    assert "\x1b" not in done.stderr
    assert (
        rows(run_cfcli("similar", "rare\x1b[31m", "--json", cwd=tmp_path))[0]["query"]
        == "rare\x1b[31m"
    )


def test_it_needs_no_torch(place: Path) -> None:
    import sys

    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom cfcli.cli.app import app\n"
        "assert CliRunner().invoke(app, ['similar', '100']).exit_code == 0\n"
        "args = ['export-embeddings', '--entity', 'both', '--out', 'vectors']\n"
        "assert CliRunner().invoke(app, args).exit_code == 0\n"
        "print({'torch', 'sklearn', 'pytorch_lightning'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_a_title_or_a_user_in_the_place_of_a_run_is_told_its_flag(place: Path) -> None:
    for args, said in (
        (("similar", "the even", "100"), "; if it is a title, write --title 'the even'"),
        (
            ("similar", "100", "--title", "Even"),
            "100: no run there; to name an item, give ITEM_ID or --title, not both",
        ),
        (("recommend", "4"), "('4' is not the folder of a run; for a user: --user 4)"),
    ):
        done = run_cfcli(*args, cwd=place)
        assert said in done.stderr
    assert "--title" not in run_cfcli("similar", "other", "nothing", cwd=place).stderr
