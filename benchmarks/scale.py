"""The whole road, from a CSV file to an evaluated model, at growing numbers of ratings: prepare,
train, evaluate.

Makes the files (seeded, of MovieLens-25M's proportions) under --folder, where they are kept for the
next time. Each command is a process of its own: wall seconds and largest resident size; then the
test RMSE of the model and that of the damped biases that it must beat. 100 M rows take 11 GB of
disk and an hour, and are run when asked for.

    python benchmarks/scale.py --rows 1e6 5e6 25e6
    python benchmarks/scale.py --rows 100e6 -- --dim 16
"""

import json
import shutil
from pathlib import Path

import measuring


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6, 5e6, 25e6])
    parser.add_argument("--folder", type=Path, default=Path("benchmark-data"))
    parser.add_argument("flags", nargs="*", help="for train, after --")
    args = parser.parse_args()
    measuring.print_head(
        "ratings", "prepare s", "train s", "epochs", "evaluate s", "all s", "s per million",
        "peak MB", "RMSE", "biases",
    )  # fmt: skip
    for rows in map(int, args.rows):
        path = measuring.ratings_file(args.folder, rows)
        data, run = args.folder / "data", args.folder / "run"
        for folder in (data, run):
            shutil.rmtree(folder, ignore_errors=True)
        prepared = measuring.cfcli("prepare", path, "--out", data, "--quiet")
        given = ("--data", data, "--out", run, "--quiet", "--json")
        trained = measuring.cfcli("train", *given, *args.flags)
        evaluated = measuring.cfcli("evaluate", run, "--quiet", "--json")
        report = json.loads(evaluated.output)
        steps = [prepared, trained, evaluated]
        whole = sum(step.seconds for step in steps)
        cells = [
            f"{rows / 1e6:g} M",
            f"{prepared.seconds:.1f}",
            f"{trained.seconds:.1f}",
            json.loads(trained.output)["epochs"],
            f"{evaluated.seconds:.1f}",
            f"{whole:.1f}",
            f"{whole / rows * 1e6:.1f}",
            f"{max(step.peak_mb for step in steps):,.0f}",
            f"{report['model']['rmse']:.4f}",
            f"{report['baselines']['bias']['rmse']:.4f}",
        ]
        measuring.print_row(cells)


if __name__ == "__main__":
    main()
