"""Items and users that came after the training: planted tastes for genres tell what to expect."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from cfcli.cli.app import app
from cfcli.core.pair import Pair
from cfcli.core.runs.newcomers import with_newcomers
from cfcli.core.runs.run import Run
from cfcli.core.serving.predict import predict_frame

GENRES = ("Action", "Drama", "Comedy")
NEW_ITEMS = "item_id,title,genres\nn0,New Action (1999),Action\nn1,New Drama (1999),Drama\n"
NEW_ITEMS += "n2,New Comedy (1999),Comedy\nn3,Without,\n"


def call(*args: object, stdin: bytes | None = None) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(a) for a in args], input=stdin, env={"COLUMNS": "100"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def fill(folder: Path) -> None:
    """60 users, a third of whom love each genre; 60 items, 20 of each genre. Users of a city share
    a taste."""
    random = np.random.default_rng(0)
    lines = ["user_id,item_id,rating"]
    for user in range(60):
        for item in range(60):
            loves = user % 3 == item % 3
            if random.random() < (0.6 if loves else 0.3):
                rating = np.clip((4.5 if loves else 2) + random.normal(0, 0.4), 1, 5)
                lines.append(f"u{user},i{item},{rating:.0f}")
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    items = [f"i{k},Film {k} ({1980 + k % 20}),{GENRES[k % 3]}" for k in range(60)]
    (folder / "items.csv").write_text("item_id,title,genres\n" + "\n".join(items) + "\n")
    users = [f"u{k},{'ABC'[k % 3]}" for k in range(60)]
    (folder / "users.csv").write_text("user_id,city\n" + "\n".join(users) + "\n")
    (folder / "new.csv").write_text(NEW_ITEMS)
    given = "--items", folder / "items.csv", "--users", folder / "users.csv", "--attributes"
    flags = *given, "genres,year,city", "--out", folder / "data", "--quiet"
    assert call("prepare", folder / "ratings.csv", *flags)[0] == 0
    flags = "--data", folder / "data", "--out", folder / "run", "--epochs", "8", "--no-plots"
    assert call("train", *flags, "--quiet")[0] == 0


@pytest.fixture
def folder(made_once, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # type: ignore[no-untyped-def]
    path: Path = made_once("newcomers", fill)
    monkeypatch.chdir(tmp_path)
    return path


def test_new_items_are_rated_by_their_attributes(folder: Path) -> None:
    pairs = "user_id,item_id\nu0,n0\nu0,n1\nu1,n1\nu1,n3\nu0,i0\nnobody,i0\n"
    code, out, err = call(
        "predict", folder / "run", "-", "--items", folder / "new.csv", stdin=pairs.encode()
    )
    assert code == 0, err
    found = [(row["source"], float(row["prediction"])) for row in rows(out)]
    sources = ["item_attributes"] * 3 + ["user_bias", "model", "item_bias"]
    assert [source for source, _ in found] == sources  # n3 has no attribute that is known
    assert found[0][1] > 3.8
    assert found[1][1] < 2.8
    assert found[2][1] > 3.8
    assert "item not in the run, such as 'n3'" in err
    # Without the file they are unknown, and all alike.
    found = rows(call("predict", folder / "run", "-", stdin=pairs.encode())[1])
    assert found[0]["source"] == "user_bias"
    assert found[0]["prediction"] == found[1]["prediction"]


def fill_choosy(folder: Path) -> None:
    """40 items of each of two genres; half of each are good, which nothing tells. Users c0 to c19
    rate 12 good ones; what they rate of bad ones weighs nothing. Users a0 to a39 rate as it comes."""
    random = np.random.default_rng(0)
    is_good = np.arange(80) // 2 % 2 == 0
    lines = ["user_id,item_id,rating,weight"]
    for k in range(60):
        choosy = k < 20
        name = f"c{k}" if choosy else f"a{k - 20}"
        good, bad = (random.permutation(np.flatnonzero(is_good == way)) for way in (True, False))
        for item in [*good[:12], *bad[:12]]:
            rating = np.clip((4.5 if is_good[item] else 2) + random.normal(0, 0.3), 1, 5)
            weight = 1e-4 if choosy and not is_good[item] else 1
            lines.append(f"{name},i{item},{rating:.1f},{weight}")
    (folder / "weighed.csv").write_text("\n".join(lines) + "\n")
    plain = [line.rpartition(",")[0] for line in lines if not line.endswith("0.0001")]
    (folder / "plain.csv").write_text("\n".join(plain) + "\n")
    items = [f"i{k},{GENRES[k % 2]}" for k in range(80)]
    (folder / "items.csv").write_text("\n".join(["item_id,genres", *items, "n0,Action", ""]))
    for way, flags in {"weighed": ["--weight-col", "weight"], "plain": []}.items():
        given = folder / f"{way}.csv", "--items", folder / "items.csv", "--out", folder / way
        assert call("prepare", *given, *flags, "--quiet")[0] == 0
        flags = ["--data", folder / way, "--out", folder / f"run-{way}", "--epochs", "10"]
        assert call("train", *flags, "--no-plots", "--no-interest", "--quiet")[0] == 0


@pytest.mark.parametrize("way", ["weighed", "plain"])
def test_who_chose_good_items_will_choose_a_good_new_one(made_once, way: str) -> None:  # type: ignore[no-untyped-def]
    folder = made_once("choosy", fill_choosy)
    people = [*(f"c{k}" for k in range(20)), *(f"a{k}" for k in range(40))]
    pairs = "".join(["user_id,item_id\n", *(f"{name},n0\n" for name in people)])
    flags = "--items", folder / "items.csv"
    code, out, err = call("predict", folder / f"run-{way}", "-", *flags, stdin=pairs.encode())
    assert code == 0, err
    rating = np.array([float(row["prediction"]) for row in rows(out)])
    assert rating[:20].mean() > 3.8
    assert rating[20:].mean() < 3.5


def test_new_users_are_rated_by_their_attributes(folder: Path) -> None:
    Path("people.csv").write_text("user_id,city\nv0,A\nv1,B\n")
    pairs = "user_id,item_id\nv0,i0\nv0,i1\nv1,i1\nv0,n0\n"
    flags = "--users", "people.csv", "--items", folder / "new.csv"
    code, out, err = call("predict", folder / "run", "-", *flags, stdin=pairs.encode())
    assert code == 0, err
    found = rows(out)
    assert [row["source"] for row in found] == ["user_attributes"] * 3 + ["item_attributes"]
    rating = [float(row["prediction"]) for row in found]
    assert min(rating[0], rating[2], rating[3]) > 3.8 > 2.8 > rating[1]
    lists = rows(call("recommend", folder / "run", "--users", "people.csv", "-n", 5)[1])
    assert {int(row["item_id"][1:]) % 3 for row in lists if row["user_id"] == "v1"} == {1}


def test_new_items_are_recommended_and_known_ones_beside_them(folder: Path) -> None:
    code, out, err = call(
        "recommend", folder / "run", "--user", "u1", "--items", folder / "new.csv"
    )
    assert code == 0, err
    found = rows(out)
    assert found[0]["item_id"] == "n1"
    assert {row["item_id"] for row in found} == {"n0", "n1", "n2"}
    assert found[0]["title"] == "New Drama (1999)"
    assert found[0]["ratings"] == "0"
    assert "n3" in err


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_neighbours_of_new_items_share_their_genre(folder: Path, metric: str) -> None:
    flags = "--items", folder / "new.csv", "--metric", metric, "-n", 5
    code, out, err = call("similar", folder / "run", "n1", *flags)
    assert code == 0, err
    assert {int(row["item_id"][1:]) % 3 for row in rows(out)} == {1}


def test_what_was_rated_since_is_folded_in(folder: Path) -> None:
    Path("since.csv").write_text("user_id,item_id,rating\nw,i0,5\nw,i3,5\nw,i1,1\nw,i4,1\nw,i7,2\n")
    pairs = "user_id,item_id\nw,i9\nw,i10\nu0,i0\n"
    code, out, err = call(
        "predict", folder / "run", "-", "--ratings", "since.csv", stdin=pairs.encode()
    )
    assert code == 0, err
    found = rows(out)
    assert [row["source"] for row in found] == ["folded_in", "folded_in", "model"]
    assert float(found[0]["prediction"]) > 3.8 > 2.9 > float(found[1]["prediction"])
    lists = call("recommend", folder / "run", "--ratings", "since.csv", "-n", 60)[1]
    same = {row["item_id"]: row["prediction"] for row in rows(lists)}
    for row in found[:2]:
        assert float(row["prediction"]) == pytest.approx(float(same[row["item_id"]]), abs=1e-4)


def test_runs_without_attributes_refuse_them(folder: Path) -> None:
    call("prepare", folder / "ratings.csv", "--out", "plain", "--quiet")
    call("train", "--data", "plain", "--out", "run", "--epochs", "2", "--no-plots", "--quiet")
    for command in (("predict", "run", "-"), ("similar", "run", "i1")):
        code, _, err = call(*command, "--items", folder / "new.csv", stdin=b"user_id,item_id\n")
        assert code == 2
        assert "--items: run knows no attributes of items; give --items to 'cfcli prepare'" in err
    flags = "--data", folder / "data", "--out", "again", "--warm-start", "run"
    code, _, err = call("train", *flags)
    assert code == 2
    assert (
        "was trained with no attributes, not attributes users' city and items' genres, year" in err
    )


def test_what_looks_wrong_in_a_file_is_said(folder: Path) -> None:
    lines = (
        "item_id,title,genres",
        "n0,A (1999),Aktion|Drama",
        "n0,B (1998),Drama",
        "I1,C (1999),Drama",
    )
    Path("odd.csv").write_text("\n".join([*lines, ""]))
    pairs = b"user_id,item_id\nu0,n0\n"
    code, _, err = call("predict", folder / "run", "-", "--items", "odd.csv", stdin=pairs)
    assert code == 0
    said = "odd.csv: 1 of 2 rows: a value of genres that training did not know, such as 'Aktion'"
    assert said in err
    assert "odd.csv: 1 title is of ids titled before; kept: first" in err
    assert "'I1' counts as a new item (the run has 'i1': another letter case?)" in err


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_new_items_change_nothing_between_known_ones(folder: Path, metric: str) -> None:
    flags = "--metric", metric, "-n", 5
    known = call("similar", folder / "run", "i1", *flags)[1]
    flags = *flags, "--items", folder / "new.csv"
    assert call("similar", folder / "run", "i1", *flags)[1] == known


def test_new_items_change_no_prediction_for_known_ones(folder: Path) -> None:
    pairs = "".join(["user_id,item_id\n", *(f"u{k},i{3 * k % 60}\n" for k in range(60))]).encode()
    known = call("predict", folder / "run", "-", stdin=pairs)[1]
    flags = "--items", folder / "new.csv"
    assert call("predict", folder / "run", "-", *flags, stdin=pairs)[1] == known


def test_lists_and_predictions_agree_on_new_items(folder: Path) -> None:
    Path("people.csv").write_text("user_id,city\nv0,A\nv1,B\n")
    Path("since.csv").write_text("user_id,item_id,rating\nw,i0,5\nw,i1,1\nw,n1,2\n")
    new = "--items", folder / "new.csv"
    for users, flags in {
        tuple(f"u{k}" for k in range(60)): [],
        ("v0", "v1"): ["--users", "people.csv"],
        ("w",): ["--ratings", "since.csv"],
    }.items():
        wanted = flags or ["--all"]
        lists = rows(call("recommend", folder / "run", *new, *wanted, "--include-seen")[1])
        assert {row["user_id"] for row in lists} == {*users}
        assert len(lists) == 3 * len(users)
        listed = [float(row["prediction"]) for row in lists]
        pairs = "".join(f"{row['user_id']},{row['item_id']}\n" for row in lists)
        stdin = f"user_id,item_id\n{pairs}".encode()
        found = rows(call("predict", folder / "run", "-", *new, *flags, stdin=stdin)[1])
        assert [float(row["prediction"]) for row in found] == pytest.approx(listed, abs=1e-4)


def test_new_items_are_rated_without_a_shift(folder: Path) -> None:
    """Gradient descent has none, nor have runs from before there were any."""
    run = Run.load(folder / "run")
    content = run.content.item
    assert content is not None
    assert content.shift is not None
    plain = run.with_parts(content=Pair(run.content.user, replace(content, shift=None)))
    frame = pl.DataFrame({"id": ["n0", "n1"], "genres": ["Action", "Drama"]})
    found = with_newcomers(plain, "item", frame)
    assert found.tensors["item_embedding.weight"].shape == (62, run.info.dim)
    pairs = pl.DataFrame({"user_id": ["u0", "u0"], "item_id": ["n0", "n1"]})
    high, low = predict_frame(found, pairs)["prediction"]
    assert high > 3.8 > 2.8 > low


def test_a_file_without_any_attribute_is_refused(folder: Path) -> None:
    Path("other.csv").write_text("item_id,price\nn0,3\n")
    flags = "--items", "other.csv"
    code, _, err = call("predict", folder / "run", "-", *flags, stdin=b"user_id,item_id\nu0,n0\n")
    assert (code, err) == (3, "error: other.csv: has none of the attributes genres, year\n")


def test_a_run_keeps_the_map_and_no_value_of_a_person(folder: Path) -> None:
    info = json.loads((folder / "run" / "run.json").read_text())
    assert [each["name"] for each in info["attributes"]["user"]] == ["city"]

    assert "city" not in pl.read_parquet(folder / "run" / "users.parquet").columns
    copy = Path("copy")

    shutil.copytree(folder / "run", copy)
    with (copy / "content.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\x00\x00\x80\x7f")  # infinity
    code, _, err = call("predict", copy, "-", stdin=b"user_id,item_id\nu0,i0\n")
    assert code == 7
    assert "content.safetensors" in err
