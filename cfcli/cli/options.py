"""Flags that several commands share, and flags made from the keys of a configuration."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cfcli.core.config import PrepareConfig, TrainConfig
from cfcli.core.errors import ConfigError

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
Data = Annotated[Path, typer.Option("--data", help="Dataset made by 'cfcli prepare'.", envvar="CFCLI_DATA")]
RunArgument = Annotated[Path, typer.Argument(metavar="[RUN]", help="Run directory.", show_default=True)]
ExcelSafe = Annotated[
    bool, typer.Option("--excel-safe", help="In CSV, put ' before texts that a spreadsheet would run as formulas.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file with defaults; flags win over it.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of the configuration; repeatable.")
]


def key(cls: type[PrepareConfig] | type[TrainConfig], name: str, *, metavar: str | None = None) -> Any:
    """The flag of a configuration's key: its help, its default, and ``CFCLI_<KEY>`` in its place."""
    field = next(f for f in dataclasses.fields(cls) if f.name == name)
    default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    shown = "" if default is None or default is False else f" \\[default: {default}]"
    return typer.Option(
        f"--{name.replace('_', '-')}",
        metavar=metavar,
        help=field.metadata["help"] + shown,
        envvar=f"CFCLI_{name.upper()}",
        show_envvar=False,
    )


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
