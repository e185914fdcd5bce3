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

import json
import os
import shutil
from pathlib import Path

import measuring
import polars as pl

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
    parser = measuring.parser(__doc__)
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
    measuring.print_head(
        "ratings", "case", "s an epoch", "million ratings/s", "val RMSE", "s in all", "peak MB"
    )
    for rows in map(int, args.rows):
        whole = int(args.of or rows)
        data, out = args.folder / f"data-{rows}-of-{whole}", args.folder / "run"
        if not data.exists():
            file = measuring.ratings_file(args.folder, whole)
            measuring.cfcli("prepare", file, "--sample", rows, "--out", data, "--quiet")
        for case in args.cases:
            shutil.rmtree(out, ignore_errors=True)
            train = ["--data", data, "--out", out, "--solver", "adam", "--dim", args.dim]
            stop = ["--epochs", args.epochs, "--patience", args.epochs, "--no-plots"]
            cost = measuring.cfcli("train", *train, *stop, "--quiet", "--json", *CASES[case])
            epoch = pl.read_csv(out / "metrics.csv")["seconds"].median()
            found = json.loads(cost.output)
            cells = [
                f"{rows:,}",
                case,
                f"{epoch:.2f}",
                f"{found['ratings_per_second'] / 1e6:.2f}",
                f"{found['val']['rmse']:.4f}",
                f"{cost.seconds:.1f}",
                f"{cost.peak_mb:,.0f}",
            ]
            measuring.print_row(cells)


if __name__ == "__main__":
    main()
