"""From ratings to a dataset: counts add up, ids stay exact, nothing half-written."""

import io
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import planted
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shell import run_cfcli, write_ratings
from sklearn.model_selection import train_test_split

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.data import prepare as preparation
from cfcli.core.data.dataset import FILES, Dataset
from cfcli.core.data.info import Scale
from cfcli.core.errors import ArtifactError, ConfigError, InputError, LockedError, MachineError
from cfcli.core.inputs.ratings import Source
from cfcli.core.storage import manifests, publishing
from cfcli.core.storage.schema import to_json

TIMED = b"user,item,rating,time\n1,1,1,300\n1,1,2,200\n1,2,3,100\n1,2,5,100\n2,1,4,50\n"


def source(data: bytes | str, name: str = "r.csv") -> Source:
    encoded = data.encode() if isinstance(data, str) else data
    return Source(name, lambda: io.BytesIO(encoded))


def prepare(data: bytes | str, out: Path, *, force: bool = False, **settings: Any) -> Dataset:
    extra = {name: settings.pop(name) for name in ("items", "val", "test") if name in settings}
    return preparation.prepare(
        [source(data)], out, PrepareConfig(**settings), force=force, **extra
    )[0]


def all_rows(dataset: Dataset) -> list[tuple[str, str, float]]:
    """Every rating with its external ids, sorted."""
    users, items = dataset.ids
    rows = pl.concat(
        [dataset.split(name).select("user", "item", "rating") for name in ("train", "val", "test")]
    )
    return sorted(zip(users.id(rows["user"]), items.id(rows["item"]), rows["rating"], strict=True))


def test_the_tables_have_the_columns_of_the_contract(tmp_path: Path) -> None:
    dataset = preparation.prepare(
        [Source.of(write_ratings(tmp_path / "r.csv"))], tmp_path / "d", PrepareConfig()
    )[0]
    train = dataset.split("train")
    assert dataset.split("train", times=True).schema == {
        "user": pl.UInt32, "item": pl.UInt32, "rating": pl.Float32, "timestamp": pl.Datetime("us"),
    }  # fmt: skip
    assert dataset.users.columns == ["userId", "n_ratings"]
    assert dataset.items.columns == ["movieId", "n_ratings"]
    assert dataset.users["n_ratings"].sum() == dataset.info.ratings
    assert sum(dataset.info.rows(name) for name in ("train", "val", "test")) == dataset.info.ratings
    assert dataset.info.rating_scale == Scale(0.5, 5.0, 0.5)
    assert dataset.info.mean == pytest.approx(train["rating"].cast(pl.Float64).mean())
    assert sorted(p.name for p in dataset.path.iterdir()) == sorted([*FILES, "dataset.json"])


IDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0\r"),
    min_size=1,
    max_size=5,
)
RATINGS = st.dictionaries(
    st.tuples(IDS, IDS), st.sampled_from([0.5, 1.0, 3.5, 5.0]), min_size=5, max_size=30
)


@settings(max_examples=30, deadline=None)
@given(RATINGS, st.sampled_from(["hash", "random", "user-last"]))
def test_every_rating_comes_out_as_it_went_in(
    ratings: dict[tuple[str, str], float], split: str
) -> None:
    import tempfile

    stream = io.BytesIO()
    rows = [(u, i, r) for (u, i), r in ratings.items()]
    pl.DataFrame(rows, schema=["user", "item", "rating"], orient="row").write_csv(
        stream, quote_style="always"
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            dataset = prepare(
                stream.getvalue(), Path(folder) / "d", split=split, val_size=0.3, test_size=0.1
            )
        except InputError as error:
            assert "no training rows" in str(error)  # few rows may all fall on other sides
            return
        assert all_rows(dataset) == sorted(rows)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("last", [1.0, 5.0, 4.0]), ("first", [1.0, 3.0, 4.0]), ("mean", [1.5, 4.0, 4.0])],
)
def test_duplicates_are_settled_before_the_split(
    policy: str, expected: list[float], tmp_path: Path
) -> None:
    dataset = prepare(TIMED, tmp_path / "d", duplicates=policy, val_size=0, test_size=0)
    assert [rating for _, _, rating in all_rows(dataset)] == expected
    assert dataset.info.duplicates == 2


def test_duplicates_may_be_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 ratings repeat a pair, such as user '1' and item '1'"):
        prepare(TIMED, tmp_path / "d", duplicates="error")
    assert list(tmp_path.iterdir()) == []


def test_given_sides_stay_and_ids_seen_only_there_are_mapped(tmp_path: Path) -> None:
    held = source("user,item,rating\n1,new,5\nnobody,2,3\n1,1,2\n", "test.csv")
    train = "user,item,rating\n1,1,4\n1,2,3\n2,1,5\n2,2,4\n"
    dataset = prepare(train, tmp_path / "d", test=held, val_size=0)
    assert dataset.info.users == 3
    assert dataset.info.items == 3
    assert (dataset.info.train, dataset.info.val, dataset.info.test) == (3, 0, 3)
    assert dataset.info.cold == {"val": 0, "test": 2}
    assert dataset.info.duplicates == 1  # the pair of the test side must not be trained on
    assert ("1", "1", 2.0) in all_rows(dataset)
    val = source("user,item,rating\n1,3,5\n2,2,1\n", "val.csv")
    both = prepare(train, tmp_path / "e", test=held, val=val)
    assert (both.info.train, both.info.val, both.info.test) == (2, 2, 3)


def test_a_given_side_stays_the_given_one_even_when_nothing_is_left_of_it(tmp_path: Path) -> None:
    train = "".join(f"{u},{i},{u % 5}\n" for u in range(30) for i in "ab")
    dataset = prepare(
        "user,item,rating\n" + train,
        tmp_path / "d",
        val=source("user,item,rating\n1,z,3\n"),
        top_items=2,
        test_size=0,
    )
    assert (dataset.info.train, dataset.info.val, dataset.info.test) == (60, 0, 0)


def test_filters(tmp_path: Path) -> None:
    # Item c has one rating; without it user 3 has one, without whom item b has two.
    data = "user,item,rating\n1,a,1\n1,b,2\n2,a,3\n2,b,4\n3,b,5\n3,c,1\n4,a,2\n4,b,3\n"
    keep = {"val_size": 0, "test_size": 0}
    both = prepare(data, tmp_path / "1", min_user_ratings=2, min_item_ratings=2, **keep)
    assert [row[:2] for row in all_rows(both)] == [(u, i) for u in "124" for i in "ab"]
    top = prepare(data, tmp_path / "2", top_items=1, **keep)
    assert {item for _, item, _ in all_rows(top)} == {"b"}
    with pytest.raises(InputError, match="all 8 ratings were filtered away"):
        prepare(data, tmp_path / "3", min_user_ratings=9, **keep)
    since = prepare(TIMED, tmp_path / "4", since="1970-01-01T00:02:00", **keep)
    assert since.info.ratings == 1
    zoned = prepare(TIMED, tmp_path / "7", since="1970-01-01T02:00:50+02:00", **keep)  # inclusive
    assert all_rows(zoned) == [("1", "1", 1.0), ("1", "2", 5.0), ("2", "1", 4.0)]
    with pytest.raises(InputError, match="--since needs a column of times"):
        prepare(data, tmp_path / "5", since="2020-01-01", **keep)
    with pytest.raises(ConfigError, match="'soon' is not a date"):
        prepare(TIMED, tmp_path / "6", since="soon", **keep)


def test_a_sample_does_not_depend_on_the_order(tmp_path: Path) -> None:
    header, *lines = write_ratings(tmp_path / "r.csv").read_text().splitlines()
    one = prepare("\n".join([header, *lines]), tmp_path / "1", sample=100)
    other = prepare("\n".join([header, *reversed(lines)]), tmp_path / "2", sample=100)
    assert one.info.ratings == 100
    assert all_rows(one) == all_rows(other)
    for name in ("train", "val", "test"):
        assert one.info.rows(name) == other.info.rows(name) > 0


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write_ratings(tmp_path / "r.csv")
    for name in ("one", "two"):
        preparation.prepare([Source.of(path)], tmp_path / name, PrepareConfig())
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    prints = [
        json.loads((tmp_path / name / "dataset.json").read_text())["fingerprint"]
        for name in ("one", "two")
    ]
    assert prints[0] == prints[1]


def test_titles_join_by_exact_id(tmp_path: Path) -> None:
    data = "user,item,rating\n1,7,1\n2,007,2\n1,8,3\n"
    titles = source("item,title,genres\n7,Seven,Drama\n", "m.csv")
    dataset, notes = preparation.prepare(
        [source(data)], tmp_path / "d", PrepareConfig(val_size=0, test_size=0), items=titles
    )
    assert dataset.items.select("item", "title", "genres").rows() == [
        ("007", None, None), ("7", "Seven", "Drama"), ("8", None, None),
    ]  # fmt: skip
    assert notes[0] == (
        "2 of 3 items have no title in m.csv, such as '007' (there it is '7': leading zeros?)"
    )


def test_an_empty_title_is_not_laid_to_the_id(tmp_path: Path) -> None:
    titles = source("item,title\n7,Seven\n8,\n", "m.csv")
    _, notes = preparation.prepare(
        [source("user,item,rating\n1,7,1\n2,8,2\n1,8,3\n")],
        tmp_path / "d",
        PrepareConfig(val_size=0, test_size=0),
        items=titles,
    )
    assert notes[0] == "1 of 2 items have no title in m.csv"


def test_names_that_the_tables_use_themselves(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cfcli uses the name 'score' itself"):
        prepare("user,score,rating\n1,2,3\n", tmp_path / "d", item_col="score", rating_col="rating")
    data = "user,title,rating\n1,A,3\n2,B,4\n"
    assert prepare(data, tmp_path / "e", item_col="title", test_size=0, val_size=0).items[
        "title"
    ].to_list() == [
        "A",
        "B",
    ]
    with pytest.raises(InputError, match="cfcli uses the name 'title' itself"):
        prepare(data, tmp_path / "f", item_col="title", items=source("item,title\nA,a\n"))


@pytest.mark.parametrize(
    ("ratings", "scale", "histogram"),
    [
        ([1, 5, 3], {"min": 1.0, "max": 5.0, "step": 2.0}, [(1.0, 1), (3.0, 1), (5.0, 1)]),
        (
            [-10, 10, 0.5, -10],
            {"min": -10.0, "max": 10.0, "step": None},
            [(-10.0, 2), (0.5, 1), (10.0, 1)],
        ),
        (
            [0.1, 0.2, 0.5],
            {"min": pytest.approx(0.1), "max": 0.5, "step": pytest.approx(0.1)},
            None,
        ),
        (
            list(range(1, 101)),
            {"min": 1.0, "max": 100.0, "step": 1.0},
            [(pytest.approx(1 + 9.9 * k), 10) for k in range(10)],
        ),
    ],
)
def test_scale_and_histogram(
    ratings: list[float], scale: Any, histogram: Any, tmp_path: Path
) -> None:
    data = "user,item,rating\n" + "".join(f"{n},{n},{r}\n" for n, r in enumerate(ratings))
    info = prepare(data, tmp_path / "d", val_size=0, test_size=0).info
    assert to_json(info.rating_scale) == scale
    if histogram:
        assert [(bar.rating, bar.n) for bar in info.histogram] == histogram


def test_the_scale_is_that_of_the_training_rows_or_as_declared(tmp_path: Path) -> None:
    held = source("user,item,rating\n1,3,9\n1,1,9\n")
    train = "user,item,rating\n1,1,2\n1,2,4\n2,1,2\n"
    assert prepare(train, tmp_path / "d", test=held, val_size=0).info.rating_scale == Scale(2, 4, 2)
    declared = prepare(train, tmp_path / "e", test=held, val_size=0, rating_range=(0, 10))
    assert declared.info.rating_scale == Scale(0, 10, 2)
    assert declared.info.mean == 3


def test_equal_ratings_are_said(tmp_path: Path) -> None:
    data = source("user,item,rating\n1,1,3\n1,2,3\n")
    config = PrepareConfig(val_size=0, test_size=0)
    notes = preparation.prepare([data], tmp_path / "d", config)[1]
    assert notes == ["all training ratings are 3; there is nothing to learn from them"]


def test_bad_rows_are_counted_by_reason_and_kept_for_their_owner_alone(tmp_path: Path) -> None:
    data = "user,item,rating\n1,1,x\n1,2,y\n1,3,4\n1,4\n,5,3\n2,1,nan\n2,2,5\n"
    info = prepare(data, tmp_path / "d", max_bad_rows="5", val_size=0, test_size=0).info
    assert info.rejected == {
        "not a number": 2, "wrong number of fields": 1, "missing user id": 1, "missing rating": 1,
    }  # fmt: skip
    assert info.ratings + sum(info.rejected.values()) == info.sources[0].rows == 7
    rejects = tmp_path / "d" / "rejects.csv"
    assert pl.read_csv(rejects)["line"].to_list() == [2, 3, 5, 6, 7]
    assert stat.S_IMODE(rejects.stat().st_mode) == 0o600
    prepare(
        data, tmp_path / "d", max_bad_rows="5", val_size=0, test_size=0
    )  # its own file is none of others


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("split", ["random", "time"])
def test_too_few_ratings_are_an_input_error(split: str, n: int, tmp_path: Path) -> None:
    data = "user,item,rating,time\n" + "".join(f"{k},1,3,{k}\n" for k in range(n))
    with pytest.raises(InputError, match=f"no training rows are left of {n} ratings"):
        prepare(data, tmp_path / "d", split=split, val_size=0.5, test_size=0.4)
    assert list(tmp_path.iterdir()) == []


def test_the_random_split_of_a_file_is_scikit_learns(tmp_path: Path) -> None:
    frame = pl.read_csv(write_ratings(tmp_path / "r.csv"))
    dataset = preparation.prepare(
        [Source.of(tmp_path / "r.csv")], tmp_path / "d", PrepareConfig(split="random")
    )[0]
    train, held = train_test_split(frame.to_pandas(), test_size=0.3, random_state=42)
    val, test = train_test_split(held, test_size=1 / 3, random_state=42)
    users, items = dataset.ids
    for name, part in (("train", train), ("val", val), ("test", test)):
        rows, expected = dataset.split(name), part.sort_index()
        assert users.id(rows["user"]).to_list() == [str(u) for u in expected["userId"]]
        assert items.id(rows["item"]).to_list() == [str(i) for i in expected["movieId"]]
        assert rows["rating"].to_list() == expected["rating"].to_list()


def test_the_hash_split_does_not_move_when_ratings_come(tmp_path: Path) -> None:
    header, *lines = write_ratings(tmp_path / "r.csv").read_text().splitlines()

    def sides(some: list[str], name: str) -> dict[tuple[str, str], str]:
        dataset = prepare("\n".join([header, *some]), tmp_path / name)
        users, items = dataset.ids
        return {
            pair: side
            for side in ("train", "val", "test")
            for pair in zip(
                users.id(dataset.split(side)["user"]),
                items.id(dataset.split(side)["item"]),
                strict=True,
            )
        }

    former, later = sides(lines[: len(lines) // 2], "one"), sides(lines[::-1], "two")
    assert former
    assert former.items() <= later.items()


def test_another_dataset_goes_only_with_force_and_dot_files_stay(tmp_path: Path) -> None:
    out = tmp_path / "data"
    out.mkdir()
    (out / ".gitkeep").touch()
    first = prepare(TIMED, out, test_size=0)
    with pytest.raises(ConfigError, match="holds another dataset"):
        prepare(TIMED, out, test_size=0, seed=1)
    assert Dataset.load(out).info.fingerprint == first.info.fingerprint
    second = prepare(TIMED, out, test_size=0, seed=1, force=True)
    assert second.info.fingerprint != first.info.fingerprint
    assert (out / ".gitkeep").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(ConfigError, match=r"holds other files \(thesis.tex\); .*--out"):
            prepare(TIMED, tmp_path, force=force)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("name", ["ratings.csv", ".git/HEAD"])
def test_what_was_put_beside_a_dataset_is_never_lost(name: str, tmp_path: Path) -> None:
    out = tmp_path / "data"
    first = prepare(TIMED, out, test_size=0)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    for changes in ({}, {"force": True, "seed": 1}):
        with pytest.raises(ConfigError, match=rf"holds other files \({name.split('/')[0]}\)"):
            prepare(TIMED, out, test_size=0, **changes)
    assert (out / name).read_text() == "mine"
    assert Dataset.load(out).info == first.info


@pytest.mark.parametrize("force", [False, True])
def test_a_dataset_that_appears_meanwhile_is_kept(force: bool, tmp_path: Path) -> None:
    theirs = planted.dataset(tmp_path / "theirs", planted.checkerboard(seed=1))
    path = planted.write_csv(tmp_path / "r.csv", planted.checkerboard())
    out = tmp_path / "data"

    def opened() -> IO[bytes]:
        if not out.exists():
            shutil.copytree(theirs.path, out)
        return path.open("rb")

    with pytest.raises(LockedError, match="what is there is kept"):
        preparation.prepare([Source("r.csv", opened)], out, PrepareConfig(), force=force)
    assert Dataset.load(out).info == theirs.info
    mine = Dataset.load(tmp_path / ".data.part").info
    assert mine.ratings == planted.checkerboard().height


@pytest.mark.parametrize("name", ["write_parquet", "rename"])
def test_a_full_disk_at_any_moment_leaves_the_former_dataset(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    first = prepare(TIMED, out, test_size=0)
    rename, write, calls = os.rename, pl.DataFrame.write_parquet, []

    def failing(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        (rename if name == "rename" else write)(*args)

    monkeypatch.setattr(
        *((os, name, failing) if name == "rename" else (pl.DataFrame, name, failing))
    )
    monkeypatch.setattr(
        publishing.ctypes, "CDLL", lambda *a, **k: object()
    )  # where folders cannot change places
    with pytest.raises(MachineError, match="No space left on device"):
        prepare(TIMED, out, test_size=0, seed=1, force=True)
    assert Dataset.load(out).info == first.info
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_failure_leaves_the_former_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    first = prepare(TIMED, out, test_size=0)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifests, "write", full)
    with pytest.raises(Exception, match="No space left on device"):
        prepare(TIMED, out, test_size=0, seed=1, force=True)
    assert Dataset.load(out).info == first.info
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_found(name: str, tmp_path: Path) -> None:
    dataset = prepare(TIMED, tmp_path / "d", test_size=0)
    path = dataset.path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"{name}: damaged"):
        Dataset.load(dataset.path)
    path.unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: missing"):
        Dataset.load(dataset.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "made by another version of cfcli"),
        ({"files": {"../x": {"bytes": 1, "sha256": ""}}}, "names a file outside its folder"),
        ({"files": {}}, "does not list users.parquet"),
        ({"files": ["users.parquet"]}, "damaged: not a dataset's manifest"),
        ({"files": {"users.parquet": {"bytes": 1}}}, "damaged: not a dataset's manifest"),
        ({"files": None}, "damaged: not a dataset's manifest"),
        ({"format": 99, "files": None}, "made by another version of cfcli"),
        (
            {"files": {"/etc/hostname": {"bytes": 1, "sha256": ""}}},
            "names a file outside its folder",
        ),
    ],
)
def test_a_strange_manifest_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    dataset = prepare(TIMED, tmp_path / "d", test_size=0)
    manifest = dataset.path / "dataset.json"
    planted.reseal(manifest, **change)
    with pytest.raises(ArtifactError, match=message):
        Dataset.load(dataset.path)
    manifest.write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        Dataset.load(dataset.path)


def test_killed_at_any_moment_it_leaves_the_former_dataset_or_the_new_one(tmp_path: Path) -> None:
    write_ratings(tmp_path / "old.csv")
    write_ratings(tmp_path / "new.csv", users=500, items=300, seed=1)
    assert run_cfcli("prepare", "old.csv", cwd=tmp_path).returncode == 0
    allowed = {Dataset.load(tmp_path / "data").info.fingerprint}
    begin = time.perf_counter()
    assert run_cfcli("prepare", "new.csv", "--out", "other", cwd=tmp_path).returncode == 0
    seconds = time.perf_counter() - begin
    allowed.add(Dataset.load(tmp_path / "other").info.fingerprint)
    flags = ["--force", "--accept-shrink", "-q"]
    chance = random.Random(0)
    killed = 0
    for k in range(25):
        command = [sys.executable, "-m", "cfcli", "prepare", f"{('new', 'old')[k % 2]}.csv", *flags]
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.DEVNULL, env=os.environ | {"COLUMNS": "80"}
        ) as process:
            begin = time.perf_counter()
            try:
                process.wait((0.4 + chance.random()) * seconds)
                seconds = time.perf_counter() - begin  # it was quicker than those before
            except subprocess.TimeoutExpired:
                process.kill()
        killed += process.returncode == -signal.SIGKILL
        assert Dataset.load(tmp_path / "data").info.fingerprint in allowed
    assert killed
    assert run_cfcli("prepare", "old.csv", *flags, cwd=tmp_path).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"old.csv", "new.csv", "data", "other"}
