"""Where a command may write: the one place that decides it."""

import json
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from cfcli.core.errors import ConfigError, MachineError
from cfcli.core.storage import manifests, publishing

# What is free in a run: the folder for files of the user, and what 'report' writes by default.
FREE = ("embeddings", "report.html")
PARTS = (".parquet", ".parq", ".pq")  # what is read of a folder


def check_file(
    path: str | Path, inputs: Iterable[str | Path | None] = (), suffixes: Sequence[str] = ()
) -> None:
    """Refuse a file that no command may write, before the work for it begins.

    Args:
        path: that the user named.
        inputs: what the command reads; None for what was not given, ``-`` for stdin.
        suffixes: of which its name must have one, as its form is not chosen by the name; any by
            default.

    Raises:
        ConfigError: it lies in a run, a dataset or a store, is an input of the command, or is not
            what can be written as a file.
        MachineError: its folder cannot be written.
    """
    path = Path(path)
    if str(path) == "-":
        raise ConfigError("-: this does not go to stdout; name a file to write")
    with publishing.machine_errors(path):
        _refuse_owned(path)
        mode = path.stat().st_mode if path.exists() else None
        if mode is None or stat.S_ISREG(mode):
            _check_folder_of(Path(os.path.realpath(path)))
            if suffixes and path.suffix.lower() not in suffixes and not publishing.is_stream(path):
                raise ConfigError(f"{path}: the name must end in {' or '.join(suffixes)}")
            for name in inputs:
                if name is not None and _is_same(path, Path(name)):
                    raise ConfigError(
                        f"{path}: is an input of this command; choose another file to write"
                    )
        elif stat.S_ISDIR(mode):
            raise ConfigError(f"{path}: is a folder; name a file to write")
        elif not publishing.is_stream(path):
            raise ConfigError(f"{path}: is no file that can be written; choose another")


def check_folder(path: Path) -> None:
    """Refuse a folder that no command may make or replace, as it lies in a store, a run or a
    dataset.

    Args:
        path: that the user named for a run, a dataset or files.

    Raises:
        ConfigError: it lies in one of them.
    """
    with publishing.machine_errors(path):
        _refuse_owned(path)


def check_store(path: Path) -> None:
    """Refuse a folder that cannot become a store, as it lies in an artifact or holds other files.

    Args:
        path: that the user named; a store that is there already is well.

    Raises:
        ConfigError: it lies in an artifact, or holds other files.
    """
    check_folder(path)
    with publishing.machine_errors(path):
        if not path.is_dir() or is_store(path):
            return
        others = sorted(other.name for other in path.iterdir() if not other.name.startswith("."))
    if others:
        raise ConfigError(
            f"{path}: holds other files ({others[0]}); a store needs a folder of its own: "
            f"--store {path / 'models'}"
        )


def check_plain(path: Path, what: str) -> None:
    """Refuse a pipe or a device where more than one file is written.

    Args:
        path: that the user named.
        what: the form that needs several files, for the message.

    Raises:
        ConfigError: it is a pipe or a device.
    """
    if publishing.is_stream(path):
        raise ConfigError(f"{path}: is no regular file; {what} writes a second file beside it")


def _refuse_owned(path: Path) -> None:
    """Raises a ConfigError if a path, or what it is a link to, belongs to an artifact."""
    for place in (Path(os.path.realpath(path.parent)) / path.name, Path(os.path.realpath(path))):
        owner = _owner(place)
        if owner:
            raise ConfigError(f"{path}: belongs to {owner}; choose another place to write to")


def _owner(path: Path) -> str | None:
    """The artifact that an absolute path belongs to; None where it is free."""
    for folder in path.parents:
        inside = path.relative_to(folder).parts
        if folder.name.startswith(".") and folder.name.endswith(".part"):
            return f"{folder}, which a command is writing"
        for kind, name in manifests.NAMES.items():
            if _has_manifest(folder / name, is_beside=len(inside) == 1):
                is_free = kind == "run" and inside[0] in FREE
                return None if is_free else f"the {kind} {folder}"
        if is_store(folder):
            return f"the store {folder}"
    return None


def _has_manifest(path: Path, is_beside: bool) -> bool:
    """Whether a manifest is there, and not the file of another program. A damaged one may be
    either; it counts for what lies beside it."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > manifests.MOST_MANIFEST:
            return False
        content = json.loads(path.read_bytes())
        return "format" in content and "files" in content
    except OSError:
        return False
    except (ValueError, TypeError, RecursionError):
        return is_beside


def is_store(folder: Path) -> bool:
    """Whether a folder is one that ``retrain`` keeps runs in.

    Args:
        folder: to look at.
    """
    current = folder / "current"
    if current.is_symlink() and current.readlink().parts[:1] == ("runs",):
        return True
    is_used = (folder / ".lock").is_file()
    return is_used and any((folder / name).is_dir() for name in ("runs", "data"))


def _check_folder_of(path: Path) -> None:
    """Raises an error unless the folder of a file can be written, or made."""
    folder = path.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise ConfigError(f"{path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise MachineError(f"{folder}: Permission denied")


def _is_same(path: Path, other: Path) -> bool:
    """Whether a path is of the same file as an input, or of a part of it."""
    if other.is_dir() and path.suffix in PARTS and path.exists():
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(other))
    try:
        of_other = os.fstat(0) if str(other) == "-" else other.stat()
        return os.path.samestat(path.stat(), of_other)
    except OSError:
        return False
