"""Where a command may write: the one place that decides it."""

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from cfcli.core.errors import ConfigError, MachineError
from cfcli.core.storage import manifests, publishing

EXPORTS = "embeddings"  # the folder of a run that is for files of the user
# What commands put into a run beside the files that its manifest lists.
BESIDE = {"run": {"plots", "checkpoints", "gate.json"}, "dataset": {"rejects.csv"}}
PARTS = (".parquet", ".parq", ".pq")  # what is read of a folder
STORE = {"current", "runs", "data"}


def check_file(path: str | Path, inputs: Iterable[str | Path | None] = ()) -> None:
    """Refuse a file that no command may write, before the work for it begins.

    Args:
        path: that the user named; ``-`` for stdout.
        inputs: what the command reads; None for what was not given, ``-`` for stdin.

    Raises:
        ConfigError: it belongs to a run, a dataset or a store, is an input of the command, or is
            not what can be written as a file.
        MachineError: its folder cannot be written.
    """
    if str(path) == "-":
        return
    path = Path(path)
    with publishing.machine_errors(path):
        _refuse_owned(path)
        mode = path.stat().st_mode if path.exists() else None
        if mode is None or stat.S_ISREG(mode):
            _check_folder_of(Path(os.path.realpath(path)))
            for name in inputs:
                if name is not None and str(name) != "-" and _is_same(path, Path(name)):
                    raise ConfigError(
                        f"{path}: is an input of this command; choose another file to write"
                    )
        elif stat.S_ISDIR(mode):
            raise ConfigError(f"{path}: is a folder; name a file to write")
        elif not publishing.is_stream(path):
            raise ConfigError(f"{path}: is no file that can be written; choose another")


def check_folder(path: Path) -> None:
    """Refuse a folder that no command may make or replace, as it belongs to a store or is a part of
    a run or a dataset.

    Args:
        path: that the user named for a run, a dataset or files.

    Raises:
        ConfigError: it belongs to one of them.
    """
    with publishing.machine_errors(path):
        _refuse_owned(path)


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
        for kind, manifest in manifests.NAMES.items():
            listed = _listed(folder / manifest, path)
            if kind == "run" and listed and inside[0] == EXPORTS:
                return None
            if listed and (inside[0] in listed | BESIDE[kind] or inside[0].startswith(".")):
                return f"the {kind} {folder}"
        if is_store(folder) and (inside[0] in STORE or inside[0].startswith(".")):
            return f"the store {folder}"
    return None


def _listed(manifest: Path, path: Path) -> set[str]:
    """The names that a manifest lists, with its own; of a damaged one all that lies beside it.
    Nothing where there is no manifest, or it is that of another program."""
    try:
        found = manifest.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > manifests.MOST_MANIFEST:
            return set()
        raw = manifest.read_bytes()
    except OSError:
        return set()
    try:
        content = json.loads(raw)
        if "format" not in content or "files" not in content:
            return set()
        return {manifest.name, *content["files"]}
    except (ValueError, TypeError, RecursionError):
        return {manifest.name, path.name}


def is_store(folder: Path) -> bool:
    """Whether a folder is one that ``retrain`` keeps runs in.

    Args:
        folder: to look at.
    """
    marked = (folder / "current").is_symlink() or (folder / ".lock").is_file()
    return marked and any((folder / name).is_dir() for name in ("runs", "data"))


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
        return os.path.samefile(path, other)
    except OSError:
        return False
