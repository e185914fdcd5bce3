"""What a mistyped command, flag or value is answered with: plain words, and the nearest right
one."""

import difflib
from collections.abc import Iterable
from typing import Any

from cfcli.core.config.fields import keys_of
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.train import TrainConfig

# What other programs call it.
COMMANDS = {
    "fit": "train",
    "test": "evaluate",
    "neighbors": "similar",
    "neighbours": "similar",
    "import": "prepare",
    "split": "prepare",
    "tune": "bench",
}
FLAGS = {
    "--factors": "--dim",
    "--rank": "--dim",
    "--size": "--dim",
    "--iterations": "--epochs",
    "--n-iter": "--epochs",
    "--reg": "--l2",
    "--weight-decay": "--l2",
    "--gpu": "--device",
    "--cuda": "--device",
    "--layers": "--hidden",
    "--algorithm": "--model",
    "--output": "--out",
    "-o": "--out",
    "--input": "--data",
}
LENGTHS = ("--k", "--n", "--top", "--top-k", "-k")  # of a list: -n here, --top in evaluate


def message_of(error: Any, command: str) -> str:
    """What click says about a command line, in plain words and with a way out.

    Args:
        error: that click raised.
        command: the name of the command; empty where there is none.
    """
    message = _in_plain_words(error, command)
    is_word = message[:1].isupper() and message[1:2].islower()  # and no name such as RATINGS
    return message[:1].lower() + message[1:] if is_word else message  # as other messages begin


def _in_plain_words(error: Any, command: str) -> str:
    path = f"cfcli {command}".rstrip()
    see = f"; see '{path} --help'"
    context = getattr(error, "ctx", None)
    if hasattr(error, "possibilities"):
        params = context.command.get_params(context) if context else []
        return _unknown_flag(error.option_name, params) or f"{error.message}{see}"
    cause = error.__cause__
    if hasattr(cause, "errors"):  # of pydantic, which checks values for Typer
        flag = max(error.param.opts, key=len)
        name = flag if flag.startswith("-") else error.param.metavar or flag
        message = f"{name}: {_wrong_value(cause.errors()[0], _choices(error.param))}"
    else:
        message = error.format_message().rstrip(".")
    if context is not None and getattr(error, "param", None) is not None:
        message += _origin(error.param, context)
    message = message.replace("Got unexpected extra argument(s) (", "unexpected arguments (")
    message = message.replace("requires an argument", "needs a value")
    return message if "did you mean" in message else f"{message}{see}"


def _origin(param: Any, context: Any) -> str:
    """Where a value is from, if it was not given on the command line."""
    source = context.get_parameter_source(param.name)
    if source is None or source.name != "ENVIRONMENT":
        return ""
    return f" (from the environment variable {param.envvar})"


def nearest_command(name: str, commands: Iterable[str]) -> str:
    """``; did you mean 'train'?``, or nothing where no command is like it.

    Args:
        name: that was given.
        commands: all that there are.
    """
    known = list(commands)
    near = [COMMANDS[name]] if name in COMMANDS else _near(name, known)
    return f"; did you mean {' or '.join(repr(each) for each in near)}?" if near else ""


def _unknown_flag(name: str, params: Iterable[Any]) -> str:
    """What to say of a flag that the command does not have; nothing where that is not known."""
    flags = [opt for param in params for opt in (*param.opts, *param.secondary_opts)]
    flags = [flag for flag in flags if flag.startswith("-")]
    if name[1:].isdecimal():
        return f"no such option: {name} (ids that begin with - stand behind --)"
    meant = [FLAGS[name]] if name in FLAGS else ["-n", "--top"] * (name in LENGTHS)
    for flag in meant:
        if flag in flags:
            return f"no such option: {name}; did you mean {flag}?"
    key = name.strip("-").replace("-", "_")
    spelling = f"--{key.replace('_', '-')}"
    for command, config in (("train", TrainConfig), ("prepare", PrepareConfig)):
        known = keys_of(config).get(key)
        if known and known.facts.flag and spelling not in flags:
            return f"no such option: {name} (it is one of 'cfcli {command}')"
        if known and not known.facts.flag and "--solver" in flags:
            return f"{name} has no flag; write --set {key}=VALUE"
    near = _near(name.strip("-"), [flag.strip("-") for flag in flags if flag.startswith("--")])
    near = near[:2]
    if not near:
        return ""
    return f"no such option: {name}; did you mean {' or '.join(f'--{flag}' for flag in near)}?"


def _near(name: str, known: list[str]) -> list[str]:
    """Names that are nearly, begin with, or whose words begin with the letters of ``name``."""
    plain = name.replace("_", "-").lower()
    initials = [each for each in known if "".join(part[:1] for part in each.split("-")) == plain]
    if len(plain) > 1 and initials:
        return initials
    near = difflib.get_close_matches(plain, known, n=2, cutoff=0.7)
    if near:
        return near
    parts = [each for each in known if len(plain) > 2 and plain in each]
    return parts[:2]


def _choices(param: Any) -> list[str]:
    """The values that a flag takes, where they are few."""
    found = param.type_descriptor.choices
    return [str(choice) for choice in found or ()]


def _wrong_value(found: Any, choices: list[str]) -> str:
    """What is wrong with a value.

    Args:
        found: an error of pydantic.
        choices: the values that there are, where they are few.
    """
    value, kind, limits = found["input"], found["type"], found.get("ctx", {})
    if choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return f"'{value}' is not one of {', '.join(choices)}{hint}"
    if kind.startswith("int"):
        return f"'{value}' is not a whole number"
    if kind.startswith(("float", "finite")):
        return f"'{value}' is not a number"
    for name, words in (("ge", "below"), ("gt", "not above"), ("le", "above"), ("lt", "not below")):
        if name in limits:
            return f"{value} is {words} {limits[name]:g}"
    return f"'{value}' is not valid"
