"""Flags that several commands share, and flags made from the keys of a configuration."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from cfcli.core.config import PrepareConfig, TrainConfig

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
Data = Annotated[Path, typer.Option("--data", help="Dataset made by 'cfcli prepare'.", envvar="CFCLI_DATA")]
RunArgument = Annotated[Path, typer.Argument(metavar="[RUN]", help="Run directory.", show_default=True)]
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
