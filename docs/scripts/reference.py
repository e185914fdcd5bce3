"""Writes docs/reference.md from the code: commands, flags, settings, JSON keys and exit codes.

python docs/scripts/reference.py            # writes the page
python docs/scripts/reference.py --check    # exits with 1 where the page is out of date
"""

import argparse
import dataclasses
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import typer

from cfcli.cli.app import COMMANDS, app
from cfcli.core import errors
from cfcli.core.config.fields import Key, keys_of
from cfcli.core.config.prepare import FORM, PrepareConfig
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.info import Attribute, DatasetInfo
from cfcli.core.evaluation.comparison import Comparison
from cfcli.core.evaluation.cross_validation import CrossValidation
from cfcli.core.evaluation.evaluate import Evaluation
from cfcli.core.pair import Pair
from cfcli.core.retraining import prometheus
from cfcli.core.retraining.night import Night
from cfcli.core.retraining.store import RolledBack, StoreStatus
from cfcli.core.runs.info import RunInfo, Tried
from cfcli.core.runs.verify import Verification
from cfcli.core.training.benchmark import Benchmark, Setting, Timing
from cfcli.core.training.plan.advice import Report

PAGE = Path(__file__).parents[1] / "reference.md"
SCHEMAS = PAGE.parent / "schemas"
KEYS: dict[str, dict[str, Key]] = {
    "prepare": dict(keys_of(PrepareConfig)),
    "train": dict(keys_of(TrainConfig)),
}
Row = tuple[str, ...]

HEAD = """\
# Reference

<!-- Made by `python docs/scripts/reference.py`. Change the code, not this page. -->

All commands, flags, settings, JSON keys and exit codes of cfcli, generated from its code. The other
pages say what they are good for; the help of each command (`cfcli COMMAND --help`) has the same source.

**Where a setting comes from.** From its flag, or else from the environment variable `CFCLI_<KEY>`
(`CFCLI_DIM=16`), or else from the file of `--config`, or else it is the default. `--set KEY=VALUE`
counts as a flag and reaches every key, also those that have no flag.

**In all commands:** `--json` prints the result as one JSON object, or as JSON lines where it is rows.
`--quiet` (`-q`) prints only errors on stderr. `--help` shows the help and `--help-all` every flag.
"""

ENVIRONMENT = """\
## Environment variables

| variable | what it does |
|---|---|
| `CFCLI_<KEY>` | a setting, such as `CFCLI_DIM=16`; for a list write `1,2` |
| `CFCLI_DATA`, `CFCLI_STORE` | the folders of `--data` (and `--out` of `prepare`) and of `--store` |
| `CFCLI_CACHE` | folder for downloaded data sets |
| `CFCLI_MOVIELENS_URL` | address of a mirror of the MovieLens files |
| `CFCLI_ALLOW_WORLD_WRITABLE=1` | use runs and stores in folders that everybody may write to |
| `CFCLI_DEBUG=1` | print the traceback of a bug |
| `CFCLI_LINES_EVERY` | seconds between two lines of epochs in a pipe, by default 60 |
| `OMP_NUM_THREADS`, `POLARS_MAX_THREADS` | threads of PyTorch and NumPy, and of Polars |
| `GOMP_SPINCOUNT`, `OMP_WAIT_POLICY` | how threads wait; cfcli sets the first to 1000 where neither is set |
| `NO_COLOR`, `CI`, `TERM=dumb` | no colours; no moving progress; neither |
"""

EXIT_CODES = {
    0: "success",
    1: "a bug: please report it with what `CFCLI_DEBUG=1` shows and what `cfcli doctor` prints",
    2: "usage: an invalid flag, key or value",
    3: "input rejected: not ratings, bad rows, too few rows, unknown ids",
    4: "environment: permission, disk full, no such file or device, no network, missing package, too "
    "little memory, too few threads allowed",
    5: "another process writes the same output, or works in the same store",
    6: "a required threshold was missed, the training diverged, or the new model is not as good as "
    "the one in use",
    7: "a dataset or run is missing, damaged, incompatible, or writable for everybody",
    8: "the model in use is older than `status --max-age` allows",
}

# What --json prints, as far as it is the fields of a dataclass: the names of some of them, or all.
FIELDS: dict[str, tuple[type, list[str] | None]] = {
    "prepare": (DatasetInfo, [*import_module("cfcli.cli.prepare").KEYS, "attributes"]),
    "plan": (Report, None),
    "train": (RunInfo, [*import_module("cfcli.cli.train").KEYS, "tried"]),
    "evaluate": (Evaluation, None),
    "cross-validate": (CrossValidation, None),
    "compare": (Comparison, None),
    "bench": (Benchmark, None),
    "retrain": (Night, None),
    "rollback": (RolledBack, None),
    "status": (StoreStatus, None),
    "verify": (Verification, None),
}
# Keys that are no fields: the key, its kind, what it means.
OTHERS: dict[str, list[Row]] = {
    "prepare": [
        ("dataset", "text", "folder of the dataset"),
        ("seconds", "number", "that all of it took"),
    ],
    "train": [("run", "text", "folder of the run")],
    "predict": [
        ("…", "", "one object for each row: all columns of the input, the ids as texts"),
        ("prediction", "number or null", "predicted rating"),
        ("source", "text", "what it rests on, see [predictions](predictions.md)"),
        ("std", "number or null", "with `--std`: expected error of the prediction"),
        ("p_1 …", "number or null", "with `--probabilities`: probability of each rating"),
        ("file, rows", "text, number", "with `--out FILE`, one object instead"),
    ],
    "recommend": [
        ("…", "text", "one object for each row: the user id and the item id under their own names"),
        ("rank", "number", "place in the list, from 1"),
        ("score", "number", "what the order is by"),
        ("prediction", "number or null", "predicted rating"),
        ("ratings", "number", "training ratings of the item"),
        ("title", "text or null", "where titles are known"),
        ("because", "list of texts", "with `--why`: the rated items that speak most for it"),
        ("file, rows, users", "text, numbers", "with `--out FILE`, one object instead"),
    ],
    "similar": [
        ("query", "text", "one object for each row: the id that was asked for"),
        ("…", "text", "the item id under its own name"),
        ("rank", "number", "place, from 1"),
        ("score", "number", "similarity"),
        ("ratings", "number", "training ratings of the item"),
        ("title", "text or null", "where titles are known"),
    ],
    "export-embeddings": [
        ("files", "list of texts", "files that were written"),
        ("rows", "number", "vectors in them"),
        ("dim", "number", "dimension of the vectors"),
        ("entity", "text", "`items`, `users` or `both`"),
    ],
    "report": [
        ("report", "text", "the page"),
        ("bytes", "number", "its size"),
        ("runs", "list of objects", "of each run its folder `run` and the `items` on its map"),
    ],
    "doctor": [
        ("…", "object", "an object for each topic, such as `versions` and `machine`"),
        ("problems", "object", "why there is no answer, by topic and name"),
    ],
}


def page() -> str:
    """The whole page."""
    seen: list[type] = []
    parts = [HEAD, _list_of_commands(), _cfcli()]
    parts += [_command(name, seen) for name in COMMANDS]
    parts += [_settings(), _objects(seen), ENVIRONMENT, _metrics(), _exit_codes()]
    return "\n".join(parts)


def _list_of_commands() -> str:
    rows = []
    for name, topic in COMMANDS.items():
        first = _docstring(_function(name)).split("\n\n")[0]
        rows.append((f"[`cfcli {name}`](#cfcli-{name})", topic.lower(), _joined(first)))
    return "## Commands\n\n" + _table(("command", "to", "what it does"), rows)


def _cfcli() -> str:
    """The section of what comes before a command."""
    root = app.registered_callback
    assert root is not None
    assert root.callback is not None
    parameters = inspect.signature(root.callback).parameters.values()
    found = [(parameter, _info_of(parameter)) for parameter in parameters]
    rows = [_flag_row(parameter, info) for parameter, info in found if info is not None]
    return "### cfcli\n\n" + _table(("flag", "value", "default", "what it does"), rows)


def _info_of(parameter: inspect.Parameter) -> typing.Any:
    """What Typer is told about a parameter, beside its type or in the place of its default; None
    where it is told nothing."""
    parts = (*typing.get_args(parameter.annotation), parameter.default)
    return next((part for part in parts if isinstance(part, typer.models.ParameterInfo)), None)


def _function(name: str) -> typing.Callable[..., None]:
    function = name.replace("-", "_")
    found: typing.Callable[..., None] = getattr(import_module(f"cfcli.cli.{function}"), function)
    return found


def _docstring(thing: object) -> str:
    return inspect.getdoc(thing) or ""


def _command(name: str, seen: list[type]) -> str:
    """The section of a command."""
    text, *examples = re.split(r"\bExamples?:\s+", _docstring(_function(name)))
    arguments, own, shared = [], [], set()
    for parameter in inspect.signature(_function(name)).parameters.values():
        info = _info_of(parameter)
        topic = _topic_of(parameter.name, info)
        if isinstance(info, typer.models.ArgumentInfo):
            arguments.append((f"`{info.metavar or parameter.name}`", _prose(info.help or "")))
        elif topic:
            shared.add((topic, parameter.name))
        elif parameter.name not in ("json", "quiet"):
            own.append(_flag_row(parameter, info))
    lines = [f"$ {line.strip()}" for part in examples for line in part.strip().splitlines()]
    shown = "\n".join(["```console", *lines, "```\n"])
    parts = [f"### cfcli {name}\n\n{_prose(text.strip())}\n\n{shown}"]
    if arguments:
        parts.append(_table(("argument", "what it is"), arguments))
    if own:
        parts.append(_table(("flag", "value", "default", "what it does"), own))
    if shared:
        parts.append(_shared(shared))
    parts.append(_json(name, seen))
    return "\n".join(parts)


def _topic_of(name: str, info: typer.models.ParameterInfo) -> str:
    """The configuration that a flag sets a key of, or nothing."""
    for command, keys in KEYS.items():
        if name in keys and (info.help or "").startswith(keys[name].facts.help):
            return command
    return ""


def _flag_row(parameter: inspect.Parameter, info: typing.Any) -> Row:
    hint = (typing.get_args(parameter.annotation) or (parameter.annotation,))[0]
    # Within Annotated, what Typer calls the default is the first spelling.
    first = (info.default,) if isinstance(info.default, str) else ()
    spellings = (*first, *(info.param_decls or ())) or (f"--{parameter.name.replace('_', '-')}",)
    default = info.show_default if isinstance(info.show_default, str) else ""
    if not default and info is not parameter.default:
        default = _shown(parameter.default)
    kind = "path" if Path in (hint, *typing.get_args(hint)) else _kind(hint, [])
    value = info.metavar or ("" if _is_flag(hint) else kind.removesuffix(" or null"))
    named = ", ".join(f"`{spelling}`" for spelling in spellings)
    return named, _prose(str(value)), _prose(default), _prose(info.help or "")


def _is_flag(hint: object) -> bool:
    return hint is bool or bool in typing.get_args(hint)


def _shown(default: object) -> str:
    """A default as the command line would have it."""
    if default is None or default is False or default is inspect.Parameter.empty:
        return ""
    if default is True:
        return "true"
    if isinstance(default, tuple):
        return ",".join(str(part) for part in default)
    return str(default)


def _shared(shared: set[tuple[str, str]]) -> str:
    """A sentence on the flags that a command has in common with others."""
    names = {command: {name for topic, name in shared if topic == command} for command in KEYS}
    sentences = []
    if names["prepare"] == set(FORM):
        sentences.append(
            "The flags that say what [form the files have](#prepare-the-form-of-files) are taken, "
            "too. Without them the run's own names and form count."
        )
    elif names["prepare"]:
        sentences.append(_all_but("[prepare](#prepare)", KEYS["prepare"], names["prepare"]))
    with_flag = {name: key for name, key in KEYS["train"].items() if key.facts.flag}
    if len(names["train"]) > len(with_flag) / 2:
        sentences.append(_all_but("[train](#train)", with_flag, names["train"]))
    elif names["train"]:
        flags = ", ".join(f"`{KEYS['train'][name].spelling}`" for name in sorted(names["train"]))
        sentences.append(f"Of the settings of [train](#train) it takes {flags}.")
    return "\n".join(sentences) + "\n"


def _all_but(link: str, keys: Iterable[str], taken: set[str]) -> str:
    missing = [name for name in keys if name not in taken]
    but = f" but {', '.join(f'`{name}`' for name in missing)}" if missing else ""
    return f"Takes the flags of all settings of {link}{but}."


def _json(name: str, seen: list[type]) -> str:
    """The table of the keys that ``--json`` prints."""
    rows = list(OTHERS.get(name, ()))
    cls, names = FIELDS.get(name, (None, None))
    if cls is not None:
        rows += _field_rows(cls, seen, names)
    rows = [(f"`{key}`" if key != "…" else key, *rest) for key, *rest in rows]
    return "`--json` prints:\n\n" + _table(("key", "value", "what it is"), rows)


def _field_rows(cls: type, seen: list[type], names: list[str] | None = None) -> list[Row]:
    """Name, kind and meaning of the fields of a dataclass."""
    texts = _attributes(cls)
    hints = typing.get_type_hints(cls, include_extras=True)
    rows = []
    for part in dataclasses.fields(cls):
        if names is not None and part.name not in names:
            continue
        text = texts.get(part.name, "")
        if part.metadata.get("left out"):
            text += " (left out where there is none)"
        if part.metadata.get("inline"):
            inner = next(
                kind for kind in typing.get_args(hints[part.name]) if kind is not type(None)
            )
            rows += _field_rows(inner, seen)
            continue
        rows.append((part.name, _kind(hints[part.name], seen), text))
    return rows


def _attributes(cls: type) -> dict[str, str]:
    """What the docstrings of a dataclass and its bases say of its fields."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, _, section = _docstring(base).partition("Attributes:\n")
        for names, text in re.findall(r"^    ([\w, ]+): (.*?)(?=^    \w|\Z)", section, re.M | re.S):
            for name in names.split(", "):
                found[name] = _prose(text).rstrip(".,")
    return found


def _kind(hint: typing.Any, seen: list[type]) -> str:
    """A type in words; objects are links to their tables and are added to ``seen``."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:  # a measure
        return "number or null"
    if origin in (typing.Union, types.UnionType):
        kinds = [_kind(part, seen) for part in inner if part is not type(None)]
        return " or ".join(dict.fromkeys(kinds + ["null"] * (type(None) in inner)))
    if origin is typing.Literal:
        return " or ".join(f"`{part}`" for part in inner)
    if origin is Pair or hint is Pair:
        return f"object of `user` and `item`, each {_kind(inner[0], seen)}"
    if origin is dict:
        return f"object, by name: {_kind(inner[1], seen)}"
    if origin in (list, tuple):
        return f"list: {_kind(inner[0], seen)}"
    if hint in (Timing, Setting):  # flat in JSON
        return "object"
    if dataclasses.is_dataclass(hint):
        if hint not in seen:
            seen.append(typing.cast(type, hint))
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    if hint is bool:
        return "true or false"
    return {int: "number", float: "number", str: "text", Path: "text"}.get(hint, "any")


def _settings() -> str:
    """The tables of all keys of the configuration."""
    parts = [
        "## Settings\n\nThe tables of a configuration file and their keys. A key with a flag is "
        "set by it, every key by `--set`.\n"
    ]
    for command, keys in KEYS.items():
        if command == "prepare":
            form = {name: key for name, key in keys.items() if name in FORM}
            rest = {name: key for name, key in keys.items() if name not in FORM}
            parts += ["### prepare\n", _key_table(rest), "### prepare, the form of files\n"]
            parts.append(_key_table(form))
            continue
        topics = dict.fromkeys(key.topic for key in keys.values())
        for topic in topics:
            head = f"{command}.{topic}" if topic else command
            own = {name: key for name, key in keys.items() if key.topic == topic}
            parts += [f"### {head}\n", _key_table(own)]
    return "\n".join(parts)


def _key_table(keys: dict[str, Key]) -> str:
    rows = []
    for name, key in keys.items():
        flag = f"`{key.spelling}`" if key.facts.flag else ""
        if flag and key.default is None and key.hint in (bool, bool | None):
            flag += f", `--no-{name.replace('_', '-')}`"
        default = f"`{shown}`" if (shown := _shown(key.default)) else ""
        value = key.facts.metavar or _kind(key.hint, []).removesuffix(" or null")
        rows.append((f"`{name}`", flag, _prose(value), default, _prose(key.facts.help)))
    return _table(("key", "flag", "value", "default", "what it does"), rows)


def _objects(seen: list[type]) -> str:
    """The tables of the objects within the output of ``--json``."""
    parts = ["## Objects in JSON\n"]
    if SCHEMAS.is_dir():
        parts.append(
            "The folder `docs/schemas` of the repository has a JSON Schema of each output.\n"
        )
    for cls in [Attribute, Tried, *seen]:
        if cls not in seen:
            seen.append(cls)
    for cls in seen:  # grows while it is read
        rows = [(f"`{key}`", *rest) for key, *rest in _field_rows(cls, seen)]
        text = _prose(_docstring(cls).split("\n\n")[0])
        table = _table(("key", "value", "what it is"), rows)
        parts.append(f"### {cls.__name__}\n\n{text}\n\n{table}")
    return "\n".join(parts)


def _metrics() -> str:
    rows = [(f"`cfcli_{name}`", text) for name, text in prometheus.HELP.items()]
    text = "`retrain --metrics-file` writes these gauges, with the label `store`.\n\n"
    return "## Metrics\n\n" + text + _table(("metric", "what it is"), rows)


def _exit_codes() -> str:
    rows = [(str(code), text) for code, text in EXIT_CODES.items()]
    rows.append(("128+N", "stopped by signal N: SIGINT 130, SIGTERM 143, SIGHUP 129, SIGPIPE 141"))
    classes = [part for part in vars(errors).values() if inspect.isclass(part)]
    known = {part.exit_code for part in classes if issubclass(part, errors.CfcliError)}
    if not known <= set(EXIT_CODES):
        raise RuntimeError(f"exit codes without words: {known - set(EXIT_CODES)}")
    text = "[Troubleshooting](troubleshooting.md) has the messages by exit code.\n\n"
    parts = ["## Exit codes\n\n" + text + _table(("code", "meaning"), rows)]
    kinds = {part.kind: part for part in classes if hasattr(part, "kind")}
    kinds.pop("bug", None)  # the base class
    if kinds:
        parts.append(
            "## Kinds of errors\n\nWith `--json`, an error is one JSON object on stderr. Its key "
            "`kind` is one of these.\n"
        )
        rows = [
            (f"`{kind}`", _prose(_docstring(part).split("\n\n")[0])) for kind, part in kinds.items()
        ]
        rows += [
            ("`usage`", "A command line that cannot be read."),
            ("`bug`", "A mistake in cfcli."),
        ]
        parts.append(_table(("kind", "what is wrong"), rows))
    return "\n".join(parts)


def _table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """A text that does not end the cell of a table that it stands in."""
    return text.replace("\\|", "|").replace("|", "\\|").strip()


def _joined(text: str) -> str:
    return " ".join(text.split())


def _prose(text: str) -> str:
    """A text of the code as Markdown: paragraphs, and no roles of reStructuredText."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text.replace("``", "`"))
    text = text.replace("\\[", "[").replace("<", "&lt;")
    text = re.sub(r"\bNone\b", "null", text)
    text = re.sub(r"(?<![`\w-])(--[a-z][a-z-]+)", r"`\1`", text)
    return "\n\n".join(_joined(part) for part in text.split("\n\n"))


def main() -> None:
    """The script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    text = page()
    if parser.parse_args().check:
        sys.exit(PAGE.read_text() != text)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
