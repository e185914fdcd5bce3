"""The pictures of the README and of the documentation, from real output.

    python benchmarks/pictures.py [--ml-100k FOLDER] [--out docs]

It prepares MovieLens 100K (u.data and u.item in FOLDER; without it the sample that `make demo`
uses), trains, and makes a report. It writes

- report.png: the report from its top to the map,
- report-dark.png: the map with a film chosen.

Needs Chromium and Playwright, as tests/browser does, and Pillow, which comes with Matplotlib.
"""

import io
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import measuring
from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTH = 1280  # pixels of the page
FILM = "Toy Story (1995)"
SAMPLE = "prepare --dataset sample"
COLOURS = 256  # of a picture, which makes it three times smaller


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--ml-100k", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args, _ = measuring.arguments(parser)
    out = args.out.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare = SAMPLE
        if args.ml_100k is not None:
            for file in ("u.data", "u.item"):
                shutil.copy(args.ml_100k / file, folder)
            prepare = "prepare u.data --items u.item"
        for command in (prepare, "train --dim 16", "report"):
            subprocess.run([measuring.CFCLI, *shlex.split(command)], cwd=folder, check=True)
        pictures_of_report(folder / "report.html", out)


def pictures_of_report(report: Path, out: Path) -> None:
    """Draws parts of a report in Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = opened(browser, report, "light")
        bottom = page.evaluate("document.querySelector('.stage').getBoundingClientRect().bottom")
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": bottom + 8}
        save(page.screenshot(clip=clip, full_page=True), out / "report.png")
        page = opened(browser, report, "dark")
        page.evaluate("title => go(run.id[run.label.indexOf(title)])", FILM)
        page.wait_for_timeout(200)  # until it is drawn
        save(page.locator("#map").screenshot(), out / "report-dark.png")
        browser.close()


def save(picture: bytes, path: Path) -> None:
    """Writes a PNG with few colours."""
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def opened(browser: Any, report: Path, scheme: str) -> Page:
    """The report in a new tab."""
    page: Page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme=scheme)
    page.goto(report.as_uri())
    page.wait_for_timeout(200)
    return page


if __name__ == "__main__":
    main()
