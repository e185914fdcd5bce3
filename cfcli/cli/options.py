"""Flags that several commands share, and flags made from the keys of a configuration."""

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.train import TOGETHER_FLAGS, TRAIN_FLAGS, TrainConfig
from cfcli.core.errors import ConfigError

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
Data = Annotated[
    Path, typer.Option("--data", help="Dataset made by 'cfcli prepare'.", envvar="CFCLI_DATA")
]
RunArgument = Annotated[
    Path, typer.Argument(metavar="[RUN]", help="Run directory.", show_default=True)
]
Store = Annotated[
    Path,
    typer.Option(
        "--store", metavar="DIR", help="Folder of the runs and of 'current'.", envvar="CFCLI_STORE"
    ),
]
Wait = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", help="Wait for another process at work there.")
]
Items = Annotated[
    Path | None,
    typer.Option("--items", help="Titles (and genres) by item id: movies.csv, u.item..."),
]
Baseline = Literal["mean", "user_mean", "item_mean", "bias", "none"]
NoPlots = Annotated[bool, typer.Option("--no-plots", help="Draw no pictures.")]
ExcelSafe = Annotated[
    bool,
    typer.Option(
        "--excel-safe", help="In CSV, put ' before texts that a spreadsheet would run as formulas."
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file with defaults; flags win over it.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any key of the configuration; repeatable."),
]
Flags = Mapping[str, Any]  # see takes()

METAVARS = {
    "batch_size": "auto|N", "hidden": "N,N...", "max_bad_rows": "N|P%", "max_time": "20m", "rating_range": "LO,HI",
    "since": "DATE", "warm_start": "RUN",
}  # fmt: skip
Keys = dict[str, type]  # the configuration that each key belongs to
Command = Callable[..., None]
PREPARE: Keys = dict.fromkeys((f.name for f in dataclasses.fields(PrepareConfig)), PrepareConfig)
TRAIN: Keys = dict.fromkeys(TRAIN_FLAGS, TrainConfig)
TOGETHER: Keys = dict.fromkeys(TOGETHER_FLAGS, TrainConfig)


def takes(keys: Keys) -> Callable[[Command], Command]:
    """A decorator: in place of the command's parameter ``flags`` the command line has a flag for
    each key; the command gets their values by name, None where a flag was not given."""

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [
            p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()
        ]
        place = [p.name for p in own].index("flags")
        flags = [
            inspect.Parameter(
                n, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_flag(n, keys[n])
            )
            for n in keys
        ]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            command(flags={name: given.pop(name) for name in keys}, **given)

        run.__signature__ = signature.replace(parameters=[*own[:place], *flags, *own[place + 1 :]])  # type: ignore[attr-defined]
        return run

    return decorate


_hints = functools.cache(get_type_hints)  # which takes a millisecond, for each flag


def _flag(name: str, cls: type) -> Any:
    """The flag of a key: its help, its default, and ``CFCLI_<KEY>`` in its place."""
    field = next(f for f in dataclasses.fields(cls) if f.name == name)
    default = (
        ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    )
    hint = _hints(cls)[name]
    return Annotated[
        str | None if name in METAVARS else hint | None,
        typer.Option(
            f"--{name.replace('_', '-')}",
            metavar=METAVARS.get(name),
            help=field.metadata["help"]
            + ("" if default is None or default is False else f" \\[default: {default}]"),
            envvar=f"CFCLI_{name.upper()}",
            show_envvar=False,
        ),
    ]


def is_run(text: str | None) -> bool:
    """Whether an argument names a run rather than what comes after it."""
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
