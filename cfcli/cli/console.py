"""What commands print, and where: the result on stdout, the conversation on stderr."""

import json as jsonlib
import os
import re
import shlex
import shutil
import signal
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cfcli.core.words import counted as counted

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from cfcli.core.reporting.charts import Chart

COMMAND = re.compile(r"""'(?:cfcli|tr|ulimit) [^']*'|python -c ".*\"""")
PIPE = 160  # characters of a line that is not on a terminal
DIRECTIONS = "\u061c\u200e\u200f"  # printable, says Python, but they change the direction


def safe(text: object) -> str:
    """Text from data that is harmless on a terminal: characters that control it or change the
    direction of writing become ``\\xNN``, and nothing in it counts as Rich's markup.

    Args:
        text: what to print; anything that has a text.
    """
    from rich.markup import escape  # late, as the help and the completion need nothing of Rich

    return escape("".join(c if _harmless(c) else _hex(c) for c in str(text)))


def _harmless(char: str) -> bool:
    return char.isprintable() and char not in DIRECTIONS


def _hex(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def wrapped(text: str, width: int) -> str:
    """A text in lines, which break between words as a terminal would not, and never inside a
    command in quotes: that is there to be copied.

    Args:
        text: one line.
        width: of a line, in characters.
    """
    whole = COMMAND.sub(lambda found: found[0].replace(" ", "\0"), text)
    lines = textwrap.fill(whole, width, break_long_words=False, break_on_hyphens=False)
    return lines.replace("\0", " ")


def leave_no_compiler_cache() -> None:
    """Keeps PyTorch's compiler, which Lightning imports, from making a folder for its cache in
    $TMPDIR: it takes one that is there already. To be called before a training."""
    import tempfile  # late, as it takes time and few commands need it

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.gettempdir())


def is_live() -> bool:
    """Whether moving progress may be drawn: only for a person at a terminal."""
    return sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


def _laid_out(renderable: "RenderableType", *, lines: bool) -> "list[RenderableType]":
    """The parts of what is printed, with titles above tables, where Rich does not break them.

    Args:
        renderable: what is printed.
        lines: whether there are lines around cells; not for what is no terminal.
    """
    from rich.console import Group
    from rich.table import Table

    if isinstance(renderable, Group):
        return [each for part in renderable.renderables for each in _laid_out(part, lines=lines)]
    if not isinstance(renderable, Table):
        return [renderable]
    if not lines:
        renderable.box = None
        renderable.padding = (0, 1)  # instead of lines
    title, renderable.title = renderable.title, None
    return [renderable] if title is None else [title, renderable]


def _print(console: "Console", renderable: "RenderableType", *, lines: bool) -> None:
    """Prints on a terminal, or in a file or a pipe, where no line ends with blanks.

    Args:
        console: where to print.
        renderable: what to print; texts in it are lines, which break between words.
        lines: whether there may be lines around cells.
    """
    for part in _laid_out(renderable, lines=lines):
        if isinstance(part, str):
            console.print(_wrapped(console, part), soft_wrap=True)
        elif console.is_terminal or console.quiet:
            console.print(part)
        else:
            with console.capture() as captured:
                console.print(part)
            for line in captured.get().splitlines():
                print(line.rstrip(), file=console.file)


def _wrapped(console: "Console", text: str) -> str:
    """A line as it is in a file, and in several lines on a terminal."""
    from rich.cells import cell_len
    from rich.text import Text

    if not console.is_terminal or cell_len(Text.from_markup(text).plain) < console.width:
        return text
    return wrapped(text, console.width)


def add_ids(table: "Table", name: str, ids: Iterable[object]) -> None:
    """Adds a column of what people copy: up to half of the terminal's width other columns make room
    for it, and what is longer is folded and not cut.

    Args:
        table: that gets the column.
        name: of the column.
        ids: its cells.
    """
    from rich.cells import cell_len

    wanted = max(cell_len(safe(text)) for text in (name, *ids))
    most = shutil.get_terminal_size().columns // 2
    table.add_column(safe(name), width=min(wanted, most), overflow="fold")


class Out:
    """Where a command prints.

    Args:
        json: the result as JSON instead of text.
        quiet: nothing on stderr but errors.

    Attributes:
        json, quiet: as given.
        stdout: for the result.
        stderr: for everything else.
    """

    def __init__(self, json: bool = False, quiet: bool = False) -> None:
        from rich.console import Console

        self.json, self.quiet = json, quiet
        # Polars sets a handler of SIGINT when it is imported, which every command does before it
        # gets here. With it the system begins a read that waits for a pipe again, and Ctrl-C could
        # not end it. It also catches what is to be ignored.
        signal.siginterrupt(signal.SIGINT, True)
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        # A pipe has no width: 80 columns would cut what a file can well hold.
        widths = [None if stream.isatty() else PIPE for stream in (sys.stdout, sys.stderr)]
        # What looks like the name of an emoji, as :heart: in a title, stays as it is.
        self.stdout = Console(highlight=False, emoji=False, width=widths[0])
        self.stderr = Console(
            stderr=True, highlight=False, emoji=False, width=widths[1], quiet=quiet
        )

    def note(self, text: str) -> None:
        """Prints something that the person should know on stderr.

        Args:
            text: a sentence; it may contain text from data.
        """
        self.stderr.print(
            f"[yellow]note:[/]{_wrapped(self.stderr, f'note: {safe(text)}')[5:]}", soft_wrap=True
        )

    def say(self, renderable: "RenderableType") -> None:
        """Prints on stderr.

        Args:
            renderable: what Rich can print; in a text, its markup counts.
        """
        _print(self.stderr, renderable, lines=True)

    def show(self, renderable: "RenderableType") -> None:
        """Prints on stdout, without lines around cells where it is no terminal.

        Args:
            renderable: what Rich can print.
        """
        _print(self.stdout, renderable, lines=sys.stdout.isatty())

    def next(self, *words: object) -> None:
        """Prints the command that one would type next, for a person at a terminal.

        Args:
            words: of the command line.
        """
        if not self.json and sys.stdout.isatty() and sys.stderr.isatty():
            # Not wrapped by Rich, so that it can be copied as one line.
            line = shlex.join(map(str, words))
            self.stderr.print(f"[bold]next:[/] {safe(line)}", soft_wrap=True)

    def result(self, text: str, data: object) -> None:
        """Prints the result of a command.

        Args:
            text: the result in one line.
            data: what ``--json`` prints instead: dicts, lists, texts, numbers and None.
        """
        print(jsonlib.dumps(data, ensure_ascii=True) if self.json else text)

    def table(self, renderable: "RenderableType", data: object) -> None:
        """Prints the result of a command as a table; ``--quiet`` prints none.

        Args:
            renderable: what Rich can print.
            data: what ``--json`` prints instead.
        """
        if self.json:
            print(jsonlib.dumps(data, ensure_ascii=True))
        elif not self.quiet:
            self.show(renderable)

    def pictures(self, charts: "Sequence[Chart]", folder: Path) -> None:
        """Writes charts as PNG files, or notes why that is impossible.

        Args:
            charts: what to draw.
            folder: where ``NAME.png`` is written for each.
        """
        from cfcli.core.errors import MachineError
        from cfcli.core.reporting import png

        try:
            png.write(charts, folder)
        except MachineError as error:
            self.note(f"no pictures: {error}")
