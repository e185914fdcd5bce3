"""The rules that keep the rooms of the code in order, read off the imports."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "cfcli"
FILES = sorted(PACKAGE.rglob("*.py"))
# A room may import rooms further left, never one to its right or one beside it.
ORDER = (
    "errors, pair, threads, words < config, storage < inputs, models, metrics < data < training < runs < serving"
    " < evaluation < retraining, reporting < cli"
)
MOST_MODULES = 23  # in a folder: what one takes in at a glance
HEAVY = {
    "torch",
    "pytorch_lightning",
    "sklearn",
    "matplotlib",
    "pandas",
    "pyarrow",
    "polars",
    "numpy",
}
LEVELS = {room.strip(): k for k, level in enumerate(ORDER.split("<")) for room in level.split(",")}


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Dotted names of all that a file imports, ``from a import b`` as ``a.b``."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_modules(path: Path) -> set[str]:
    """The modules of the project that a file imports, also where it imports names from them."""
    found = set()
    for name in imports(path):
        if not name.startswith("cfcli"):
            continue
        found.add(name if name in MODULES else name.rpartition(".")[0])
    return found & set(MODULES)


def room_of(module: str) -> str | None:
    """The room that a module is in; None for packages that only hold rooms."""
    parts = module.split(".")
    if parts[:2] == ["cfcli", "core"]:
        return parts[2] if len(parts) > 2 else None
    return parts[1] if parts[1:2] == ["cli"] else None


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_every_room_has_a_place_in_the_order() -> None:
    core = {path.stem for path in (PACKAGE / "core").iterdir() if not path.name.startswith("__")}
    assert core | {"cli"} == set(LEVELS)


def test_rooms_import_rooms_to_their_left_only() -> None:
    wrong = []
    for module, path in MODULES.items():
        room = room_of(module)
        for other in own_modules(path) if room else ():
            to = room_of(other)
            if to and to != room and LEVELS[to] >= LEVELS[room]:
                wrong.append(f"{module} imports {other}")
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: own_modules(path) - {module} for module, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_a_folder_holds_what_one_takes_in_at_a_glance() -> None:
    crowded = {}
    for folder in {path.parent for path in FILES}:
        n = len(list(folder.glob("*.py")))
        if n > MOST_MODULES:
            crowded[str(folder)] = n
    assert crowded == {}


def test_libraries_stay_in_their_rooms() -> None:
    wrong = []
    for module, path in MODULES.items():
        used = roots(imports(path))
        room = room_of(module)
        if room != "cli" and used & {"typer", "rich"}:
            wrong.append(f"{module} imports the command line's libraries")
        if room != "training" and used & {"pytorch_lightning", "lightning", "lightning_fabric"}:
            wrong.append(f"{module} imports Lightning")
    assert wrong == []


def test_libraries_whose_private_parts_are_used_have_an_upper_bound() -> None:
    names = {"pl": "polars", "np": "numpy", "pa": "pyarrow", "lightning": "pytorch-lightning"}
    names |= {name: name for name in ("torch", "polars", "scipy", "typer", "rich")}
    used = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
                used.add(names.get(ast.unparse(node).split(".")[0]))
    used.discard(None)
    assert "torch" in used
    pyproject = (PACKAGE.parent / "pyproject.toml").read_text()
    assert [name for name in used if not re.search(rf'"{name}>=[\d.]+,<', pyproject)] == []


def test_commands_import_nothing_heavy_at_start() -> None:
    wrong = []
    for path in (PACKAGE / "cli").glob("*.py"):
        names = imports(path, top_level_only=True)
        own = {name for name in names if name.startswith("cfcli.core")}
        light = {name for name in own if name.split(".")[2] in ("config", "errors", "words")}
        if roots(names) & HEAVY or own != light:
            wrong.append(path.name)
    assert wrong == []


def test_core_never_prints_and_never_exits() -> None:
    """But for a thread that ends a process which hangs."""
    wrong = []
    for path in (PACKAGE / "core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in {"print", "exit", "sys.exit", "os._exit", "quit"}:
                    wrong.append(f"{path.name}: {called}")
    assert wrong == ["signals.py: os._exit"]
