"""What it gains and costs to train on with the validation rows: `prepare` and `train` of a split
with all defaults, beside `--refit none --no-interest`, in turns. Words after `--` go to `train`.

    python benchmarks/refit.py u1.base u1.test --repeats 5 -- --dim 16
"""

import json
import statistics
import tempfile
from functools import partial
from pathlib import Path

import measuring

WAYS = {"default": (), "--refit none --no-interest": ("--refit", "none", "--no-interest")}


def train(folder: Path, base: Path, test: Path, flags: list[str]) -> tuple[float, float]:
    """Seconds from the ratings to a run, and its RMSE on the test rows."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        costs = [
            measuring.run(measuring.CFCLI, *words, "--quiet", cwd=place)
            for words in (
                ("prepare", str(base), "--test-file", str(test)),
                ("train", "--out", "run", *flags),
            )
        ]
        judged = measuring.cfcli("evaluate", "run", "--json", "--no-lists", "--no-plots", cwd=place)
        return sum(cost.seconds for cost in costs), json.loads(judged.output)["model"]["rmse"]


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    args, flags = measuring.arguments(parser)
    with tempfile.TemporaryDirectory() as name:
        files = args.base.resolve(), args.test.resolve()
        calls = [partial(train, Path(name), *files, [*flags, *way]) for way in WAYS.values()]
        found = measuring.in_turn(args.repeats, *calls)
    seconds = [statistics.median(time for time, _ in results) for results in found]
    measuring.print_head("", "RMSE", "seconds", "ratio")
    for way, results, time in zip(WAYS, found, seconds, strict=True):
        measuring.print_row(
            [way, f"{results[0][1]:.4f}", f"{time:.2f}", f"{time / seconds[1]:.2f}"]
        )


if __name__ == "__main__":
    main()
