"""Makes the corpus: datasets, runs and a store as version 0.1 leaves them on people's disks.

The committed files were made by version 0.1 (commit c85e17e), and by Python 3.11 on Linux:

    python tests/corpus/make.py /path/to/checkout-of-c85e17e/.venv/bin/cfcli

They must not be made again by a later version. They show what people have on their disks, and
tests/cli/test_corpus.py runs every command on them. A later version that must be remembered, too,
gets a corpus of its own beside this one.
"""

import argparse
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

CORPUS = Path(__file__).parent
VERSION = "0.1.0"
USERS, ITEMS, SHARE = 60, 40, 0.6
LATE = 4  # users whose ratings all come last: no night knows them but the next one
NIGHTS = (0.6, 0.75, 0.9)  # shares of the ratings that there were
FLAGS = ("--dim", "4", "--epochs", "6", "--quiet")
FAST = ("--epochs", "40", "--learning-rate", "0.02")  # what Adam learns the two tastes by
ENDLESS = ("--dim", "4", "--epochs", "100000", "--patience", "100000")
ENOUGH = 30  # epochs
MADE = "data mf adam ncf stopped-adam stopped-gibbs store".split()
TRAIN_TOML = """\
# A file as people write it by hand: both tables, each with its keys.
[prepare]
seed = 42

[train]
model = "mf"
solver = "adam"
dim = 3
epochs = 4
learning_rate = 0.01
l2 = 0.5
"""


def main() -> None:
    """Replaces all that is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cfcli", type=Path, help="the console script of version 0.1")
    cfcli = Cfcli(parser.parse_args().cfcli.absolute())
    if (version := cfcli("--version").strip()) != VERSION:
        sys.exit(f"{cfcli.path} is of version {version}; this corpus shows what {VERSION} left")
    for name in MADE:
        shutil.rmtree(CORPUS / name, ignore_errors=True)
    rows = made_ratings()
    write_csv("movies.csv", ["movieId", "title", "genres"], made_movies())
    for share in NIGHTS:  # the file grows, as it does where a cron job exports it
        write_ratings(rows[: round(share * len(rows))])
        nightly = ("--items", "movies.csv", "--store", "store", *FLAGS)
        cfcli("retrain", "ratings.csv", *nightly)
    (CORPUS / "store" / ".lock").unlink()  # the next to work there makes it anew
    write_ratings(rows)
    pairs = [(1, 2), (1, 3), (2, 2), (60, 40), (60, 999), ("nobody", 7), ("nobody", 999)]
    write_csv("pairs.csv", ["userId", "movieId"], pairs)
    cfcli("prepare", "ratings.csv", "--items", "movies.csv", "--quiet")
    plain = ("train", "--data", "data", "--no-plots", *FLAGS)
    cfcli(*plain, "--out", "mf")
    cfcli(*plain, "--out", "adam", "--solver", "adam", *FAST)
    cfcli(*plain, "--out", "ncf", "--model", "ncf", "--hidden", "8", *FAST)
    endless = ("train", "--data", "data", "--no-plots", *ENDLESS)
    cfcli.stopped(*endless, "--out", "stopped-adam", "--solver", "adam", *FAST[2:])
    cfcli.stopped(*endless, "--out", "stopped-gibbs")
    (CORPUS / "train.toml").write_text(TRAIN_TOML)
    # Of one setting, so that the fastest is always the same.
    sweep = ("--sweep", "batch-size", "--batch-sizes", "256", "--repeats", "1", "--quiet")
    cfcli("bench", "--data", "data", *sweep, "--write-config", "fast.toml")
    text = json.dumps(expected(cfcli), indent=1) + "\n"
    (CORPUS / "expected.json").write_text(text)


class Cfcli:
    """A console script, run in the corpus, so that the artifacts know each other by short names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CFCLI_")}
        self.env = kept | {"OMP_NUM_THREADS": "1", "CFCLI_LINES_EVERY": "0"}

    def __call__(self, *args: str) -> str:
        """Standard output of a command that must end well."""
        command = [str(self.path), *args]
        done = subprocess.run(command, cwd=CORPUS, env=self.env, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"cfcli {' '.join(args)}: exit code {done.returncode}")
        return done.stdout

    def json(self, *args: str) -> Any:
        """The JSON object that a command prints."""
        return json.loads(self(*args, "--json", "--quiet"))

    def rows(self, *args: str) -> list[dict[str, Any]]:
        """The JSON objects that a command prints, one a line."""
        return [json.loads(line) for line in self(*args, "--json", "--quiet").splitlines()]

    def stopped(self, *args: str) -> None:
        """A training that gets a signal once its checkpoint is one of many epochs: the sampler's
        holds samples by then."""
        command = [str(self.path), *args]
        process = subprocess.Popen(
            command,
            cwd=CORPUS,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        with process:
            for line in process.stderr:
                if line.startswith(f"epoch {ENOUGH:>3}/"):
                    process.send_signal(signal.SIGTERM)
        if process.returncode != 128 + signal.SIGTERM:
            sys.exit(f"cfcli {' '.join(args)}: exit code {process.returncode}")


def made_ratings() -> list[tuple[Any, ...]]:
    """Users of two tastes and items of two kinds, with biases and noise, in the order of time."""
    generator = np.random.default_rng(0)
    same = np.arange(USERS)[:, None] % 2 == np.arange(ITEMS)[None] % 2
    score = 3 + np.where(same, 1.0, -1.0)
    score += generator.normal(0, 0.4, (USERS, 1)) + generator.normal(0, 0.4, (1, ITEMS))
    score += generator.normal(0, 0.3, (USERS, ITEMS))
    rating = np.clip(np.round(2 * score) / 2, 0.5, 5)
    user, item = np.nonzero(generator.random((USERS, ITEMS)) < SHARE)
    order = np.lexsort((generator.random(len(user)), user >= USERS - LATE))
    user, item = user[order], item[order]
    time = 1_000_000_000 + 60 * np.arange(len(order))
    columns = (user + 1, item + 1, rating[user, item], time)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def made_movies() -> list[tuple[Any, ...]]:
    """Titles with commas and quotes in them, as real ones have."""
    kinds = ("Comedy", "Drama|War")
    return [(i, f'Film, "number" {i} (1999)', kinds[i % 2]) for i in range(1, ITEMS + 1)]


def write_ratings(rows: list[tuple[Any, ...]]) -> None:
    """Writes ratings.csv."""
    write_csv("ratings.csv", ["userId", "movieId", "rating", "timestamp"], rows)


def write_csv(name: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Writes a file of the corpus."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    (CORPUS / name).write_text(text.getvalue())


def expected(cfcli: Cfcli) -> dict[str, Any]:
    """What version 0.1 says of the artifacts."""
    runs = "mf adam ncf stopped-adam stopped-gibbs".split()
    whom = ("--user", "1", "--user", "60")
    said: dict[str, Any] = {name: {} for name in ("evaluate", "predict", "recommend", "similar")}
    for run in runs:
        judged = cfcli.json("evaluate", run, "--no-plots")
        said["evaluate"][run] = {k: v for k, v in judged.items() if k != "run"}
        said["predict"][run] = cfcli.rows("predict", run, "pairs.csv")
        said["recommend"][run] = cfcli.rows("recommend", run, *whom, "-n", "2")
        said["similar"][run] = cfcli.rows("similar", run, "7", "-n", "3")
    said["predict --std"] = {"mf": cfcli.rows("predict", "mf", "pairs.csv", "--std")}
    cfcli("export-embeddings", "mf", "--format", "csv", "--out", "vectors.csv", "--quiet")
    with open(CORPUS / "vectors.csv", newline="") as file:
        said["export-embeddings"] = {"mf": list(csv.DictReader(file))[:3]}
    (CORPUS / "vectors.csv").unlink()
    checked = {name: cfcli.json("verify", name) for name in ("data", *runs, "store/current")}
    said["verify"] = {name: found["sha256"] for name, found in checked.items()}
    status = cfcli.json("status", "--store", "store")
    nights = {night["run"]: night["model"]["rmse"] for night in status["runs"]}
    return said | {"status": {"current": status["current"], "rmse": nights}}


if __name__ == "__main__":
    main()
