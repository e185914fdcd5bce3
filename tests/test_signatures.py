"""Signatures say what comes in and what goes out: no ``Any``, no optional tuples."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "cfcli"
FILES = [*sorted((PACKAGE / "core").rglob("*.py")), PACKAGE / "api.py"]
Function = ast.FunctionDef | ast.AsyncFunctionDef
EXCEPTIONS = {
    # What torch.load gives back: the solvers know which keys hold what.
    "core.training.checkpoints.State",
    # Like dataclasses.field, the default of a field of any type.
    "core.storage.schema.left_out",
    "core.storage.schema.inline",
}


def is_public(name: str) -> bool:
    """Whether others use a name: ``__init__`` and the like count, too."""
    return name.startswith("__") or not name.startswith("_")


def public_functions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Function]]:
    """Public functions of a module or class, and methods of its public classes, by dotted name."""
    for node in body:
        if not isinstance(node, Function | ast.ClassDef) or not is_public(node.name):
            continue
        name = f"{prefix}.{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from public_functions(node.body, name)
        else:
            yield name, node


def aliases(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.expr]]:
    """What a module gives a name to: a type that a signature may then use."""
    for node in body:
        if isinstance(node, ast.Assign):
            yield f"{prefix}.{ast.unparse(node.targets[0])}", node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield f"{prefix}.{ast.unparse(node.target)}", node.value


def annotations(function: Function) -> Iterator[ast.expr]:
    """The annotations of all parameters and of what a function returns."""
    found = [node.annotation for node in ast.walk(function.args) if isinstance(node, ast.arg)]
    for annotation in [*found, function.returns]:
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            yield ast.parse(annotation.value, mode="eval").body
        elif annotation is not None:
            yield annotation


def is_vague(annotation: ast.expr) -> bool:
    """Whether a type contains ``Any``, other than in ``NDArray[Any]``, or is an optional tuple."""
    if isinstance(annotation, ast.Name):
        return annotation.id == "Any"
    if ast.unparse(annotation) == "NDArray[Any]":
        return False
    if isinstance(annotation, ast.BinOp):  # a union
        sides = [ast.unparse(side) for side in (annotation.left, annotation.right)]
        if "None" in sides and any(side.startswith("tuple[") for side in sides):
            return True
    return any(
        is_vague(part) for part in ast.iter_child_nodes(annotation) if isinstance(part, ast.expr)
    )


def test_public_functions_say_what_comes_in_and_what_goes_out() -> None:
    vague = set()
    for path in FILES:
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        body = ast.parse(path.read_text()).body
        vague |= {name for name, kind in aliases(body, module) if is_vague(kind)}
        for name, function in public_functions(body, module):
            if any(is_vague(annotation) for annotation in annotations(function)):
                vague.add(name)
    assert vague == EXCEPTIONS
