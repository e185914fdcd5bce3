"""The rules that keep the two floors apart, read off the imports."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cfcli"
FILES = sorted(PACKAGE.rglob("*.py"))
# Each module may import modules of its own row and of the rows above it.
ROWS = [
    ["errors"],
    ["config", "ids", "publishing", "manifests"],
    ["ranks", "planning"],
    ["sources", "lines", "columns", "checks", "splits", "spool"],
    ["blocks"],
    [
        "text",
        "parquet",
        "ratings",
        "items",
        "selection",
        "tables",
        "dataset",
        "batches",
        "streaming",
        "movielens",
        "preparation",
    ],
    ["models"],
    ["metrics", "predictor"],
    ["epochs"],
    ["solvers"],
    ["training", "lightly"],
    ["outputs", "runs"],
    ["warm_start"],
    ["fitting"],
    ["prediction", "recommendation"],
    ["evaluation", "neighbors", "embeddings"],
    ["store", "gate"],
    ["retraining", "verification", "textfile"],
    ["benchmark", "diagnostics"],
    ["charts", "commands", "itemmap"],
    ["plots", "svg"],
    ["report"],
]
HEAVY = {"torch", "pytorch_lightning", "sklearn", "matplotlib", "pandas", "pyarrow", "polars", "numpy"}


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Dotted names of all modules that a file imports, ``from a import b`` as ``a.b``."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def row_of(name: str) -> int:
    return next(k for k, row in enumerate(ROWS) if name in row)


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_library_stays_on_its_floor(path: Path) -> None:
    used = roots(imports(path))
    place = path.relative_to(PACKAGE).parts
    if place[0] != "cli":
        assert not used & {"typer", "rich"}
    if place not in {("core", "training.py")} and place[:2] != ("core", "solvers"):
        assert not used & {"pytorch_lightning", "lightning", "lightning_fabric"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").rglob("*.py")), ids=lambda p: p.stem)
def test_imports_in_core_go_one_way(path: Path) -> None:
    name = path.relative_to(PACKAGE / "core").parts[0].removesuffix(".py")
    if name == "__init__":
        return
    for imported in imports(path):
        assert not imported.startswith("cfcli.cli")
        if imported.startswith("cfcli.core."):
            other = imported.split(".")[2]
            assert other == name or row_of(other) <= row_of(name), f"{name} imports {other}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda p: p.stem)
def test_commands_import_nothing_heavy_at_start(path: Path) -> None:
    names = imports(path, top_level_only=True)
    assert not roots(names) & HEAVY
    assert {n for n in names if n.startswith("cfcli.core")} <= {
        n for n in names if n.split(".")[2:3] in (["config"], ["errors"])
    }


def test_core_never_prints_and_never_exits() -> None:
    for path in (PACKAGE / "core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"print", "exit", "sys.exit", "os._exit", "quit"}, f"{path}:{node.lineno}"


def test_every_module_has_a_place() -> None:
    core = {path.stem if path.is_file() else path.name for path in (PACKAGE / "core").iterdir()}
    placed = {name for row in ROWS for name in row}
    assert core - {"__init__", "__pycache__"} == placed
