"""Vectors leave with their own ids, in forms that others read."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fake_run import make_run

from cfcli.core import embeddings
from cfcli.core.errors import ConfigError
from cfcli.core.runs import Run

RATINGS = "who,movieId,stars\na b,10,1\nc,9,2\n"
TITLES = 'movieId,title\n10,"Ten\tfold"\n'


@pytest.fixture
def run(tmp_path: Path) -> Run:
    columns = RATINGS.replace("who", "user").replace("stars", "rating")
    return make_run(tmp_path, columns, [[1, 2], [3, 4]], [[0.5, 0.25], [-1, 8]], titles=TITLES)


def test_items_are_sorted_by_value_and_their_ids_are_numbers(run: Run) -> None:
    frame = embeddings.table(run)
    assert frame.schema == {"movieId": pl.Int64, "column_0": pl.Float32, "column_1": pl.Float32}
    assert frame.rows() == [(9, 0.5, 0.25), (10, -1.0, 8.0)]


def test_text_ids_stay_text(run: Run) -> None:
    frame = embeddings.table(run, "users")
    assert frame.rows() == [("a b", 1.0, 2.0), ("c", 3.0, 4.0)]


def test_one_list_column_and_titles(run: Run) -> None:
    frame = embeddings.table(run, layout="list", titles=True)
    assert frame.schema["embedding"] == pl.Array(pl.Float32, 2)
    assert frame["title"].to_list() == [None, "Ten\tfold"]
    assert frame["embedding"].to_list() == [[0.5, 0.25], [-1.0, 8.0]]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_tables_come_back_as_they_went(suffix: str, run: Run) -> None:
    paths = embeddings.export(run, format=suffix)  # type: ignore[arg-type]
    assert paths == [run.path / "embeddings" / f"items.{suffix}"]
    back = pl.read_parquet(paths[0]) if suffix == "parquet" else pl.read_csv(paths[0])
    assert back.rows() == embeddings.table(run).rows()


def test_npy_has_its_ids_beside_it(run: Run, tmp_path: Path) -> None:
    vectors, ids = embeddings.export(run, tmp_path / "v.npy", format="npy")
    np.testing.assert_array_equal(np.load(vectors), [[0.5, 0.25], [-1, 8]])
    assert ids.name == "v.ids.txt"
    assert ids.read_text() == "9\n10\n"


def test_word2vec_has_a_head_and_no_blanks_in_ids(run: Run, tmp_path: Path) -> None:
    (path,) = embeddings.export(run, tmp_path / "v.txt", entity="users", format="word2vec")
    assert path.read_text() == "2 2\na_b 1 2\nc 3 4\n"


def test_the_projector_gets_two_files(run: Run, tmp_path: Path) -> None:
    vectors, metadata = embeddings.export(run, tmp_path / "v.tsv", format="projector", titles=True)
    assert vectors.read_text() == "0.5\t0.25\n-1\t8\n"
    assert metadata.read_text() == "id\ttitle\n9\t\n10\tTen fold\n"
    _, plain = embeddings.export(run, tmp_path / "w.tsv", format="projector")
    assert plain.read_text() == "9\n10\n"


def test_what_is_not_there_is_refused(run: Run) -> None:
    with pytest.raises(ConfigError, match="knows no titles of users"):
        embeddings.export(run, entity="users", titles=True)
    with pytest.raises(ConfigError, match="csv has no lists"):
        embeddings.export(run, format="csv", layout="list")


def test_ids_with_line_breaks_take_one_line_each(tmp_path: Path) -> None:
    ratings = 'user,movieId,rating\nu,"a\nb  c",1\nv,d,2\n'
    strange = make_run(tmp_path, ratings, [[1], [2]], [[3], [4]])
    _, ids = embeddings.export(strange, tmp_path / "v.npy", format="npy")
    assert ids.read_text() == "a b  c\nd\n"
    (words,) = embeddings.export(strange, tmp_path / "v.txt", format="word2vec")
    assert words.read_text() == "2 1\na_b_c 3\nd 4\n"
    _, metadata = embeddings.export(strange, tmp_path / "v.tsv", format="projector")
    assert metadata.read_text() == "a b c\nd\n"
