"""The only code that gives files and folders their final names.

Everything is written beside its target, flushed to the disk, and renamed: a reader sees the old or
the new, never a half, whenever the writer dies.
"""

import contextlib
import ctypes
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cfcli.core.errors import LockedError, LostError, MachineError, StoppedError

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
TRASH = ".trash-"


@contextlib.contextmanager
def directory(target: Path, keep: bool = False) -> Iterator[Path]:
    """A folder to write into, beside ``target``; when the block ends well it becomes ``target``,
    else it goes away.

    The folder is locked, and its owner's alone, while it is open. One left by a killed process is
    cleared or, with ``keep``, taken over, and then a signal leaves it, too; so does, always, the
    loss of another process. A folder that stands at ``target`` by then is replaced, its dot files
    kept.

    Raises:
        LockedError: another process is writing the same target.
        MachineError: no permission, no space.
    """
    target = target.resolve()
    staging = staging_of(target)
    with machine_errors(target):
        _make(target.parent)
        lock = _lock(staging, target, keep)
    try:
        with machine_errors(target):
            yield staging
            (staging / "pid").unlink(missing_ok=True)
            for path in staging.rglob("*"):
                sync(path)
            os.chmod(staging, 0o775 & ~umask())
            sync(staging)
            _swap(staging, target)
    except BaseException as error:
        stopped = keep and isinstance(error, StoppedError | SystemExit | KeyboardInterrupt)
        if not stopped and not isinstance(error, LostError):
            shutil.rmtree(staging, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def staging_of(target: Path) -> Path:
    """Where :func:`directory` writes what will be ``target``; a killed process leaves it behind."""
    return target.with_name(f".{target.name}.part")


@contextlib.contextmanager
def file(target: Path) -> Iterator[IO[bytes]]:
    """A file to write into that becomes ``target`` when the block ends well.

    Raises:
        MachineError: no permission, no space.
    """
    target = target.resolve()
    with machine_errors(target):
        _make(target.parent)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".part", dir=target.parent
        )
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, 0o666 & ~umask())
            os.replace(name, target)
            sync(target.parent)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


def point(link: Path, target: Path) -> None:
    """Makes ``link`` a symbolic link to ``target``, at once for every reader."""
    with machine_errors(link):
        temporary = link.with_name(f".{link.name}.{os.getpid()}.part")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target, link.parent))
        os.replace(temporary, link)
        sync(link.parent)


@contextlib.contextmanager
def lock(path: Path, wait: float = 0) -> Iterator[None]:
    """Holds the lock that the file at ``path`` stands for; the system frees it when the process
    ends, however it does.

    Args:
        wait: seconds to wait for it.

    Raises:
        LockedError: another process holds it still.
    """
    with machine_errors(path):
        _make(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        until = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    holder = os.pread(handle, 20, 0).decode(errors="replace") or "another"
                    text = f"{path.parent}: process {holder} is at work there; try later, or wait with --wait SECONDS"
                    raise LockedError(text) from None
                time.sleep(0.05)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def discard(folder: Path) -> None:
    """Removes a folder: it is gone for readers before its files go."""
    with machine_errors(folder):
        trash = folder.with_name(f"{TRASH}{folder.name}")
        shutil.rmtree(trash, ignore_errors=True)
        os.rename(folder, trash)
        sync(folder.parent)
        shutil.rmtree(trash)


def sweep(folder: Path, spare: Path | None = None) -> None:
    """Clears what killed processes left in a folder, but for ``spare`` and for what another process
    works on."""
    with machine_errors(folder):
        for path in [*folder.glob(f"{TRASH}*"), *folder.glob(".*.part*")]:
            if path == spare:
                continue
            if not path.is_dir() or path.is_symlink():
                path.unlink(missing_ok=True)
                continue
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
            finally:
                os.close(handle)


@contextlib.contextmanager
def machine_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's errors, also where a library wraps them, into one line that
    names ``path``."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise MachineError(f"{error.filename or path}: {error.strerror or error}") from error


def _make(folder: Path) -> None:
    """Makes a folder and those above it, which are not for all to write to even where the umask
    would let them."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o775, exist_ok=True)


def _lock(staging: Path, target: Path, keep: bool) -> int:
    while True:
        staging.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            holder = "another process"
            with contextlib.suppress(OSError):
                holder = f"process {(staging / 'pid').read_text()}"
            raise LockedError(
                f"{target}: {holder} is writing it; wait for it, or choose another --out"
            ) from None
        # The former holder may have renamed or removed the folder between our open and our lock.
        if staging.exists() and os.stat(staging).st_ino == os.fstat(handle).st_ino:
            break
        os.close(handle)
    for left in [] if keep else staging.iterdir():
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    (staging / "pid").write_text(str(os.getpid()))
    return handle


def _swap(staging: Path, target: Path) -> None:
    if not target.is_dir():
        os.rename(staging, target)
        sync(target.parent)
        return
    for path in target.glob(".*"):
        if stat.S_ISREG(path.lstat().st_mode):
            shutil.copy2(path, staging / path.name)
    former = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The former folder gets the name of the staging one, which others would take and write to
        # before it is gone.
        fcntl.flock(former, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _exchange(staging, target)
        sync(target.parent)
        shutil.rmtree(staging, ignore_errors=True)
    finally:
        os.close(former)


def _exchange(one: Path, other: Path) -> None:
    """Gives each folder the other's name: in one step on Linux, so that no reader finds none, else
    in three."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if (
        renameat2
        and renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
        == 0
    ):
        return
    third = one.with_name(f"{one.name}.former")
    shutil.rmtree(third, ignore_errors=True)
    os.rename(other, third)
    try:
        os.rename(one, other)
    except BaseException:
        os.rename(third, other)
        raise
    os.rename(third, one)


def sync(path: Path) -> None:
    """Has the system write a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
