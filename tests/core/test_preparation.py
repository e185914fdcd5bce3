"""From ratings to a dataset: counts add up, ids stay exact, nothing half-written."""

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shell import write_ratings

from cfcli.core import preparation, publishing
from cfcli.core.config import PrepareConfig
from cfcli.core.dataset import FILES, Dataset
from cfcli.core.errors import ArtifactError, ConfigError, InputError
from cfcli.core.ratings import Source

TIMED = b"user,item,rating,time\n1,1,1,300\n1,1,2,200\n1,2,3,100\n1,2,5,100\n2,1,4,50\n"


def source(data: bytes | str, name: str = "r.csv") -> Source:
    encoded = data.encode() if isinstance(data, str) else data
    return Source(name, lambda: io.BytesIO(encoded))


def prepare(data: bytes | str, out: Path, *, force: bool = False, **settings: Any) -> Dataset:
    extra = {name: settings.pop(name) for name in ("items", "val", "test") if name in settings}
    return preparation.prepare([source(data)], out, PrepareConfig(**settings), force=force, **extra)[0]


def all_rows(dataset: Dataset) -> list[tuple[str, str, float]]:
    """Every rating with its external ids, sorted."""
    users, items = dataset.id_maps()
    rows = pl.concat([dataset.split(name).select("user", "item", "rating") for name in ("train", "val", "test")])
    return sorted(zip(users.id(rows["user"]), items.id(rows["item"]), rows["rating"], strict=True))


def test_the_tables_have_the_columns_of_the_contract(tmp_path: Path) -> None:
    dataset = preparation.prepare([Source.of(write_ratings(tmp_path / "r.csv"))], tmp_path / "d", PrepareConfig())[0]
    train = dataset.split("train")
    assert train.schema == {
        "user": pl.UInt32, "item": pl.UInt32, "rating": pl.Float32, "timestamp": pl.Datetime("us"),
    }  # fmt: skip
    assert dataset.users.columns == ["userId", "n_ratings"]
    assert dataset.items.columns == ["movieId", "n_ratings"]
    assert dataset.users["n_ratings"].sum() == dataset.info["ratings"]
    assert sum(dataset.info[name] for name in ("train", "val", "test")) == dataset.info["ratings"]
    assert dataset.info["rating_scale"] == {"min": 0.5, "max": 5.0, "step": 0.5}
    assert dataset.info["mean"] == pytest.approx(train["rating"].cast(pl.Float64).mean())
    assert sorted(p.name for p in dataset.path.iterdir()) == sorted([*FILES, "dataset.json"])


IDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0\r"), min_size=1, max_size=5
)
RATINGS = st.dictionaries(st.tuples(IDS, IDS), st.sampled_from([0.5, 1.0, 3.5, 5.0]), min_size=5, max_size=30)


@settings(max_examples=30, deadline=None)
@given(RATINGS, st.sampled_from(["hash", "random", "user-last"]))
def test_every_rating_comes_out_as_it_went_in(ratings: dict[tuple[str, str], float], split: str) -> None:
    import tempfile

    stream = io.BytesIO()
    rows = [(u, i, r) for (u, i), r in ratings.items()]
    pl.DataFrame(rows, schema=["user", "item", "rating"], orient="row").write_csv(stream, quote_style="always")
    with tempfile.TemporaryDirectory() as folder:
        try:
            dataset = prepare(stream.getvalue(), Path(folder) / "d", split=split, val_size=0.3, test_size=0.1)
        except InputError as error:
            assert "no training rows" in str(error)  # few rows may all fall on other sides
            return
        assert all_rows(dataset) == sorted(rows)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("last", [1.0, 5.0, 4.0]), ("first", [1.0, 3.0, 4.0]), ("mean", [1.5, 4.0, 4.0])],
)
def test_duplicates_are_settled_before_the_split(policy: str, expected: list[float], tmp_path: Path) -> None:
    dataset = prepare(TIMED, tmp_path / "d", duplicates=policy, val_size=0, test_size=0)
    assert [rating for _, _, rating in all_rows(dataset)] == expected
    assert dataset.info["duplicates"] == 2


def test_duplicates_may_be_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 ratings repeat a pair, such as user '1' and item '1'"):
        prepare(TIMED, tmp_path / "d", duplicates="error")
    assert list(tmp_path.iterdir()) == []


def test_given_sides_stay_and_ids_seen_only_there_are_mapped(tmp_path: Path) -> None:
    held = source("user,item,rating\n1,new,5\nnobody,2,3\n1,1,2\n", "test.csv")
    train = "user,item,rating\n1,1,4\n1,2,3\n2,1,5\n2,2,4\n"
    dataset = prepare(train, tmp_path / "d", test=held, val_size=0)
    assert dataset.info["users"] == 3
    assert dataset.info["items"] == 3
    assert (dataset.info["train"], dataset.info["val"], dataset.info["test"]) == (3, 0, 3)
    assert dataset.info["cold"] == {"val": 0, "test": 2}
    assert dataset.info["duplicates"] == 1  # the pair of the test side must not be trained on
    assert ("1", "1", 2.0) in all_rows(dataset)
    val = source("user,item,rating\n1,3,5\n", "val.csv")
    both = prepare(train, tmp_path / "e", test=held, val=val)
    assert (both.info["train"], both.info["val"], both.info["test"]) == (3, 1, 3)


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
    assert since.info["ratings"] == 1
    with pytest.raises(InputError, match="--since needs a column of times"):
        prepare(data, tmp_path / "5", since="2020-01-01", **keep)
    with pytest.raises(ConfigError, match="'soon' is not a date"):
        prepare(TIMED, tmp_path / "6", since="soon", **keep)


def test_a_sample_does_not_depend_on_the_order(tmp_path: Path) -> None:
    header, *lines = write_ratings(tmp_path / "r.csv").read_text().splitlines()
    one = prepare("\n".join([header, *lines]), tmp_path / "1", sample=100)
    other = prepare("\n".join([header, *reversed(lines)]), tmp_path / "2", sample=100)
    assert one.info["ratings"] == 100
    assert all_rows(one) == all_rows(other)
    for name in ("train", "val", "test"):
        assert one.info[name] == other.info[name] > 0


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write_ratings(tmp_path / "r.csv")
    for name in ("one", "two"):
        preparation.prepare([Source.of(path)], tmp_path / name, PrepareConfig())
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    prints = [json.loads((tmp_path / name / "dataset.json").read_text())["fingerprint"] for name in ("one", "two")]
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
    assert "2 of 3 items have no title in m.csv" in notes


def test_names_that_the_tables_use_themselves(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cfcli uses the name 'score' itself"):
        prepare("user,score,rating\n1,2,3\n", tmp_path / "d", item_col="score", rating_col="rating")
    data = "user,title,rating\n1,A,3\n2,B,4\n"
    assert prepare(data, tmp_path / "e", item_col="title", test_size=0, val_size=0).items["title"].to_list() == [
        "A",
        "B",
    ]
    with pytest.raises(InputError, match="is called 'title' already"):
        prepare(data, tmp_path / "f", item_col="title", items=source("item,title\nA,a\n"))


def test_another_dataset_goes_only_with_force_and_dot_files_stay(tmp_path: Path) -> None:
    out = tmp_path / "data"
    out.mkdir()
    (out / ".gitkeep").touch()
    first = prepare(TIMED, out, test_size=0)
    with pytest.raises(ConfigError, match="holds another dataset"):
        prepare(TIMED, out, test_size=0, seed=1)
    assert Dataset.load(out).info["fingerprint"] == first.info["fingerprint"]
    second = prepare(TIMED, out, test_size=0, seed=1, force=True)
    assert second.info["fingerprint"] != first.info["fingerprint"]
    assert (out / ".gitkeep").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(ConfigError, match=r"holds other files \(thesis.tex\); .*--out"):
            prepare(TIMED, tmp_path, force=force)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_failure_leaves_the_former_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "data"
    first = prepare(TIMED, out, test_size=0)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publishing, "write_manifest", full)
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
    ],
)
def test_a_strange_manifest_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    dataset = prepare(TIMED, tmp_path / "d", test_size=0)
    manifest = dataset.path / "dataset.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(ArtifactError, match=message):
        Dataset.load(dataset.path)
    manifest.write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        Dataset.load(dataset.path)
