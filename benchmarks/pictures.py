"""The pictures of the README and of the documentation, from real output.

    python benchmarks/pictures.py [--ml-100k FOLDER] [--out docs]

It prepares MovieLens 100K (u.data and u.item in FOLDER; without it the sample that `make demo` uses),
trains, and makes a report. It writes

- report.png: the report from its top to the map, and report-dark.png: the map with a film chosen,
- session.svg: commands with what they print.

Needs Chromium and Playwright, as tests/browser does, and Pillow, which comes with Matplotlib.
"""

import io
import os
import pty
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import measuring
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.text import Text

WIDTH = 1280  # pixels of the page
COLUMNS = 80  # of the terminal
FILM = "Toy Story (1995)"
SAMPLE = "prepare --dataset sample"
SESSION = ("train --dim 16", "recommend --user {user} -n 5", 'similar --title "toy story" -n 5')
WEB_FONT = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # which Rich would load from the network
COLOURS = 256  # of a picture, which makes it three times smaller


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--ml-100k", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args, _ = measuring.arguments(parser)
    out = args.out.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare, user = SAMPLE, "2"
        if args.ml_100k is not None:
            for file in ("u.data", "u.item"):
                shutil.copy(args.ml_100k / file, folder)
            prepare, user = "prepare u.data --items u.item", "42"
        list(in_terminal(prepare, folder))
        commands = [command.format(user=user) for command in SESSION]
        picture_of_session(commands, folder, out / "session.svg")
        list(in_terminal("report", folder))
        pictures_of_report(folder / "report.html", out)


def picture_of_session(commands: list[str], folder: Path, path: Path) -> None:
    """Runs commands of cfcli in a terminal and draws what they print."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for command in commands:
        console.print(Text.assemble(("$ ", "bold green"), (f"cfcli {command}", "bold")))
        output = "".join(in_terminal(command, folder))
        console.print(Text.from_ansi(output.rstrip().replace("\r\n", "\n")))
        console.print()
    picture = WEB_FONT.sub("", console.export_svg(title="cfcli"))
    path.write_text(picture, encoding="utf-8")


def in_terminal(command: str, folder: Path) -> Iterator[str]:
    """What a command of cfcli prints to a terminal, but for moving progress.

    Raises:
        CalledProcessError: it ended with an error.
    """
    environment = os.environ | {"COLUMNS": str(COLUMNS), "CI": "1", "TERM": "xterm-256color"}
    words = [measuring.CFCLI, *shlex.split(command)]
    ours, its = pty.openpty()
    process = subprocess.Popen(words, cwd=folder, env=environment, stdout=its, stderr=its)
    os.close(its)
    with open(ours, "rb", buffering=0) as terminal:
        while True:
            try:
                part = terminal.read(1 << 16)
            except OSError:  # Linux says so when the other end is closed
                break
            if not part:
                break
            yield part.decode()
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, words)


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
