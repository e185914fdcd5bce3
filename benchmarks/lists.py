"""Quality of lists beside other methods: nDCG@10 over all items that a user has not rated in
training, for all held-out rows and for liked ones.

    python benchmarks/lists.py [--ml-100k FOLDER] [--ml-1m RATINGS] [--small RATINGS]
    [--cut N ...] [--files NAME TRAIN TEST] [--folder benchmark-data/lists] [--only NAME ...]

FOLDER has u.data and u1.base, u1.test ... u5.test (perhaps packed), RATINGS is ratings.dat or a CSV
of it. ML-1M and the small one are split at random (the first fifth of
``numpy.random.default_rng(7).permutation``), u.data by time: each user's last fifth is held out
(for cfcli its validation rows are the last before, by ``--split user-last``).
--cut makes sparse data of ML-1M: at most N ratings of each user, of which a fifth or one is held
out. --files takes any other split, as CSV files with columns user, item and rating.

Liked is what was rated a quarter below the top of the scale or higher. The methods of
``list_models.py`` choose their settings on a tenth of the training rows, cfcli on its validation
rows. "Distance" says how unlike the items of a list are. implicit is installed into an environment
of its own, under --folder.
"""

import csv
import gzip
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import measuring
import numpy as np
from list_models import METHODS, ndcg, relevant_of

HERE = Path(__file__).parent
SAMPLED = 500  # users whose lists the distance is taken over
TOOLS = ["numpy==2.4.6", "scipy==1.17.1", "implicit==0.7.3"]
OWN = {  # flags of train, flags of recommend
    "cfcli": ("", ""),
    "cfcli --by interest": ("", "--by interest"),
    "cfcli --by rating": ("", "--by rating"),
    "cfcli --diversify 0.3": ("", "--diversify 0.3"),
    "cfcli --diversify 0.5": ("", "--diversify 0.5"),
    "cfcli --diversify 0.7": ("", "--diversify 0.7"),
    "cfcli --model ncf --dim 5": ("--model ncf --dim 5", ""),
}


class Row(NamedTuple):
    """A rating as a file has it."""

    user: str
    item: str
    rating: str
    time: float


def ratings(path: Path) -> list[Row]:
    """The rows of a file of MovieLens, of any edition."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as lines:
        cells = [re.split("::|[,\t]", line.strip()) for line in lines]
    rows = [row for row in cells if row[0].isdigit()]
    return [Row(*row[:3], float(row[3]) if len(row) > 3 else 0.0) for row in rows]


def at_random(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    order = np.random.default_rng(7).permutation(len(rows))
    held = np.zeros(len(rows), bool)
    held[order[: len(rows) // 5]] = True
    return [row for row, out in zip(rows, held, strict=True) if not out], [
        row for row, out in zip(rows, held, strict=True) if out
    ]


def by_time(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Each user's last fifth is held out."""
    of_users: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.time):
        of_users.setdefault(row.user, []).append(row)
    train, test = [], []
    for own in of_users.values():
        cut = len(own) - len(own) // 5
        train += own[:cut]
        test += own[cut:]
    return train, test


def cut(rows: list[Row], most: int) -> tuple[list[Row], list[Row]]:
    """A few ratings of each user, drawn at random, of which a fifth, or one, is held out."""
    random = np.random.default_rng(7)
    of_users: dict[str, list[Row]] = {}
    for row in rows:
        of_users.setdefault(row.user, []).append(row)
    train, test = [], []
    for own in of_users.values():
        kept = [own[k] for k in random.permutation(len(own))[:most]]
        held = max(1, most // 5)
        test += kept[:held]
        train += kept[held:]
    return train, test


def write(path: Path, rows: Iterable[Row]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows)


def make_environment(folder: Path) -> Path:
    """The Python of an environment that has implicit."""
    python, done = folder / "bin" / "python", folder / "installed.txt"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *TOOLS], check=True)
        done.write_text(" ".join(TOOLS))
    return python


def lists_of(path: Path) -> dict[str, list[str]]:
    """The lists in a file whose first columns are user, item and rank."""
    found: dict[str, list[str]] = {}
    with open(path, newline="") as file:
        for user, item, *_ in list(csv.reader(file))[1:]:
            found.setdefault(user, []).append(item)
    return found


def own_lists(name: str, folder: Path) -> str:
    """Trains, where it has to, and writes the lists; returns what is said of it."""
    flags, of_lists = OWN[name]
    seconds = ""
    run = folder / ("ncf" if "ncf" in name else "mf")
    if not run.exists():
        data = folder / "data"
        if not data.exists():
            files = folder / "train.csv", "--test-file", folder / "test.csv"
            split = ("--split", "user-last") if "by-time" in folder.name else ()
            measuring.cfcli("prepare", *files, *split, "--val-size", "0.1", "--out", data)
        cost = measuring.cfcli("train", "--data", data, *flags.split(), "--no-plots", "--out", run)
        seconds = f"train {cost.seconds:.1f} s"
    where = "--all", "--seen", folder / "train.csv", "--out", folder / "lists.csv"
    measuring.cfcli("recommend", run, *where, *of_lists.split())
    return seconds


def distance_within(lists: dict[str, list[str]], raters: dict[str, set[str]]) -> float:
    """How unlike the items of a list are: the mean over its pairs of 1 - n_ij / sqrt(n_i n_j), with
    the numbers of users who rated them."""
    found = []
    for items in list(lists.values())[:: max(1, len(lists) // SAMPLED)]:
        for one, other in combinations(items, 2):
            first, second = raters.get(one, set()), raters.get(other, set())
            size = (len(first) * len(second)) ** 0.5
            found.append(1 - len(first & second) / size if size else 1.0)
    return float(np.mean(found))


def measure(name: str, folder: Path, python: Path, only: list[str]) -> None:
    """The rows of the table for one split, whose files are in the folder."""
    test = ratings_of(folder / "test.csv")
    train = ratings_of(folder / "train.csv")
    scale = [float(row.rating) for row in train]
    liked = max(scale) - (max(scale) - min(scale)) / 4
    relevant = {
        "all": relevant_of((row.user, row.item) for row in test),
        "liked": relevant_of((row.user, row.item) for row in test if float(row.rating) >= liked),
    }
    raters = relevant_of((row.item, row.user) for row in train)
    items = {row.item for row in train} | {row.item for row in test}
    for method in [*METHODS, *OWN]:
        if only and method not in only:
            continue
        begin = time.perf_counter()
        out = folder / "lists.csv"
        if method in OWN:
            said = own_lists(method, folder)
        else:
            command = python, HERE / "list_models.py", method, folder / "train.csv", out, liked
            said = measuring.run(*command).output.strip()
        seconds = time.perf_counter() - begin
        lists = lists_of(out)
        shown = {item for row in lists.values() for item in row}
        cells = [f"{ndcg(lists, wanted):.4f}" for wanted in relevant.values()]
        coverage = f"{len(shown) / len(items):.0%}"
        cells += [coverage, f"{distance_within(lists, raters):.3f}", f"{seconds:.1f}", said]
        measuring.print_row([name, method, *cells])


def ratings_of(path: Path) -> list[Row]:
    with open(path, newline="") as file:
        return [Row(*row[:3], 0.0) for row in list(csv.reader(file))[1:]]


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--ml-100k", type=Path)
    parser.add_argument("--ml-1m", type=Path)
    parser.add_argument("--small", type=Path)
    parser.add_argument("--cut", type=int, nargs="*", default=[])
    parser.add_argument("--files", nargs=3, action="append", default=[])
    parser.add_argument("--folder", type=Path, default=Path("benchmark-data/lists"))
    parser.add_argument("--only", nargs="*", default=[])
    args = parser.parse_args()
    splits: dict[str, tuple[list[Row], list[Row]]] = {}
    if args.ml_100k:
        for k in range(1, 6):
            sides = [next(args.ml_100k.glob(f"u{k}.{side}*")) for side in ("base", "test")]
            splits[f"u{k}"] = ratings(sides[0]), ratings(sides[1])
        splits["100K by time"] = by_time(ratings(args.ml_100k / "u.data"))
    if args.small:
        splits["small 80/20"] = at_random(ratings(args.small))
    if args.ml_1m:
        splits["1M 80/20"] = at_random(ratings(args.ml_1m))
        for most in args.cut:
            splits[f"1M cut to {most}"] = cut(ratings(args.ml_1m), most)
    for name, train, test in args.files:
        splits[name] = ratings_of(Path(train)), ratings_of(Path(test))
    python = make_environment(args.folder.resolve() / "environment")
    measuring.print_head(
        "split", "order", "nDCG@10 all", "nDCG@10 liked", "items shown", "distance", "s", "chosen"
    )
    for name, (train, test) in splits.items():
        folder = args.folder / name.replace(" ", "-").replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "train.csv", train)
        write(folder / "test.csv", test)
        measure(name, folder, python, args.only)


if __name__ == "__main__":
    main()
