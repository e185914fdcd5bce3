"""Flags that several commands share, and flags made from the keys of a configuration."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from cfcli.core.config.fields import Key, keys_of
from cfcli.core.config.prepare import FORM, PrepareConfig
from cfcli.core.config.toml import Value
from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ConfigError

JsonRows = Annotated[bool, typer.Option("--json", help="Print one JSON object per row and line.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors on stderr.")]
Data = Annotated[
    Path, typer.Option("--data", help="Dataset made by 'cfcli prepare'.", envvar="CFCLI_DATA")
]
RunArgument = Annotated[
    Path, typer.Argument(metavar="[RUN]", help="Run directory.", show_default=True)
]
STORE = typer.Option(
    "--store",
    metavar="DIR",
    help="Folder that holds the runs and 'current'.",
    envvar="CFCLI_STORE",
)
Store = Annotated[Path, STORE]
Wait = Annotated[
    float,
    typer.Option(
        "--wait", metavar="SECONDS", help="Wait this long if another process uses the store."
    ),
]
Items = Annotated[
    Path | None,
    typer.Option(
        "--items",
        help="File with titles, genres and other attributes by item id, such as movies.csv or u.item.",
    ),
]
Users = Annotated[
    Path | None,
    typer.Option(
        "--users",
        help="File with attributes by user id, such as u.user; --attributes names those that count.",
    ),
]
Baseline = Literal["mean", "user_mean", "item_mean", "bias", "none"]
OUT_HELP = (
    "File to write: .csv (so is a name without an ending), .tsv or .jsonl (.gz or .zst may follow), "
    ".parquet, .arrow or .feather; - is stdout."
)
NoPlots = Annotated[bool, typer.Option("--no-plots", help="Do not draw pictures.")]
ExcelSafe = Annotated[
    bool,
    typer.Option(
        "--excel-safe", help="In CSV, put ' before texts that a spreadsheet would read as formulas."
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings; flags override it.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set any key of the configuration; repeatable."
    ),
]
Flags = Mapping[str, Value]  # see takes()
NO_FLAGS: Flags = {}  # the default that Python wants behind others; see takes()
Keys = dict[str, Key]
Command = Callable[..., None]

STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
WIDEST_CHOICES = 18  # characters; Rich would break longer ones inside a word

_TRAIN: Keys = {name: key for name, key in keys_of(TrainConfig).items() if key.facts.flag}
FORM_KEYS: Keys = {name: key for name, key in keys_of(PrepareConfig).items() if name in FORM}
FORM_PANEL = "Form of the files (by default, that of the run's own ratings)"
PREPARE: Keys = dict(keys_of(PrepareConfig))
TRAIN: Keys = {name: key for name, key in _TRAIN.items() if key.topic != "processes"}
PROCESSES: Keys = {name: key for name, key in _TRAIN.items() if key.topic == "processes"}


def takes(keys: Keys, panel: str | None = None) -> Callable[[Command], Command]:
    """A decorator that gives a command a flag for each key, in place of its parameter ``flags``.

    The command gets the values of the flags by name, None where one was not given.

    Args:
        keys: the keys of the configuration by name.
        panel: the head of these flags in the help, where it says what holds without them; by
            default each says so itself.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [
            p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()
        ]
        place = [p.name for p in own].index("flags")
        flags = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_flag(key, panel)
            )
            for name, key in keys.items()
        ]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            command(flags={name: given.pop(name) for name in keys}, **given)

        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own[:place], *flags, *own[place + 1 :]]
        )
        return run

    return decorate


def _flag(key: Key, panel: str | None) -> Any:
    """The flag of a key: its help, its default, and ``CFCLI_<KEY>`` in its place."""
    facts, default = key.facts, key.default
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    has_default = panel is None and default is not None and default is not False
    hint: Any = str if facts.metavar else key.hint
    return Annotated[
        hint | None,
        typer.Option(
            _spelling(key),
            metavar=facts.metavar or _metavar(key),
            help=f"{facts.help} \\[default: {shown}]" if has_default else facts.help,
            envvar=f"CFCLI_{key.name.upper()}",
            show_envvar=False,
            rich_help_panel=panel or facts.panel or None,
        ),
    ]


def _spelling(key: Key) -> str:
    """The flag, with its opposite where a key may be true, false or left to the command."""
    name = key.name.replace("_", "-")
    is_open = key.default is None and key.hint in (bool, bool | None)
    return f"--{name}/--no-{name}" if is_open else f"--{name}"


def _metavar(key: Key) -> str | None:
    """NAME for a key whose choices do not fit the help's column at 80 columns."""
    choices = get_args(key.hint) if get_origin(key.hint) is Literal else ()
    return "NAME" if len("|".join(choices)) > WIDEST_CHOICES else None


def is_run(text: str | None) -> bool:
    """Whether an argument names a run, and not what comes after it."""
    return text is not None and Path(text).is_dir()


def run_and_rest(first: str | None, second: str | None) -> tuple[Path, str | None]:
    """``[RUN] [FILE]``: where only one is given, a folder is the run and anything else the file."""
    if second is None and not is_run(first):
        first, second = None, first
    return Path(first or "runs/latest"), second


def piped(name: str | None, what: str) -> str:
    """A file, or standard input where nothing is named and something is piped in.

    Raises:
        ConfigError: there is only a terminal.
    """
    if name is None and sys.stdin.isatty():
        raise ConfigError(f"give {what}, or - to read it from stdin")
    return name or "-"


def rows_file(out: str, inputs: Iterable[str | None] = ()) -> str:
    """The file that rows go to, once it is one that may be written in a form that there is.

    Args:
        out: that the user named; ``-`` for stdout.
        inputs: files that the command reads.

    Returns:
        The same, but ``-`` where it is another name of stdout.

    Raises:
        ConfigError: it may not be written, or there is no such form.
        MachineError: its folder cannot be written.
    """
    from cfcli.core.serving.outputs import form_of
    from cfcli.core.storage import targets

    if out == "-":
        return out
    targets.check_file(out, inputs)
    form_of(out)
    return "-" if out in STDOUT else out
