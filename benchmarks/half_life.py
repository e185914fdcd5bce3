"""What it gains to weigh old ratings down: the RMSE of validation rows, as the mean over seeds, for
both solvers. Words after `--` go to `train`.

    python benchmarks/half_life.py ml-100k/u.data --split time -- --dim 16
"""

import json
import tempfile
from pathlib import Path
from statistics import mean

import measuring

HALF_LIVES = ("none", "30d", "180d", "365d")
SOLVERS = ("gibbs", "adam")


def error(folder: Path, half_life: str, solver: str, seed: int, flags: list[str]) -> float:
    """The RMSE of the validation rows of the dataset in a folder."""
    words = ["train", "--solver", solver, "--seed", str(seed), "--refit", "none", "--no-interest"]
    if half_life != "none":
        words += ["--half-life", half_life]
    done = measuring.cfcli(*words, "--no-plots", "--quiet", "--json", *flags, cwd=folder)
    rmse: float = json.loads(done.output)["val"]["rmse"]
    return rmse


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("ratings", type=Path)
    parser.add_argument("--split", default="time")
    parser.add_argument("--seeds", type=int, default=3)
    args, flags = measuring.arguments(parser)
    with tempfile.TemporaryDirectory() as name:
        ratings = str(args.ratings.resolve())
        measuring.cfcli("prepare", ratings, "--split", args.split, "--quiet", cwd=Path(name))
        measuring.print_head("half-life", *SOLVERS)
        for half_life in HALF_LIVES:
            found = [
                mean(error(Path(name), half_life, solver, 42 + k, flags) for k in range(args.seeds))
                for solver in SOLVERS
            ]
            measuring.print_row([half_life, *(f"{rmse:.4f}" for rmse in found)])


if __name__ == "__main__":
    main()
