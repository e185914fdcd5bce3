"""Runs the commands that pages show, and writes what they print into the pages.

    python docs/scripts/session.py                  # README.md and docs/getting-started.md
    python docs/scripts/session.py docs/data.md     # or other pages

A block of a page that begins with three backticks, ``console`` and a line ``$ cfcli ...`` is a
session. All sessions of all pages run one after the other in one new folder, as a person at a
terminal of 100 columns would type them. A command that was run before is not run again. ``...``
stands for what is left out: most epochs of a training, and in README.md the bars of charts.
"""

import argparse
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/getting-started.md")
SESSION = re.compile(r"^```console\n(\$ cfcli .*?)^```$", re.MULTILINE | re.DOTALL)
EPOCH = re.compile(r"^ *epoch +\d+/\d+")
BAR = re.compile(r"[▁-█]|^[ .\d]+$")
COLUMNS = 100  # so that sentences stay whole
SECONDS = 600  # that a command may take


def commands(page: str) -> list[str]:
    """The commands of the sessions of a page, in order.

    Args:
        page: its text.
    """
    lines = [line for block in SESSION.findall(page) for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def typed(command: str, folder: Path, settings: dict[str, str] | None = None) -> str:
    """What a command prints at a terminal without colours.

    Args:
        command: one line of a shell.
        folder: where it runs.
        settings: further variables of the environment.

    Raises:
        RuntimeError: it failed.
    """
    here = {"COLUMNS": str(COLUMNS), "TERM": "dumb", "NO_COLOR": "1", "LINES": "40"}
    own = {name: text for name, text in os.environ.items() if not name.startswith("CFCLI_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours, its = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=own | here | {"PATH": path} | (settings or {}),
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    text = _all_of(ours)
    if process.wait(SECONDS):
        raise RuntimeError(f"{command}\n{text}")
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").splitlines()]
    epochs = [place for place, line in enumerate(lines) if EPOCH.match(line)]
    return "\n".join(_without(lines, epochs[2:-1])).strip("\n") + "\n"


def _all_of(terminal: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # the end, on Linux
            part = b""
        if not part:
            os.close(terminal)
            return b"".join(parts).decode()
        parts.append(part)


def _without(lines: list[str], places: list[int]) -> list[str]:
    """The lines with ``...`` for those at some places, once for those that follow each other."""
    kept = []
    for place, line in enumerate(lines):
        if place not in places:
            kept.append(line)
        elif place - 1 not in places:
            kept.append("...")
    return kept


def without_bars(text: str) -> str:
    """What a command printed, with ``...`` for the bars of charts.

    Args:
        text: what it printed.
    """
    lines = text.splitlines()
    bars = [place for place, line in enumerate(lines) if BAR.search(line)]
    return "\n".join(_without(lines, bars)) + "\n"


def written(page: str, printed: dict[str, str]) -> str:
    """A page with what its sessions print now.

    Args:
        page: its text.
        printed: by command.
    """

    def session(found: re.Match[str]) -> str:
        parts = [f"$ {command}\n{printed[command]}" for command in commands(found.group())]
        return "```console\n" + "".join(parts) + "```"

    return SESSION.sub(session, page)


def main() -> None:
    """The script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", help="pages to write", default=PAGES)
    pages = [ROOT / name for name in parser.parse_args().pages]
    printed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for page in pages:
            for command in commands(page.read_text()):
                if command not in printed:
                    print(f"$ {command}", file=sys.stderr)
                    printed[command] = typed(command, Path(folder))
    for page in pages:
        shown = printed
        if page.name == "README.md":
            shown = {command: without_bars(text) for command, text in printed.items()}
        page.write_text(written(page.read_text(), shown))


if __name__ == "__main__":
    main()
