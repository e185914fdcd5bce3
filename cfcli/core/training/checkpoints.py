"""Checkpoints: what a training that was stopped goes on from.

A checkpoint is a file of torch.save whose last 32 bytes are the SHA-256 of the others. It is
published like every other file: a reader sees the old one or the new one, never a torn one.
Loading it runs no code.
"""

import contextlib
import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import torch

from cfcli.core.config.fields import keys_of
from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ArtifactError, ConfigError, MachineError
from cfcli.core.storage import manifests, publishing, trust
from cfcli.core.storage.publishing import machine_errors
from cfcli.core.training.epochs import Epoch, History, TracePoint

FORMAT = 2  # 1 was version 0.1's, which did not say so
KEY = "cfcli"  # of our record in a checkpoint: Lightning puts its own beside it
FILE = "last.ckpt"
SHARE_OF_TIME = 1 / 20  # that saving may take
DIGEST_SIZE = hashlib.sha256().digest_size

State: TypeAlias = dict[str, Any]
"""Content of a checkpoint: tensors and plain values by name, nested, as ``torch.load`` reads it."""


@dataclass(frozen=True)
class Identity:
    """What must be the same for a training to go on.

    Attributes:
        fingerprint: of the dataset.
        settings: all that may not change on resume, as JSON.
    """

    fingerprint: str
    settings: str

    @classmethod
    def of(cls, config: TrainConfig, fingerprint: str) -> "Identity":
        """The identity of a training.

        Args:
            config: of the training.
            fingerprint: of the dataset.
        """
        values, keys = config.values(), keys_of(TrainConfig).values()
        fixed = {key.name: values[key.name] for key in keys if not key.facts.may_change}
        return cls(fingerprint, json.dumps(fixed, sort_keys=True))


def record(identity: Identity, history: History, state: State) -> State:
    """What a checkpoint holds under ``KEY``.

    Args:
        identity: of the training.
        history: its epochs so far.
        state: what the solver goes on from.
    """
    return {
        "format": FORMAT,
        "fingerprint": identity.fingerprint,
        "settings": identity.settings,
        "history": [asdict(row) for row in history.epochs],
        "trace": [tuple(point) for point in history.trace],
        "state": state,
    }


def restore(checkpoint: State, identity: Identity, history: History) -> State:
    """Fills the history from a checkpoint and gives back the solver's state.

    Args:
        checkpoint: as :func:`read` has it.
        identity: of the training that is to go on.
        history: empty.

    Raises:
        ArtifactError: the checkpoint belongs to another training, or version 0.1 made it.
    """
    found = checkpoint[KEY]
    if "format" not in found:
        raise ArtifactError("checkpoint made by version 0.1 cannot be resumed")
    if found["format"] != FORMAT:
        raise ArtifactError(f"checkpoint of format {found['format']}, not {FORMAT}")
    if found["fingerprint"] != identity.fingerprint:
        raise ArtifactError("is of another dataset; prepare that one again")
    if _filled(found["settings"]) != _filled(identity.settings):
        raise ArtifactError("is of another run, or config.toml was changed")
    history.epochs = [Epoch(**row) for row in found["history"]]
    history.trace = [TracePoint(int(step), float(mse)) for step, mse in found["trace"]]
    return cast(State, found["state"])


def _filled(settings: str) -> State:
    """Settings as :meth:`Identity.of` writes them; keys newer than the checkpoint have defaults."""
    defaults = {name: key.default for name, key in keys_of(TrainConfig).items()}
    return dict(json.loads(json.dumps(defaults)) | json.loads(settings))


def refuse_fewer(epochs: int, history: History) -> None:
    """Raises a ConfigError where a training is to have fewer epochs than it has had.

    Args:
        epochs: how many it is to have.
        history: of what was done.
    """
    done = len(history.epochs)
    if epochs < done:
        raise ConfigError(f"epochs: {epochs} is below the {done} that its checkpoint has")


@contextlib.contextmanager
def resuming(path: Path | None, is_running: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Turns what fails within the block into an error of the checkpoint, if there is one.

    Args:
        path: the checkpoint, or None.
        is_running: whether the training has started; what fails later is not the checkpoint's
            fault.

    Raises:
        ArtifactError: the checkpoint cannot be resumed.
    """
    try:
        yield
    except (MachineError, ConfigError):
        raise
    except Exception as error:
        if path is None or is_running():
            raise
        why = f"damaged: not a checkpoint ({type(error).__name__})"
        if isinstance(error, ArtifactError):
            why = str(error).removeprefix(f"{path}: ")
        raise ArtifactError(f"{path}: {why}; train again without --resume") from None


class _Hashed:
    """A stream to write to that knows the SHA-256 of what was written."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.sha256 = stream, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Writes on, and returns how many bytes were written.

        Args:
            data: the next bytes.
        """
        self.sha256.update(data)
        return self.stream.write(data)

    def flush(self) -> None:
        self.stream.flush()


def write(checkpoint: State, path: Path) -> None:
    """Publishes a checkpoint with its checksum.

    Args:
        checkpoint: tensors and plain values.
        path: of the file, in a folder that is there.

    Raises:
        MachineError: no permission, no space.
    """
    with publishing.file(path) as stream:
        hashed = _Hashed(stream)
        try:
            torch.save(checkpoint, cast(IO[bytes], hashed))
        except RuntimeError as error:
            # torch's writer hides the system's error behind an assertion of its own.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        stream.write(hashed.sha256.digest())


def read(path: Path) -> State:
    """Loads a checkpoint, with its tensors on the CPU.

    Args:
        path: of the file.

    Raises:
        ArtifactError: it is damaged, or others may write to its folder.
        MachineError: it cannot be read.
    """
    with machine_errors(path):
        trust.refuse_shared(path.parent)
        manifests.plain_size(path)
        content = path.read_bytes()
    if hashlib.sha256(memoryview(content)[:-DIGEST_SIZE]).digest() != content[-DIGEST_SIZE:]:
        raise ArtifactError(f"{path}: damaged: not as it was written")
    stream = io.BytesIO(content[:-DIGEST_SIZE])
    return dict(torch.load(stream, map_location="cpu", weights_only=True))


def make_folder(path: Path) -> None:
    """Makes the folder of a checkpoint, which is private.

    Args:
        path: of the checkpoint.

    Raises:
        MachineError: no permission, no space.
    """
    with machine_errors(path):
        folder = path.parent
        folder.mkdir(mode=publishing.private_mode(folder.parent), exist_ok=True)


def remove(folder: Path | None) -> None:
    """Removes the checkpoints of a training that ran to its end.

    Args:
        folder: that they are in; None where another process keeps them.
    """
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


class Pace:
    """Says when to save, so that saving takes a twentieth of the time at most."""

    def __init__(self) -> None:
        self.next = 0.0

    def is_due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() >= self.next

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Measures how long the block takes to save."""
        begin = time.monotonic()
        yield
        end = time.monotonic()
        self.next = end + (end - begin) / SHARE_OF_TIME
