"""Texts cut into blocks of whole records, within fixed memory."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

from cfcli.core.errors import InputError
from cfcli.core.inputs.streams import HEAD, Opened

BLOCK = 32 << 20  # bytes of text that are parsed at once
MAX_LINE = 16 << 20  # bytes


def first_line(head: bytes, opened: Opened, skip: int) -> tuple[bytes, int]:
    """``head``, read on until its first line is whole and others are there to tell its form by,
    without a byte order mark, ``skip`` lines and blank ones after them; and how many lines that
    were."""
    data, lines = head.removeprefix(b"\xef\xbb\xbf"), 0
    while skip > lines:
        end = data.find(b"\n") + 1
        lines += end > 0
        data = data[end:] if end else opened.read(HEAD)
        if not data:
            return b"", lines
    while not (body := data.lstrip()):
        lines += data.count(b"\n")
        if not (data := opened.read(HEAD)):
            return b"", lines
    start = data.rfind(b"\n", 0, len(data) - len(body)) + 1
    lines += data.count(b"\n", 0, start)
    data = data[start:]
    while (
        (b"\n" not in data or len(data) < HEAD)
        and len(data) <= MAX_LINE
        and (more := opened.read(HEAD))
    ):
        data += more
    return data, lines


def behind_header(start: bytes, quoted: bool) -> bytes:
    """What comes after the first record, which ends with its line or, in quotes, with a later
    one."""
    end = start.find(b"\n") + 1 or len(start)
    while quoted and start.count(b'"', 0, end) % 2 and end < len(start):
        end = start.find(b"\n", end) + 1 or len(start)
    return start[end:]


def line_blocks(opened: Opened, head: bytes, quoted: bool) -> Iterator[bytes]:
    """The text in blocks of about :data:`BLOCK` bytes that end where a record ends.

    Args:
        head: what was read of it already.
        quoted: whether a record may hold a line break between double quotes.

    Raises:
        InputError: a line (or a quoted field) longer than :data:`MAX_LINE`.
    """
    data = head + opened.read(opened.to_line_end(max(BLOCK - len(head), 0)))
    while data:
        parts = [data]
        odd = quoted and b'"' in data and data.count(b'"') % 2 == 1
        size = 0
        while odd or not parts[-1].endswith(b"\n"):
            rest = opened.readline(MAX_LINE + 1)
            if not rest:
                break
            parts.append(rest)
            size += len(rest)
            odd ^= quoted and rest.count(b'"') % 2 == 1
            if size > MAX_LINE:
                break
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
            has_cr = b"\r" in data[start : start + HEAD]
            cr = '; has it CR line endings? convert them with \'tr "\\r" "\\n"\'' if has_cr else ""
            shown = data[start : start + 40].decode("utf-8", "replace")
            raise InputError(
                f"{name}: a line is longer than {MAX_LINE >> 20} MB; it begins with {shown!r}{cr}"
            )
        start = end + 1


def cut(data: bytes, size: int, quoted: bool) -> Iterator[bytes]:
    """Whole records of about ``size`` bytes each."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + size) + 1 or len(data)
        while quoted and data.count(b'"', start, end) % 2 and end < len(data):
            end = data.find(b"\n", end) + 1 or len(data)
        yield data[start:end]
        start = end


Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in a thread while the one before is in use."""
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
