"""Downloads that go on where they were cut, and are verified.

Weighed against pooch (1.9): it would bring requests and platformdirs, begins a cut download anew and
has no lock between processes. Going on where a download was cut is most of this module, so it stays.
"""

import hashlib
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from cfcli.core.errors import ArtifactError, LockedError, MachineError

if sys.platform != "win32":
    import fcntl

Progress = Callable[[int, int | None], None]
_TIMEOUT = 30.0  # seconds without a byte, not for the whole download
_CHUNK = 1 << 16


class _StatusError(MachineError):
    """The server answered, but with an error status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(
                    f"{path}: another process is downloading this; run it again later"
                ) from None
        yield


def md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def find_md5(text: str) -> str | None:
    match = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    return match[0].lower() if match else None


def sidecar(url: str) -> str | None:
    try:
        with _get(url, {}) as response:
            md5 = find_md5(response.read(1000).decode("latin-1"))
    except _StatusError as error:
        if error.status == 404:
            return None
        raise
    except (OSError, HTTPException) as error:
        raise MachineError(_refusal(url, error)) from None
    if md5 is None:
        raise ArtifactError(
            f"{url}: has no MD5 in it; a proxy or mirror may answer in place of the server"
        )
    return md5


def receive(url: str, part: Path, note: Path, md5: str | None, progress: Progress) -> None:
    validator = note.read_text("latin-1").strip() if note.is_file() else ""
    # With neither a validator nor a sum, nobody would notice that the two halves are of different
    # archives.
    start = part.stat().st_size if part.is_file() and (validator or md5) else 0
    response, done, total = _request(url, start, validator)
    cut = ""
    with response, part.open("ab" if done else "wb") as file:
        if not done:
            etag = response.headers.get("ETag", "")
            # HTTP allows no weak tag in If-Range.
            new = (
                response.headers.get("Last-Modified", "")
                if etag.startswith("W/") or not etag
                else etag
            )
            note.write_text(new, "latin-1")
        progress(done, total)
        while True:
            try:
                chunk = response.read(_CHUNK)
            except (OSError, HTTPException) as error:
                cut = _reason(error)
                break
            if not chunk:
                break
            file.write(chunk)
            done += len(chunk)
            progress(done, total)
        file.flush()
        os.fsync(file.fileno())
    if cut or (total is not None and done < total):
        cut = cut or "the connection was cut"
        raise MachineError(
            f"cannot download {url}: {cut} after {done:,} bytes; run it again to resume"
        )


def _request(url: str, start: int, validator: str) -> tuple[HTTPResponse, int, int | None]:
    """The answer with the bytes from ``start`` if the server gives those, else with all; where it
    starts; the total."""
    if start:
        try:
            response = _get(
                url, {"Range": f"bytes={start}-"} | ({"If-Range": validator} if validator else {})
            )
        except _StatusError as error:
            if error.status != 416:
                raise
        else:
            match = re.match(
                rf"bytes {start}-\d+/(\d+)$", response.headers.get("Content-Range", "")
            )
            if response.status == 206 and match:
                return response, start, int(match[1])
            if response.status == 200:
                return response, 0, response.length
            response.close()
    response = _get(url, {})
    return response, 0, response.length


def _get(url: str, headers: dict[str, str]) -> HTTPResponse:
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "cfcli"} | headers)
        response: HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)
        return response
    except urllib.error.HTTPError as error:
        error.close()
        raise _StatusError(_refusal(url, error), error.code) from None
    except (
        OSError,
        HTTPException,
        ValueError,
    ) as error:  # ValueError: a mirror address that cannot be one
        raise MachineError(_refusal(url, error)) from None


def _refusal(url: str, error: Exception) -> str:
    return (
        f"cannot download {url}: {_reason(error)}; without a network, use 'cfcli prepare --dataset sample' "
        "or download it elsewhere and give its ratings file to 'cfcli prepare'"
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}".strip()
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _reason(error.reason)
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
