"""Bytes of an input: hashed while they are read, unpacked and recoded."""

import bz2
import codecs
import contextlib
import gzip
import hashlib
import io
import lzma
import os
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import polars as pl  # noqa: F401 - before the line on signals

from cfcli.core.errors import CfcliError, InputError, MachineError

HEAD = 1 << 16  # bytes that tell the form of a text
BOMB = (
    256 << 20,
    100,
)  # more bytes than this that were packed this many times smaller are a bomb, not ratings
UNPACK: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda stream: _zstd(stream),
}


class Opened:
    """An input that is being read.

    Args:
        raw: the bytes as they lie on disk.
        encoding, max_bytes: see :meth:`Source.opened`.
    """

    def __init__(self, name: str, raw: IO[bytes], encoding: str, max_bytes: int | None) -> None:
        self.name, self.raw, self.max_bytes, self.bytes = name, raw, max_bytes, 0
        self.packed = _Hashed(raw, name)
        self._stream: Any = io.BufferedReader(self.packed, 1 << 20)
        magic = self._stream.peek(8)[:8]
        if len(magic) < 8:  # a pipe may give less than is to come
            magic = self._take(8)
            self._stream = io.BufferedReader(Chain(magic, self._stream), 1 << 20)
        self.is_packed = False
        for start, unpack in UNPACK.items():
            if magic.startswith(start):
                self.is_packed = True
                self._stream = io.BufferedReader(unpack(self._stream), 1 << 20)
        self._is_plain = not self.is_packed and self.state() is not None
        if codecs.lookup(encoding).name != "utf-8" and not self.peek().startswith(b"PAR1"):
            self._stream = io.BufferedReader(_Recoded(self._stream, encoding), 1 << 20)
            self._is_plain = False

    def peek(self) -> bytes:
        """Some of the bytes to come."""
        with self._errors():
            return bytes(self._stream.peek(8))

    def read(self, n: int = -1) -> bytes:
        """The next ``n`` bytes, fewer only at the end."""
        return self._count(self._take(n))

    def readline(self, limit: int) -> bytes:
        """The rest of a line, at most ``limit`` bytes."""
        with self._errors():
            return self._count(self._stream.readline(limit))

    def to_line_end(self, n: int) -> int:
        """``n`` bytes, or more up to the next end of a line where that can be told without reading
        them: it spares copying a block to add the rest of its last line."""
        if self._is_plain:
            tail = os.pread(self.raw.fileno(), HEAD, self.bytes + n)
            n += tail.find(b"\n") + 1
        return n

    @contextlib.contextmanager
    def seekable(self, head: bytes, scratch: Path | None) -> "Iterator[str]":
        """A path to the whole of it, which was hashed by then, to be read from any place: the open
        file itself, or a copy in the folder ``scratch``. ``head`` is what was read of it already.

        A path, not a Python file: Arrow's threads would still call that when the interpreter ends,
        and abort it.
        """
        with tempfile.TemporaryFile(dir=scratch) as copy:
            data = head
            while data:
                if not self._is_plain:
                    copy.write(data)
                data = self.read(1 << 20)
            copy.flush()
            yield f"/dev/fd/{(self.raw if self._is_plain else copy).fileno()}"

    def drain(self) -> None:
        """Reads what is left on disk behind the packed content, for the checksum."""
        while self.packed.readinto(bytearray(1 << 20)):
            pass

    def state(self) -> tuple[int, int] | None:
        """Size and time of the last change of a regular file."""
        try:
            status = os.fstat(self.raw.fileno())
        except (OSError, AttributeError, io.UnsupportedOperation):
            return None
        return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None

    def record(self) -> dict[str, Any]:
        """Name, size and sha256 as it lies on disk."""
        return {
            "name": self.name,
            "bytes": self.packed.bytes,
            "sha256": self.packed.sha256.hexdigest(),
        }

    def _take(self, n: int) -> bytes:
        with self._errors():
            return bytes(self._stream.read(n))

    def _count(self, data: bytes) -> bytes:
        self.bytes += len(data)
        if self.max_bytes is not None and self.bytes > self.max_bytes:
            raise InputError(
                f"{self.name}: holds more than {self.max_bytes:,} bytes; see --max-bytes"
            )
        least, times = BOMB
        if (
            self.is_packed
            and self.max_bytes is None
            and self.bytes > max(least, times * self.packed.bytes)
        ):
            raise InputError(
                f"{self.name}: unpacks to more than {times} times its size, like a decompression bomb; "
                "allow it with --max-bytes"
            )
        return data

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except CfcliError:
            raise
        except UnicodeError as error:
            raise InputError(f"{self.name}: {error}; choose another --encoding") from None
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            raise InputError(f"{self.name}: damaged or cut off: {error}") from None


class _Hashed(io.RawIOBase):
    """Passes bytes on, and counts and hashes them."""

    def __init__(self, raw: IO[bytes], name: str) -> None:
        self.raw, self.name, self.sha256, self.bytes = raw, name, hashlib.sha256(), 0
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.ended:  # others may have moved in the file since
            return 0
        try:
            n: int = self.raw.readinto(buffer) or 0  # type: ignore[attr-defined]
        except OSError as error:
            # Not left to the reader of an archive, which would call it damage.
            raise MachineError(f"{self.name}: {error.strerror or error}") from None
        self.sha256.update(memoryview(buffer)[:n])
        self.bytes += n
        self.ended = not n
        return n


class Chain(io.RawIOBase):
    """Bytes that were read already, and the stream that they came from."""

    def __init__(self, first: bytes, rest: Any) -> None:
        self.first, self.rest = first, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = min(len(self.first), len(buffer))
        if not n:
            return int(self.rest.readinto(buffer))
        buffer[:n], self.first = self.first[:n], self.first[n:]
        return n


class _Recoded(io.RawIOBase):
    """A text in another encoding, as UTF-8."""

    def __init__(self, stream: Any, encoding: str) -> None:
        self.stream, self.decoder, self.ready = (
            stream,
            codecs.getincrementaldecoder(encoding)(),
            b"",
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.ready:
            data = self.stream.read(1 << 20)
            self.ready = self.decoder.decode(data, final=not data).encode()
            if not data:
                break
        n = min(len(self.ready), len(buffer))
        buffer[:n], self.ready = self.ready[:n], self.ready[n:]
        return n


def _zstd(stream: Any) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")
