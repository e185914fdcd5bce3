"""Measures what attributes gain on held-out ratings: without them, with those of items, with those
of users, too, and with both files' ids shuffled, so that attributes say nothing; with --times, each
of these also with the effects of times.

    python benchmarks/attributes.py u1.base.gz:u1.test.gz --items u.item \\
        --users u.user --attributes genres,year,age,gender,occupation -- --dim 16

All ways are trained in turn with the same seed; seconds are those of `cfcli train`.
"""

import argparse
import json
import random
import tempfile
from collections import defaultdict
from pathlib import Path

import measuring


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("splits", nargs="+", help="RATINGS or BASE:TEST")
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--users", type=Path)
    parser.add_argument("--attributes", help="names of columns")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--times", action="store_true", help="each way with train --times, too")
    args, flags = measuring.arguments(parser)
    rmse, seconds = defaultdict(list), defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split in args.splits:
            ratings, _, test = split.partition(":")
            given = [
                Path(ratings).resolve(),
                *(["--test-file", Path(test).resolve()] if test else []),
            ]
            for way, files in ways(folder, args).items():
                measuring.cfcli(
                    "prepare", *given, *files, "--out", way, "--force", "--quiet", cwd=folder
                )
            for seed in range(args.seeds):
                for way in ways(folder, args):
                    for more in [], *([["--times"]] if args.times else []):
                        given = [*flags, "--seed", str(42 + seed), *more]
                        cost, error = trained(folder, way, given)
                        name = " ".join([way, *more])
                        rmse[name].append(error)
                        seconds[name].append(cost)
    measuring.print_head("attributes", "RMSE", "of each split and seed", "seconds")
    for way, errors in rmse.items():
        mean = sum(errors) / len(errors)
        each = " ".join(f"{error:.4f}" for error in errors)
        measuring.print_row([way, f"{mean:.4f}", each, f"{sum(seconds[way]):.0f}"])


def ways(folder: Path, args: argparse.Namespace) -> dict[str, list[str | Path]]:
    """The flags of `prepare` for each way."""
    items, users = args.items.resolve(), args.users.resolve() if args.users else None
    known: list[str | Path] = ["--attributes", args.attributes] if args.attributes else []
    found: dict[str, list[str | Path]] = {"none": []}
    if users:
        kept = [name for name in (args.attributes or "").split(",") if name in ("genres", "year")]
        found["items"] = ["--items", items, *(["--attributes", ",".join(kept)] if kept else [])]
        found["items, users"] = ["--items", items, "--users", users, *known]
        found["shuffled"] = [
            "--items", shuffled(items, folder), "--users", shuffled(users, folder), *known,
        ]  # fmt: skip
    else:
        found["items"] = ["--items", items, *known]
        found["shuffled"] = ["--items", shuffled(items, folder), *known]
    return found


def shuffled(path: Path, folder: Path) -> Path:
    """A copy of a file whose ids are those of other rows."""
    lines = path.read_bytes().split(b"\n")
    head = [] if lines[0][:1].isdigit() else [lines.pop(0)]
    separator = b"::" if b"::" in lines[0] else b"|" if b"|" in lines[0].split(b",")[0] else b","
    rows = [line.partition(separator) for line in lines if line]
    ids = [row[0] for row in rows]
    random.Random(0).shuffle(ids)
    out = folder / f"shuffled-{path.name}"
    texts = [separator.join((id, row[2])) for id, row in zip(ids, rows, strict=True)]
    out.write_bytes(b"\n".join([*head, *texts, b""]))
    return out


def trained(folder: Path, way: str, flags: list[str]) -> tuple[float, float]:
    """Seconds, and the error on the test rows."""
    out = tempfile.mkdtemp(dir=folder) + "/run"
    given = "--data", way, "--out", out, "--no-plots", "--no-interest", "--quiet", *flags
    cost = measuring.run(measuring.CFCLI, "train", *given, cwd=folder)
    told = measuring.cfcli("evaluate", out, "--no-lists", "--no-plots", "--json", cwd=folder).output
    return cost.seconds, float(json.loads(told)["model"]["rmse"])


if __name__ == "__main__":
    main()
