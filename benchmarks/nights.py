"""Spends nights on a ratings file that grows: what ``cfcli retrain`` publishes, how good it is, and
how long it takes.

Rows come in the order of their times (or of the file, where it has none). Each night is one call of
the console script, by wall clock; --full trains anew every night, to compare with.

    python benchmarks/nights.py ratings.csv --nights 10 --start 0.9 -- --dim 16
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measuring
import polars as pl

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.inputs import ratings
from cfcli.core.inputs.sources import Source


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("ratings")
    parser.add_argument("--nights", type=int, default=10)
    parser.add_argument(
        "--start", type=float, default=0.9, help="share of the rows that the first night has"
    )
    parser.add_argument("--full", action="store_true", help="begin every training anew")
    cut = (
        sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    )  # flags for retrain stand after it
    args, flags = parser.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :]
    frame, _ = ratings.read([Source.of(args.ratings)], PrepareConfig())
    if "timestamp" in frame.columns:
        frame = frame.sort("timestamp", maintain_order=True)
    frame = frame.with_columns(pl.col("user_id", "item_id").cast(pl.String))
    measuring.heading()
    print("      rows new users new items start    RMSE  in use  biases      s  outcome")
    outcomes, seconds = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for night in range(args.nights):
            share = args.start + (1 - args.start) * night / max(args.nights - 1, 1)
            rows = frame.head(round(share * frame.height))
            rows.select("user_id", "item_id", "rating").write_csv(folder / "ratings.csv")
            more = ["--full-every", "1"] if args.full else []
            given = ["ratings.csv", "--store", "store", "--json", "--quiet", *flags, *more]
            begin = time.perf_counter()
            done = subprocess.run(
                [measuring.CFCLI, "retrain", *given], cwd=folder, capture_output=True, text=True
            )
            seconds.append(time.perf_counter() - begin)
            if done.returncode not in (0, 6):
                sys.exit(done.stderr)
            report = json.loads(done.stdout)
            outcomes.append(report["status"])
            errors = [report["model"], report["champion"], report["baselines"]["bias"]]
            cells = " ".join(f"{part['rmse']:>7.4f}" if part else f"{'-':>7}" for part in errors)
            start = report["start"].partition(":")[0]
            print(
                f"{rows.height:>10,} {report['new_users']:>9,} {report['new_items']:>9,} "
                f"{start:>5} {cells} "
                f"{seconds[-1]:>6.1f}  {report['status']} {report['reason']}",
                flush=True,
            )
    mean = sum(seconds[1:]) / len(seconds[1:])
    print(
        f"published {outcomes.count('published')} of {len(outcomes)}; "
        f"{mean:.1f} s a night after the first"
    )


if __name__ == "__main__":
    main()
