"""``python -m cfcli.cli.guide.man FOLDER``: writes manual pages, made from the help of the
commands."""

import sys
from pathlib import Path
from typing import Any

import typer

import cfcli
from cfcli.cli.app import COMMANDS, app
from cfcli.cli.guide.help import Page, page_of


def write(folder: Path) -> list[Path]:
    """Writes ``cfcli.1`` and ``cfcli-COMMAND.1`` for each command.

    Args:
        folder: where; it is made if it is not there.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    group: Any = typer.main.get_command(app)
    pages = [group.page(group.make_context("cfcli", [], resilient_parsing=True))]
    for name in COMMANDS:
        command = group.get_command(None, name)
        context = command.make_context(f"cfcli {name}", [], resilient_parsing=True)
        pages.append(page_of(command, context))
    files = [folder / f"{page.path.replace(' ', '-')}.1" for page in pages]
    for file, page in zip(files, pages, strict=True):
        file.write_text(_roff(page), encoding="utf-8")
    return files


def _roff(page: Page) -> str:
    """A page in the language of man."""
    name = page.path.replace(" ", "-")
    lines = [f'.TH {name.upper()} 1 "" "cfcli {cfcli.__version__}" "User Commands"']
    lines += [".SH NAME", f"{name} \\- {_plain(page.summary)}", ".SH SYNOPSIS", _plain(page.usage)]
    for heading, texts in (("DESCRIPTION", page.paragraphs), ("EXAMPLES", page.examples)):
        lines += [f".SH {heading}", *(f".PP\n{_plain(text)}" for text in texts)]
    for heading, entries in (page.commands | page.sections).items():
        lines += [f".SH {heading.upper()}"] * bool(entries)
        lines += [f".TP\n.B {_plain(entry.term)}\n{_plain(entry.text)}" for entry in entries]
    for text in page.end:
        heading, _, rest = text.partition(": ")
        lines += [f".SH {heading.upper()}", _plain(rest)]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text in which nothing is a command of roff."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace(".", "\\&.")


if __name__ == "__main__":
    for path in write(Path(sys.argv[1])):
        print(path)
