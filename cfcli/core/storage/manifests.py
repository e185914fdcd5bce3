"""Manifests: what an artifact consists of, to the last byte."""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cfcli.core.errors import ArtifactError, MachineError
from cfcli.core.storage import publishing, trust
from cfcli.core.storage.schema import plain

NAMES = {
    "run": "run.json",
    "dataset": "dataset.json",
}  # of manifests, by what they make of a folder
MOST_MANIFEST = 16 << 20  # bytes
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # of a file that a manifest may list


@dataclass(frozen=True)
class File:
    """What a manifest says of a file.

    Attributes:
        bytes: its size.
        sha256: of its content, in hexadecimal digits.
    """

    bytes: int
    sha256: str


def listing(folder: Path, files: Iterable[str]) -> dict[str, File]:
    """Size and sha256 of files, for a manifest. They become readable for whom the umask lets.

    Args:
        folder: where the files are.
        files: their names.
    """
    found = {}
    for name in files:
        # Some writers create files for their owner alone, whatever the umask.
        os.chmod(folder / name, 0o666 & ~publishing.umask())
        found[name] = file_of(folder / name)
    return found


def file_of(path: Path) -> File:
    """What a manifest says of a file.

    Args:
        path: of the file.
    """
    return File(path.stat().st_size, sha256(path))


def write(path: Path, content: Mapping[str, object], files: Mapping[str, File]) -> None:
    """Write a manifest: JSON with a seal, last of all files, so that what has a manifest is whole.

    Args:
        path: of the manifest.
        content: its keys but ``files``, as :func:`cfcli.core.storage.schema.to_json` gives them.
        files: the :func:`listing` of the files beside it.
    """
    whole = plain({**content, "files": files})
    body = json.dumps(whole, indent=2).removesuffix("\n}").encode()
    with publishing.file(path) as stream:
        stream.write(body + _seal(body))


def _seal(body: bytes) -> bytes:
    """The end of a manifest: the sha256 of all before it."""
    return f',\n  "seal": "{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()


def read(
    path: Path, what: str, format: int, needs: Iterable[str] = (), hint: str = ""
) -> dict[str, object]:
    """The content of a manifest, once it is as it was written and every file is as it lists it.

    Args:
        path: of the manifest.
        what: the kind of artifact, for messages: "run", "dataset".
        format: the number of the format that this version reads.
        needs: files that it must list.
        hint: what to do where there is none, for the message.

    Raises:
        ArtifactError: missing, damaged, made by a version with another format, or where anyone may
            write.
        ConfigError: its path is not UTF-8.
        MachineError: it cannot be read.
    """
    folder = path.parent
    try:
        publishing.refuse_odd(path)
        trust.refuse_shared(folder)
        if plain_size(path) > MOST_MANIFEST:
            raise ArtifactError(f"{path}: damaged: larger than any {what}'s manifest")
        raw = path.read_bytes()
        content = json.loads(raw)
        version = content["format"]
        seal = content.pop("seal", "")
        listed = content["files"].items() if version == format else ()
        files = {name: (expected["bytes"], expected["sha256"]) for name, expected in listed}
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{folder}: no {what} there{hint}") from None
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ArtifactError(f"{path}: damaged: not a {what}'s manifest") from None
    if version != format:
        raise ArtifactError(
            f"{path}: made by another version of cfcli (format {version}, this one reads {format})"
        )
    body = raw[: -len(_seal(b""))]
    if not seal or raw != body + _seal(body):
        raise ArtifactError(f"{path}: damaged: not as it was written")
    for name, (size, digest) in files.items():
        _check_file(path, name, size, digest)
    for name in needs:
        if name not in files:
            raise ArtifactError(f"{path}: does not list {name}")
    return dict(content)


def _check_file(manifest: Path, name: str, size: object, digest: object) -> None:
    """Refuse a file that is not as its manifest lists it."""
    if not NAME.fullmatch(name):
        raise ArtifactError(f"{manifest}: names a file outside its folder, or none: {name[:80]!r}")
    path = manifest.parent / name
    try:
        same = plain_size(path) == size and sha256(path) == digest
    except FileNotFoundError:
        raise ArtifactError(f"{path}: missing") from None
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}") from None
    if not same:
        raise ArtifactError(f"{path}: damaged: its checksum is not the one in {manifest.name}")


def plain_size(path: Path) -> int:
    """Bytes of a file. Pipes and devices are refused: reading one might never end.

    Args:
        path: of the file.

    Raises:
        ArtifactError: it is not a plain file, or anyone may write to it.
        OSError: it cannot be read, or is not there.
    """
    try:
        found = path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ArtifactError(f"{path}: damaged: a link to itself") from None
        raise
    if not stat.S_ISREG(found.st_mode):
        raise ArtifactError(f"{path}: damaged: not a plain file")
    trust.refuse_shared(path)
    return found.st_size


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Args:
        path: of the file.
    """
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
