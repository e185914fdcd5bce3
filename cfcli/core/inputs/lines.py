"""Texts cut into blocks of whole records, within fixed memory."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from cfcli.core.errors import InputError
from cfcli.core.inputs.streams import HEAD, Opened

BLOCK = 32 << 20  # bytes of text that are parsed at once
MAX_LINE = 16 << 20  # bytes


class Start(NamedTuple):
    """How a text starts.

    Attributes:
        data: its first line that is not blank, and more to detect its form from.
        line: the number of that line, from 1.
    """

    data: bytes
    line: int


def read_start(opened: Opened, skip: int) -> Start:
    """Reads a text up to its first line that is not blank, and on until that is whole and there is
    enough to detect the form from. A byte order mark is left out.

    Args:
        opened: the text, of which nothing was read yet.
        skip: lines to leave out before.
    """
    data = opened.read(HEAD).removeprefix(b"\xef\xbb\xbf")
    before = 0
    while before < skip and data:
        end = data.find(b"\n") + 1
        if end:
            before += 1
            data = data[end:]
        else:
            data = b""
        data = data or opened.read(HEAD)
    while data and not data.lstrip():
        before += data.count(b"\n")
        data = opened.read(HEAD)
    start = data.rfind(b"\n", 0, len(data) - len(data.lstrip())) + 1
    before += data.count(b"\n", 0, start)
    data = data[start:]
    while len(data) <= MAX_LINE and (len(data) < HEAD or b"\n" not in data):
        more = opened.read(HEAD)
        if not more:
            break
        data += more
    return Start(data, before + 1)


def behind_header(start: bytes, quoted: bool) -> bytes:
    """What comes after the first record, which ends with its line or, where a quoted field holds
    line breaks, with a later one.

    Args:
        start: of a text.
        quoted: whether a record may hold a line break between double quotes.
    """
    end = start.find(b"\n") + 1 or len(start)
    while quoted and start.count(b'"', 0, end) % 2 and end < len(start):
        end = start.find(b"\n", end) + 1 or len(start)
    return start[end:]


def line_blocks(opened: Opened, head: bytes, quoted: bool) -> Iterator[bytes]:
    """The text in blocks of about :data:`BLOCK` bytes that end where a record ends.

    Args:
        opened: the text.
        head: what was read of it already.
        quoted: whether a record may hold a line break between double quotes.

    Raises:
        InputError: a line (or a quoted field) longer than :data:`MAX_LINE`.
    """
    data = head + opened.read(opened.to_line_end(max(BLOCK - len(head), 0)))
    while data:
        parts = [data]
        in_quotes = quoted and b'"' in data and data.count(b'"') % 2 == 1
        size = 0
        while size <= MAX_LINE and (in_quotes or not parts[-1].endswith(b"\n")):
            rest = opened.readline(MAX_LINE + 1)
            if not rest:
                break
            parts.append(rest)
            size += len(rest)
            in_quotes ^= quoted and rest.count(b'"') % 2 == 1
        data = b"".join(parts)
        if len(data) > MAX_LINE:
            _refuse_long_lines(data, opened.name)
        yield data
        data = opened.read(opened.to_line_end(BLOCK))


def _refuse_long_lines(data: bytes, name: str) -> None:
    start = 0
    while len(data) - start > MAX_LINE:
        end = data.rfind(b"\n", start, start + MAX_LINE + 1)
        if end < 0:
            shown = data[start : start + 40].decode("utf-8", "replace")
            hint = ""
            if b"\r" in data[start : start + HEAD]:
                hint = '; does it have CR line endings? convert them with \'tr "\\r" "\\n"\''
            raise InputError(
                f"{name}: a line is longer than {MAX_LINE >> 20} MB; it begins with {shown!r}{hint}"
            )
        start = end + 1


def cut(data: bytes, size: int, quoted: bool) -> Iterator[bytes]:
    """Cuts a text into pieces of whole records.

    Args:
        data: whole records.
        size: of a piece in bytes, about.
        quoted: whether a record may hold a line break between double quotes.
    """
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + size) + 1 or len(data)
        while quoted and data.count(b'"', start, end) % 2 and end < len(data):
            end = data.find(b"\n", end) + 1 or len(data)
        yield data[start:end]
        start = end


Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in a thread while the one before is in use.

    Args:
        items: what to work ahead of; errors in it come through.
    """
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(1)
    stopped = threading.Event()

    def work() -> None:
        try:
            for item in items:
                ready.put((item, None))
                if stopped.is_set():
                    return
            ready.put((None, None))
        except BaseException as error:
            ready.put((None, error))

    # A daemon: the program must be able to end while this waits for a pipe that gives nothing.
    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stopped.set()
        with contextlib.suppress(queue.Empty):
            ready.get_nowait()
