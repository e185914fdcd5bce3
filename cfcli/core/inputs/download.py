"""Downloads that resume where they were cut.

Weighed against pooch (1.9): it would bring requests and platformdirs, begins a cut download anew
and has no lock between processes. Resuming a cut download is most of this module, so it stays.
"""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from cfcli.core.errors import LockedError, MachineError

if sys.platform != "win32":
    import fcntl

Progress = Callable[[int, int | None], None]  # with the bytes done and the bytes in all, if known
TIMEOUT = 30.0  # seconds without a byte, not for the whole download
CHUNK = 1 << 16  # bytes


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock between processes.

    Args:
        path: of the lock file; it stays.

    Raises:
        LockedError: another process holds it.
    """
    with path.open("ab") as file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(
                    f"{path}: another process is downloading this; run it again later"
                ) from None
        yield


def read_text(url: str, size: int) -> str | None:
    """Downloads the start of a small text.

    Args:
        url: of the text.
        size: most bytes of it.

    Returns:
        The text; None if there is no such file on the server.

    Raises:
        MachineError: the server cannot be reached, or refuses.
    """
    try:
        with _open(url, 0) as response:
            return response.read(size).decode("latin-1")
    except (OSError, HTTPException, ValueError) as error:  # ValueError: no valid address
        if isinstance(error, urllib.error.HTTPError) and error.code == 404:
            return None
        raise _refusal(url, error) from None


def receive(url: str, part: Path, start: int, progress: Progress) -> None:
    """Downloads a file.

    Args:
        url: of the file.
        part: where its bytes go; what came before a cut stays there.
        start: how many bytes ``part`` has already. The server may send all of them again.
        progress: called first, and after each chunk.

    Raises:
        MachineError: the server cannot be reached, refuses, or cuts the connection.
        OSError: ``part`` cannot be written.
    """
    try:
        response = _open(url, start)
    except (OSError, HTTPException, ValueError) as error:  # ValueError: no valid address
        raise _refusal(url, error) from None
    done = start if response.status == 206 else 0
    total = None if response.length is None else done + response.length
    fault = ""
    with response, part.open("ab" if done else "wb") as file:
        progress(done, total)
        while chunk := _read(response):
            if isinstance(chunk, str):
                fault = chunk
                break
            file.write(chunk)
            done += len(chunk)
            progress(done, total)
        file.flush()
        os.fsync(file.fileno())
    if fault or (total is not None and done < total):
        fault = fault or "the connection was cut"
        raise MachineError(
            f"cannot download {url}: {fault} after {done:,} bytes; run it again to resume"
        )


def _open(url: str, start: int) -> HTTPResponse:
    """The answer with the bytes from ``start`` on (status 206), or with all of them (200)."""
    headers = {"User-Agent": "cfcli"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        response: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code == 416:  # there are no bytes from there on
            return _open(url, 0)
        raise
    return response


def _read(response: HTTPResponse) -> bytes | str:
    """The next bytes, or what went wrong."""
    try:
        return response.read(CHUNK)
    except (OSError, HTTPException) as error:
        return _reason(error)


def _refusal(url: str, error: Exception) -> MachineError:
    return MachineError(
        f"cannot download {url}: {_reason(error)}; without a network, use "
        "'cfcli prepare --dataset sample' or download it elsewhere and give its ratings file to "
        "'cfcli prepare'"
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}".strip()
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _reason(error.reason)
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
