"""One process and two, rows in memory and from the disk, tables whole and in parts: side by side on
made-up ratings.

Prepares MovieLens-25M-like ratings under --folder, where they are kept for the next time, and
trains on them by Adam (--dim, --epochs). Each case is a command of its own: the median seconds of
an epoch, the validation RMSE of the best, seconds of the command, and the largest resident size of
any of its processes. On one machine, processes share its cores: what two of them cost, and that
they come to the same, is what this can show.

    python benchmarks/scaleout.py --rows 1e6
    python benchmarks/scaleout.py --rows 25e6 100e6 --of 100e6 --epochs 1 --cases stream resident
"""

import argparse
import json
import os
import shutil
from pathlib import Path

import polars as pl
from made_ratings import write_csv
from scale import measure

CASES = {
    "resident": [],
    "resident, 2 processes": ["--devices", "2"],
    "stream": ["--loader", "stream"],
    "stream, 1 worker": ["--loader", "stream", "--num-workers", "1"],
    "stream, 2 processes": ["--loader", "stream", "--devices", "2"],
    "tables whole, no features": ["--set", "implicit=false"],
    "tables in parts, 1 process": ["--shard-embeddings"],
    "tables in parts, 2 processes": ["--shard-embeddings", "--devices", "2"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6])
    parser.add_argument(
        "--of", type=float, help="draw the rows from so many, whose users and items they keep"
    )
    parser.add_argument("--dim", default="16")
    parser.add_argument("--epochs", default="5")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-data"))
    args = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)
    print("| ratings | case | s an epoch | million ratings/s | val RMSE | s in all | peak MB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for rows in map(int, args.rows):
        whole = int(args.of or rows)
        file, data, out = (
            args.folder / f"{whole}.csv",
            args.folder / f"data-{rows}-of-{whole}",
            args.folder / "run",
        )
        if not data.exists():
            if not file.exists():
                args.folder.mkdir(exist_ok=True)
                write_csv(file, whole)
            measure("prepare", str(file), "--sample", str(rows), "--out", str(data), "--quiet")
        for case in args.cases:
            shutil.rmtree(out, ignore_errors=True)
            train = [
                "train",
                "--data",
                str(data),
                "--out",
                str(out),
                "--solver",
                "adam",
                "--dim",
                args.dim,
            ]
            stop = [
                "--epochs",
                args.epochs,
                "--patience",
                args.epochs,
                "--no-plots",
                "--quiet",
                "--json",
            ]
            seconds, peak, output = measure(*train, *stop, *CASES[case])
            epoch, found = pl.read_csv(out / "metrics.csv")["seconds"].median(), json.loads(output)
            print(
                f"| {rows:,} | {case} | {epoch:.2f} | {found['ratings_per_second'] / 1e6:.2f} "
                f"| {found['val']['rmse']:.4f} | {seconds:.1f} | {peak:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
