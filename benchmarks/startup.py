"""Times how long commands take to start: every --help, and those that use a model, on a small one.

Each is a process of its own, by wall clock and by CPU time (user and system), the least of
--repeats after one that is not counted, and with its most memory. The last column says which heavy
libraries were loaded.

    python benchmarks/startup.py --repeats 10
    python benchmarks/startup.py --ratings u1.base.csv --pairs u1.test.csv    of ML-100K, say

With files of one's own, the commands are prepare, train and predict, and their sum follows.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import measuring
import numpy as np

from cfcli.cli.app import COMMANDS

HEAVY = "polars pyarrow scipy sklearn torch pytorch_lightning pandas".split()
LOADED = f"""
import atexit, sys
atexit.register(lambda: print(" ".join(n for n in {HEAVY!r} if n in sys.modules), file=sys.stderr))
from cfcli.cli.app import main
main()
"""


TRAIN = "train --no-interest --refit none --no-plots --quiet --out run-{k}"


def made_up(folder: Path) -> list[str]:
    """Commands on a few ratings by chance, in a folder that has a run of them."""
    chance = np.random.default_rng(0)
    rows = [f"{u},{i},{r}" for u, i, r in chance.integers(1, [60, 60, 6], (3000, 3))]
    (folder / "ratings.csv").write_text("user,item,rating\n" + "\n".join(rows) + "\n")
    (folder / "pairs.csv").write_text("user,item\n1,1\n")
    for command in ("prepare ratings.csv", "train --epochs 1 --quiet"):
        measuring.cfcli(*command.split(), cwd=folder)
    used = [
        "predict runs/latest pairs.csv", "recommend --user 1", "similar 1", "export-embeddings",
        "evaluate", "verify", "prepare ratings.csv", "train --epochs 1 --out run-{k}",
    ]  # fmt: skip
    return ["--help", *(f"{command} --help" for command in COMMANDS), *used]


def measure(text: str, folder: Path, repeats: int) -> measuring.Cost:
    """Prints the row of a command, and returns the least of what it took."""
    costs = []
    for k in range(repeats + 1):
        costs.append(measuring.cfcli(*text.format(k=k).split(), cwd=folder))
    wall, cpu, peak = (min(cost[place] for cost in costs[1:]) for place in range(3))
    command = [sys.executable, "-c", LOADED, *text.format(k="last").split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    loaded = done.stderr.splitlines()[-1]
    name = text.partition("{")[0].strip()
    measuring.print_row([f"`{name}`", f"{wall:.3f}", f"{cpu:.3f}", f"{peak:.0f}", loaded])
    return measuring.Cost(wall, cpu, peak, "")


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--ratings", type=Path)
    parser.add_argument("--pairs", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.ratings:
            prepare = f"prepare {args.ratings.resolve()} --test-size 0 --force --quiet"
            predict = f"predict run-1 {args.pairs.resolve()} --out predicted.csv --quiet"
            commands = [prepare, TRAIN, predict]
        else:
            commands = made_up(folder)
        measuring.print_head("command", "wall s", "cpu s", "peak MB", "loaded")
        costs = [measure(command, folder, args.repeats) for command in commands]
    if args.ratings:
        wall, cpu = sum(cost.seconds for cost in costs), sum(cost.cpu_seconds for cost in costs)
        measuring.print_row(["sum", f"{wall:.3f}", f"{cpu:.3f}", "", ""])


if __name__ == "__main__":
    main()
