"""docs/schemas describes what --json prints, and what configuration files hold."""

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from shell import run_cfcli

from cfcli.cli.app import COMMANDS
from cfcli.cli.output.schemas import schemas, texts

ROOT = Path(__file__).parents[2]
QUICK = ("--epochs", "2", "--no-interest")
# A command line for each command, in this order, in a copy of the folder ``project``.
LINES = (
    "prepare ratings.csv --items movies.csv --force", f"train --out new --no-plots {' '.join(QUICK)}",
    "evaluate base --no-plots", "compare base new", "plan", "export-embeddings base",
    "report base --out page.html", "verify base", "doctor base", "predict base ratings.csv --std",
    "recommend base --user 1 --why 1", "similar base 1",
    "bench --sweep threads --threads 1 --sample 200 --repeats 1",
    f"cross-validate ratings.csv --folds 2 {' '.join(QUICK)}",
    f"retrain ratings.csv --store S {' '.join(QUICK)}",
    f"retrain ratings.csv --store S --tolerance 9 --tolerance-lists 1 --dim 4 {' '.join(QUICK)}", "status --store S",
    "rollback --store S",
)  # fmt: skip
# Whose objects also have columns that the user named.
ROWS = ("predict", "recommend", "similar")


def strict(schema: Any, *, is_open: bool = False) -> Any:
    """The schema, but with no other keys than it names; those of a row are open."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(part) for name, part in schema.items()}
    if "properties" in schema:
        parts = {name: strict(part) for name, part in schema["properties"].items()}
        closed["properties"] = parts
        if not is_open:
            closed["additionalProperties"] = False
    return closed


def faults(name: str, found: object) -> list[str]:
    """What of an output its schema does not allow."""
    validator = Draft202012Validator(strict(schemas()[name], is_open=name in ROWS))
    return [
        f"{name}: {error.json_path}: {error.message[:200]}"
        for error in validator.iter_errors(found)
    ]


@pytest.fixture
def place(project: Path, tmp_path: Path) -> Path:
    shutil.copytree(project, tmp_path / "place", symlinks=True)
    return tmp_path / "place"


def test_the_files_are_up_to_date() -> None:
    """Else: python -m cfcli.cli.output.schemas docs/schemas"""
    folder = ROOT / "docs" / "schemas"
    assert {path.name: path.read_text() for path in folder.glob("*.json")} == texts()


def test_every_command_has_a_schema_that_is_one() -> None:
    found = schemas()
    assert set(COMMANDS) <= set(found)
    for schema in found.values():
        Draft202012Validator.check_schema(schema)


def test_what_commands_print_is_as_their_schemas_say(place: Path) -> None:
    assert {line.split()[0] for line in LINES} == set(COMMANDS)
    wrong = []
    for line in LINES:
        name, *args = line.split()
        done = run_cfcli(name, *args, "--json", "-q", cwd=place)
        assert (done.returncode, done.stderr) == (0, ""), line
        for text in done.stdout.splitlines()[:3]:
            wrong += faults(name, json.loads(text))
    done = run_cfcli(
        "recommend", "base", "--user", "1", "--out", "r.csv", "--json", "-q", cwd=place
    )
    assert wrong + faults("written", json.loads(done.stdout)) == []


def test_an_error_is_one_object(project: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("user,item,rating\n1,1,3\n1,2,much\n")
    for line, expected in {
        "prepare bad.csv": (3, "input", "bad.csv", 3, "rating"),
        "prepare nothing.csv": (4, "machine", "nothing.csv", None, None),
        "evaluate nowhere": (7, "artifact", None, None, None),
        "train --set dim=0": (2, "config", None, None, None),
        "train --dimm 3": (2, "usage", None, None, None),
        "trian": (2, "usage", None, None, None),
        f"evaluate {project}/base --no-plots --max-mse 1e-9": (6, "gate", None, None, None),
    }.items():
        done = run_cfcli(*line.split(), "--json", "-q", cwd=tmp_path)
        found = json.loads(done.stderr)
        assert faults("error", found) == []
        keys = ("code", "kind", "file", "line", "column")
        assert tuple(found[key] for key in keys) == expected, found
        assert done.returncode == found["code"]
    # Behind -- it is no flag, but the name of a file.
    done = run_cfcli("prepare", "--", "--json", cwd=tmp_path)
    assert done.stderr.startswith("error: --json: No such file")


def test_configuration_files_are_as_their_schema_says() -> None:
    for path in (ROOT / "configs").glob("*.toml"):
        assert faults("config", tomllib.loads(path.read_text())) == []
    assert faults("config", {"train": {"dim": "auto", "adam": {"learning_rate": 0.01}}}) == []
    for table in (
        {"train": {"dim": 0}}, {"train": {"dims": 3}}, {"train": {"adam": {"learning_rate": 0}}},
        {"train": {"model": "svd"}}, {"trian": {}}, {"prepare": {"rating_range": [1, 2, 3]}},
    ):  # fmt: skip
        assert len(faults("config", table)) == 1, table
