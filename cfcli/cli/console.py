"""What commands say, and where: the result on stdout, the conversation on stderr."""

import json as jsonlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from cfcli.core.reporting.charts import Chart


def safe(text: object) -> str:
    """Text from data, harmless on a terminal: control and direction characters as ``\\xNN``, no
    markup."""
    return escape(
        "".join(
            c if c.isprintable() and c not in "\u061c\u200e\u200f" else _hex(c) for c in str(text)
        )
    )


def _hex(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def is_live() -> bool:
    """Whether moving progress may be drawn: only for a person at a terminal."""
    return sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


class Out:
    """A command's two channels.

    Args:
        json: the result as one JSON object instead of text.
        quiet: nothing on stderr but errors.
    """

    def __init__(self, json: bool = False, quiet: bool = False) -> None:
        self.json, self.quiet = json, quiet
        self.stderr = Console(stderr=True, highlight=False, quiet=quiet)
        # A pipe has no width: 80 columns would cut what a file can well hold.
        self.stdout = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

    def note(self, text: str) -> None:
        """A sentence for the person, escaped."""
        self.stderr.print(f"[yellow]note:[/] {safe(text)}", soft_wrap=True)

    def say(self, renderable: Any) -> None:
        """Something for the person, as it is."""
        self.stderr.print(renderable, soft_wrap=isinstance(renderable, str))

    def result(self, text: str, data: Any) -> None:
        """The result: one line of text, or ``data`` with ``--json``."""
        print(jsonlib.dumps(data, ensure_ascii=True) if self.json else text)

    def table(self, renderable: Any, data: Any) -> None:
        """The result as a table (nothing with ``--quiet``), or ``data`` with ``--json``."""
        if self.json:
            print(jsonlib.dumps(data, ensure_ascii=True))
        elif not self.quiet:
            self.stdout.print(renderable)

    def pictures(self, charts: "Sequence[Chart]", folder: Path) -> None:
        """Draws charts into a folder, or says why not."""
        from cfcli.core.errors import MachineError
        from cfcli.core.reporting import png

        try:
            png.write(charts, folder)
        except MachineError as error:
            self.note(f"no pictures: {error}")
