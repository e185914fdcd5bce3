"""Other tools on the same files: test RMSE, seconds and memory, and what cfcli takes for an RMSE no
worse than theirs.

    python benchmarks/peers.py --ml-100k FOLDER --ml-1m RATINGS [--folder benchmark-data/peers]
    [--only NAME ...]

FOLDER holds u1.base and u1.test (perhaps packed), RATINGS is ratings.dat or a CSV of it, of which a
tenth, drawn at random, is the test side. Each run is a process of its own (cfcli's are three:
prepare, train, predict), from a CSV of the training ratings to a CSV with the test's predictions:
wall seconds from start to end, CPU seconds, and the largest resident size. RMSE is of what was
written, by the same code for all. Writes the tables to stdout as Markdown.

The tools are installed into an environment of their own, under --folder; two of them are compiled,
which needs a C++ compiler. peer_models.py has their settings.
"""

import gzip
import platform
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import measuring
import numpy as np
from peer_models import MODELS

HERE = Path(__file__).parent
TOOLS = [
    "scikit-surprise==1.1.5",
    "cmfrec==3.5.1.post14",
    "implicit==0.7.3",
    "lenskit==2025.8.1",
    "myfm==0.4.0",
]
# What they stand on. myfm needs a module that later setuptools lack; the torch of lenskit is that
# of requirements.lock.
BELOW = ["numpy==2.4.6", "scipy==1.17.1", "pandas==2.3.3", "setuptools<81"]
OUT = "out"  # folder of the run that is being measured
ML_100K, ML_1M = "ML-100K u1", "ML-1M 90/10"
# myfm's examples have one rank for the one and one for the other.
SKIPPED = {
    ML_100K: ["myfm SVD++ flipped, rank 32, 512 samples"],
    ML_1M: ["myfm SVD++ flipped, rank 10, 512 samples"],
}
# Share of validation rows, and flags of train, the quickest first. Sampling needs no such rows: it
# runs all its epochs.
QUICK = "--solver adam --learning-rate 0.02"
OWN: dict[str, list[tuple[str, list[str]]]] = {
    name: [(val_size, flags.split()) for val_size, flags in own]
    for name, own in {
        ML_100K: [
            ("0", "--epochs 1"),
            ("0", "--epochs 2 --set sampler_rank=7"),
            ("0", "--epochs 4"),
            ("0", "--dim 16 --epochs 8"),
            ("0", ""),
            ("0", "--dim 16"),
            ("0.1", "--model ncf"),
        ],
        ML_1M: [
            ("0", f"{QUICK} --epochs 1 --set implicit=false"),
            ("0", f"{QUICK} --epochs 3 --set implicit=false --dim 8"),
            ("0", f"{QUICK} --epochs 3 --dim 16"),
            ("0", "--solver adam --learning-rate 0.01 --epochs 5 --dim 32"),
            ("0", "--dim 16 --epochs 4"),
            ("0", "--dim 16 --epochs 8"),
            ("0", "--dim 16"),
            ("0", "--dim 64"),
            ("0.1", "--model ncf"),
        ],
    }.items()
}
NOTES = """\
Wall seconds are from the training file to the file of predictions, start of Python included. "cfcli
at this RMSE" is the quickest run of cfcli whose RMSE is that of the tool or less. Settings are the
tool's defaults, or those that its documentation has for MovieLens. implicit's ALS is not made for
ratings: these are a linear regression on its score and on damped biases, fitted on a tenth of the
training rows. Quick settings of cfcli were chosen knowing these results."""


class Result(NamedTuple):
    name: str
    rmse: float = float("inf")  # of what failed, so that it comes last
    wall: float = 0.0
    cpu: float = 0.0
    peak: float = 0.0
    error: str = ""

    @property
    def own(self) -> bool:
        return self.name.startswith("cfcli")


def ratings(path: Path) -> Iterator[list[str]]:
    """User, item and rating of each row of a file of MovieLens, of any edition."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as lines:
        rows = (re.split("::|[,\t]", line.strip())[:3] for line in lines)
        yield from (row for row in rows if row[0].isdigit())


def write(path: Path, rows: Iterator[list[str]]) -> None:
    with open(path, "w") as file:
        file.writelines(",".join(row) + "\n" for row in chain([["user", "item", "rating"]], rows))


def make_100k(source: Path, folder: Path) -> None:
    for side, name in (("base", "train"), ("test", "test")):
        write(folder / f"{name}.csv", ratings(next(source.glob(f"u1.{side}*"))))


def make_1m(source: Path, folder: Path) -> None:
    """The rows of scikit-learn's ``train_test_split(rows, test_size=0.1, random_state=42)``.

    Its first draw is made here, not by it: what this process takes in memory, its children are said
    to have taken.
    """
    rows = sum(1 for _ in ratings(source))
    test = np.zeros(rows, bool)
    test[np.random.RandomState(42).permutation(rows)[: -(-rows // 10)]] = True
    for name, wanted in (("train", False), ("test", True)):
        write(
            folder / f"{name}.csv",
            (row for row, held in zip(ratings(source), test, strict=True) if held == wanted),
        )


def make_environment(folder: Path) -> Path:
    """The Python of an environment that has the tools, installed where it has not."""
    lock = (HERE.parent / "requirements.lock").read_text().splitlines()
    wanted = [*TOOLS, *BELOW, next(line for line in lock if line.startswith("torch=="))]
    python, done = folder / "bin" / "python", folder / "installed.txt"
    if not done.exists() or done.read_text().split() != wanted:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *wanted], check=True, stdout=sys.stderr
        )
        done.write_text("\n".join(wanted) + "\n")
    for module in (
        "surprise",
        "cmfrec",
        "implicit",
        "lenskit.als",
        "myfm",
    ):  # so that no run is the first to read them
        subprocess.run([python, "-c", f"import {module}"], stderr=subprocess.DEVNULL)
    return python


def rmse(test: Path, predictions: Path) -> float:
    """Of a file of predictions, which must have all of the test's rows."""
    with open(predictions) as lines:
        column = next(lines).strip().split(",").index("prediction")
    wanted = np.loadtxt(test, delimiter=",", skiprows=1, usecols=2)
    found = np.loadtxt(predictions, delimiter=",", skiprows=1, usecols=column)
    if found.shape != wanted.shape or not np.isfinite(found).all():
        raise RuntimeError(f"{np.isfinite(found).sum():,} predictions of {len(wanted):,}")
    return float(np.sqrt(np.mean((found - wanted) ** 2)))


def row(one: Result, verdict: str) -> str:
    """Of the Markdown table."""
    if one.error:
        return f"| {one.name} | failed: {one.error.replace('|', '/')} | | | | |"
    name = f"**`{one.name}`**" if one.own else one.name
    costs = f"{one.wall:.2f} | {one.cpu:.2f} | {one.peak:,.0f}"
    return f"| {name} | {one.rmse:.4f} | {costs} | {verdict} |"


def verdict(one: Result, results: list[Result]) -> str:
    """What cfcli takes for the RMSE of another tool."""
    enough = [other for other in results if other.own and other.rmse <= one.rmse]
    if one.own or not enough:
        return "" if one.own else "none"
    best = min(enough, key=lambda other: other.wall)
    return f"{best.wall:.2f} s: `{best.name}`" + " (slower)" * (best.wall > one.wall)


def table(results: list[Result]) -> str:
    """Markdown, by RMSE."""
    lines = [
        "| tool | RMSE | wall s | CPU s | peak MB | cfcli at this RMSE |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(
        lines
        + [row(one, verdict(one, results)) for one in sorted(results, key=lambda one: one.rmse)]
    )


def measure(name: str, commands: list[list[object]], data: Path, repeats: int) -> Result:
    """Medians over the repeats; seconds are sums over the commands, memory is the largest."""
    found = []
    try:
        for _ in range(repeats):
            shutil.rmtree(data / OUT, ignore_errors=True)
            (data / OUT).mkdir()
            wall, cpu, peak, _ = zip(*(measuring.run(*c) for c in commands), strict=True)
            found.append(
                (
                    rmse(data / "test.csv", data / OUT / "predictions.csv"),
                    sum(wall),
                    sum(cpu),
                    max(peak),
                )
            )
        result = Result(name, *(statistics.median(values) for values in zip(*found, strict=True)))
    except RuntimeError as error:
        result = Result(name, error=str(error))
    print(row(result, ""), file=sys.stderr, flush=True)
    return result


def own_commands(data: Path, val_size: str, flags: list[str]) -> list[list[object]]:
    """The three commands that a user would type, without pictures as no other tool draws any."""
    prepared, trained = data / OUT / "data", data / OUT / "run"
    sizes = ["--val-size", val_size, "--test-size", "0"]
    return [
        [measuring.CFCLI, "prepare", data / "train.csv", *sizes, "--out", prepared, "-q"],
        [
            measuring.CFCLI,
            "train",
            "--data",
            prepared,
            *flags,
            "--no-plots",
            "--out",
            trained,
            "-q",
        ],
        [
            measuring.CFCLI,
            "predict",
            trained,
            data / "test.csv",
            "--out",
            data / OUT / "predictions.csv",
            "-q",
        ],
    ]


def compare(
    title: str, data: Path, python: Path, only: tuple[str, ...], repeats: int
) -> list[Result]:
    """All tools on one dataset."""
    files = [data / "train.csv", data / "test.csv", data / OUT / "predictions.csv"]
    runs: dict[str, list[list[object]]] = {
        name: [[python, HERE / "peer_models.py", name, *files]]
        for name in MODELS
        if name not in SKIPPED[title]
    }
    runs |= {
        " ".join(["cfcli", *flags]): own_commands(data, val_size, flags)
        for val_size, flags in OWN[title]
    }
    return [
        measure(name, commands, data, repeats)
        for name, commands in runs.items()
        if name.startswith(only)
    ]


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--ml-100k", type=Path)
    parser.add_argument("--ml-1m", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-data/peers"))
    parser.add_argument(
        "--only", nargs="+", default=[""], help="beginnings of the names of what is to run"
    )
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    sources = [(ML_100K, args.ml_100k, make_100k), (ML_1M, args.ml_1m, make_1m)]
    if not any(source for _, source, _ in sources):
        parser.error("--ml-100k or --ml-1m, or both")
    folder = args.folder.resolve()
    python = make_environment(folder / "env")
    texts = []
    for title, source, make in sources:
        if source:
            data = folder / title.replace(" ", "-").replace("/", "-")
            if not data.exists():
                part = data.with_suffix(".part")
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir()
                make(source, part)
                part.rename(data)
            results = compare(title, data, python, tuple(args.only), args.repeats)
            texts.append(f"**{title}**\n\n{table(results)}\n")
    versions = ", ".join(
        [f"cfcli {version('cfcli')}", *(tool.replace("==", " ") for tool in TOOLS)]
    )
    print("\n".join([*texts, NOTES]))
    print()
    measuring.heading()
    print(f"Python {platform.python_version()}; {versions}.")


if __name__ == "__main__":
    main()
