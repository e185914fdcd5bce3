"""Pickles, which run code when they are read: never read."""

import ast
import io
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from artifact_faults import Use, assert_refused, reseal, resume, with_sum
from shell import run_cfcli

import cfcli
from cfcli.core.runs import run as runs


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


SOURCES = sorted(Path(cfcli.__file__).parent.rglob("*.py"))
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}


BUILTINS = {"eval", "exec", "compile", "__import__"}
LOADERS = {"load_from_checkpoint", "hparams_file", "full_load", "unsafe_load"}


def dangers(path: Path) -> Iterator[str]:
    """What of a source file may run what it reads."""
    # torch's distributed checkpoints are lists in pickle, which that module lets name nothing but
    # their parts.
    picks = path.name == "sharded.py"
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=aliases):
                modules = [alias.name for alias in aliases]
            case ast.ImportFrom(module=module, names=aliases):
                modules = [module or "", *(alias.name for alias in aliases)]
            case _:
                modules = []
        parts = {part for module in modules for part in module.split(".")}
        unsafe = parts & UNSAFE - ({"pickle"} if picks else set())
        match node:
            case ast.Attribute(value=ast.Name(id="pickle"), attr=name):
                bad = name not in {"Unpickler", "UnpicklingError"}
            case ast.Attribute(attr=name):
                bad = name in LOADERS
            case ast.Name(id=name):
                bad = name in BUILTINS
            case ast.Call():
                bad = reads_without_care(node)
            case _:
                bad = bool(unsafe)
        if bad:
            yield f"{path.name}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)[:80]}"


def reads_without_care(call: ast.Call) -> bool:
    """Whether a call leaves out what forbids pickles."""
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    called = ast.unparse(call.func)
    needs = called == "torch.load" or (called.endswith("trainer.fit") and "ckpt_path" in given)
    if needs and given.get("weights_only") != "True":
        return True
    return given.get("allow_pickle", "False") != "False"


def test_the_source_has_nothing_that_runs_what_it_reads() -> None:
    assert [danger for path in SOURCES for danger in dangers(path)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from yaml import load",
        "from a import dill",
        "import pickle\npickle.loads(b'')",
        "eval('1')",
        "model.load_from_checkpoint('x')",
        "torch.load('x')",
        "torch.load('x', weights_only=False)",
        "trainer.fit(model, ckpt_path='x')",
        "np.load('x', allow_pickle=True)",
    ],
)
def test_each_danger_is_found(code: str, tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text(code)
    assert list(dangers(path))


def test_torch_reads_files_in_one_place() -> None:
    calls = [path.name for path in SOURCES for _ in range(path.read_text().count("torch.load("))]
    assert calls == ["checkpoints.py"]
    assert not any("from torch import load" in path.read_text() for path in SOURCES)
