"""The messages that the page explains are those that the code has."""

import ast
import re
from collections.abc import Iterator

from pages import DOCS
from test_architecture import FILES

from cfcli.core import errors

PAGE = (DOCS / "troubleshooting.md").read_text()
ANY = "…"


def text_of(node: ast.expr) -> str:
    """A text of the code, with ``…`` for what it puts in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return ANY


def texts() -> Iterator[str]:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                yield re.sub(f"{ANY}+", ANY, text_of(node))


def messages() -> list[str]:
    rows = re.findall(r"^\| (`.*?`) \| [^|]+ \| [^|]+ \|$", PAGE.replace("\\|", "¦"), re.MULTILINE)
    found = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    return [text.replace("¦", "|") for text in found]


def test_every_message_of_the_page_is_in_the_code() -> None:
    known = set(texts())
    shown = messages()
    assert len(shown) > 80
    missing = []
    for message in shown:
        plain = message.strip(ANY).strip()
        pattern = re.compile(".*".join(re.escape(part) for part in plain.split(ANY)), re.DOTALL)
        if not any(pattern.search(text) for text in known):
            missing.append(message)
    assert missing == []


def test_every_exit_code_has_its_section() -> None:
    heads = re.findall(r"^## Exit code (\d)", PAGE, re.MULTILINE)
    classes = [part for part in vars(errors).values() if isinstance(part, type)]
    codes = {part.exit_code for part in classes if issubclass(part, errors.CfcliError)}
    assert set(map(int, heads)) == codes
