"""The only code that gives files and folders their final names.

Everything is written beside its target, flushed to the disk, and then renamed. A reader sees the
old content or the new one, never a part of it, whenever the writer dies.
"""

import contextlib
import ctypes
import errno
import fcntl
import math
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cfcli.core.errors import (
    ArtifactError,
    ConfigError,
    LockedError,
    LostError,
    MachineError,
    ReplacedError,
    StoppedError,
    UnwrittenError,
)

AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCHANGE = -100, 1, 2  # linux/fcntl.h, linux/fs.h
OWN_STREAMS = ("/dev/stdout", "/dev/stderr")
OWN_FOLDERS = ("/dev/fd", "/proc/self/fd")
TRASH = ".trash-"
PAUSE = 0.05  # seconds between two tries to get a lock


class TakenError(LockedError):
    """The name of a finished folder was taken while it was written; both folders are kept."""


# What ends the work on a folder and yet leaves it to be gone on from.
KEPT = LostError, TakenError, ReplacedError, UnwrittenError


@contextlib.contextmanager
def directory(target: Path, keep: bool = False, resumes: Path | None = None) -> Iterator[Path]:
    """A folder to write into, beside ``target``. It becomes ``target`` when the block ends without
    an error, and is removed otherwise.

    While it is open, the folder is locked and private, see :func:`private_mode`. If a killed
    process left such a folder, it is cleared first. A folder that already is at ``target`` is
    replaced, but its dot files are kept. One that appears there meanwhile is not. If another
    process of the same work was lost, the dataset was replaced, or a signal came while all was
    written, the folder always stays.

    Args:
        target: the final path.
        keep: takes over what a killed process left, instead of clearing it, and leaves the folder
            when a signal or a setting ends the block, so that the work can be resumed.
        resumes: a file in the folder that work can be resumed from: with it the folder is left,
            too.

    Yields:
        The folder to write into.

    Raises:
        ConfigError: its name is not UTF-8.
        LockedError: another process is writing the same target, or has put a folder there.
        MachineError: no permission, or no space.
    """
    target = target.resolve()
    refuse_odd(target)
    staging = staging_of(target)
    with machine_errors(target):
        _make(target.parent)
        lock = _lock(staging, target, keep)
    former, names = None, set[str]()
    try:
        with machine_errors(target):
            if target.exists():
                former = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
                names = _names(former)
            yield staging
            (staging / "pid").unlink(missing_ok=True)
            for path in staging.rglob("*"):
                _close_to_others(path)
                sync(path)
            kept = staging.stat().st_mode & stat.S_ISGID  # of a folder that a group shares
            os.chmod(staging, kept | 0o775 & ~umask())
            sync(staging)
            _swap(staging, target, former, names)
    except BaseException as error:
        spares = ConfigError | StoppedError | SystemExit | KeyboardInterrupt
        is_worth = keep or (resumes is not None and (staging / resumes).exists())
        resumable = isinstance(error, KEPT) or (is_worth and isinstance(error, spares))
        if not resumable:
            shutil.rmtree(staging, ignore_errors=True)
        raise
    finally:
        for handle in (lock, former):
            if handle is not None:
                os.close(handle)


def refuse_odd(path: Path) -> None:
    """Refuse a name that libraries cannot take.

    Args:
        path: of what is to be read or written.

    Raises:
        ConfigError: it holds bytes that are not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{path}: is not a name in UTF-8; choose another") from None


def private_mode(parent: Path) -> int:
    """The mode of a folder that is not finished: for its owner alone, or also for the group of a
    folder that is shared by one (setgid), who has to clear it if its owner does not.

    Args:
        parent: the folder that it lies in.
    """
    return 0o770 if parent.stat().st_mode & stat.S_ISGID else 0o700


def is_own(path: Path) -> bool:
    """Whether this process may change the mode of a file, as only its owner and root may.

    Args:
        path: of the file or folder.
    """
    try:
        os.chmod(path, stat.S_IMODE(os.stat(path).st_mode))
    except PermissionError:
        return False
    return True


def staging_of(target: Path) -> Path:
    """Where :func:`directory` writes before it renames; a killed process leaves this folder behind.

    Args:
        target: the final path.
    """
    return target.with_name(f".{target.name}.part")


@contextlib.contextmanager
def file(target: Path) -> Iterator[IO[bytes]]:
    """A file to write into, which becomes ``target`` when the block ends without an error.

    A pipe or a device is never replaced: it is written into. What else is no regular file is
    refused.

    Args:
        target: the final path.

    Yields:
        The open file.

    Raises:
        ConfigError: there is what can neither be replaced nor written into.
        MachineError: no permission, or no space.
    """
    if is_stream(target):
        with machine_errors(target), open(target, "ab", opener=_open_stream) as stream:
            yield stream
        return
    target = target.resolve()
    with machine_errors(target):
        if target.exists() and not target.is_file():
            raise ConfigError(f"{target}: is no regular file; choose another")
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


def is_stream(path: Path) -> bool:
    """Whether a path is a pipe or a device that takes one byte after the other, or one of the
    process's own streams, such as ``/dev/stdout``.

    Args:
        path: of a file; there need not be one.

    Raises:
        OSError: it cannot be looked at.
    """
    if not path.exists():
        return False
    mode = path.stat().st_mode
    own = os.path.abspath(path) in OWN_STREAMS or os.path.abspath(path.parent) in OWN_FOLDERS
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or (own and stat.S_ISREG(mode))


def refuse_other(link: Path) -> None:
    """Refuses what :func:`point` must not replace, such as the copy that ``cp -rL`` makes of a
    link.

    Args:
        link: the path of a link that may be there.

    Raises:
        ArtifactError: something else is there.
    """
    if link.exists() and not link.is_symlink():
        raise ArtifactError(f"{link}: is no link, as it is to be; move it away")


def point(link: Path, target: Path) -> None:
    """Makes a symbolic link, or moves it, in one step for every reader.

    Args:
        link: the path of the link.
        target: what it points to; the link stores the path relative to its own folder.

    Raises:
        ArtifactError: something that is no link is there.
        MachineError: no permission, or no space.
    """
    refuse_other(link)
    with machine_errors(link):
        temporary = link.with_name(f".{link.name}.{os.getpid()}.part")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target, link.parent))
        os.replace(temporary, link)
        sync(link.parent)


@contextlib.contextmanager
def lock(path: Path, wait: float = 0) -> Iterator[None]:
    """Holds a lock while the block runs. The system frees it however the process ends.

    Args:
        path: the file that stands for the lock; it is made if need be, and stays.
        wait: seconds to wait while another process holds the lock.

    Raises:
        ConfigError: that is no time to wait.
        LockedError: another process still holds it.
        MachineError: no permission, or no space.
    """
    if not 0 <= wait < math.inf:
        raise ConfigError(f"--wait: {wait:g} is no number of seconds; give 0 or more")
    with machine_errors(path):
        _make(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o664)
    try:
        deadline = time.monotonic() + wait
        while not _try_lock(handle):
            if time.monotonic() >= deadline:
                holder = os.pread(handle, 20, 0).decode(errors="replace") or "another"
                raise LockedError(
                    f"{path.parent}: process {holder} is at work there; "
                    "try later, or wait with --wait SECONDS"
                )
            time.sleep(PAUSE)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def discard(folder: Path) -> None:
    """Removes a folder. Readers lose sight of it before its files go.

    Args:
        folder: what to remove.

    Raises:
        MachineError: no permission.
    """
    with machine_errors(folder):
        trash = folder.with_name(f"{TRASH}{folder.name}")
        shutil.rmtree(trash, ignore_errors=True)
        try:
            os.rename(folder, trash)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            trash = folder  # overlayfs renames no folder of a lower layer
        sync(folder.parent)
        shutil.rmtree(trash)


def sweep(folder: Path, spare: Path | None = None) -> None:
    """Removes what killed processes left in a folder, except where another process is at work.

    Args:
        folder: where to look for leftovers.
        spare: a leftover to keep.

    Raises:
        MachineError: no permission.
    """
    with machine_errors(folder):
        for path in [*folder.glob(f"{TRASH}*"), *folder.glob(".*.part*")]:
            if path == spare:
                continue
            if not path.is_dir() or path.is_symlink():
                path.unlink(missing_ok=True)
                continue
            handle = _open_folder(path)
            try:
                if _try_lock(handle):
                    shutil.rmtree(path)
            finally:
                os.close(handle)


@contextlib.contextmanager
def machine_errors(path: Path) -> Iterator[None]:
    """Turns errors of the operating system into one line, also those that a library wraps.

    Args:
        path: what the line names if the error names no file.

    Raises:
        MachineError: in place of an OSError, but for a broken pipe.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        # Nobody asked for what lies beside a file until that is whole.
        is_ours = re.fullmatch(r"\..*\.part", Path(str(error.filename or "")).name)
        shown = path if is_ours or not error.filename else error.filename
        raise MachineError(f"{shown}: {error.strerror or error}") from error


def sync(path: Path) -> None:
    """Makes the system write a file or folder to the disk.

    Args:
        path: the file or folder.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def umask() -> int:
    """The bits of a mode that the process withholds from new files and folders; always the one
    that lets everybody write.

    The call that reads them also sets them, which other threads would notice. Linux tells them in
    /proc as well; where it does not, new files are private for an instant rather than open to all.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8) | stat.S_IWOTH
    mask = os.umask(0o077)
    os.umask(mask)
    return mask | stat.S_IWOTH


def _close_to_others(path: Path) -> None:
    """Takes from everybody the right to write to a file or folder."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & stat.S_IWOTH:
        path.chmod(mode & ~stat.S_IWOTH)


def _open_stream(path: str, flags: int) -> int:
    """Opens what is there, and never makes a file."""
    return os.open(path, flags & ~os.O_CREAT)


def _make(folder: Path) -> None:
    """Makes a folder and its parents. Not everybody may write to them, even if the umask would
    allow it: that is why each is made with a mode, which ``Path.mkdir`` gives to the last only."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o775, exist_ok=True)


def _open_folder(path: Path) -> int:
    """A handle of a folder, to lock it by; a link in its place is an error."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _names(folder: int) -> set[str]:
    """What lies in an open folder, but for dot files."""
    return {name for name in os.listdir(folder) if not name.startswith(".")}


def _try_lock(handle: int) -> bool:
    """Locks an open file or folder, unless another process holds its lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock(staging: Path, target: Path, keep: bool) -> int:
    """Makes and locks the folder that will become ``target``.

    Returns:
        The handle that holds the lock; to close it frees the lock.
    """
    while True:
        is_new = not staging.exists()
        staging.mkdir(mode=private_mode(staging.parent), exist_ok=True)
        handle = _open_folder(staging)
        if not _try_lock(handle):
            os.close(handle)
            holder = "another process"
            with contextlib.suppress(OSError):
                holder = f"process {(staging / 'pid').read_text()}"
            raise LockedError(
                f"{target}: {holder} is writing it; wait for it, or choose another --out"
            )
        # The former holder may have renamed or removed the folder between our open and our lock.
        if staging.exists() and os.stat(staging).st_ino == os.fstat(handle).st_ino:
            if is_new or is_own(staging):
                break
            if keep:
                os.close(handle)
                raise MachineError(f"{staging}: Permission denied: another user left it")
            shutil.rmtree(staging)  # of another member of the group
        os.close(handle)
    if not keep:
        for leftover in staging.iterdir():
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
    (staging / "pid").write_text(str(os.getpid()))
    return handle


def _swap(staging: Path, target: Path, former: int | None, names: set[str]) -> None:
    """Gives ``staging`` the name ``target``, and removes the folder that had it.

    Args:
        staging: the finished folder.
        target: its name from now on.
        former: an open handle of the folder that had that name when the work began, and
        names: what lay in it then.

    Raises:
        TakenError: something else is there now.
    """
    taken = TakenError(
        f"{target}: changed while it was written; what is there is kept, and the new one is "
        f"{staging}: 'mv' one of them to another name"
    )
    if former is None:
        if not _rename_new(staging, target):
            raise taken
        sync(target.parent)
        return
    found = target.stat() if target.exists() else None
    if not found or not os.path.samestat(found, os.fstat(former)) or _names(former) != names:
        raise taken
    for path in target.glob(".*"):
        if stat.S_ISREG(path.lstat().st_mode):
            shutil.copy2(path, staging / path.name)
    # The former folder gets the name of the staging folder. Without a lock, another writer could
    # take it over before it is gone.
    _try_lock(former)
    _exchange(staging, target)
    sync(target.parent)
    shutil.rmtree(staging, ignore_errors=True)


def renamed(one: Path, other: Path, flags: int) -> bool:
    """Renames in one step as only Linux can.

    Args:
        one: the path of a file or folder.
        other: its new name, or with ``RENAME_EXCHANGE`` what gets its old one.
        flags: of the system call ``renameat2``.

    Returns:
        Whether it did.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    names = (AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other))
    return bool(renameat2(*names, flags) == 0)


def _rename_new(staging: Path, target: Path) -> bool:
    """Gives a folder a name, unless there is something of that name."""
    if renamed(staging, target, RENAME_NOREPLACE):
        return True
    if os.path.lexists(target):
        return False
    os.rename(staging, target)
    return True


def _exchange(one: Path, other: Path) -> None:
    """Swaps the names of two folders: on Linux in one step, so that a reader always finds a
    folder; elsewhere in several, after which there may be no ``one``."""
    if renamed(one, other, RENAME_EXCHANGE):
        return
    third = one.with_name(f"{one.name}.former")
    shutil.rmtree(third, ignore_errors=True)
    try:
        os.rename(other, third)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # overlayfs renames no folder of a lower layer, such as that of a Docker image.
        shutil.copytree(other, third, symlinks=True)
        shutil.rmtree(other)
    try:
        os.rename(one, other)
    except BaseException:
        os.rename(third, other)
        raise
    shutil.rmtree(third, ignore_errors=True)
