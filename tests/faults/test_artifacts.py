"""Datasets, runs and checkpoints that are damaged, or made by someone who means harm: refused with
exit code 7 and a line that names the file, never used, never run."""

import ast
import contextlib
import hashlib
import io
import itertools
import json
import os
import pickle
import random
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import planted
import polars as pl
import pytest
import torch
from shell import CFCLI, run_cfcli
from typer.testing import CliRunner

import cfcli
from cfcli.cli.app import app
from cfcli.core.config.train import TrainConfig
from cfcli.core.data import dataset
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ArtifactError
from cfcli.core.runs import run as runs
from cfcli.core.runs import writing
from cfcli.core.runs.run import Run
from cfcli.core.storage import manifests
from cfcli.core.training import fit as training

Count = Callable[[int, int], int]
Tried = Callable[[str, str, int, int], None]
Change = Callable[[Path], object]

KINDS = {"dataset": "data", "mf run": "mf", "ncf run": "ncf", "checkpoint": "stopped/checkpoints"}
MANIFESTS = {"dataset": "dataset.json", "mf run": "run.json", "ncf run": "run.json"}
SECONDS = 3  # that a refusal may take
NAN, INFINITE, HUGE = float("nan"), float("inf"), 10**400


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders, ``one`` and ``other``, of different ratings, each with an artifact of every
    kind, and ``ratings.csv``."""
    folder = tmp_path_factory.mktemp("pool")
    for seed, name in enumerate(("one", "other")):
        data = planted.dataset(folder / name, planted.checkerboard(30, 20, seed=seed), titles=True)
        planted.run(data, folder / name / "mf", solver="gibbs", epochs=6)
        planted.run(data, folder / name / "ncf", model="ncf", epochs=3, hidden=(8,))
        planted.run(data, folder / name / "stopped", max_time="0.3s", epochs=10**6, patience=10**6)
        assert (folder / name / "stopped" / runs.CHECKPOINT).exists()
    return folder


@pytest.fixture
def copy(pool: Path, tmp_path: Path) -> Path:
    """A copy of ``one``, to harm."""
    return Path(shutil.copytree(pool / "one", tmp_path / "one"))


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """Ends what hangs."""

    def too_slow(number: int, frame: object) -> None:
        raise AssertionError("it hangs")

    former = signal.signal(signal.SIGALRM, too_slow)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


def load(folder: Path, kind: str) -> object:
    """What commands do first with an artifact in a copy of ``one``."""
    where = folder / KINDS[kind]
    if kind == "dataset":
        return Dataset.load(where)
    if kind == "checkpoint":
        return training.CheckpointFiles().load_checkpoint(where / "last.ckpt")
    return Run.load(where)


def files_of(folder: Path, kind: str) -> list[Path]:
    return sorted(path for path in (folder / KINDS[kind]).iterdir() if path.is_file())


def flaw(action: Callable[[], object], *names: str) -> str:
    """What is wrong about how it is refused: empty if in exit code 7 and one line that has one of
    the names in it."""
    signal.alarm(SECONDS)
    try:
        action()
    except ArtifactError as error:
        text = str(error)
        good = error.exit_code == 7 and "\n" not in text and any(name in text for name in names)
        return "" if good else text
    except Exception as error:
        return repr(error)[:300]
    finally:
        signal.alarm(0)
    return "it is taken"


def command(*args: object) -> tuple[int, str, str, BaseException | None]:
    """Exit code, stdout, stderr and what was raised, of a command in this process."""
    signal.alarm(SECONDS)
    done = CliRunner().invoke(app, [*map(str, args)])
    signal.alarm(0)
    return done.exit_code, done.stdout, done.stderr, done.exception


def assert_refused(done: tuple[int, str, str, BaseException | None], *names: str) -> None:
    """Exit code 7, one line that has one of the names in it, nothing on stdout."""
    code, out, err, error = done
    assert isinstance(error, SystemExit), repr(error)
    assert (code, out, err.count("\n")) == (7, "", 1), err
    assert any(name in err for name in names), err


def reseal(folder: Path, **changes: Any) -> None:
    """Makes a manifest right again, as one would who knows how: checksums of all files and the
    seal."""
    manifest = next(
        path for path in (folder / "run.json", folder / "dataset.json") if path.exists()
    )
    names = json.loads(manifest.read_text())["files"]
    planted.reseal(manifest, **{"files": manifests.listing(folder, names), **changes})


# F14 and F15: damage


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_whole_loads(kind: str, copy: Path) -> None:
    load(copy, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_byte_is_noticed(kind: str, copy: Path, count: Count, tried: Tried) -> None:
    chance = random.Random(kind)
    files = files_of(copy, kind)
    lost = []
    for path in files:
        whole = path.read_bytes()
        times = count(-(-200 // len(files)), 1000)
        for k in range(times):
            harmed = bytearray(whole)
            place = chance.randrange(len(whole))
            harmed[place] ^= 1 << chance.randrange(8) if k % 2 else chance.randrange(1, 256)
            path.write_bytes(harmed)
            if why := flaw(lambda: load(copy, kind), path.name):
                lost.append((path.name, place, harmed[place], why))
        path.write_bytes(whole)
        tried(
            "F14",
            f"a byte flipped in {kind}: {path.name}",
            times,
            sum(name == path.name for name, *_ in lost),
        )
    assert not lost
    load(copy, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_or_long_or_missing_or_of_another_is_noticed(
    kind: str, copy: Path, pool: Path, tried: Tried
) -> None:
    lost, n = [], 0
    for path in files_of(copy, kind):
        whole = path.read_bytes()
        other = (pool / "other" / path.relative_to(copy)).read_bytes()
        assert kind == "checkpoint" or path.name == "config.toml" or whole != other
        kept = sorted({0, 1, len(whole) // 2, len(whole) - 1})
        harms = {f"cut to {size}": whole[:size] for size in kept} | {
            "a byte more": whole + b"\0",
            "missing": None,
        }
        if (
            kind != "checkpoint" and whole != other
        ):  # another's checkpoint is whole: that tests below have
            harms["of another"] = other
        for what, content in harms.items():
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            n += 1
            gone = kind == "checkpoint" and content is None

            def action(gone: bool = gone) -> object:
                return writing.resumable(copy / "stopped") if gone else load(copy, kind)

            names = (
                ("stopped",)
                if gone
                else (path.name, str(path.parent))
                if content is None
                else (path.name,)
            )
            if why := flaw(action, *names):
                lost.append((path.name, what, why))
            path.write_bytes(whole)
    tried("F15", f"files of {kind} cut, longer, missing, swapped", n, len(lost))
    assert not lost


@pytest.mark.parametrize("args", ["evaluate mf", "train --data data --out new"])
def test_a_command_refuses_in_one_line(args: str, copy: Path) -> None:
    path = copy / ("mf/users.parquet" if "mf" in args else "data/train.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    done = run_cfcli(*args.split(), cwd=copy)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (7, "", 1)
    assert done.stderr.startswith("error: ")
    assert path.name in done.stderr
    assert not (copy / "new").exists()


def resume(folder: Path, *more: object) -> tuple[int, str, str, BaseException | None]:
    """``train --resume`` of ``stopped``, to its end."""
    return command(
        *(
            "train",
            "--data",
            folder / "data",
            "--resume",
            folder / "stopped",
            "--out",
            folder / "new",
        ),
        *("--max-time", "0.1s", "-q", *more),
    )


def test_what_was_stopped_is_resumed_if_it_is_whole(copy: Path) -> None:
    assert resume(copy)[0] == 0


def test_a_damaged_checkpoint_is_not_resumed(copy: Path) -> None:
    path = copy / "stopped" / runs.CHECKPOINT
    content = bytearray(path.read_bytes())
    content[99] ^= 1
    path.write_bytes(content)
    assert_refused(resume(copy), "last.ckpt")
    assert not (copy / "new").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed = 42", "seed = 43"),
        ("l2 = 1.0", "l2 = 9.0"),
        ("dim = 5", "dim = 7"),
        ("dim = 5", "dim"),
    ],
)
def test_a_stopped_run_is_not_resumed_with_other_settings_than_it_had(
    old: str, new: str, copy: Path
) -> None:
    path = copy / "stopped" / "config.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert_refused(resume(copy), "config.toml")


@pytest.mark.parametrize(
    "keys", [{"seed": 7}, {"l2": 3.0}, {"dim": 7}, {"model": "ncf"}, {"solver": "gibbs"}], ids=str
)
def test_a_checkpoint_of_another_run_is_refused(keys: dict[str, Any], copy: Path) -> None:
    keys = {"max_time": "0.3s", "epochs": 10**6, "patience": 10**6, **keys}
    planted.run(Dataset.load(copy / "data"), copy / "alien", **keys)
    shutil.copy(copy / "alien" / runs.CHECKPOINT, copy / "stopped" / runs.CHECKPOINT)
    assert_refused(resume(copy), "last.ckpt", "stopped")


def test_a_checkpoint_of_other_data_is_refused(copy: Path, pool: Path) -> None:
    shutil.copy(pool / "other" / "stopped" / runs.CHECKPOINT, copy / "stopped" / runs.CHECKPOINT)
    assert_refused(resume(copy), "last.ckpt", "another dataset")


# Manifests of someone who knows how to seal them


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
    ("kind", "path", "wanted"),
    [
        pytest.param(kind, path, wanted, id=f"{kind} {'.'.join(path)}")
        for kind, schema in (
            ("dataset", dataset.SCHEMA),
            ("mf run", runs.SCHEMA),
            ("ncf run", runs.SCHEMA),
        )
        for path, wanted in leaves(schema)
    ],
)
def test_a_manifest_with_a_value_of_another_kind_is_refused(
    kind: str, path: tuple[str, ...], wanted: Any, copy: Path
) -> None:
    manifest = copy / KINDS[kind] / MANIFESTS[kind]
    info = json.loads(manifest.read_text())
    info.pop("seal")
    lost = []
    wrong = [value for value in VALUES if not is_of(wanted, value)]
    assert wrong
    for value in wrong:
        changed = with_value(info, path, value)
        manifests.write(manifest, changed, changed["files"])
        if why := flaw(lambda: load(copy, kind), manifest.name):
            lost.append(("missing" if value is MISSING else str(value)[:20], why))
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


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A gigabyte more than now: what would take all that the machine has must not harm others."""
    pages = (
        int(Path("/proc/self/statm").read_text().split()[0])
        if Path("/proc/self/statm").exists()
        else 1 << 22
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "special", ["a pipe", "a folder", "no end", "a link to itself", "a link to nothing"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_refused_at_once(special: str, kind: str, copy: Path) -> None:
    """A pipe that nobody writes to would be waited for, for ever; /dev/zero would be read for
    ever."""
    lost = []
    for path in files_of(copy, kind):
        whole = path.read_bytes()
        path.unlink()
        match special:
            case "a pipe":
                os.mkfifo(path)
            case "a folder":
                path.mkdir()
            case _:
                path.symlink_to(
                    {"no end": "/dev/zero", "a link to itself": path.name}.get(special, "gone")
                )
        if kind == "checkpoint":
            why = flaw(
                lambda: (writing.resumable(copy / "stopped"), load(copy, kind)),
                "last.ckpt",
                "stopped",
            )
        else:
            why = flaw(lambda: load(copy, kind), path.name, str(path.parent))
        if why:
            lost.append((path.name, why))
        if special == "a folder":
            path.rmdir()
        else:
            path.unlink()
        path.write_bytes(whole)
        if lost:
            break  # one is enough: each may take all its seconds
    assert not lost


# Commands that use a part of a run, for what is looked at only then

USES = {
    "predict": ["predict", "mf", "pairs.csv"],
    "std": ["predict", "mf", "pairs.csv", "--std"],
    "evaluate": ["evaluate", "mf"],
    "recommend": ["recommend", "mf", "--all"],
    "similar": ["similar", "mf", "--title", "even"],
    "export": [
        "export-embeddings",
        "mf",
        "--entity",
        "both",
        "--titles",
        "--biases",
        "--out",
        "new",
    ],
    "train": ["train", "--data", "data", "--epochs", "1", "--out", "new", "-q"],
}


@pytest.fixture
def use(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[int, str, str, BaseException | None]]:
    monkeypatch.chdir(copy)
    Path("pairs.csv").write_text("userId,movieId\n100,100\n99,98\nnew,100\n")
    return lambda name: command(*USES[name])


Use = Callable[[str], tuple[int, str, str, BaseException | None]]


def test_all_uses_work_while_nothing_is_wrong(use: Use) -> None:
    for name in USES:
        shutil.rmtree("new", ignore_errors=True)
        code, _, err, error = use(name)
        assert code == 0, (name, err, error)


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


# Tensors


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]], **more: Any) -> bytes:
    """The format by hand: a length, a header in JSON, the data. ``more`` changes the header."""
    header: dict[str, Any] = {}
    place = 0
    for name, (kind, shape, content) in tensors.items():
        header[name] = {
            "dtype": kind,
            "shape": shape,
            "data_offsets": [place, place + len(content)],
        }
        place += len(content)
    text = json.dumps(header | more).encode()
    return (
        struct.pack("<Q", len(text)) + text + b"".join(content for *_, content in tensors.values())
    )


def plain(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    from safetensors.numpy import load_file

    kinds = {"float32": "F32", "float16": "F16"}
    return {
        name: (kinds[str(value.dtype)], list(value.shape), value.tobytes())
        for name, value in load_file(path).items()
    }


USER, ITEM = "user_embedding.weight", "item_embedding.weight"
Tensors = dict[str, tuple[str, list[int], bytes]]


def cast(kind: str, dtype: str) -> Callable[[Tensors], bytes]:
    """All tensors as another type; bfloat16 is the upper half of float32."""

    def change(tensors: Tensors) -> bytes:
        out = {}
        for name, (_, shape, content) in tensors.items():
            value = np.frombuffer(content, np.float32)
            halves = value.view(np.uint32) >> 16
            out[name] = (
                kind,
                shape,
                (halves.astype(np.uint16) if kind == "BF16" else value.astype(dtype)).tobytes(),
            )
        return safetensors(out)

    return change


def filled(value: float, name: str = USER) -> Callable[[Tensors], bytes]:
    """One number of a tensor replaced."""

    def change(tensors: Tensors) -> bytes:
        kind, shape, content = tensors[name]
        array = np.frombuffer(content, {"F32": np.float32, "F16": np.float16}[kind]).copy()
        array[len(array) // 2] = value
        return safetensors({**tensors, name: (kind, shape, array.tobytes())})

    return change


def shaped(*shape: int, name: str = USER) -> Callable[[Tensors], bytes]:
    return lambda t: safetensors({**t, name: (t[name][0], list(shape), t[name][2])})


def header(text: bytes, length: int | None = None) -> Callable[[Tensors], bytes]:
    return lambda t: struct.pack("<Q", len(text) if length is None else length) + text


def entry(**changes: Any) -> Callable[[Tensors], bytes]:
    """The header's entry of the users' tensor, changed."""

    def change(tensors: Tensors) -> bytes:
        kind, shape, content = tensors[USER]
        given = {"dtype": kind, "shape": shape, "data_offsets": [0, len(content)], **changes}
        rest = {name: value for name, value in tensors.items() if name != USER}
        whole = safetensors({USER: tensors[USER], **rest})
        return safetensors({USER: tensors[USER], **rest}, **{USER: given}) if whole else b""

    return change


TENSORS: dict[str, Callable[[Tensors], bytes]] = {
    "empty": lambda t: b"",
    "a length alone": lambda t: struct.pack("<Q", 8),
    "a header longer than the file": lambda t: struct.pack("<Q", 1 << 20) + safetensors(t)[8:],
    "a header shorter than it is": lambda t: struct.pack("<Q", 10) + safetensors(t)[8:],
    "a header of 2^63": lambda t: struct.pack("<Q", 1 << 63) + safetensors(t)[8:],
    "a header of 2^64 - 1": lambda t: struct.pack("<Q", (1 << 64) - 1) + safetensors(t)[8:],
    "a header of 101 MB": header(b"{" + b" " * 101_000_000 + b"}"),
    "no header": header(b""),
    "a header that is a list": header(b"[]"),
    "a header that is null": header(b"null"),
    "a deep header": header(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a header not in UTF-8": header(b'{"\xff": 1}'),
    "no tensors": header(b"{}"),
    "metadata of another type": lambda t: safetensors(t, __metadata__=[1]),
    "offsets that overlap": entry(data_offsets=[4, 604]),
    "offsets beyond the end": entry(data_offsets=[0, 1 << 40]),
    "offsets that are negative": entry(data_offsets=[-600, 0]),
    "offsets in reverse": entry(data_offsets=[600, 0]),
    "offsets of no number": entry(data_offsets=["0", None]),
    "an unknown type": entry(dtype="F99"),
    "a shape that overflows": entry(shape=[1 << 62, 1 << 62]),
    "a shape of another size": entry(shape=[30, 6]),
    "a shape below 0": entry(shape=[-30, -5]),
    "int32": cast("I32", "int32"),
    "int64": cast("I64", "int64"),
    "bool": cast("BOOL", "bool"),
    "float64": cast("F64", "float64"),
    "float16": cast("F16", "float16"),
    "bfloat16": cast("BF16", ""),
    "turned": shaped(5, 30),
    "flat": shaped(150),
    "one dimension more": shaped(30, 5, 1),
    "rows to no columns": shaped(0, 5),
    "one more": lambda t: safetensors({**t, "extra": t[USER]}),
    "one missing": lambda t: safetensors({k: v for k, v in t.items() if k != "user_bias"}),
    "another name": lambda t: safetensors({k.replace("bias", "b"): v for k, v in t.items()}),
    "not a number": filled(NAN),
    "infinite": filled(INFINITE, ITEM),
    "minus infinite": filled(-INFINITE, "user_bias"),
    "bytes after the end": lambda t: safetensors(t) + b"more",
    "noise": lambda t: random.Random(1).randbytes(5000),
    "a zip": lambda t: b"PK\x03\x04" + bytes(100),
}


def test_tensors_written_by_hand_are_read(copy: Path, use: Use) -> None:
    path = copy / "mf" / "model.safetensors"
    path.write_bytes(safetensors(plain(path)))
    reseal(copy / "mf")
    assert use("predict")[0] == 0


@pytest.mark.parametrize("what", TENSORS)
def test_tensors_that_are_none_are_refused(what: str, copy: Path, use: Use) -> None:
    path = copy / "mf" / "model.safetensors"
    path.write_bytes(TENSORS[what](plain(path)))
    reseal(copy / "mf")
    assert_refused(use("predict"), path.name)


SAMPLES: dict[str, Callable[[Tensors], bytes]] = {
    "noise": lambda t: random.Random(1).randbytes(5000),
    "no tensors": header(b"{}"),
    "one missing": lambda t: safetensors({k: v for k, v in t.items() if k != "user_noise"}),
    "fewer users": lambda t: safetensors({**t, "users": _rows(t["users"], 1, 3)}),
    "fewer items": lambda t: safetensors({**t, "items": _rows(t["items"], 1, 3)}),
    "fewer samples of users": lambda t: safetensors({**t, "users": _rows(t["users"], 0, 1)}),
    "another rank": lambda t: safetensors({**t, "users": _rows(t["users"], 2, 3)}),
    "one sample": lambda t: safetensors(
        {**t, **{name: _rows(t[name], 0, 1) for name in ("users", "items")}}
    ),
    "no samples": lambda t: safetensors(
        {**t, **{name: _rows(t[name], 0, 0) for name in ("users", "items")}}
    ),
    "fewer noises": lambda t: safetensors({**t, "user_noise": _rows(t["user_noise"], 0, 3)}),
    "not a number": filled(NAN, "users"),
    "infinite": filled(INFINITE, "items"),
    "a noise that is not a number": filled(NAN, "item_noise"),
    "a noise below 0": filled(-1e9, "item_noise"),
    "integers": lambda t: safetensors(
        {k: ("I16" if v[0] == "F16" else v[0], *v[1:]) for k, v in t.items()}
    ),
}


def _rows(tensor: tuple[str, list[int], bytes], axis: int, n: int) -> tuple[str, list[int], bytes]:
    kind, shape, content = tensor
    array = np.frombuffer(content, {"F32": np.float32, "F16": np.float16}[kind]).reshape(shape)
    cut = np.ascontiguousarray(array.take(range(n), axis))
    return kind, list(cut.shape), cut.tobytes()


@pytest.mark.parametrize("what", SAMPLES)
def test_samples_that_are_none_are_refused(what: str, copy: Path, use: Use) -> None:
    path = copy / "mf" / runs.SAMPLES
    path.write_bytes(SAMPLES[what](plain(path)))
    reseal(copy / "mf")
    assert_refused(use("std"), path.name)


# Tables


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


# What would run code


class Harm:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def pickled(marker: Path) -> bytes:
    return pickle.dumps(Harm(marker))


def torch_pickled(marker: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": Harm(marker), "cfcli": {}}, stream)
    return stream.getvalue()


def old_torch_pickled(marker: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": Harm(marker)}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


HARMFUL = [pickled, torch_pickled, old_torch_pickled]


def with_sum(content: bytes) -> bytes:
    """A checkpoint's last bytes are the checksum of the others."""
    return content + hashlib.sha256(content).digest()


def test_harm_would_be_done(tmp_path: Path) -> None:
    for k, make in enumerate(HARMFUL):
        content = make(tmp_path / str(k))
        if make is pickled:
            pickle.loads(content)
        else:
            torch.load(io.BytesIO(content), weights_only=False)
        assert (tmp_path / str(k)).exists()


@pytest.mark.parametrize("make", HARMFUL)
@pytest.mark.parametrize(
    "name", ["model.safetensors", "samples.safetensors", "users.parquet", "seen.parquet"]
)
def test_a_pickle_in_a_run_is_never_run(
    name: str, make: Callable[[Path], bytes], copy: Path, use: Use, tmp_path: Path
) -> None:
    (copy / "mf" / name).write_bytes(make(tmp_path / "harm"))
    reseal(copy / "mf")
    assert_refused(
        use({"samples.safetensors": "std", "seen.parquet": "recommend"}.get(name, "predict")), name
    )
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("make", HARMFUL)
def test_a_pickle_in_the_place_of_a_checkpoint_is_never_run(
    make: Callable[[Path], bytes], copy: Path, tmp_path: Path
) -> None:
    (copy / "stopped" / runs.CHECKPOINT).write_bytes(with_sum(make(tmp_path / "harm")))
    done = resume(copy)
    assert not (tmp_path / "harm").exists()
    assert_refused(done, "last.ckpt")


def test_a_pickle_is_not_run_where_the_environment_would_have_torch_run_it(
    copy: Path, tmp_path: Path
) -> None:
    (copy / "stopped" / runs.CHECKPOINT).write_bytes(with_sum(torch_pickled(tmp_path / "harm")))
    command = ["train", "--resume", "stopped", "--data", "data", "--out", "new"]
    env = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    done = run_cfcli(*command, cwd=copy, env=env)
    assert not (tmp_path / "harm").exists()
    assert (done.returncode, done.stdout) == (7, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert not (copy / "new").exists()


def saved(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def changed_checkpoint(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def make(whole: bytes) -> bytes:
        content = torch.load(io.BytesIO(whole), weights_only=True)
        change(content)
        return saved(content)

    return make


def first_weight(content: dict[str, Any]) -> str:
    return str(next(name for name in content["state_dict"] if "user" in name))


CHECKPOINTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda whole: b"",
    "noise": lambda whole: random.Random(4).randbytes(3000),
    "half of it": lambda whole: whole[: len(whole) // 2],
    "a list": lambda whole: saved([1, 2]),
    "a number": lambda whole: saved(1),
    "no keys": lambda whole: saved({}),
    "nothing of cfcli's": changed_checkpoint(lambda c: c.pop("cfcli")),
    "no state": changed_checkpoint(lambda c: c["cfcli"].pop("state")),
    "no history": changed_checkpoint(lambda c: c["cfcli"].pop("history")),
    "a history of another form": changed_checkpoint(
        lambda c: c["cfcli"].update(history=[{"epoch": "x"}])
    ),
    "a history that is empty": changed_checkpoint(lambda c: c["cfcli"].update(history=[])),
    "a best epoch out of range": changed_checkpoint(
        lambda c: c["cfcli"]["state"].update(best_epoch=10**9)
    ),
    "no best tensors": changed_checkpoint(lambda c: c["cfcli"]["state"].update(best={})),
    "a generator of another size": changed_checkpoint(
        lambda c: c["cfcli"]["state"].update(generator=torch.zeros(3, dtype=torch.uint8))
    ),
    "no callbacks": changed_checkpoint(lambda c: c.pop("callbacks")),
    "no optimizer": changed_checkpoint(lambda c: c.pop("optimizer_states")),
    "a weight missing": changed_checkpoint(lambda c: c["state_dict"].pop(first_weight(c))),
    "a weight of another shape": changed_checkpoint(
        lambda c: c["state_dict"].update({first_weight(c): torch.zeros(2, 2)})
    ),
    "a weight that is no tensor": changed_checkpoint(
        lambda c: c["state_dict"].update({first_weight(c): "x"})
    ),
    "best tensors that are no numbers": changed_checkpoint(
        lambda c: c["cfcli"]["state"].update(
            best={k: v * NAN for k, v in c["cfcli"]["state"]["best"].items()}
        )
    ),
    "best tensors of another shape": changed_checkpoint(
        lambda c: c["cfcli"]["state"].update(
            best={k: v[:1] for k, v in c["cfcli"]["state"]["best"].items()}
        )
    ),
}


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_a_checkpoint_that_is_none_is_refused(what: str, copy: Path) -> None:
    path = copy / "stopped" / runs.CHECKPOINT
    path.write_bytes(with_sum(CHECKPOINTS[what](path.read_bytes()[:-32])))
    assert_refused(resume(copy, "--epochs", 10**6), "last.ckpt")
    assert not (copy / "new").exists()


def test_weights_that_are_no_numbers_come_to_no_run(copy: Path) -> None:
    path = copy / "stopped" / runs.CHECKPOINT
    spoil = changed_checkpoint(
        lambda c: c["state_dict"].update({k: v * NAN for k, v in c["state_dict"].items()})
    )
    path.write_bytes(with_sum(spoil(path.read_bytes()[:-32])))
    code, out, err, _ = resume(copy, "--epochs", 10**6)
    assert code in (6, 7)
    assert (out, err.count("\n")) == ("", 1)
    assert not (copy / "new").exists()


SOURCES = sorted(Path(cfcli.__file__).parent.rglob("*.py"))
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_source_has_nothing_that_runs_what_it_reads(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        where = ast.unparse(node)[:80]
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import | ast.ImportFrom)
            else []
        )
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        # torch's distributed checkpoints are lists in pickle, which that module lets name nothing
        # but their parts.
        unsafe = UNSAFE - {"pickle"} if path.name == "sharded.py" else UNSAFE
        assert not unsafe & {part for name in names for part in name.split(".")}, where
        if (
            path.name == "sharded.py"
            and isinstance(node, ast.Attribute)
            and ast.unparse(node.value) == "pickle"
        ):
            assert node.attr in {"Unpickler", "UnpicklingError"}, where
        if isinstance(node, ast.Name):
            assert node.id not in {"eval", "exec", "compile", "__import__"}, where
        if isinstance(node, ast.Attribute):
            assert node.attr not in {
                "load_from_checkpoint",
                "hparams_file",
                "full_load",
                "unsafe_load",
            }, where
        if not isinstance(node, ast.Call):
            continue
        given = {word.arg: word.value for word in node.keywords}
        called = ast.unparse(node.func)
        if called == "torch.load":
            assert ast.unparse(given["weights_only"]) == "True", where
        if called.endswith("trainer.fit"):
            assert "ckpt_path" not in given or ast.unparse(given["weights_only"]) == "True", where
        if "allow_pickle" in given:
            assert ast.unparse(given["allow_pickle"]) == "False", where


def test_torch_reads_files_in_one_place() -> None:
    calls = [path.name for path in SOURCES for _ in range(path.read_text().count("torch.load("))]
    assert calls == ["callbacks.py"]
    assert not any("from torch import load" in path.read_text() for path in SOURCES)


# T11: who may write


@pytest.mark.parametrize("kind", MANIFESTS)
def test_what_anyone_may_change_is_not_trusted(
    kind: str, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(manifests.TRUST, raising=False)
    folder = copy / KINDS[kind]
    folder.chmod(0o777)
    assert not flaw(lambda: load(copy, kind), str(folder))
    monkeypatch.setenv(manifests.TRUST, "1")
    load(copy, kind)
    monkeypatch.delenv(manifests.TRUST)
    for mode in (0o1777, 0o775, 0o700):
        folder.chmod(mode)
        load(copy, kind)


@pytest.mark.parametrize(
    "args", [["evaluate", "mf"], ["train", "--data", "data", "--out", "new"]], ids=str
)
def test_a_command_does_not_trust_what_anyone_may_change(args: list[str], copy: Path) -> None:
    (copy / ("mf" if "mf" in args else "data")).chmod(0o777)
    done = run_cfcli(*args, cwd=copy)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (7, "", 1)
    assert "chmod o-w" in done.stderr
    if args[0] == "evaluate":
        assert run_cfcli(*args, cwd=copy, env={manifests.TRUST: "1"}).returncode == 0


@pytest.mark.parametrize("folder", ["stopped", "stopped/checkpoints"])
def test_a_run_that_anyone_may_change_is_not_resumed(folder: str, copy: Path) -> None:
    (copy / folder).chmod(0o777)
    assert_refused(resume(copy), "stopped")


def test_folders_are_not_for_all_to_write_to_whatever_the_umask(
    copy: Path, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those above a dataset or a run neither: who may write there may put another in its place."""
    seen: dict[str, int] = {}
    write = training.CheckpointFiles.save_checkpoint

    def watched(self: Any, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        write(self, checkpoint, path, storage_options)
        for folder in (Path(path).parent, Path(path).parent.parent):
            seen["staging" if folder.name.startswith(".") else folder.name] = stat.S_IMODE(
                folder.stat().st_mode
            )

    monkeypatch.setattr(training.CheckpointFiles, "save_checkpoint", watched)
    before = set(copy.rglob("*"))
    former = os.umask(0)
    try:
        for args in (
            ["prepare", "ratings.csv", "--out", "made/data"],
            ["train", "--data", "made/data", "--epochs", "2", "-q"],
            [
                "train",
                "--data",
                "made/data",
                "--max-time",
                "0.1s",
                "--epochs",
                "99999",
                "--patience",
                "99999",
                "-q",
            ],
            ["export-embeddings"],
            ["export-embeddings", "--out", "other/deep/items.parquet"],
            ["evaluate", "--per-row", "rows/test.csv", "-q"],
        ):
            code, _, err, error = command(*args)
            assert code == 0, (args, err, error)
    finally:
        os.umask(former)
    assert seen == {"staging": 0o700, "checkpoints": 0o700}
    new = sorted(set(copy.rglob("*")) - before)
    assert {path.name for path in new} >= {
        "runs",
        "made",
        "data",
        "embeddings",
        "checkpoints",
        "deep",
        "rows",
    }
    modes = {path.relative_to(copy): path.lstat().st_mode for path in new if not path.is_symlink()}
    files = {path: stat.S_IMODE(mode) for path, mode in modes.items() if stat.S_ISREG(mode)}
    # A checkpoint lies in a folder of its owner's alone.
    assert {mode for path, mode in files.items() if path.name != "last.ckpt"} == {0o666}
    assert not [
        str(path) for path, mode in modes.items() if stat.S_ISDIR(mode) and mode & stat.S_IWOTH
    ]


# T16: no network


def has_unshare() -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode == 0
    return False


@pytest.mark.skipif(not has_unshare(), reason="needs user and network namespaces")
def test_no_command_needs_a_network(copy: Path) -> None:
    (copy / "pairs.csv").write_text("userId,movieId\n100,100\n")
    for args in (
        ["prepare", "ratings.csv", "--out", "new"],
        ["train", "--data", "new", "--epochs", "1", "--out", "run"],
        ["evaluate", "run"],
        ["predict", "run", "pairs.csv"],
        ["recommend", "run", "--user", "100"],
        ["similar", "run", "100"],
        ["export-embeddings", "run"],
    ):
        whole = ["unshare", "-rn", str(CFCLI), *args]
        done = subprocess.run(whole, cwd=copy, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (args, done.stderr)


def test_a_check_of_this_file() -> None:
    """That the damages above are damages: each differs from the whole, and no two are the same."""
    assert len({text for text in MANIFEST_TEXTS.values()}) == len(MANIFEST_TEXTS)
    names = [what for group in TABLES.values() for what, _ in group]
    assert len(set(names)) == len(names)
    assert TrainConfig().seed == 42
    assert sys.getrecursionlimit() <= 1000
    assert list(itertools.islice(leaves(runs.SCHEMA), 1))
