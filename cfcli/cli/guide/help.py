"""The help of the commands: plain text in two columns, made from their flags and docstrings."""

import functools
import inspect
import os
import re
import shutil
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

GENERAL = "General"  # the last heading: flags that all commands have
MAIN = "Options"  # the first heading: the flags that matter most
WIDEST = 100  # columns; longer lines are hard to read
TERM = 28  # characters at most of a flag and its value that stand beside their help
_LAST = {"-h, --help": 1, "--help-all": 2}
TYPES = {"int": "N", "int range": "N", "float": "X", "float range": "X", "str": "TEXT"}


@dataclass(frozen=True)
class Entry:
    """A line of the help.

    Attributes:
        term: a flag with its value, an argument, or a command.
        text: what it is.
        is_rare: whether ``--help`` leaves it to ``--help-all``.
    """

    term: str
    text: str
    is_rare: bool = False


@dataclass(frozen=True)
class Page:
    """The help of a command.

    Attributes:
        path: the command, as ``cfcli train``.
        usage: its form.
        summary: what it does, in a sentence.
        paragraphs: more about that.
        examples: command lines.
        commands: commands by heading, where it has some.
        sections: arguments and flags by heading.
        end: paragraphs below all else.
    """

    path: str
    usage: str
    summary: str
    paragraphs: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    commands: dict[str, list[Entry]] = field(default_factory=dict)
    sections: dict[str, list[Entry]] = field(default_factory=dict)
    end: list[str] = field(default_factory=list)


class Command(TyperCommand):
    """A command whose help is a :class:`Page`."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(as_text(page_of(self, ctx)))


def with_help_all(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a command with a flag ``--help-all`` more, which ends the command.

    Args:
        function: as a module of a command has it.
    """

    def show(ctx: typer.Context, wanted: bool) -> None:
        if wanted:
            typer.echo(as_text(page_of(ctx.command, ctx), everything=True), nl=False)
            raise typer.Exit

    @functools.wraps(function)
    def run(help_all: bool, **given: Any) -> Any:
        return function(**given)

    option = typer.Option(
        "--help-all",
        is_eager=True,
        callback=show,
        help="Show all options.",
        rich_help_panel=GENERAL,
    )
    signature = inspect.signature(function)
    flag = inspect.Parameter(
        "help_all",
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[bool, option],
    )
    parameters = [*signature.parameters.values(), flag]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def page_of(command: Any, ctx: Any) -> Page:
    """The help of a command.

    Args:
        command: of click.
        ctx: its context.
    """
    summary, paragraphs, examples = parts(command.help or "")
    sections: dict[str, list[Entry]] = {"Arguments": [], MAIN: []}
    needed = []
    for param in command.get_params(ctx):
        entry = _entry(param, ctx)
        panel = getattr(param, "rich_help_panel", None) or MAIN
        if param.name == "help":
            panel = GENERAL
        if param.param_type_name == "argument":
            panel = "Arguments"
        elif param.required:
            needed.append(entry.term)
        sections.setdefault(panel, []).append(entry)
    general = sections.pop(GENERAL, [])
    sections[GENERAL] = sorted(general, key=lambda entry: _LAST.get(entry.term, 0))
    words = [entry.term for entry in sections["Arguments"]]
    usage = " ".join([ctx.command_path, *words, *needed, "[OPTIONS]"])
    return Page(ctx.command_path, usage, summary, paragraphs, examples, sections=sections)


def parts(docstring: str) -> tuple[str, list[str], list[str]]:
    """The first sentence of a docstring, its other paragraphs, and its examples.

    Args:
        docstring: whose last paragraph is ``Examples:`` with a command line in each line below.
    """
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", docstring.strip())]
    examples = []
    if len(paragraphs) > 1 and paragraphs[-1].startswith("Example"):
        examples = [line.strip() for line in paragraphs.pop().split("\n")[1:]]
    summary, *rest = [" ".join(part.split()) for part in paragraphs]
    return summary, rest, examples


def _entry(param: Any, ctx: Any) -> Entry:
    """A flag or an argument."""
    text, default = param.help or "", _default(param)
    if param.name == "help":
        text = "Show this help."
    if default:
        text = f"{text} [default: {default}]"
    if param.param_type_name == "argument":
        return Entry(param.metavar or param.name.upper(), text)
    short_first = sorted(param.opts, key=len)
    term = ", ".join(short_first) + "".join(f"/{opt}" for opt in param.secondary_opts)
    if not param.is_flag:
        kind = param.display_type(ctx).strip("<>")
        term = f"{term} {param.metavar or TYPES.get(kind, kind)}"
    return Entry(term, text, param.hidden)


def _default(param: Any) -> str:
    """What holds where a flag or an argument is not given, if the help should say it."""
    if isinstance(param.show_default, str):
        return param.show_default
    if not param.show_default or param.default is None or getattr(param, "is_flag", False):
        return ""
    return f"{param.default:g}" if isinstance(param.default, float) else str(param.default)


def as_text(page: Page, *, everything: bool = False, width: int | None = None) -> str:
    """A page as people read it on a terminal.

    Args:
        page: the help of a command.
        everything: whether rare entries are shown too.
        width: columns; by default those of the terminal, up to ``WIDEST``.
    """
    width = width or min(shutil.get_terminal_size().columns, WIDEST)
    usage = textwrap.fill(page.usage, width, initial_indent=" " * 7, subsequent_indent=" " * 7)
    blocks = [_wrapped(page.summary, width), f"{_head('Usage:')} {usage.lstrip()}"]
    if page.examples:
        blocks.append("\n".join([_head("Examples:"), *(f"  {line}" for line in page.examples)]))
    blocks[1:1] = [_wrapped(text, width) for text in page.paragraphs]
    blocks += _tables(page.commands, width)
    blocks += _tables(
        {
            heading: [entry for entry in entries if everything or not entry.is_rare]
            for heading, entries in page.sections.items()
        },
        width,
    )
    rare = sum(entry.is_rare for entries in page.sections.values() for entry in entries)
    if rare and not everything:
        more = "1 more option" if rare == 1 else f"{rare} more options"
        blocks.append(f"{more}: {page.path} --help-all")
    blocks += [_wrapped(text, width) for text in page.end]
    return "\n\n".join(blocks) + "\n"


def _tables(sections: dict[str, list[Entry]], width: int) -> list[str]:
    """Sections that have entries, with the same columns in all of them."""
    terms = [len(entry.term) for entries in sections.values() for entry in entries]
    column = max((length for length in terms if length <= TERM), default=0)
    found = []
    for heading, entries in sections.items():
        lines = [line for entry in entries for line in _lines(entry, column, width)]
        if lines:
            found.append("\n".join([_head(f"{heading}:"), *lines]))
    return found


def _lines(entry: Entry, column: int, width: int) -> list[str]:
    """An entry: its term on the left, its text on the right."""
    texts = _wrapped(entry.text, max(width - column - 4, 20)).split("\n")
    margin = " " * (column + 4)
    flags = re.match(r"-\S+(, -\S+)*", entry.term)  # bold, but not the value behind them
    bold = len(flags[0]) if flags else len(entry.term)
    shown = f"  {_bold(entry.term[:bold])}{entry.term[bold:]}"
    if len(entry.term) > column:
        return [shown, *(margin + text for text in texts)]
    first = f"{shown}{' ' * (column - len(entry.term))}  {texts[0]}".rstrip()
    return [first, *(margin + text for text in texts[1:])]


def _wrapped(text: str, width: int) -> str:
    """Text in lines that break neither words nor what stands in brackets."""
    glued = re.sub(r"\[[^]]*\]", lambda found: found[0].replace(" ", "\0"), text)
    if "[default: " in text and len(text.partition("[default: ")[2]) > width // 2:
        glued = text  # a sentence
    lines = textwrap.wrap(glued, width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def _head(text: str) -> str:
    return text if _is_plain() else typer.style(text, bold=True, underline=True)


def _bold(text: str) -> str:
    return text if _is_plain() else typer.style(text, bold=True)


def _is_plain() -> bool:
    """Whether the terminal shows letters only; elsewhere Typer removes what is no text."""
    return os.environ.get("TERM") == "dumb"
