"""Test RMSE on MovieLens of ratings alone and of what can be told beside them: attributes of items
and of users, times, and how much old ratings count. Then of other models and dimensions.

    python benchmarks/accuracy.py --ml-100k FOLDER --latest-small FOLDER [--ml-1m FOLDER]
        [--seeds 0 1 2] [--only times items] [--myfm PYTHON]

Each folder holds what the archive holds. MovieLens 100K is measured on its splits u1 to u5. The
others are split by `--split random` with the seed of the training; a tenth is the test side. Each
run is `prepare`, `train` and `evaluate` in processes of their own. Nothing is tuned on the test
side, and no validation rows are taken where training needs none. In shuffled files the ids are
those of other rows, so that attributes say nothing: they should do no harm.

PYTHON has myFM, as peers.py installs it (FOLDER/env/bin/python there). It gets the same attributes
in the same encoding, and of times the day, as in its example.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, NamedTuple

import measuring

if TYPE_CHECKING:
    import polars as pl

    from cfcli.core.data.dataset import Dataset

SPLITS = [f"u{k}" for k in range(1, 6)]
MYFM = "myfm SVD++ flipped, rank 10, 512 samples"
DIM = "--dim 16"


class Files(NamedTuple):
    """Names of files of an edition of MovieLens; ``users`` may be empty."""

    items: str
    users: str


FILES = {
    "ml_100k": Files("u.item", "u.user"),
    "latest_small": Files("movies.csv", ""),
    "ml_1m": Files("movies.dat", "users.dat"),
}


class Way(NamedTuple):
    """What is told: of items, users or both, perhaps shuffled; flags of `train`; and the share of
    validation rows. Sampling needs none: it runs all its epochs. Adam stops by them."""

    files: str = ""
    flags: str = DIM
    val_size: str = "0"


WAYS = {
    "nothing": Way(),
    "items": Way("items"),
    "items, users": Way("items users"),
    "shuffled": Way("items users shuffled"),
    "times": Way(flags=f"{DIM} --times"),
    "items, users, times": Way("items users", f"{DIM} --times"),
    "half-life": Way(flags=f"{DIM} --half-life 180d"),
    "dim 5": Way(flags="--dim 5"),
    "dim 64": Way(flags="--dim 64"),
    "adam": Way(flags="--solver adam --dim 64", val_size="0.1"),
    "ncf": Way(flags="--model ncf --dim 32", val_size="0.1"),
}
ATTRIBUTES = {"items": "genres,year", "users": "age,gender,occupation"}
OF_MYFM = ("nothing", "items", "items, users", "times", "items, users, times")


def main() -> None:
    parser = measuring.parser(__doc__)
    for name in FILES:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=[*WAYS], choices=[*WAYS])
    parser.add_argument("--myfm", type=Path, metavar="PYTHON")
    parser.add_argument("--peers-alone", action="store_true", help="with --myfm: no run of cfcli")
    args = parser.parse_args()
    measuring.print_head("data", "told", "RMSE", "lowest to highest", "beside nothing", "CPU s")
    for edition, files in FILES.items():
        if folder := getattr(args, edition):
            measure(edition.replace("_", "-"), folder.resolve(), files, args)


def measure(title: str, folder: Path, files: Files, args: argparse.Namespace) -> None:
    """Prints the rows of an edition."""
    plain: dict[str, list[float]] = {}
    for name, way in WAYS.items():
        has_all = files.users or "users" not in way.files or "shuffled" in way.files
        if name not in args.only or not has_all:
            continue
        found: dict[str, list[tuple[float, float]]] = {}
        for ratings in splits(folder):
            for seed in args.seeds:
                with tempfile.TemporaryDirectory() as place:
                    data = prepare(Path(place), ratings, folder, files, way, seed)
                    if not args.peers_alone:
                        found.setdefault("cfcli", []).append(trained(data, way, seed))
                    if args.myfm and name in OF_MYFM:
                        found.setdefault("myFM", []).append(by_myfm(data, args.myfm, way, seed))
                print(name, {tool: runs[-1] for tool, runs in found.items()}, file=sys.stderr)
        for tool, runs in found.items():
            errors, seconds = ([run[k] for run in runs] for k in (0, 1))
            plain.setdefault(tool, errors)  # by the first way
            gain = mean(errors) - mean(plain[tool])
            cells = f"{mean(errors):.4f}", f"{min(errors):.4f} to {max(errors):.4f}", f"{gain:+.4f}"
            measuring.print_row([title, f"{tool}: {name}", *cells, f"{mean(seconds):.0f}"])


def splits(folder: Path) -> list[list[object]]:
    """Arguments of `prepare` that say what is trained on and what is tested, a list for each
    split."""
    if not any(folder.glob("u1.base*")):
        ratings = next(folder.glob("ratings*"))
        return [[ratings, "--split", "random", "--test-size", "0.1"]]
    sides = [[next(folder.glob(f"{name}.{side}*")) for side in ("base", "test")] for name in SPLITS]
    return [[base, "--test-file", test] for base, test in sides]


def prepare(
    place: Path, ratings: list[object], folder: Path, files: Files, way: Way, seed: int
) -> Path:
    """Makes the dataset of a way, in an empty folder."""
    told, names = way.files.split(), []
    flags: list[object] = ["--val-size", way.val_size, "--seed", seed]
    for entity, file in files._asdict().items():
        if entity in told and file:
            path = folder / file
            flags += [f"--{entity}", shuffled(path, place, seed) if "shuffled" in told else path]
            names.append(ATTRIBUTES[entity])
    if names:
        flags += ["--attributes", ",".join(names)]
    measuring.cfcli("prepare", *ratings, *flags, "--out", place / "data", "--quiet", cwd=place)
    return place / "data"


def shuffled(path: Path, folder: Path, seed: int) -> Path:
    """A copy of a file whose ids are those of other rows."""
    lines = path.read_bytes().split(b"\n")
    head = [] if lines[0][:1].isdigit() else [lines.pop(0)]
    separator = b"::" if b"::" in lines[0] else b"|" if b"|" in lines[0].split(b",")[0] else b","
    rows = [line.partition(separator) for line in lines if line]
    ids = [row[0] for row in rows]
    random.Random(seed).shuffle(ids)
    out = folder / path.name
    texts = [separator.join((id, row[2])) for id, row in zip(ids, rows, strict=True)]
    out.write_bytes(b"\n".join([*head, *texts, b""]))
    return out


def trained(data: Path, way: Way, seed: int) -> tuple[float, float]:
    """The error on the test rows, and CPU seconds of `train`."""
    out = data.with_name("run")
    given = "--data", data, "--out", out, "--seed", seed, "--no-plots", "--no-interest", "--quiet"
    cost = measuring.cfcli("train", *way.flags.split(), *given)
    told = measuring.cfcli("evaluate", out, "--no-lists", "--no-plots", "--json", "--quiet").output
    return float(json.loads(told)["model"]["rmse"]), cost.cpu_seconds


def by_myfm(data: Path, python: Path, way: Way, seed: int) -> tuple[float, float]:
    """The same of myFM, on the same rows with the same attributes."""
    import polars as pl

    from cfcli.core.data.dataset import Dataset

    dataset, folder = Dataset.load(data), data.with_name("myfm")
    folder.mkdir()
    test = rows(dataset, "test", way)
    for side, table in (("train", rows(dataset, "train", way)), ("test", test)):
        table.write_csv(folder / f"{side}.csv")
    for entity, encoded in dataset.attributes.named():
        if encoded is not None:
            names = [f"{each.name}:{k}" for each in encoded.described for k in range(each.columns)]
            table = pl.DataFrame(encoded.matrix, schema=names).with_row_index(entity)
            table.write_csv(folder / f"{entity}s.csv")
    script, out = Path(__file__).with_name("peer_models.py"), folder / "out.csv"
    cost = measuring.run(python, script, MYFM, folder / "train.csv", folder / "test.csv", out, seed)
    error = (pl.read_csv(out)["prediction"] - test["rating"]).to_numpy()
    return float((error**2).mean() ** 0.5), cost.cpu_seconds


def rows(dataset: "Dataset", side: str, way: Way) -> "pl.DataFrame":
    """Rows of a dataset: ``user``, ``item``, ``rating``, and the ``day`` where times are told."""
    has_times = "--times" in way.flags
    found = dataset.split(side, times=has_times)
    if not has_times:
        return found
    return found.with_columns(day=found["timestamp"].dt.epoch("d")).drop("timestamp")


if __name__ == "__main__":
    main()
