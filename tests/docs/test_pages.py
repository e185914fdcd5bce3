"""The commands of the pages work as they stand there.

Blocks marked ``sh`` are run, those of a page one after the other in one folder. It holds small files
of the names that pages use and, unless a page begins by making one, a dataset and a run. ``cfcli``
is forked there from a process that has imported everything; in a soak it is the console script.
"""

import gzip
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import BLOCK, DOCS, PAGES, blocks
from shared import MadeOnce
from shell import CFCLI, Started, run_cfcli, write_ratings
from test_readme import load
from warm import received

WITH_COMMANDS = [page for page in PAGES if blocks(page, "sh")]
SECONDS = 240  # that a page may take
MAKES = re.compile(r"cfcli (prepare|retrain|cross-validate) ")
FOREIGN = re.compile("python |mysql |pip |torchrun |srun |--rows |--(full|ml-1m)( |$)")
# Pages that are for looking something up, and one whose blocks are Python (test_python.py).
WITHOUT_COMMANDS = {
    "benchmarks.md", "cite.md", "glossary.md", "index.md", "python.md", "reference.md",
}  # fmt: skip


def write_files(folder: Path) -> None:
    """The files that pages name."""
    ratings = write_ratings(folder / "ratings.csv")
    (folder / "ratings.csv.gz").write_bytes(gzip.compress(ratings.read_bytes()))
    kinds = ("Drama", "Comedy|Drama", "Action")
    films = [f'{k},"Film, number {k} ({1980 + k % 20})",{kinds[k % 3]}' for k in range(1, 61)]
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *films]) + "\n")
    new = ['99999,"Film from tomorrow, A (1995)",Comedy|Drama', "99998,Another (1990),Action"]
    (folder / "new-movies.csv").write_text("\n".join(["movieId,title,genres", *new]) + "\n")
    people = [f"{k},{20 + k % 40},{'nurse' if k % 2 else 'cook'}" for k in range(1, 81)]
    (folder / "people.csv").write_text("\n".join(["userId,age,occupation", *people]) + "\n")
    rows = [line.split(",") for line in ratings.read_text().splitlines()]
    pairs = ["userId,movieId", *(f"{user},{item}" for user, item, *_ in rows[1:40])]
    (folder / "pairs.csv").write_text("\n".join([*pairs, "1,99999"]) + "\n")
    mine = [f"me,{item},{5 if item % 2 else 1}" for item in range(1, 12)]
    (folder / "mine.csv").write_text("\n".join(["userId,movieId,rating", *mine]) + "\n")
    weighted = [",".join([*row, "confidence" if k == 0 else "2"]) for k, row in enumerate(rows)]
    (folder / "weighted.csv").write_text("\n".join(weighted) + "\n")
    german = [f"{user};{item};{rating.replace('.', ',')}" for user, item, rating, _ in rows[1:]]
    head = "kunde;artikel;note"
    (folder / "bewertungen.csv").write_text("\n".join([head, *german]) + "\n", "latin-1")
    goods = [f"{k};Käse {k}" for k in range(1, 61)]
    text = "\n".join(["artikel;bezeichnung", *goods]) + "\n"
    (folder / "artikel.csv").write_text(text, "latin-1")
    with sqlite3.connect(folder / "shop.db") as shop:
        shop.execute("CREATE TABLE reviews (customer INTEGER, product TEXT, stars REAL)")
        shop.executemany("INSERT INTO reviews VALUES (?, ?, ?)", [row[:3] for row in rows[1:]])
    shop.close()


@pytest.fixture(scope="session")
def shelf(made_once: MadeOnce) -> Path:
    """A folder with the files that pages name, a dataset and a run."""

    def fill(folder: Path) -> None:
        write_files(folder)
        prepare = ["prepare", "ratings.csv", "--items", "movies.csv", "--users", "people.csv"]
        for args in ([*prepare, "--attributes", "age,genres,year"], ["train", "--epochs", "4"]):
            done = run_cfcli(*args, cwd=folder)
            assert done.returncode == 0, done.stderr

    return made_once("shelf", fill)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for ``PATH`` with a quick ``cfcli``."""
    folder = tmp_path_factory.mktemp("programs")
    if os.environ.get("SOAK"):
        yield CFCLI.parent
        return
    with socket.socket(socket.AF_UNIX) as server:
        address = str(folder / "socket")
        server.bind(address)
        server.listen()
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        script = QUICK.format(python=sys.executable, cfcli=str(CFCLI), address=address)
        (folder / "cfcli").write_text(script)
        (folder / "cfcli").chmod(0o755)
        yield folder


# Several processes of one training start each other by the console script.
QUICK = """#!{python} -IS
import json, os, socket, sys
if "--devices" in sys.argv:
    os.execv("{cfcli}", sys.argv)
job = {{"command": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ)}}
with socket.socket(socket.AF_UNIX) as server:
    server.connect("{address}")
    socket.send_fds(server, [json.dumps(job).encode() + b"\\n"], [0, 1, 2])
    sys.exit(int(server.recv(16)))
"""


def answer(server: socket.socket) -> None:
    """Runs what comes through a socket, until that is closed."""
    while True:
        try:
            caller, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=run, args=(caller,), daemon=True).start()


def run(caller: socket.socket) -> None:
    """Runs a command, beside others that it may be in a pipe with."""
    with caller:
        job, streams = received(caller)
        assert job
        started = Started(job["command"], Path(job["cwd"]), job["env"], *streams)
        for handle in streams:
            os.close(handle)
        caller.sendall(str(started.wait(SECONDS)).encode())


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=[page.stem for page in WITH_COMMANDS])
def test_the_commands_of_a_page_work(
    page: Path, shelf: Path, programs: Path, tmp_path: Path
) -> None:
    script = "\n".join(blocks(page, "sh"))
    shutil.copytree(shelf, tmp_path, symlinks=True, dirs_exist_ok=True)
    first = re.search(r"^[^#\n]*cfcli \S+ ", script, re.MULTILINE)
    if first and MAKES.search(first.group()):
        shutil.rmtree(tmp_path / "data")
        shutil.rmtree(tmp_path / "runs")
    settings = {"PATH": f"{programs}:{os.environ['PATH']}", "CFCLI_EPOCHS": "3"}
    done = subprocess.run(
        ["bash", "-c", "set -euo pipefail\n" + script],
        cwd=tmp_path,
        env=os.environ | settings | {"HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_page_of_a_task_has_commands() -> None:
    assert {page.name for page in PAGES} - {page.name for page in WITH_COMMANDS} == WITHOUT_COMMANDS


def test_flags_in_the_text_exist() -> None:
    """Each flag that a page names belongs to a command, or to another program."""
    flags = set(re.findall(r"(--[a-z][a-z0-9-]+)", (DOCS / "reference.md").read_text()))
    unknown = {}
    for page in PAGES:
        named = re.findall(r"`([^`\n]+)`", BLOCK.sub("", page.read_text()))
        ours = [text for text in named if not FOREIGN.match(text)]
        found = {flag for text in ours for flag in re.findall(r"(?<!\S)(--[a-z][\w-]+)", text)}
        if not found <= flags:
            unknown[page.name] = sorted(found - flags)
    assert unknown == {}


def test_json_blocks_are_json() -> None:
    for page in PAGES:
        for text in blocks(page, "json"):
            json.loads(text)


def test_every_recipe_is_run_by_its_script() -> None:
    recipes = load("recipes")
    named = {name for page in PAGES for name in re.findall(r"recipe: (\w+)", page.read_text())}
    assert named == {*recipes.RECIPES, "setup"}
    assert all(recipes.recipes(name) for name in named)
