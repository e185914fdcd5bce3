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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from cfcli.core.errors import CfcliError, InputError, MachineError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD = 1 << 16  # bytes from which the form of a text is detected
BUFFER = 1 << 20  # bytes
MOST_AT_ONCE = 1 << 30  # bytes of an input that is read into memory as a whole
MAGIC = 16  # bytes from which a packed input, or a format, is recognised
BOMB_BYTES = 256 << 20  # an input that unpacks to more than this ...
BOMB_RATIO = 100  # ... and to this many times its size is a decompression bomb, not ratings
UNPACK: dict[bytes, Callable[[io.BufferedReader], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda stream: _zstd(stream),  # defined below
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


class Opened:
    """An input that is being read.

    Args:
        name: of the input, for messages.
        raw: the bytes as they lie on disk.
        max_bytes: most bytes after unpacking; None for no limit but that on decompression bombs.
        watch: hears how many bytes were read, whenever some were.
    """

    def __init__(
        self,
        name: str,
        raw: IO[bytes],
        max_bytes: int | None,
        watch: Callable[[int], object] | None = None,
    ) -> None:
        self.name = name
        self._watch = watch
        self._raw = raw
        self._max_bytes = max_bytes
        self._before = self._state()
        self._size = 0  # bytes on disk that were read
        self._sha256 = hashlib.sha256()
        self._hashed = self._read_hashed()
        self._bytes = 0  # bytes that were given out
        self._stream = _buffered(self._hashed)
        magic = self.peek()
        unpack = next((made for start, made in UNPACK.items() if magic.startswith(start)), None)
        if unpack is not None:
            self._stream = io.BufferedReader(unpack(self._stream), BUFFER)
        self._is_packed = unpack is not None
        self._is_plain = unpack is None and self._before is not None

    def recode(self, encoding: str) -> None:
        """Recodes what comes from here on to UTF-8.

        Args:
            encoding: of the text.
        """
        if codecs.lookup(encoding).name != "utf-8":
            self._stream = _buffered(_recoded(self._stream, encoding))
            self._is_plain = False

    def peek(self, n: int = MAGIC) -> bytes:
        """The next bytes, fewer only at the end; they are still to be read.

        Args:
            n: how many.
        """
        with self._errors():
            start = bytes(self._stream.peek(n)[:n])
            if len(start) < n:  # a pipe may give less than is to come
                start = bytes(self._stream.read(n))
                self._stream = _buffered(chain([start], pieces(self._stream)))
        return start

    def read(self, n: int = -1) -> bytes:
        """The next bytes.

        Args:
            n: how many, fewer only at the end; -1 for all.
        """
        with self._errors():
            return self._count(bytes(self._stream.read(n)))

    def read_all(self, what: str, advice: str) -> bytes:
        """All bytes that are left, counted while they are unpacked.

        Args:
            what: they are, and
            advice: what to do where they are too many, for the message.

        Raises:
            InputError: more than :data:`MOST_AT_ONCE`.
        """
        parts, size = [], 0
        while data := self.read(BUFFER):
            parts.append(data)
            size += len(data)
            if size > MOST_AT_ONCE:
                raise InputError(
                    f"{self.name}: {what} of more than {MOST_AT_ONCE:,} bytes; {advice}"
                )
        return b"".join(parts)

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
        ahead = os.pread(self._raw.fileno(), HEAD, self._bytes + n)
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
            file = self._raw if self._is_plain else copy
            yield f"/dev/fd/{file.fileno()}"

    def finish(self) -> None:
        """Reads what is left on disk, for the checksum.

        Raises:
            InputError: the file has changed since it was opened.
        """
        for _ in self._hashed:
            pass
        is_cut = self._before is not None and self._before[0] != self._size
        if is_cut or self._state() != self._before:
            raise InputError(
                f"{self.name}: changed while it was read; try again when nothing writes to it"
            )

    def record(self, rows: int) -> SourceRecord:
        """What a manifest keeps of this input, once it was read.

        Args:
            rows: how many rows were read from it.
        """
        return SourceRecord(self.name, self._size, self._sha256.hexdigest(), rows)

    def _state(self) -> tuple[int, int] | None:
        """Size and time of the last change of a regular file; None for a pipe and the like."""
        try:
            status = os.fstat(self._raw.fileno())
        except (OSError, AttributeError):
            return None
        return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None

    def _read_hashed(self) -> Iterator[bytes]:
        """The bytes as they lie on disk, counted and hashed on the way."""
        try:
            for data in pieces(self._raw):
                self._sha256.update(data)
                self._size += len(data)
                if self._watch is not None:
                    self._watch(len(data))
                yield data
        except OSError as error:
            # Not left to the reader of an archive, which would call it damage.
            raise MachineError(f"{self.name}: {error.strerror or error}") from None

    def _count(self, data: bytes) -> bytes:
        self._bytes += len(data)
        if self._max_bytes is not None:
            if self._bytes > self._max_bytes:
                raise InputError(
                    f"{self.name}: holds more than {self._max_bytes:,} bytes; see --max-bytes"
                )
        elif self._is_packed and self._bytes > max(BOMB_BYTES, BOMB_RATIO * self._size):
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


class Pieces(io.RawIOBase):
    """A stream of bytes that come in pieces.

    Args:
        pieces: the bytes, none of them empty.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        into = memoryview(buffer)
        if not self._ready:
            self._ready = memoryview(next(self._pieces, b""))
        n = min(len(self._ready), len(into))
        into[:n] = self._ready[:n]
        self._ready = self._ready[n:]
        return n


def pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """What is left of a stream, in pieces of at most :data:`BUFFER` bytes.

    Args:
        stream: to read.
    """
    return iter(partial(stream.read, BUFFER), b"")


def _buffered(pieces: Iterable[bytes]) -> io.BufferedReader:
    return io.BufferedReader(Pieces(pieces), BUFFER)


def _recoded(stream: IO[bytes], encoding: str) -> Iterator[bytes]:
    """A text in another encoding, as UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)()
    for data in chain(pieces(stream), [b""]):
        text = decoder.decode(data, final=not data)
        if text:
            yield text.encode()


def _zstd(stream: IO[bytes]) -> io.BufferedIOBase:
    import pyarrow as pa

    unpacked: io.BufferedIOBase = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")
    return unpacked
