"""Tables made by someone who means harm: refused, with the checksums right."""

import json
import pickle
import random
import struct
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from artifact_faults import INFINITE, NAN, Use, assert_refused, command, reseal

Change = Callable[[Path], object]


def edited(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Change:
    return lambda path: change(pl.read_parquet(path)).write_parquet(path)


TABLES: dict[str, list[tuple[str, Change]]] = {
    "any": [
        ("empty", lambda path: path.write_bytes(b"")),
        ("noise", lambda path: path.write_bytes(random.Random(2).randbytes(3000))),
        (
            "a frame of Parquet around noise",
            lambda path: path.write_bytes(_framed(random.Random(3).randbytes(3000))),
        ),
        ("CSV", lambda path: path.write_bytes(b"userId,movieId,user,item,rating\n1,1,1,1,1\n")),
        ("Arrow", lambda path: pl.read_parquet(path).write_ipc(path)),
        (
            "half a file",
            lambda path: path.write_bytes(path.read_bytes()[:400] + path.read_bytes()[-400:]),
        ),
        ("no columns", lambda path: pl.DataFrame().write_parquet(path)),
        ("columns of another name", edited(lambda t: t.rename(lambda name: name + "2"))),
        ("all texts", edited(lambda t: t.select(pl.all().cast(pl.String) + "x"))),
        (
            "all lists",
            edited(lambda t: t.select(pl.concat_list(name).alias(name) for name in t.columns)),
        ),
        ("all null", edited(lambda t: t.clear(t.height))),
        ("a pickle", lambda path: path.write_bytes(pickle.dumps({"user": [1]}))),
    ],
    "entities": [
        ("a row less", edited(lambda t: t[1:])),
        ("a row more", edited(lambda t: pl.concat([t, t[:1]]))),
        ("no rows", edited(lambda t: t.clear())),
        ("a missing id", edited(lambda t: t.with_columns(pl.first().replace(t[0, 0], None)))),
        ("an id twice", edited(lambda t: t.with_columns(pl.first().replace(t[0, 0], t[1, 0])))),
        ("ids as numbers", edited(lambda t: t.with_columns(pl.first().cast(pl.Int64)))),
        ("ids as categories", edited(lambda t: t.with_columns(pl.first().cast(pl.Categorical)))),
        ("counts as texts", edited(lambda t: t.with_columns(pl.col("n_ratings").cast(pl.String)))),
        ("counts missing", edited(lambda t: t.with_columns(n_ratings=pl.lit(None, pl.UInt32)))),
    ],
    "of a run": [
        ("means that are no numbers", edited(lambda t: t.with_columns(mean=pl.lit(NAN)))),
        ("biases that are infinite", edited(lambda t: t.with_columns(bias=pl.lit(INFINITE)))),
        ("biases missing", edited(lambda t: t.drop("bias"))),
        ("biases as float32", edited(lambda t: t.with_columns(pl.col("bias").cast(pl.Float32)))),
    ],
    "titles": [
        ("titles as numbers", edited(lambda t: t.with_columns(title=pl.int_range(pl.len())))),
        (
            "titles as lists",
            edited(lambda t: t.with_columns(title=pl.concat_list("title", "title"))),
        ),
        ("titles as bytes", edited(lambda t: t.with_columns(title=pl.lit(b"\xff\xfe")))),
    ],
    "pairs": [
        ("a user out of range", edited(lambda t: t.with_columns(user=pl.lit(30, pl.UInt32)))),
        (
            "an item out of range",
            edited(lambda t: t.with_columns(item=pl.lit(2**32 - 1, pl.UInt32))),
        ),
        ("a user missing", edited(lambda t: t.with_columns(user=pl.lit(None, pl.UInt32)))),
        ("signed items", edited(lambda t: t.with_columns(pl.col("item").cast(pl.Int64)))),
        ("items below 0", edited(lambda t: t.with_columns(item=pl.lit(-1, pl.Int64)))),
        ("no users", edited(lambda t: t.drop("user"))),
        ("more rows than pairs", edited(lambda t: pl.concat([t.head(1)] * 2000))),
    ],
    "ratings": [
        (
            "a rating that is no number",
            edited(lambda t: t.with_columns(rating=pl.lit(NAN, pl.Float32))),
        ),
        (
            "a rating that is infinite",
            edited(lambda t: t.with_columns(rating=pl.lit(INFINITE, pl.Float32))),
        ),
        ("a rating missing", edited(lambda t: t.with_columns(rating=pl.lit(None, pl.Float32)))),
        ("ratings as float64", edited(lambda t: t.with_columns(pl.col("rating").cast(pl.Float64)))),
    ],
}
PLACES = {
    "mf/users.parquet": ("predict", "any", "entities", "of a run"),
    "mf/items.parquet": ("predict", "any", "entities", "of a run"),
    "mf/seen.parquet": ("recommend", "any", "pairs"),
    "data/train.parquet": ("train", "any", "pairs", "ratings"),
    "data/val.parquet": ("train", "any", "pairs", "ratings"),
    "data/test.parquet": ("evaluate", "any", "pairs", "ratings"),
}


def _framed(content: bytes) -> bytes:
    return b"PAR1" + content + struct.pack("<I", len(content) - 8) + b"PAR1"


@pytest.mark.parametrize(
    ("place", "what"),
    [
        (place, what)
        for place, (_, *groups) in PLACES.items()
        for group in groups
        for what, _ in TABLES[group]
    ]
    + [("mf/items.parquet", what) for what, _ in TABLES["titles"]],
)
def test_a_table_of_another_kind_is_refused(
    place: str, what: str, copy: Path, use: Use, capfd: pytest.CaptureFixture[str]
) -> None:
    change = next(change for group in TABLES.values() for name, change in group if name == what)
    change(copy / place)
    folder = (copy / place).parent
    reseal(folder)
    name = "similar" if what in dict(TABLES["titles"]) else PLACES[place][0]
    if name == "evaluate":
        fingerprint = json.loads((folder / "dataset.json").read_text())["fingerprint"]
        assert (
            fingerprint
            == json.loads((copy / "mf" / "run.json").read_text())["dataset"]["fingerprint"]
        )
    assert_refused(use(name), Path(place).name)
    assert "panicked" not in capfd.readouterr().err
    assert not Path("new").exists()


@pytest.mark.parametrize("name", ["metrics.csv", "steps.csv"])
@pytest.mark.parametrize(
    "content",
    [b"", b"a,b\n1,2\n", b"epoch,step\n1,1\n", b"\xff\xfe\x00"],
    ids=["empty", "other columns", "too few columns", "noise"],
)
def test_a_table_of_errors_that_is_none_is_refused(content: bytes, name: str, copy: Path) -> None:
    (copy / "mf" / name).write_bytes(content)
    reseal(copy / "mf")
    out = copy / "report.html"
    assert_refused(command("report", copy / "mf", "--out", out), name)
    assert not out.exists()


@pytest.mark.parametrize("name", ["metrics.csv", "steps.csv"])
def test_errors_that_are_no_numbers_are_refused(name: str, copy: Path) -> None:
    path = copy / "mf" / name
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *("x" + row for row in rows)]) + "\n")
    reseal(copy / "mf")
    assert_refused(command("report", copy / "mf", "--out", copy / "report.html"), name)


def test_no_two_of_these_tables_have_the_same_name() -> None:
    names = [what for group in TABLES.values() for what, _ in group]
    assert len(set(names)) == len(names)
