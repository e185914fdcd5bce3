"""Runs the recipes of docs/databases.md and docs/similar.md against the real programs.

    make recipes
    python docs/scripts/recipes.py --python OTHER/bin/python   # where packages are installed
    python docs/scripts/recipes.py duckdb faiss                # some of them

A recipe is a block behind a line ``<!-- recipe: NAME -->``. All are run in a new folder with
made-up ratings and a run of them. Python packages come from the package index. sqlite3 and
PostgreSQL are those of the system; where there is no PostgreSQL or it has no pgvector, the package
pgserver brings both. What cannot be had is skipped, with the reason, and is no error.
"""

import argparse
import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = ("databases.md", "similar.md")
RECIPE = re.compile(r"^<!-- recipe: (\w+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PACKAGES = {
    "duckdb": ["duckdb"],
    "faiss": ["faiss-cpu", "numpy"],
    "lancedb": ["lancedb", "pyarrow"],
    "pgserver": ["pgserver"],
}
SERVER_PROGRAMS = ("initdb", "pg_ctl", "psql")
USERS, ITEMS = 80, 60


class Skipped(Exception):
    """A recipe cannot run here; the reason."""


class Place(NamedTuple):
    """Where recipes run.

    Attributes:
        folder: with the files that recipes name.
        python: of the environment that packages are installed into.
        env: the environment of processes.
    """

    folder: Path
    python: str
    env: dict[str, str]

    def run(self, *command: str, **settings: str) -> str:
        """Runs a command and returns what it printed.

        Raises:
            RuntimeError: it failed.
        """
        done = subprocess.run(
            command, cwd=self.folder, env=self.env | settings, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)[:60]}: {done.stderr.strip()[-500:]}")
        return done.stdout.strip()

    def bash(self, script: str, **settings: str) -> str:
        """Runs a script of bash that ends at its first error."""
        return self.run("bash", "-c", f"set -euo pipefail\n{script}", **settings)

    def install(self, name: str) -> None:
        """Installs the packages of a recipe.

        Raises:
            Skipped: the package index does not have them.
        """
        pip = (self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        try:
            self.run(*pip, *PACKAGES[name])
        except RuntimeError as error:
            raise Skipped(f"pip cannot install {name}: {error}") from None


def recipes(name: str) -> list[str]:
    """The blocks of a recipe, in the order of the pages."""
    text = "\n".join((ROOT / "docs" / page).read_text() for page in PAGES)
    return [code for which, code in RECIPE.findall(text) if which == name]


def setup(place: Place) -> None:
    """Writes made-up ratings, and trains on them."""
    chance = random.Random(1)
    with open(place.folder / "ratings.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["userId", "movieId", "rating", "timestamp"])
        for user in range(1, USERS + 1):
            for item in chance.sample(range(1, ITEMS + 1), 35):
                rating = 4 if user % 2 == item % 2 else 2
                rows.writerow([user, item, rating + chance.choice((-1, 0, 1)), 1_000_000 * user])
    films = [f'{item},"Film, number {item} (1999)"' for item in range(1, ITEMS + 1)]
    (place.folder / "movies.csv").write_text("\n".join(["movieId,title", *films]) + "\n")
    place.bash("cfcli prepare ratings.csv --items movies.csv -q && cfcli train --dim 16 -q")
    place.bash("cfcli recommend --all -n 10 --out lists.parquet -q")
    for code in recipes("setup"):
        place.bash(code)


def sqlite(place: Place) -> None:
    """Into a table by SQLite's own import."""
    if not shutil.which("sqlite3"):
        raise Skipped("the program sqlite3 is not installed")
    for code in recipes("sqlite"):
        place.bash(code)
    rows = place.run("sqlite3", "lists.db", "select count(*) from lists")
    expect(int(rows) == 10 * USERS, f"{rows} rows in the table")


def duckdb(place: Place) -> None:
    """Each statement; the neighbours are those of numpy's product."""
    place.install("duckdb")
    code = "\n".join(recipes("duckdb"))
    script = f"import duckdb\nfor part in {code!r}.split(';'):\n    found = duckdb.sql(part)\n"
    script += (
        "    if found is not None and found.columns: print(found.columns, len(found.fetchall()))"
    )
    printed = place.run(place.python, "-c", script)
    expect("['title', 'score'] 10" in printed, printed)
    expect((place.folder / "items.csv").exists(), "no items.csv")


def faiss(place: Place) -> None:
    """Both blocks: neighbours, and lists that are those of recommend."""
    place.install("faiss")
    first, second = recipes("faiss")
    printed = place.run(place.python, "-c", first)
    expect("'1'" in printed, f"the item itself is not among its neighbours: {printed}")
    more = "\nids = open('for-lists/items.ids.txt').read().split('\\n')\n"
    more += "print(open('for-lists/users.ids.txt').read().split('\\n')[0])\n"
    more += "print(','.join(ids[row] for row in rows[0]))"
    user, items = place.run(place.python, "-c", second + more).splitlines()[-2:]
    listed = place.bash(f"cfcli recommend --user {user} -n 10 --include-seen -q")
    expected = [line.split(",")[1] for line in listed.splitlines()[1:]]
    expect(items.split(",") == expected, f"{items} instead of {expected}")


def lancedb(place: Place) -> None:
    """The neighbours of the first item."""
    place.install("lancedb")
    (code,) = recipes("lancedb")
    printed = place.run(place.python, "-c", code)
    expect(printed.count("Film, number") == 10, printed)


def postgresql(place: Place) -> None:
    """Through pipes, in and out."""
    with server(place, needs_vector=False) as env:
        columns = "user_id text, item_id text, stars real, given timestamptz"
        place.bash(
            f'psql -qc "create table reviews ({columns})"\n'
            'awk -F, \'NR > 1 {print $1 "," $2 "," $3 ",2020-01-01"}\' ratings.csv'
            ' | psql -qc "copy reviews from stdin csv"',
            **env,
        )
        for code in recipes("postgresql"):
            place.bash(code, **env)
        rows = place.bash('psql -Atc "select count(*), max(rank) from lists"', **env)
        expect(rows == f"{10 * USERS}|10", rows)
        for code in recipes("postgresql")[1:2]:  # the next night
            place.bash(code, **env)
    expect(len((place.folder / "predicted.csv").read_text().splitlines()) == 101, "predicted.csv")


def pgvector(place: Place) -> None:
    """An index by cosine; the file comes from the recipe of DuckDB."""
    if not (place.folder / "items.csv").exists():
        duckdb(place)
    with server(place, needs_vector=True) as env:
        for code in recipes("pgvector"):
            path = place.folder / "recipe.sql"
            path.write_text(code)
            printed = place.bash(f"psql -At -v ON_ERROR_STOP=1 -f {path}", **env)
            expect(len(printed.splitlines()[-10:]) == 10, printed)


@contextmanager
def server(place: Place, *, needs_vector: bool) -> Iterator[dict[str, str]]:
    """A server of PostgreSQL for a while.

    Yields:
        variables of the environment by which ``psql`` finds it.
    """
    programs = postgres_of_the_system(needs_vector)
    if programs is None:
        place.install("pgserver")
        find = "import pgserver; print(pgserver.__path__[0])"
        programs = Path(place.run(place.python, "-c", find)) / "pginstall" / "bin"
    as_owner: list[str] = []
    if os.getuid() == 0:  # which PostgreSQL refuses
        as_owner = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        try:
            place.run(*as_owner, str(programs / "initdb"), "--version")
        except (OSError, RuntimeError) as error:
            raise Skipped(f"root cannot run PostgreSQL as nobody: {error}") from None
    data = Path(tempfile.mkdtemp(dir="/tmp", prefix="pg"))  # a short path, as sockets want
    if as_owner:
        place.run("chown", "-R", "nobody:nogroup", str(data))
    path = f"{programs}{os.pathsep}{place.env['PATH']}"
    env = {"PATH": path, "PGHOST": str(data), "PGUSER": "owner", "PGDATABASE": "postgres"}
    command = [*as_owner, str(programs / "initdb"), "-D", str(data / "data"), "-U", "owner"]
    place.run(*command, "-A", "trust", "--locale=C", "--encoding=UTF8")
    options = ["-D", str(data / "data"), "-c", f"unix_socket_directories={data}"]
    running = subprocess.Popen(
        [*as_owner, str(programs / "postgres"), *options, "-c", "listen_addresses="],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            with suppress(RuntimeError):
                place.bash("psql -qc 'select 1'", **env)
                break
            time.sleep(0.1)
        yield env
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(30)
        shutil.rmtree(data, ignore_errors=True)


def postgres_of_the_system(needs_vector: bool) -> Path | None:
    """The folder of the system's programs, if it has them all."""
    folders = [
        Path(found).resolve().parent for name in SERVER_PROGRAMS if (found := shutil.which(name))
    ]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        share = Path("/usr/share/postgresql") / folder.parent.name
        has_vector = (share / "extension" / "vector.control").exists()
        if all((folder / name).exists() for name in SERVER_PROGRAMS):
            return folder if has_vector or not needs_vector else None
    return None


def expect(holds: bool, text: str) -> None:
    """Raises a RuntimeError with a text unless something holds."""
    if not holds:
        raise RuntimeError(f"unexpected: {text}")


RECIPES: dict[str, Callable[[Place], None]] = {
    "sqlite": sqlite,
    "duckdb": duckdb,
    "postgresql": postgresql,
    "pgvector": pgvector,
    "faiss": faiss,
    "lancedb": lancedb,
}


def main() -> None:
    """The script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=", ".join(RECIPES))
    parser.add_argument("--python", default=sys.executable, help="where packages are installed")
    args = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        python = str(Path(args.python).absolute())
        place = Place(Path(folder), python, os.environ | {"PATH": path, "HOME": folder})
        setup(place)
        for name in args.names or RECIPES:
            begin = time.perf_counter()
            try:
                RECIPES[name](place)
                outcome = "ok"
            except Skipped as reason:
                outcome = f"skipped: {reason}"
            except RuntimeError as error:
                outcome, failed = f"FAILED: {error}", True
            print(f"{name:<12} {time.perf_counter() - begin:5.1f} s  {outcome}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
