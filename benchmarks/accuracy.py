"""Test RMSE on published splits of MovieLens, by the commands that a user would type.

    python benchmarks/accuracy.py --ml-100k FOLDER [--ml-1m RATINGS] [--seeds 0 1 2] [--out
    accuracy]

FOLDER holds u1.base, u1.test ... u5.test (perhaps packed), RATINGS is ratings.dat or a CSV of it.
Every row of the table is ``prepare``, ``train`` and ``evaluate`` in processes of their own; nothing
is tuned on the test side, and no validation rows are taken where training needs none. Writes
Markdown and JSON.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import measuring

FOLDS = [f"u{k}" for k in range(1, 6)]
# Sampling needs no validation rows: it runs all its epochs. Adam stops by them.
ML_100K = [  # folds, flags of prepare, flags of train
    (["u1"], ["--val-size", "0"], ["--model", "mf", "--dim", "16"]),
    (["u1"], ["--val-size", "0"], ["--model", "mf", "--dim", "5"]),
    (FOLDS, ["--val-size", "0"], ["--model", "mf", "--dim", "16"]),
    (FOLDS, ["--val-size", "0.1"], ["--solver", "adam", "--dim", "64"]),
    (FOLDS, ["--val-size", "0.1"], ["--model", "ncf", "--dim", "32"]),
]
ML_1M = [
    (["--val-size", "0"], ["--model", "mf", "--dim", "16"]),
    (["--val-size", "0"], ["--model", "mf", "--dim", "64"]),
]


def measure(
    name: str, datasets: list[list[object]], flags: list[str], seeds: list[int], folder: Path
) -> dict[str, object]:
    """One row of the table: means over datasets and seeds."""
    found = []
    for k, arguments in enumerate(datasets):
        data = folder / f"{name}-{k}".replace(" ", "-")
        measuring.cfcli("prepare", *arguments, "--out", data, "--force", "--accept-shrink", "-q")
        for seed in seeds:
            out = folder / f"run-{len(list(folder.iterdir()))}-{time.time_ns()}"
            given = ("--data", data, "--no-plots", "--seed", seed, "--out", out, "-q")
            train = measuring.cfcli("train", *flags, *given)
            report = json.loads(measuring.cfcli("evaluate", out, "--json", "-q").output)
            found.append((report["model"]["rmse"], *train[:3]))
    rmse, wall, cpu, peak = zip(*found, strict=True)
    row = {
        "data": name,
        "train": " ".join(flags),
        "runs": len(found),
        "rmse": round(statistics.mean(rmse), 4),
    }
    row |= {
        "rmse_min": round(min(rmse), 4),
        "rmse_max": round(max(rmse), 4),
        "seconds": round(statistics.mean(wall), 1),
    }
    row |= {"cpu_seconds": round(statistics.mean(cpu), 1), "peak_mb": round(max(peak))}
    print(row, flush=True)
    return row


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--ml-100k", type=Path)
    parser.add_argument("--ml-1m", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("accuracy"))
    args = parser.parse_args()
    measuring.heading()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.ml_100k:
            for folds, prepare, train in ML_100K:
                sides = [
                    [next(args.ml_100k.glob(f"{f}.{s}*")) for s in ("base", "test")] for f in folds
                ]
                datasets = [[base, "--test-file", test, *prepare] for base, test in sides]
                title = "ML-100K " + (folds[0] if len(folds) == 1 else f"{folds[0]}..{folds[-1]}")
                rows.append(measure(title, datasets, train, args.seeds, folder))
        if args.ml_1m:
            for prepare, train in ML_1M:
                arguments = [
                    args.ml_1m,
                    "--split",
                    "random",
                    "--test-size",
                    "0.1",
                    "--seed",
                    "42",
                    *prepare,
                ]
                rows.append(measure("ML-1M random 90/10", [arguments], train, args.seeds, folder))
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([str(row[head]) for head in heads] for row in rows)]
    args.out.with_suffix(".md").write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
    args.out.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
