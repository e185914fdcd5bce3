"""What commands print has one form: CSV or plain lines in a pipe, and one kind of JSON."""

import csv
import io
import json
from pathlib import Path

import pytest
from shell import run_cfcli, write_ratings

ROWS = {  # commands that give rows
    "predict": ("predict", "r", "pairs.csv"),
    "recommend": ("recommend", "r", "--user", "1", "-n", "3", "--why", "2"),
    "similar": ("similar", "r", "1", "-n", "3"),
}
ONE = {  # commands that say one thing
    "evaluate": ("evaluate", "r", "--no-plots"),
    "compare": ("compare", "r", "r"),
    "cross-validate": (
        "cross-validate", "--data", "data", "--folds", "2", "--epochs", "1", "--no-interest",
    ),
    "plan": ("plan", "--data", "data"),
    "status": ("status", "--store", "store"),
    "verify": ("verify", "r"),
    "doctor": ("doctor", "--store", "store"),
    "bench": ("bench", "--sample", "500", "--batch-sizes", "256", "--num-workers", "0", "--repeats", "1"),
}  # fmt: skip
DRAWN = "─━│┃┏┡└╭█"
IDS = ("userId", "movieId", "query")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    write_ratings(folder / "ratings.csv")
    (folder / "pairs.csv").write_text("userId,movieId,note\n1,2,=x\n3,4,y\n")
    for command in (
        ("prepare", "ratings.csv"),
        ("train", "--epochs", "2", "--out", "r", "--no-plots"),
        ("retrain", "ratings.csv", "--store", "store", "--epochs", "2"),
    ):
        done = run_cfcli(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def output(place: Path, *args: str) -> str:
    done = run_cfcli(*args, cwd=place)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_csv_in_a_pipe_and_json_lines_with_the_same_columns(
    name: str, place: Path
) -> None:
    of_csv = list(csv.DictReader(io.StringIO(output(place, *ROWS[name]))))
    of_json = [json.loads(line) for line in output(place, *ROWS[name], "--json").splitlines()]
    assert len(of_csv) == len(of_json) > 0
    for one, other in zip(of_csv, of_json, strict=True):
        assert list(one) == list(other)
        for key in set(IDS) & set(one):
            assert other[key] == one[key]  # as text
        if "because" in one:
            assert json.loads(one["because"]) == other["because"]
            assert all(isinstance(item, str) for item in other["because"])


@pytest.mark.parametrize("name", ONE)
def test_what_is_no_rows_is_plain_in_a_pipe_and_one_json_object(name: str, place: Path) -> None:
    plain = output(place, *ONE[name])
    assert plain.strip()
    assert not set(plain) & set(DRAWN)
    assert "\x1b" not in plain
    assert isinstance(json.loads(output(place, *ONE[name], "--json")), dict)


def test_a_count_of_ratings_is_called_so_everywhere(place: Path) -> None:
    for name in ("recommend", "similar"):
        first = json.loads(output(place, *ROWS[name], "--json").splitlines()[0])
        assert isinstance(first["ratings"], int)
