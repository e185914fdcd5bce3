"""Manifests: what an artifact consists of, to the last byte."""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cfcli.core.errors import ArtifactError, MachineError
from cfcli.core.storage import publishing

MOST_MANIFEST = 16 << 20  # bytes
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # of a file that a manifest may list
TRUST = "CFCLI_ALLOW_WORLD_WRITABLE"


def listing(folder: Path, files: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Size and sha256 of files in a folder, for its manifest; they become readable for whom the
    umask lets."""
    for name in files:
        # Some writers create files for their owner alone, whatever the umask.
        os.chmod(folder / name, 0o666 & ~publishing.umask())
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name in files
    }


def write(path: Path, content: dict[str, Any], files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Writes ``content`` with the :func:`listing` of its files as JSON, sealed: last of all, so
    that what has a manifest is whole. Returns what was written."""
    whole = content | {"files": files}
    body = json.dumps(whole, indent=2).removesuffix("\n}").encode()
    with publishing.file(path) as stream:
        stream.write(body + _seal(body))
    return whole


def _seal(body: bytes) -> bytes:
    """The end of a manifest: the sha256 of all before it."""
    return f',\n  "seal": "{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()


def read(
    path: Path, what: str, format: int, needs: Iterable[str] = (), hint: str = ""
) -> dict[str, Any]:
    """The manifest at ``path``, once it is as it was written, and every file that it lists is found
    as listed.

    Args:
        needs: files that it must list.
        hint: what to do where there is none.

    Raises:
        ArtifactError: missing, damaged, made by a version with another format, or in a folder that
            anyone may write to.
    """
    folder = path.parent
    try:
        refuse_shared(folder)
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
    if not seal or raw != (body := raw[: -len(_seal(b""))]) + _seal(body):
        raise ArtifactError(f"{path}: damaged: not as it was written")
    for name, (size, digest) in files.items():
        if not NAME.fullmatch(name):
            raise ArtifactError(f"{path}: names a file outside its folder, or none: {name[:80]!r}")
        try:
            same = plain_size(folder / name) == size and sha256(folder / name) == digest
        except FileNotFoundError:
            raise ArtifactError(f"{folder / name}: missing") from None
        except OSError as error:
            raise MachineError(f"{folder / name}: {error.strerror}") from None
        if not same:
            raise ArtifactError(
                f"{folder / name}: damaged: its checksum is not the one in {path.name}"
            )
    if missing := [name for name in needs if name not in files]:
        raise ArtifactError(f"{path}: does not list {missing[0]}")
    return dict(content)


def refuse_shared(folder: Path) -> None:
    """Raises an ArtifactError where anyone may change what is in a folder, so that it may be
    anyone's."""
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX and not os.environ.get(TRUST):
        raise ArtifactError(
            f"{folder}: anyone on this machine may change it: 'chmod o-w {folder}' if what is in it can be trusted "
            f"(where that has no effect, set {TRUST}=1)"
        )


def plain_size(path: Path) -> int:
    """Bytes of a file; of a pipe or device, reading might never end."""
    try:
        found = path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ArtifactError(f"{path}: damaged: a link to itself") from None
        raise
    if not stat.S_ISREG(found.st_mode):
        raise ArtifactError(f"{path}: damaged: not a plain file")
    return found.st_size


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
