"""Flags that several commands share, and flags made from the keys of a configuration."""

import contextlib
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cfcli.cli.guide.help import GENERAL
from cfcli.core.config.fields import Key, keys_of
from cfcli.core.config.prepare import (
    CHECKS_PANEL,
    COLUMNS_PANEL,
    FILES_PANEL,
    FORM,
    ROWS_PANEL,
    SPLIT_PANEL,
    PrepareConfig,
)
from cfcli.core.config.toml import Value
from cfcli.core.config.train import (
    ADAM_PANEL,
    FINAL_PANEL,
    NCF_PANEL,
    PROCESSES_PANEL,
    TRAINING_PANEL,
    TrainConfig,
)
from cfcli.core.errors import ConfigError

JsonRows = Annotated[
    bool,
    typer.Option("--json", help="Print each row as a JSON object.", rich_help_panel=GENERAL),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=GENERAL)
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print only errors on stderr.", rich_help_panel=GENERAL),
]
Data = Annotated[
    Path,
    typer.Option(
        "--data", metavar="DIR", help="Dataset made by 'cfcli prepare'.", envvar="CFCLI_DATA"
    ),
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
        metavar="FILE",
        help="Titles and attributes by item id, such as movies.csv.",
    ),
]
Users = Annotated[
    Path | None,
    typer.Option(
        "--users",
        metavar="FILE",
        help="Attributes by user id, such as u.user; see --attributes.",
    ),
]
Baseline = Literal["mean", "user_mean", "item_mean", "bias", "none"]
OUTPUT_PANEL = "Output"
OUT_HELP = (
    "File to write, in the form of its name: .csv, .tsv, .jsonl (.gz or .zst may follow), "
    ".parquet, .arrow or .feather; stdout if not given."
)
NoPlots = Annotated[
    bool, typer.Option("--no-plots", help="Do not draw pictures.", rich_help_panel=GENERAL)
]
ExcelSafe = Annotated[
    bool,
    typer.Option(
        "--excel-safe",
        help="In CSV, put ' before texts that a spreadsheet would read as formulas.",
        hidden=True,
        rich_help_panel=OUTPUT_PANEL,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file with settings; flags override it.",
        rich_help_panel=GENERAL,
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set any key of the configuration; repeatable.",
        rich_help_panel=GENERAL,
    ),
]
Flags = Mapping[str, Value]  # see takes()
NO_FLAGS: Flags = {}  # the default that Python wants behind others; see takes()
Keys = dict[str, Key]
Command = Callable[..., None]

PANELS = (
    COLUMNS_PANEL, FILES_PANEL, ROWS_PANEL, SPLIT_PANEL, CHECKS_PANEL, TRAINING_PANEL, FINAL_PANEL,
    ADAM_PANEL, NCF_PANEL, PROCESSES_PANEL,
)  # fmt: skip
STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
WIDEST_CHOICES = 18  # characters; longer ones are named in the help's text

_TRAIN: Keys = {name: key for name, key in keys_of(TrainConfig).items() if key.facts.flag}
FORM_KEYS: Keys = {name: key for name, key in keys_of(PrepareConfig).items() if name in FORM}
FORM_PANEL = "Form of the files (by default that of the run's own ratings)"
PREPARE: Keys = dict(keys_of(PrepareConfig))
TRAIN: Keys = {name: key for name, key in _TRAIN.items() if key.topic != "processes"}
PROCESSES: Keys = {name: key for name, key in _TRAIN.items() if key.topic == "processes"}


def takes(
    keys: Keys, panel: str | None = None, *, first: Iterable[str] = (), brief: bool = True
) -> Callable[[Command], Command]:
    """A decorator that gives a command a flag for each key, in place of its parameter ``flags``.

    The command gets the values of the flags by name, None where one was not given.

    Args:
        keys: the keys of the configuration by name.
        panel: the head of these flags in the help, where it says what holds without them; by
            default each says so itself.
        first: names of those that the help shows before all panels.
        brief: whether ``--help`` shows the others, but for rare ones; else only ``--help-all``
            does.
    """
    main = tuple(first)
    places = {panel: place for place, panel in enumerate(PANELS)}
    by_panel = sorted(keys, key=lambda name: places.get(keys[name].facts.panel, -1))

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [
            p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()
        ]
        place = [p.name for p in own].index("flags")
        flags = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=_flag(
                    keys[name],
                    has_default=panel is None,
                    panel=None if name in main else panel or keys[name].facts.panel,
                    hidden=name not in main and (keys[name].facts.rare or not brief),
                ),
            )
            for name in [*main, *(name for name in by_panel if name not in main)]
        ]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            values = {name: given.pop(name) for name in keys}
            _check_environment(keys, values)
            command(flags={name: _plain(keys[name], values[name]) for name in keys}, **given)

        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own[:place], *flags, *own[place + 1 :]]
        )
        return run

    return decorate


def _flag(key: Key, *, has_default: bool, panel: str | None, hidden: bool) -> Any:
    """The flag of a key: its help, its default, and ``CFCLI_<KEY>`` in its place."""
    # What is no switch is taken as text: the key itself says what is wrong with a value.
    is_switch = key.hint in (bool, bool | None)
    return Annotated[
        (bool if is_switch else str) | None,
        typer.Option(
            _spelling(key),
            metavar=None if is_switch else key.facts.metavar or _metavar(key),
            help=key.facts.help,
            show_default=_shown(key) if has_default else False,
            envvar=_variable(key),
            show_envvar=False,
            rich_help_panel=panel,
            hidden=hidden,
        ),
    ]


def _check_environment(keys: Keys, values: Flags) -> None:
    """Raises a ConfigError for a value from the environment that makes no sense, and says where
    it is from: who gave no flag does not think of it."""
    for name, value in values.items():
        variable = _variable(keys[name])
        if value is None or os.environ.get(variable) != value:
            continue
        try:
            keys[name].read(_plain(keys[name], value))
        except ConfigError as error:
            raise ConfigError(f"{error} (from the environment variable {variable})") from None


def _variable(key: Key) -> str:
    """What in the environment stands for the flag of a key."""
    return f"CFCLI_{key.name.upper()}"


def _shown(key: Key) -> str | bool:
    """A default as the help shows it; False where it shows none."""
    default = key.default
    if default is None or default is False:
        return False
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _plain(key: Key, value: Any) -> Any:
    """The number in a text for a key of numbers; the key itself refuses what is none."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        if kind in key.kinds:
            with contextlib.suppress(ValueError):
                return kind(value)
    return value


def _spelling(key: Key) -> str:
    """The flag, with its opposite where a key may be true, false or left to the command."""
    name = key.name.replace("_", "-")
    is_open = key.default is None and key.hint in (bool, bool | None)
    return f"--{name}/--no-{name}" if is_open else f"--{name}"


def _metavar(key: Key) -> str:
    """What stands for a value in the help."""
    if choices := "|".join(key.choices):
        return choices if len(choices) <= WIDEST_CHOICES else "NAME"
    names = {int: "N", float: "X"}
    return next((names[kind] for kind in key.kinds if kind in names), "NAME")


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
