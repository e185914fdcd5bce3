"""Links between pages lead somewhere, and the site has every page."""

import re
from pathlib import Path

from pages import DOCS, PAGES, ROOT, anchors, links

README = ROOT / "README.md"


def broken(page: Path) -> list[str]:
    """The links of a page whose file or heading is not there."""
    found = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


def test_every_link_and_anchor_resolves() -> None:
    assert sum(len(links(page)) for page in PAGES) > 50
    others = [README, *ROOT.glob("*.md")]
    assert {page.name: broken(page) for page in [*PAGES, *others] if broken(page)} == {}


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One head\n[a](page.md#one-head) [b](page.md#other) [c](gone.md) `[d](e)`\n")
    assert broken(page) == ["page.md#other", "gone.md"]


def test_pages_link_to_pages_only() -> None:
    """A site has no file from outside docs/."""
    leaving = [(page.name, link) for page in PAGES for link in links(page) if link.startswith("..")]
    assert leaving == []


def test_every_page_is_in_the_navigation_and_on_the_first_page() -> None:
    names = {page.name for page in PAGES}
    navigation = re.findall(r"([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(navigation) == sorted(names)
    assert names - {link.partition("#")[0] for link in links(DOCS / "index.md")} == {"index.md"}
