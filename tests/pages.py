"""What tests of the documentation share: the pages, their blocks of code, their anchors."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
SCRIPTS = DOCS / "scripts"
BLOCK = re.compile(r"^```([\w-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of a page in one language, from top to bottom."""
    return [text for name, text in BLOCK.findall(page.read_text()) if name == language]


def anchors(page: Path) -> set[str]:
    """The names that links to headings of a page may have behind ``#``."""
    prose = BLOCK.sub("", page.read_text())
    found: set[str] = set()
    for head in re.findall(r"^#+ (.*)$", prose, re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def links(page: Path) -> list[str]:
    """The targets of all links and pictures of a page that lead nowhere outside the project."""
    prose = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", page.read_text()))
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]
