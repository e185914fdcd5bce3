"""Texts cut into blocks of whole records, within fixed memory."""

from collections.abc import Iterator
from concurrent.futures import Future
from threading import Thread
from typing import NamedTuple, TypeVar

import numpy as np

from cfcli.core.errors import InputError
from cfcli.core.inputs.streams import HEAD, Opened

MAX_LINE = 16 << 20  # bytes
T = TypeVar("T")


class Lines(NamedTuple):
    """Lines of a text.

    Attributes:
        data: as they stand in it.
        first: the number of the first of them, from 1.
    """

    data: bytes
    first: int


def read_start(opened: Opened, skip: int) -> Lines:
    """Reads a text up to its first line that is not blank, and on until that is whole and there is
    enough to detect the form from. A byte order mark is left out.

    Args:
        opened: the text, of which nothing was read yet.
        skip: lines to leave out before.
    """
    data = opened.read(HEAD).removeprefix(b"\xef\xbb\xbf")
    before = 0
    while before < skip and data:
        _, end, data = data.partition(b"\n")
        before += len(end)
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
    return Lines(data, before + 1)


def behind_header(start: bytes, quoted: bool) -> bytes:
    """What comes after the first record, which ends with its line or, where a quoted field holds
    line breaks, with a later one.

    Args:
        start: of a text.
        quoted: whether a record may hold a line break between double quotes.
    """
    return start[len(next(cut(start, 0, quoted), b"")) :]


def line_blocks(opened: Opened, head: Lines, quoted: bool, size: int) -> Iterator[Lines]:
    """The text in blocks that end where a record ends.

    Args:
        opened: the text.
        head: what was read of it already.
        quoted: whether a record may hold a line break between double quotes.
        size: of a block in bytes, about.

    Raises:
        InputError: a line (or a quoted field) longer than :data:`MAX_LINE`.
    """
    data, line = head
    data += opened.read(opened.to_line_end(max(size - len(data), 0)))
    while data:
        parts = [data]
        in_quotes = quoted and b'"' in data and data.count(b'"') % 2 == 1
        added = 0
        while added <= MAX_LINE and (in_quotes or not parts[-1].endswith(b"\n")):
            rest = opened.readline(MAX_LINE + 1)
            if not rest:
                break
            parts.append(rest)
            added += len(rest)
            in_quotes ^= quoted and rest.count(b'"') % 2 == 1
        data = b"".join(parts)
        if len(data) > MAX_LINE:
            _refuse_long_lines(data, opened.name)
        yield Lines(data, line)
        # In half the time of data.count().
        line += int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n")))
        data = opened.read(opened.to_line_end(size))


def decoded(data: bytes, where: str, line: int) -> str:
    """The text of some lines.

    Args:
        data: the lines.
        where: name of the input.
        line: the number of the first of them.

    Raises:
        InputError: they are not UTF-8, or hold NUL bytes.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        at = line + data.count(b"\n", 0, error.start)
        raise InputError(
            f"{where}:{at}: byte 0x{data[error.start]:02x} is not UTF-8; "
            "name the encoding with --encoding, such as latin-1"
        ) from None
    if "\0" in text:
        at = line + text.count("\n", 0, text.index("\0"))
        raise InputError(f"{where}:{at}: holds NUL bytes, so it is not a text")
    return text


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


def ahead(blocks: Iterator[T]) -> Iterator[T]:
    """The same blocks, each made in a thread while the one before is in use.

    Args:
        blocks: what to work ahead of; errors in it come through.
    """
    block = _next_in_thread(blocks)
    while (found := block.result()) is not None:
        block = _next_in_thread(blocks)
        yield found


def _next_in_thread(blocks: Iterator[T]) -> "Future[T | None]":
    block: Future[T | None] = Future()

    def work() -> None:
        try:
            block.set_result(next(blocks, None))
        except BaseException as error:
            block.set_exception(error)

    # A daemon: the program must be able to end while this waits for a pipe that gives nothing.
    Thread(target=work, daemon=True).start()
    return block
