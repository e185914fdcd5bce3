"""What tests of damaged artifacts share: an artifact of every kind, and what a refusal must
look like: exit code 7 and a line that names the file."""

import hashlib
import json
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import planted
from typer.testing import CliRunner

from cfcli.cli.app import app
from cfcli.core.data.dataset import Dataset
from cfcli.core.errors import ArtifactError
from cfcli.core.runs.run import Run
from cfcli.core.storage import manifests
from cfcli.core.training import checkpoints

KINDS = {"dataset": "data", "mf run": "mf", "ncf run": "ncf", "checkpoint": "stopped/checkpoints"}
MANIFESTS = {"dataset": "dataset.json", "mf run": "run.json", "ncf run": "run.json"}
SECONDS = 10  # after which a refusal hangs
NAN, INFINITE, HUGE = float("nan"), float("inf"), 10**400


def load(folder: Path, kind: str) -> object:
    """What commands do first with an artifact in a copy of ``one``."""
    where = folder / KINDS[kind]
    if kind == "dataset":
        return Dataset.load(where)
    if kind == "checkpoint":
        return checkpoints.read(where / "last.ckpt")
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
Use = Callable[[str], tuple[int, str, str, BaseException | None]]


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


USER, ITEM = "user_embedding.weight", "item_embedding.weight"
Tensors = dict[str, tuple[str, list[int], bytes]]


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


def with_sum(content: bytes) -> bytes:
    """A checkpoint's last bytes are the checksum of the others."""
    return content + hashlib.sha256(content).digest()
