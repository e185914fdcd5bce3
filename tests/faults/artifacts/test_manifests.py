"""Manifests made by someone who knows how to seal them: refused where they do not fit."""

import hashlib
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import planted
import polars as pl
import pytest
from artifact_faults import (
    HUGE,
    INFINITE,
    KINDS,
    MANIFESTS,
    NAN,
    Use,
    assert_refused,
    flaw,
    load,
    reseal,
)

from cfcli.core.storage import manifests

# What a manifest must hold, written down once more: the code derives it from its dataclasses.
DATASET: dict[str, Any] = {
    "fingerprint": str, "columns": {"user": str, "item": str, "rating": str}, "users": int, "items": int,
    "ratings": int, "train": int, "val": int, "test": int, "integer_ids": {"user": bool, "item": bool},
    "rating_scale": {"min": float, "max": float}, "mean": float,
}  # fmt: skip
RUN: dict[str, Any] = {
    "created": str, "status": ("finished", "stopped"), "model": ("mf", "ncf"), "link": ("identity", "sigmoid"),
    "noise": float, "dim": int, "shape": {"users": int, "items": int, "low": float, "high": float},
    "train_mean": float, "columns": {"user": str, "item": str}, "integer_ids": {"user": bool, "item": bool},
    "dataset": {"path": str, "fingerprint": str}, "config": {"model": ("mf", "ncf"), "dim": int, "seed": int},
}  # fmt: skip


def leaves(schema: dict[str, Any], *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, wanted in schema.items():
        yield (*path, key), dict if isinstance(wanted, dict) else wanted
        if isinstance(wanted, dict):
            yield from leaves(wanted, *path, key)


MISSING = object()
VALUES = [None, 1, 1.5, -1, "x", True, [], {}, NAN, INFINITE, -INFINITE, HUGE, -HUGE, MISSING]


def is_of(wanted: Any, value: Any) -> bool:
    """Whether a value may stand where the schema has ``wanted``. Python's true is a whole number,
    and passes as one."""
    if wanted is dict or isinstance(wanted, tuple):  # of which the whole holds no such thing
        return False
    if wanted is float:
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    if wanted is int:
        return isinstance(value, int) and value >= 0
    return isinstance(None if value is MISSING else value, wanted)


def with_value(info: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(info))
    at = changed
    for key in path[:-1]:
        at = at[key]
    at.pop(path[-1])
    if value is not MISSING:
        at[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("kind", "schema"),
    [("dataset", DATASET), ("mf run", RUN), ("ncf run", RUN)],
    ids=["dataset", "mf run", "ncf run"],
)
def test_a_manifest_with_a_value_of_another_kind_is_refused(
    kind: str, schema: dict[str, Any], copy: Path
) -> None:
    manifest = copy / KINDS[kind] / MANIFESTS[kind]
    info = json.loads(manifest.read_text())
    info.pop("seal")
    lost = []
    for path, wanted in leaves(schema):
        wrong = [value for value in VALUES if not is_of(wanted, value)]
        assert wrong
        for value in wrong:
            changed = with_value(info, path, value)
            manifests.write(manifest, changed, changed["files"])
            if why := flaw(lambda: load(copy, kind), manifest.name):
                what = "missing" if value is MISSING else str(value)[:20]
                lost.append((".".join(path), what, why))
    assert not lost


def sealed(body: str) -> bytes:
    """A manifest of any content that ends in ``}``, sealed."""
    start = body.rstrip().removesuffix("}").rstrip().encode()
    return start + manifests._seal(start)


NESTED = "[" * 100_000 + "]" * 100_000
MANIFEST_TEXTS: dict[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"1",
    "a text": b'"format"',
    "no keys": b"{}",
    "sealed alone": sealed("{}"),
    "not UTF-8": b'{"format": 2, "x": "\xff"}',
    "UTF-16": '{"format": 2}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "deep": NESTED.encode(),
    "deep within": sealed(f'{{"format": 2, "files": {{}}, "x": {NESTED}}}'),
    "deep objects": ('{"a":' * 100_000 + "1" + "}" * 100_000).encode(),
    "a long number": sealed(f'{{"format": 2, "files": {{}}, "x": {"9" * 5000}}}'),
    "too large": sealed(f'{{"format": 2, "files": {{}}, "x": "{"x" * (17 << 20)}"}}'),
    "format is a list": sealed('{"format": [2], "files": {}}'),
    "format is a text": sealed('{"format": "2", "files": {}}'),
    "seal is a list": b'{"format": 2, "files": {}, "seal": []}',
    "seal is null": b'{"format": 2, "files": {}, "seal": null}',
    "a pickle": pickle.dumps({"format": 2}),
}


@pytest.mark.parametrize("kind", MANIFESTS)
@pytest.mark.parametrize("what", MANIFEST_TEXTS)
def test_a_manifest_that_is_none_is_refused(what: str, kind: str, copy: Path) -> None:
    manifest = copy / KINDS[kind] / MANIFESTS[kind]
    manifest.write_bytes(MANIFEST_TEXTS[what])
    assert not flaw(lambda: load(copy, kind), manifest.name)


@pytest.mark.parametrize("kind", MANIFESTS)
def test_nesting_of_any_depth_is_refused(kind: str, copy: Path) -> None:
    """Also where it is just read, but is too deep to be shown."""
    manifest = copy / KINDS[kind] / MANIFESTS[kind]
    info = manifest.read_text()
    key = '"fingerprint": "' if kind == "dataset" else '"created": "'
    start, end = info.index(key) + len(key) - 1, info.index('"', info.index(key) + len(key)) + 1
    assert info.count(key) == 1 or kind != "dataset"
    body = info[: info.index(',\n  "seal"')]
    for depth in [10, 100, *range(800, 1001, 3)]:
        manifest.write_bytes(sealed(body[:start] + "[" * depth + "]" * depth + body[end:] + "}"))
        assert not flaw(lambda: load(copy, kind), manifest.name), depth


NAMES = [
    "../x",
    "..",
    ".",
    "",
    "/etc/hostname",
    "a/b",
    "./users.parquet",
    ".hidden",
    "checkpoints",
    "a\0b",
    "\ud800",
]


@pytest.mark.parametrize("kind", MANIFESTS)
@pytest.mark.parametrize("name", [*NAMES, "x" * 300, "x" * 5000], ids=lambda name: ascii(name)[:20])
def test_a_manifest_that_names_what_is_no_file_of_its_own_is_refused(
    name: str, kind: str, copy: Path
) -> None:
    folder = copy / KINDS[kind]
    (folder / "checkpoints").mkdir()
    (folder.parent / "x").write_text("x")
    manifest = folder / MANIFESTS[kind]
    files = json.loads(manifest.read_text())["files"]
    planted.reseal(
        manifest, files={**files, name: {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}}
    )
    assert not flaw(lambda: load(copy, kind), manifest.name, "checkpoints")


@pytest.mark.parametrize(
    "entry", [None, 1, [], "x", {}, {"bytes": 1}, {"bytes": "1", "sha256": 1}], ids=str
)
@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_manifest_that_lists_files_in_another_form_is_refused(
    entry: Any, kind: str, copy: Path
) -> None:
    manifest = copy / KINDS[kind] / MANIFESTS[kind]
    files = json.loads(manifest.read_text())["files"]
    planted.reseal(manifest, files={**files, "users.parquet": entry})
    assert not flaw(lambda: load(copy, kind), manifest.name)


STRANGE: list[tuple[dict[str, Any], str]] = [
    ({"columns": {"user": "n_ratings", "item": "movieId"}}, "predict"),
    ({"columns": {"user": "mean", "item": "movieId"}}, "predict"),
    ({"columns": {"user": "movieId", "item": "userId"}}, "predict"),
    ({"columns": {"user": "", "item": "movieId"}}, "predict"),
    ({"dim": 4}, "predict"),
    ({"dim": 0}, "predict"),
    ({"dim": 10**30}, "predict"),
    ({"shape": {"users": 29, "items": 20, "low": 1.0, "high": 5.0}}, "predict"),
    ({"shape": {"users": 30, "items": 21, "low": 1.0, "high": 5.0}}, "predict"),
    ({"shape": {"users": 10**30, "items": 20, "low": 1.0, "high": 5.0}}, "predict"),
    ({"shape": {"users": 30, "items": 20, "low": 5.0, "high": 1.0}}, "predict"),
    ({"model": "ncf"}, "predict"),
    ({"config": {"hidden": ["x"], "biases": True, "l2": 1.0}, "model": "ncf"}, "predict"),
    ({"config": {"hidden": [None], "biases": True, "l2": 1.0}, "model": "ncf"}, "predict"),
    ({"config": {"hidden": [], "biases": False, "l2": 1.0}}, "predict"),
    ({"dataset": {"path": "../none", "fingerprint": "x"}}, "evaluate"),
    ({"dataset": {"path": "../ncf", "fingerprint": "x"}}, "evaluate"),
    ({"dataset": {"path": "a\0b", "fingerprint": "x"}}, "evaluate"),
    ({"dataset": {"path": "\ud800", "fingerprint": "x"}}, "evaluate"),
    ({"dataset": {"path": "x" * 5000, "fingerprint": "x"}}, "evaluate"),
]


@pytest.mark.parametrize(("changes", "name"), STRANGE, ids=lambda value: ascii(value)[:60])
def test_a_manifest_that_does_not_fit_its_files_is_refused(
    changes: dict[str, Any], name: str, copy: Path, use: Use
) -> None:
    reseal(copy / "mf", **changes)
    assert_refused(use(name), "mf", "none", "ncf")


@pytest.mark.parametrize("role", ["user", "item"])
def test_ids_that_are_said_to_be_numbers_and_are_not_are_refused(
    role: str, copy: Path, use: Use
) -> None:
    path = copy / "mf" / f"{role}s.parquet"
    table = pl.read_parquet(path)
    table.with_columns((pl.lit("id ") + pl.first()).alias(table.columns[0])).write_parquet(path)
    reseal(copy / "mf")
    assert_refused(use("export"), path.name, "run.json")


def test_no_two_of_these_manifests_are_the_same() -> None:
    assert len(set(MANIFEST_TEXTS.values())) == len(MANIFEST_TEXTS)
