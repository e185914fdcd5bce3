"""JSON Schemas of all that ``--json`` prints, of errors and of configuration files.

They follow from the dataclasses that are printed and from the keys of the configuration, and their
descriptions from the docstrings. ``python -m cfcli.cli.output.schemas FOLDER`` writes them.
"""

import dataclasses
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from cfcli.cli.output.failure import Failure
from cfcli.cli.output.results import (
    Exported,
    PredictedRow,
    RecommendedRow,
    Reported,
    SimilarRow,
    Written,
)
from cfcli.cli.prepare import KEYS as PREPARED
from cfcli.cli.train import KEYS as TRAINED
from cfcli.core.config.fields import Key, keys_of
from cfcli.core.config.resolve import TABLES
from cfcli.core.data.info import DatasetInfo
from cfcli.core.evaluation.comparison import Comparison
from cfcli.core.evaluation.cross_validation import CrossValidation
from cfcli.core.evaluation.evaluate import Evaluation
from cfcli.core.retraining.doctor import Facts
from cfcli.core.retraining.night import Night
from cfcli.core.retraining.store import RolledBack, StoreStatus
from cfcli.core.runs.info import RunInfo
from cfcli.core.runs.verify import Verification
from cfcli.core.storage.schema import INLINE, LEFT_OUT
from cfcli.core.training.benchmark import Setting, Timing
from cfcli.core.training.plan.advice import Report

Schema: TypeAlias = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
PLAIN = {str: "string", Path: "string", bool: "boolean", int: "integer", float: "number"}
INDENT = re.compile(r"\n {4}(?=\S)")  # where the description of an attribute begins
NAMED = re.compile(r"([a-z0-9_, ]+): (.*)", re.DOTALL)


def schemas() -> dict[str, Schema]:
    """All schemas by name: that of a command has its name."""
    seconds = {"seconds": {"type": "number", "description": "that all of it took"}}
    text = {"type": "string"}
    found = {
        "prepare": _joined(
            {"dataset": text}, _picked(DatasetInfo, [*PREPARED, "attributes"]), seconds
        ),
        "train": _joined({"run": text}, _picked(RunInfo, [*TRAINED, "tried"])),
        "evaluate": of(Evaluation),
        "cross-validate": of(CrossValidation),
        "compare": of(Comparison),
        "bench": _bench(),
        "plan": of(Report),
        "predict": of(PredictedRow),
        "recommend": of(RecommendedRow),
        "similar": of(SimilarRow),
        "written": of(Written),
        "export-embeddings": of(Exported),
        "report": of(Reported),
        "retrain": of(Night),
        "rollback": of(RolledBack),
        "status": of(StoreStatus),
        "verify": of(Verification),
        "doctor": {"type": "object", "additionalProperties": of(Facts)},
        "error": of(Failure),
        "config": _config(),
    }
    return {name: _whole(name, schema) for name, schema in found.items()}


def _whole(name: str, schema: Schema) -> Schema:
    """A schema that stands for itself: what is in it more than once is defined at its end."""
    met: dict[str, list[Schema]] = {}
    _meet(schema, met)
    shared = {}
    for title, found in met.items():
        if len(found) > 1 and all(each == found[0] for each in found):
            shared[title] = found[0]
    whole: Schema = {"$schema": DRAFT, "title": name}
    whole |= _with_references(schema, shared, top=True) | {"title": name}
    if shared:
        definitions = {
            title: _with_references(each, shared, top=True) for title, each in shared.items()
        }
        whole["$defs"] = definitions
    return whole


def _meet(schema: Any, met: dict[str, list[Schema]]) -> None:
    """Collects the schemas of dataclasses in another one, by the names of these."""
    if isinstance(schema, list):
        for part in schema:
            _meet(part, met)
    elif isinstance(schema, dict):
        if isinstance(schema.get("title"), str):
            met.setdefault(schema["title"], []).append(_undescribed(schema))
        for part in schema.values():
            _meet(part, met)


def _undescribed(schema: Schema) -> Schema:
    """The schema of a dataclass, without what is said of the field that holds it."""
    return {name: part for name, part in schema.items() if name != "description"}


def _with_references(schema: Any, shared: dict[str, Schema], *, top: bool = False) -> Any:
    """The schema, where references stand for those that are shared."""
    if isinstance(schema, list):
        return [_with_references(part, shared) for part in schema]
    if not isinstance(schema, dict):
        return schema
    title = schema.get("title")
    if not top and isinstance(title, str) and title in shared:
        said = {"description": schema["description"]} if "description" in schema else {}
        return {"$ref": f"#/$defs/{title}"} | said
    return {name: _with_references(part, shared) for name, part in schema.items()}


def of(kind: Any) -> Schema:
    """The schema of values of a type, as :func:`cfcli.core.storage.schema.to_json` writes them.

    Args:
        kind: a dataclass, or the type of one of its fields.
    """
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if dataclasses.is_dataclass(origin):
        return _of_fields(kind)
    if origin is Annotated:  # a measure, which may be missing
        return {"type": ["number", "null"]}
    if origin in (typing.Union, types.UnionType):
        return _any(of(part) for part in inner)
    if origin is list or (origin is tuple and inner[-1] is ...):
        return {"type": "array", "items": of(inner[0])}
    if origin is tuple:
        return {"type": "array", "prefixItems": [of(part) for part in inner], "items": False}
    if origin is dict:
        return {"type": "object", "additionalProperties": of(inner[1])}
    if origin is Literal:
        return {"enum": list(inner)}
    if kind is type(None):
        return {"type": "null"}
    return {"type": PLAIN[kind]} if kind in PLAIN else {}


def _any(schemas: Iterable[Schema]) -> Schema:
    """One of several schemas, in short where each is only a type."""
    found = list(schemas)
    if all(list(each) == ["type"] and isinstance(each["type"], str) for each in found):
        return {"type": [each["type"] for each in found]}
    return {"anyOf": found}


def _of_fields(kind: Any) -> Schema:
    """The schema of a dataclass, perhaps a generic one."""
    cls = typing.get_origin(kind) or kind
    given = dict(zip(getattr(cls, "__parameters__", ()), typing.get_args(kind), strict=False))
    hints = typing.get_type_hints(cls, include_extras=True)
    said = _described(cls)
    properties: dict[str, Schema] = {}
    required = []
    for part in dataclasses.fields(cls):
        hint = hints[part.name]
        if part.metadata == INLINE:
            inner = next(each for each in typing.get_args(hint) if each is not type(None))
            properties |= of(inner)["properties"]
            continue
        properties[part.name] = of(given.get(hint, hint))
        if part.metadata == LEFT_OUT:
            properties[part.name] = _without_null(properties[part.name])
        else:
            required.append(part.name)
        if part.name in said:
            properties[part.name]["description"] = said[part.name]
    # A title names what may be shared. Nothing has a key called title whose value is a text.
    named = {"title": cls.__name__}
    return named | {"type": "object", "properties": properties, "required": required}


def _without_null(schema: Schema) -> Schema:
    """The schema of a field whose key is not written where it is None."""
    kept = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if kept:
        return kept[0] if len(kept) == 1 else {"anyOf": kept}
    kinds = [each for each in schema["type"] if each != "null"]
    return {"type": kinds[0]}


def _described(cls: type) -> dict[str, str]:
    """What the docstrings of a dataclass and of those it is made from say of its fields."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        _, _, text = (inspect.cleandoc(each.__doc__ or "")).partition("\nAttributes:")
        for entry in INDENT.split(text.partition("\n\n")[0]):
            if match := NAMED.fullmatch(entry):
                for name in match[1].split(", "):
                    found[name] = " ".join(match[2].split())
    return found


def _picked(cls: type, names: Iterable[str]) -> Schema:
    """The schema of a dataclass of which only some keys are printed."""
    whole = of(cls)
    names = [name for name in names if name in whole["properties"]]
    required = [name for name in names if name in whole["required"]]
    properties = {name: whole["properties"][name] for name in names}
    return {"type": "object", "properties": properties, "required": required}


def _joined(first: dict[str, Schema], rest: Schema, last: dict[str, Schema] = {}) -> Schema:  # noqa: B006
    """The schema with other keys before and behind it."""
    properties = first | rest["properties"] | last
    required = [*first, *rest["required"], *last]
    return {"type": "object", "properties": properties, "required": required}


def _bench() -> Schema:
    """As :meth:`cfcli.core.training.benchmark.Benchmark.summary` prints timings: flat."""
    timing = _of_fields(Timing)
    setting = _of_fields(Setting)
    del timing["properties"]["setting"]
    timing["properties"] |= setting["properties"]
    timing["required"] = list(timing["properties"])
    properties = {
        "device": {"type": "string"},
        "rows": {"type": "integer"},
        "results": {"type": "array", "items": timing},
        "best": setting,
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _config() -> Schema:
    """A file for ``--config``: its tables, their keys, and their topics as tables in them."""
    tables = {}
    for name, cls in TABLES.items():
        tables[name] = _table(keys_of(cls).values())
    return {"type": "object", "properties": tables, "additionalProperties": False}


def _table(keys: Iterable[Key]) -> Schema:
    properties: dict[str, Schema] = {}
    for key in keys:
        place = properties
        if key.topic:
            topic = {"type": "object", "properties": {}, "additionalProperties": False}
            place = properties.setdefault(key.topic, topic)["properties"]
        place[key.name] = _of_key(key)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _of_key(key: Key) -> Schema:
    """The values that a key may have in a file, where nothing stands for None."""
    options = [key.hint]
    if typing.get_origin(key.hint) in (typing.Union, types.UnionType):
        options = [each for each in typing.get_args(key.hint) if each is not type(None)]
    schema = _any([_bounded(of(option), key) for option in options])
    if len(options) == 1:
        schema = _bounded(of(options[0]), key)
    schema = schema | {"description": key.facts.help}
    if key.default is not None:
        schema["default"] = key.default
    return schema


def _bounded(schema: Schema, key: Key) -> Schema:
    """A schema of numbers, or of a list of numbers, with the bounds of a key."""
    if schema.get("items"):
        return schema | {"items": _bounded(schema["items"], key)}
    if schema.get("type") not in ("integer", "number"):
        return schema
    facts = key.facts
    names = {
        "minimum": facts.least,
        "exclusiveMinimum": facts.above,
        "exclusiveMaximum": facts.below,
    }
    return schema | {name: bound for name, bound in names.items() if bound is not None}


def texts() -> dict[str, str]:
    """The files of all schemas by their names."""
    return {f"{name}.json": json.dumps(each, indent=2) + "\n" for name, each in schemas().items()}


def write(folder: Path) -> None:
    """Writes all schemas.

    Args:
        folder: for a file of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
