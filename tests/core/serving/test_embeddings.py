"""Vectors leave with their own ids, in forms that others read."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fake_run import make_run
from planted import checkerboard, dataset
from planted import run as train

from cfcli.core.errors import ArtifactError, ConfigError, InputError, MachineError
from cfcli.core.runs.run import Run
from cfcli.core.serving import embeddings

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


def read_as_gensim(path: Path) -> dict[str, list[float]]:
    """What gensim 4's ``_word2vec_read_text`` makes of a file: a head, then words and numbers
    parted by one blank."""
    lines = path.read_bytes().split(b"\n")
    words, size = map(int, lines[0].decode().split())
    out: dict[str, list[float]] = {}
    for line in lines[1 : words + 1]:
        word, *numbers = line.rstrip().decode().split(" ")
        assert len(numbers) == size
        assert word not in out
        out[word] = list(map(float, numbers))
    assert lines[words + 1 :] == [b""]
    return out


STRANGE = ["plain", "a b", 'say "x"', "c,d", "e\nf", "tab\tbed", "naïve\u2028é", "=1+1"]


@pytest.fixture
def strange(tmp_path: Path) -> Run:
    """A run whose items have ids that file formats stumble over, item k at [k, -k / 3]."""
    ids = sorted(STRANGE)
    quoted = [i.replace('"', '""') for i in ids]
    ratings = "user,movieId,rating\n" + "".join(f'u,"{i}",3\n' for i in quoted) + "v,plain,2\n"
    return make_run(
        tmp_path / "strange", ratings, [[1, 2], [3, 4]], [[k, -k / 3] for k in range(len(ids))]
    )


def test_word2vec_is_read_as_gensim_reads_it(strange: Run, tmp_path: Path) -> None:
    (path,) = embeddings.export(strange, tmp_path / "v.txt", format="word2vec")
    words = ["_".join(i.split()) for i in sorted(STRANGE)]
    read = read_as_gensim(path)
    assert list(read) == words
    np.testing.assert_allclose(
        list(read.values()), [[k, -k / 3] for k in range(len(words))], rtol=1e-7
    )


def test_word2vec_loads_in_gensim(strange: Run, tmp_path: Path) -> None:
    models = pytest.importorskip("gensim.models", reason="gensim is not installed")
    (path,) = embeddings.export(strange, tmp_path / "v.txt", format="word2vec")
    loaded = models.KeyedVectors.load_word2vec_format(path, binary=False)
    assert loaded.index_to_key == list(read_as_gensim(path))
    np.testing.assert_allclose(loaded.vectors, list(read_as_gensim(path).values()), rtol=1e-7)


def test_two_ids_must_not_become_one_word(tmp_path: Path) -> None:
    run = make_run(tmp_path, "user,item,rating\nu,a b,1\nv,a_b,2\n", [[1], [2]], [[3], [4]])
    with pytest.raises(ConfigError, match="2 ids become the word 'a_b'"):
        embeddings.export(run, tmp_path / "v.txt", format="word2vec")
    assert not (tmp_path / "v.txt").exists()


def test_csv_keeps_commas_quotes_and_line_breaks(strange: Run, tmp_path: Path) -> None:
    (path,) = embeddings.export(strange, tmp_path / "v.csv", format="csv")
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["movieId", "column_0", "column_1"]
    assert [row[0] for row in rows[1:]] == sorted(STRANGE)
    assert [float(row[1]) for row in rows[1:]] == list(range(len(STRANGE)))


def test_csv_for_spreadsheets(strange: Run, tmp_path: Path) -> None:
    (path,) = embeddings.export(strange, tmp_path / "v.csv", format="csv", excel_safe=True)
    ids = pl.read_csv(path)["movieId"].to_list()
    assert "'=1+1" in ids
    assert "=1+1" not in ids
    with pytest.raises(ConfigError, match="--excel-safe is for --format csv"):
        embeddings.export(strange, excel_safe=True)


@pytest.mark.parametrize("layout", ["columns", "list"])
def test_parquet_reads_in_pyarrow(layout: Any, run: Run, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (path,) = embeddings.export(run, tmp_path / "v.parquet", layout=layout, biases=False)
    table = parquet.read_table(path)
    assert table.schema.field("movieId").type == pa.int64()
    if layout == "list":
        assert table.schema.field("embedding").type == pa.list_(pa.float32(), 2)
        assert table.column("embedding").to_pylist() == [[0.5, 0.25], [-1, 8]]
    else:
        assert table.schema.field("column_1").type == pa.float32()
        assert table.to_pylist()[1] == {"movieId": 10, "column_0": -1, "column_1": 8}


def test_both_write_two_files(run: Run, tmp_path: Path) -> None:
    assert embeddings.export(run, entity="both") == [
        run.path / "embeddings" / f"{e}.parquet" for e in ("items", "users")
    ]
    paths = embeddings.export(run, tmp_path / "new" / "folder", entity="both", format="npy")
    assert [path.name for path in paths] == [
        "items.npy",
        "users.npy",
        "items.ids.txt",
        "users.ids.txt",
    ]
    assert {path.parent for path in paths} == {tmp_path / "new" / "folder"}
    items, users = embeddings.export(
        run, tmp_path, entity="both", titles=True
    )  # of users there are none
    assert "title" in pl.read_parquet(items).columns
    assert "title" not in pl.read_parquet(users).columns


def test_out_is_a_file_or_a_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file; with --entity both"):
        embeddings.export(run, tmp_path / "file", entity="both")
    with pytest.raises(ConfigError, match="is a folder; --out names the file"):
        embeddings.export(run, tmp_path)


# Trained on a checkerboard, once for all tests that follow.


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("trained")
    data = dataset(folder, checkerboard(), titles=True)
    return {
        "mf": Run.load(train(data, folder / "mf", dim=4, epochs=4)),
        "again": Run.load(train(data, folder / "again", dim=4, epochs=4, seed=7)),
        "small": Run.load(train(data, folder / "small", dim=3, epochs=1)),
        "no biases": Run.load(train(data, folder / "nb", dim=4, epochs=1, biases=False)),
        "ncf": Run.load(train(data, folder / "ncf", model="ncf", dim=4, epochs=1)),
    }


@pytest.mark.parametrize("model", ["mf", "ncf"])
@pytest.mark.parametrize("entity", ["items", "users"])
def test_biases_are_the_models_own(
    model: str, entity: Any, trained: dict[str, Run], tmp_path: Path
) -> None:
    run = trained[model]
    (path,) = embeddings.export(run, tmp_path / "v.csv", entity=entity, format="csv", biases=True)
    frame = embeddings.table(run, entity, biases=True)
    assert frame.columns[-1] == "bias"
    assert frame.schema["bias"] == pl.Float32
    name = run.info.columns[entity[:-1]]
    ids = (run.items if entity == "items" else run.users)[name].cast(pl.Int64)
    expected = dict(zip(ids, run.tensors[f"{entity[:-1]}_bias"].tolist(), strict=True))
    assert dict(frame.select(name, "bias").iter_rows()) == expected
    assert pl.read_csv(path)["bias"].to_list() == pytest.approx(frame["bias"].to_list())


def test_biases_that_are_not_there_are_refused(trained: dict[str, Run]) -> None:
    with pytest.raises(ConfigError, match="has none: it was trained without"):
        embeddings.export(trained["no biases"], biases=True)
    with pytest.raises(ConfigError, match="npy has no column for them"):
        embeddings.export(trained["mf"], format="npy", biases=True)


def vectors(path: Path) -> Any:
    frame = pl.read_parquet(path)
    if "embedding" in frame.columns:
        return frame["embedding"].to_numpy()
    return frame.select("^column_.*$").to_numpy()


def turned(run: Run, seed: int = 3) -> tuple[Any, Any]:
    """A random orthogonal matrix (D, D) and the run's items times it, sorted by id, (I, D)."""
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]
    return rotation, embeddings.table(run, layout="list")["embedding"].to_numpy() @ rotation


@pytest.mark.parametrize(
    "layout", ["columns", "list", "variable list", "text ids, other order, fewer"]
)
def test_a_known_rotation_is_found(layout: str, trained: dict[str, Run], tmp_path: Path) -> None:
    run = trained["mf"]
    rotation, there = turned(run)
    earlier = embeddings.table(run).select("movieId")
    if layout == "columns":
        earlier = earlier.with_columns(
            pl.Series(f"column_{k}", there[:, k].astype(np.float32)) for k in range(4)
        )
    elif layout == "variable list":
        earlier = earlier.with_columns(
            embedding=pl.Series(there.tolist(), dtype=pl.List(pl.Float64))
        )
    else:
        earlier = earlier.with_columns(
            embedding=pl.Series(there.astype(np.float32), dtype=pl.Array(pl.Float32, 4))
        )
    if layout.startswith("text"):
        earlier = earlier.with_columns(pl.col("movieId").cast(pl.String)).reverse().head(9)
        earlier = pl.concat([earlier, earlier.head(1).with_columns(movieId=pl.lit("unknown here"))])
    earlier.write_parquet(tmp_path / "earlier.parquet")
    np.testing.assert_allclose(
        embeddings.alignment(run, tmp_path / "earlier.parquet"), rotation, atol=1e-5
    )
    (path,) = embeddings.export(
        run, tmp_path / "now.parquet", align_to=tmp_path / "earlier.parquet"
    )
    np.testing.assert_allclose(vectors(path), there, atol=1e-5)


def test_users_turn_with_items_and_inner_products_stay(
    trained: dict[str, Run], tmp_path: Path
) -> None:
    run = trained["again"]
    (earlier,) = embeddings.export(trained["mf"], tmp_path / "earlier.parquet")
    plain = [vectors(path) for path in embeddings.export(run, tmp_path / "plain", entity="both")]
    items, users = (
        vectors(p)
        for p in embeddings.export(run, tmp_path / "now", entity="both", align_to=earlier)
    )
    (alone,) = embeddings.export(run, tmp_path / "users.parquet", entity="users", align_to=earlier)
    np.testing.assert_array_equal(vectors(alone), users)
    assert np.abs(items - plain[0]).max() > 0.1
    before, after = plain[1] @ plain[0].T, users @ items.T
    assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()
    was = vectors(earlier)
    assert np.linalg.norm(items - was) < np.linalg.norm(plain[0] - was)


@pytest.mark.parametrize("format", ["csv", "npy", "word2vec", "projector"])
def test_every_form_can_be_aligned(format: Any, trained: dict[str, Run], tmp_path: Path) -> None:
    run = trained["mf"]
    _, there = turned(run)
    earlier = embeddings.table(run).select("movieId").with_columns(embedding=pl.Series(there))
    earlier.write_parquet(tmp_path / "earlier.parquet")
    path, *_ = embeddings.export(
        run, tmp_path / "v", format=format, align_to=tmp_path / "earlier.parquet"
    )
    if format == "npy":
        got = np.load(path)
    elif format == "csv":
        got = pl.read_csv(path).drop("movieId").to_numpy()
    else:
        got = np.loadtxt(path, skiprows=int(format == "word2vec"))[:, -4:]
    np.testing.assert_allclose(got, there, atol=1e-5)


def test_ncf_is_not_turned(trained: dict[str, Run], tmp_path: Path) -> None:
    (earlier,) = embeddings.export(trained["mf"], tmp_path / "earlier.parquet")
    with pytest.raises(ConfigError, match="reads the coordinates one by one"):
        embeddings.export(trained["ncf"], tmp_path / "now.parquet", align_to=earlier)


def test_what_cannot_be_aligned_with_is_refused(trained: dict[str, Run], tmp_path: Path) -> None:
    run, out, bad = trained["mf"], tmp_path / "now.parquet", tmp_path / "bad.parquet"
    sound = embeddings.table(run)

    def refused(kind: type[Exception], match: str, frame: pl.DataFrame | None = None) -> None:
        if frame is not None:
            frame.write_parquet(bad)
        with pytest.raises(kind, match=match) as caught:
            embeddings.export(run, out, align_to=bad)
        assert "\n" not in str(caught.value)
        assert not out.exists()

    refused(MachineError, "No such file")
    bad.write_bytes(b"movieId,column_0\n1,0.5\n")
    refused(InputError, "bad.parquet: is no Parquet file; --align-to takes a Parquet export")
    bad.write_bytes(b"PAR1 nothing of it PAR1")
    refused(ArtifactError, "bad.parquet: damaged")
    whole = embeddings.export(run, tmp_path / "whole.parquet")[0].read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    refused(ArtifactError, "bad.parquet: damaged")
    refused(ConfigError, "has dimension 3", embeddings.table(trained["small"]))
    refused(InputError, "no such columns", embeddings.table(run, "users"))
    refused(InputError, "no such columns", sound.select("movieId"))
    refused(
        InputError, "no item of its column 'movieId'", sound.with_columns(pl.col("movieId") + 1000)
    )
    refused(InputError, "no item of its column 'movieId'", sound.clear())
    refused(InputError, "ids twice", pl.concat([sound, sound]))
    refused(InputError, "no finite numbers", sound.with_columns(column_1=pl.lit(None, pl.Float32)))
    refused(InputError, "no finite numbers", sound.with_columns(column_1=pl.lit("x")))
    refused(InputError, "no finite numbers", sound.select("movieId", embedding=pl.lit("x")))
    ragged = pl.Series([[1.0]] + [[1.0, 2.0]] * (sound.height - 1))
    refused(InputError, "no finite numbers", sound.select("movieId").with_columns(embedding=ragged))
