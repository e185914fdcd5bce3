"""The bytes of an input: hashed while they are read, unpacked and recoded to UTF-8."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from cfcli.core.errors import CfcliError, InputError, MachineError

HEAD = 1 << 16  # bytes from which the form of a text is detected
BUFFER = 1 << 20  # bytes
MAGIC = 16  # bytes from which a packed input, or a format, is recognised
BOMB_BYTES = 256 << 20  # an input that unpacks to more than this ...
BOMB_RATIO = 100  # ... and to this many times its size is a decompression bomb, not ratings
UNPACK: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda stream: _zstd(stream),
}


@dataclass(frozen=True)
class SourceRecord:
    """What a manifest keeps of an input.

    Attributes:
        name: its path, or what stands for it.
        bytes: its size as it lies on disk.
        sha256: its checksum as it lies on disk, in hexadecimal digits.
        rows: how many rows were read from it, bad ones included.
    """

    name: str
    bytes: int
    sha256: str
    rows: int


class FileState(NamedTuple):
    """What changes when somebody writes to a file.

    Attributes:
        size: in bytes.
        modified: time of the last change, in nanoseconds since 1970.
    """

    size: int
    modified: int


class Opened:
    """An input that is being read.

    Args:
        name: of the input, for messages.
        raw: the bytes as they lie on disk.
        max_bytes: most bytes after unpacking; None for no limit but that on decompression bombs.

    Attributes:
        bytes: how many were read so far, after unpacking and recoding.
        packed: the bytes as they lie on disk, counted and hashed.
    """

    def __init__(self, name: str, raw: IO[bytes], max_bytes: int | None) -> None:
        self.name = name
        self.raw = raw
        self.max_bytes = max_bytes
        self.bytes = 0
        self.packed = _Hashed(raw, name)
        self._stream: Any = io.BufferedReader(self.packed, BUFFER)
        self._is_packed = False
        magic = self.peek()
        for start, unpack in UNPACK.items():
            if magic.startswith(start):
                self._is_packed = True
                self._stream = io.BufferedReader(unpack(self._stream), BUFFER)
        self._is_plain = not self._is_packed and self.state() is not None

    def recode(self, encoding: str) -> None:
        """Recodes what comes from here on to UTF-8.

        Args:
            encoding: of the text.
        """
        if codecs.lookup(encoding).name != "utf-8":
            self._stream = io.BufferedReader(_Recoded(self._stream, encoding), BUFFER)
            self._is_plain = False

    def peek(self) -> bytes:
        """The next :data:`MAGIC` bytes, fewer only at the end; they are still to be read."""
        with self._errors():
            start = bytes(self._stream.peek(MAGIC)[:MAGIC])
            if len(start) < MAGIC:  # a pipe may give less than is to come
                start = bytes(self._stream.read(MAGIC))
                self._stream = io.BufferedReader(Chain(start, self._stream), BUFFER)
        return start

    def read(self, n: int = -1) -> bytes:
        """The next bytes.

        Args:
            n: how many, fewer only at the end; -1 for all.
        """
        with self._errors():
            return self._count(bytes(self._stream.read(n)))

    def readline(self, limit: int) -> bytes:
        """The rest of a line.

        Args:
            limit: most bytes of it.
        """
        with self._errors():
            return self._count(self._stream.readline(limit))

    def to_line_end(self, n: int) -> int:
        """``n`` bytes, or more up to the next end of a line where a look ahead in the file finds
        it: that spares copying a block to add the rest of its last line.

        Args:
            n: number of bytes that are wanted.
        """
        if not self._is_plain:
            return n
        ahead = os.pread(self.raw.fileno(), HEAD, self.bytes + n)
        return n + ahead.find(b"\n") + 1

    @contextlib.contextmanager
    def seekable(self, scratch: Path | None) -> "Iterator[str]":
        """A path to all of an input of which nothing was read yet, to be read from any place. By
        then it was hashed.

        A path, not a Python file: Arrow's threads would still call that when the interpreter ends,
        and abort it.

        Args:
            scratch: a folder for a copy of an input that is packed or a pipe; None for the
                temporary folder.
        """
        with tempfile.TemporaryFile(dir=scratch) as copy:
            while data := self.read(BUFFER):
                if not self._is_plain:
                    copy.write(data)
            copy.flush()
            file = self.raw if self._is_plain else copy
            yield f"/dev/fd/{file.fileno()}"

    def drain(self) -> None:
        """Reads what is left on disk behind the packed content, for the checksum."""
        while self.packed.readinto(bytearray(BUFFER)):
            pass

    def state(self) -> FileState | None:
        """What tells whether a regular file has changed; None for a pipe and the like."""
        try:
            status = os.fstat(self.raw.fileno())
        except (OSError, AttributeError, io.UnsupportedOperation):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return FileState(status.st_size, status.st_mtime_ns)

    def record(self, rows: int) -> SourceRecord:
        """What a manifest keeps of this input, once it was read.

        Args:
            rows: how many rows were read from it.
        """
        return SourceRecord(self.name, self.packed.bytes, self.packed.sha256.hexdigest(), rows)

    def _count(self, data: bytes) -> bytes:
        self.bytes += len(data)
        if self.max_bytes is not None:
            if self.bytes > self.max_bytes:
                raise InputError(
                    f"{self.name}: holds more than {self.max_bytes:,} bytes; see --max-bytes"
                )
        elif self._is_packed and self.bytes > max(BOMB_BYTES, BOMB_RATIO * self.packed.bytes):
            raise InputError(
                f"{self.name}: unpacks to more than {BOMB_RATIO} times its size, like a "
                "decompression bomb; allow it with --max-bytes"
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
        self.raw = raw
        self.name = name
        self.sha256 = hashlib.sha256()
        self.bytes = 0
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
        self.ended = n == 0
        return n


class Chain(io.RawIOBase):
    """Bytes that were read already, followed by the stream that they came from.

    Args:
        first: the bytes.
        rest: the stream.
    """

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self.first = first
        self.rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = min(len(self.first), len(buffer))
        if n == 0:
            return int(self.rest.readinto(buffer))  # type: ignore[attr-defined]
        buffer[:n] = self.first[:n]
        self.first = self.first[n:]
        return n


class _Recoded(io.RawIOBase):
    """A text in another encoding, as UTF-8."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self.stream = stream
        self.decoder = codecs.getincrementaldecoder(encoding)()
        self.ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.ready:
            data = self.stream.read(BUFFER)
            self.ready = self.decoder.decode(data, final=not data).encode()
            if not data:
                break
        n = min(len(self.ready), len(buffer))
        buffer[:n] = self.ready[:n]
        self.ready = self.ready[n:]
        return n


def _zstd(stream: IO[bytes]) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")
