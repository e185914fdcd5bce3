"""``cfcli export-embeddings``: flags, what is printed, what is left, what is refused."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from planted import checkerboard, dataset, run
from shell import run_cfcli


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs ``old``, ``new`` (another seed) and ``ncf`` of one dataset, and
    ``old.parquet``."""
    folder = tmp_path_factory.mktemp("export")
    data = dataset(folder, checkerboard(), titles=True)
    run(data, folder / "old", dim=4, epochs=4)
    run(data, folder / "new", dim=4, epochs=4, seed=9)
    run(data, folder / "ncf", model="ncf", dim=4, epochs=1)
    assert run_cfcli("export-embeddings", "old", "--out", "old.parquet", cwd=folder).returncode == 0
    return folder


def vectors(path: Path) -> np.ndarray:
    return pl.read_parquet(path).select("^column_.*$").to_numpy()


def test_both_prints_both_paths(place: Path) -> None:
    done = run_cfcli("export-embeddings", "old", "--entity", "both", cwd=place)
    assert done.stdout == "old/embeddings/items.parquet\nold/embeddings/users.parquet\n"
    assert done.stderr.splitlines() == ["24 items of dimension 4", "40 users of dimension 4"]
    assert pl.read_parquet(place / "old/embeddings/users.parquet").columns[0] == "userId"


def test_both_into_a_folder_as_json(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    args = ["--entity", "both", "--out", out, "--format", "npy", "--json", "--quiet"]
    done = run_cfcli("export-embeddings", "old", *args, cwd=place)
    assert done.stderr == ""
    names = ["items.npy", "users.npy", "items.ids.txt", "users.ids.txt"]
    files = [str(out / name) for name in names]
    assert json.loads(done.stdout) == {"files": files, "rows": 64, "dim": 4, "entity": "both"}
    assert np.load(out / "users.npy").shape == (40, 4)
    assert (out / "items.ids.txt").read_text().splitlines() == [str(i) for i in range(77, 101)]


def test_biases_and_titles(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.csv"
    done = run_cfcli(
        "export-embeddings",
        "ncf",
        "--format",
        "csv",
        "--biases",
        "--titles",
        "--out",
        out,
        cwd=place,
    )
    assert done.returncode == 0, done.stderr
    frame = pl.read_csv(out)
    assert frame.columns == [
        "movieId",
        "title",
        "column_0",
        "column_1",
        "column_2",
        "column_3",
        "bias",
    ]
    assert frame["title"][0] == "Film 77, ODD"


def test_aligned_predictions_stay_and_vectors_come_nearer(place: Path, tmp_path: Path) -> None:
    plain, turned = tmp_path / "plain", tmp_path / "turned"
    for out, args in ((plain, []), (turned, ["--align-to", "old.parquet"])):
        done = run_cfcli(
            "export-embeddings", "new", "--entity", "both", "--out", out, *args, cwd=place
        )
        assert done.returncode == 0, done.stderr
    before = vectors(plain / "users.parquet") @ vectors(plain / "items.parquet").T
    after = vectors(turned / "users.parquet") @ vectors(turned / "items.parquet").T
    assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()
    old = vectors(place / "old.parquet")
    far, near = (np.linalg.norm(vectors(out / "items.parquet") - old) for out in (plain, turned))
    assert near < 0.7 * far


def test_aligned_with_itself_nothing_moves(place: Path, tmp_path: Path) -> None:
    args = ["--align-to", "old.parquet", "--out", tmp_path / "v.parquet"]
    assert run_cfcli("export-embeddings", "old", *args, cwd=place).returncode == 0
    np.testing.assert_allclose(
        vectors(tmp_path / "v.parquet"), vectors(place / "old.parquet"), atol=1e-6
    )


def test_formulas_in_text_ids(tmp_path: Path) -> None:
    lines = [
        f"{u},{i},{1 + (u * len(i)) % 5}"
        for u in range(20)
        for i in ("=1+1", "@x", "plain", "-2+3")
    ]
    (tmp_path / "r.csv").write_text("user,item,rating\n" + "\n".join(lines) + "\n")
    assert run_cfcli("prepare", "r.csv", cwd=tmp_path).returncode == 0
    assert run_cfcli("train", "--epochs", "1", "-q", cwd=tmp_path).returncode == 0
    for args, expected in (
        ([], {"=1+1", "@x", "plain", "-2+3"}),
        (["--excel-safe"], {"'=1+1", "'@x", "plain", "'-2+3"}),
    ):
        done = run_cfcli("export-embeddings", "--format", "csv", *args, cwd=tmp_path)
        assert (
            set(pl.read_csv(tmp_path / done.stdout.strip(), infer_schema=False)["item"]) == expected
        )


def test_columns_called_as_those_of_vectors_get_usual_names(tmp_path: Path) -> None:
    lines = [f"{u},{i},{1 + (u + i) % 5}" for u in range(20) for i in range(5)]
    (tmp_path / "r.csv").write_text("column_0,column_1,column_2\n" + "\n".join(lines) + "\n")
    names = ["--user-col", "column_0", "--item-col", "column_1", "--rating-col", "column_2"]
    assert run_cfcli("prepare", "r.csv", *names, cwd=tmp_path).returncode == 0
    assert run_cfcli("train", "--epochs", "1", "-q", cwd=tmp_path).returncode == 0
    done = run_cfcli("export-embeddings", "--out", "v.parquet", cwd=tmp_path)
    assert done.returncode == 0
    assert pl.read_parquet(tmp_path / "v.parquet").columns[:2] == ["item_id", "column_0"]


@pytest.mark.parametrize(
    ("code", "args", "message"),
    [
        (2, ["ncf", "--align-to", "old.parquet"], "dense network reads the coordinates"),
        (2, ["old", "--biases", "--format", "npy"], "--biases: npy has no column for them"),
        (2, ["old", "--excel-safe"], "--excel-safe is for --format csv"),
        (2, ["old", "--entity", "both", "--out", "old.parquet"], "is a file"),
        (2, ["old", "--out", "."], "is a folder"),
        (4, ["old", "--align-to", "nothing.parquet"], "nothing.parquet: No such file"),
        (3, ["old", "--align-to", "data/users.parquet"], "has no such columns"),
        (3, ["old", "--align-to", "ratings.csv"], "ratings.csv: is no Parquet file"),
    ],
)
def test_errors(code: int, args: list[str], message: str, place: Path) -> None:
    done = run_cfcli("export-embeddings", *args, cwd=place)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
