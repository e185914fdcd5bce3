"""Times how long commands take to start: every --help, and those that use a model, on a small one.

Each is a process of its own, by wall clock and by CPU time (user and system), the median of
--repeats after one that is not counted. The last column says which heavy libraries were loaded.

    python benchmarks/startup.py --repeats 10
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import measuring
import numpy as np

from cfcli.cli.app import COMMANDS

HEAVY = "polars pyarrow sklearn torch pytorch_lightning pandas".split()
LOADED = f"""
import atexit, sys
atexit.register(lambda: print(" ".join(n for n in {HEAVY!r} if n in sys.modules), file=sys.stderr))
from cfcli.cli.app import main
main()
"""


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chance = np.random.default_rng(0)
        rows = [f"{u},{i},{r}" for u, i, r in chance.integers(1, [60, 60, 6], (3000, 3))]
        (folder / "ratings.csv").write_text("user,item,rating\n" + "\n".join(rows) + "\n")
        (folder / "pairs.csv").write_text("user,item\n1,1\n")
        for command in ("prepare ratings.csv", "train --epochs 1 --quiet"):
            measuring.cfcli(*command.split(), cwd=folder)
        used = [
            "predict runs/latest pairs.csv", "recommend --user 1", "similar 1",
            "export-embeddings", "evaluate",
            "verify", "prepare ratings.csv", "train --epochs 1 --out run-{k}",
        ]  # fmt: skip
        measuring.print_head("command", "wall s", "cpu s", "loaded")
        for text in ["--help", *(f"{c} --help" for c in COMMANDS), *used]:
            costs = []
            for k in range(args.repeats + 1):
                costs.append(measuring.cfcli(*text.format(k=k).split(), cwd=folder))
            wall = statistics.median(cost.seconds for cost in costs[1:])
            cpu = statistics.median(cost.cpu_seconds for cost in costs[1:])
            command = [sys.executable, "-c", LOADED, *text.format(k="last").split()]
            loaded = subprocess.run(
                command, cwd=folder, capture_output=True, text=True
            ).stderr.splitlines()[-1]
            name = text.partition("{")[0].strip()
            measuring.print_row([f"`{name}`", f"{wall:.3f}", f"{cpu:.3f}", loaded])


if __name__ == "__main__":
    main()
