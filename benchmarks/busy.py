"""Times `cfcli train` on a machine that is idle, and on one where as many other processes are busy
as it has processors: with the default settings, with threads that spin while they wait (as OpenMP
does by default), and with one thread.

All ways are measured in turn, and the table has their medians. Words after `--` go to `train`.

    python benchmarks/busy.py --rows 1000000 --repeats 5 -- --epochs 5
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import measuring

SPINNING = ("env", "GOMP_SPINCOUNT=300000")  # what libgomp takes where nothing is set
WAYS = {"default": ((), ()), "spinning": (SPINNING, ()), "1 thread": ((), ("--set", "threads=1"))}


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that compute, as long as this one lives."""
    code = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
    command = [sys.executable, "-c", code]
    started = [subprocess.Popen(command) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def train(folder: Path, flags: list[str], way: str, others: int) -> measuring.Cost:
    """Trains once beside so many busy processes."""
    before, more = WAYS[way]
    with busy(others), tempfile.TemporaryDirectory() as out:
        given = "--data", "data", "--out", f"{out}/run", "--no-plots", "--quiet", *flags, *more
        return measuring.run(*before, measuring.CFCLI, "train", *given, cwd=folder)


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--ratings", type=Path, help="a file; made up where none is given")
    parser.add_argument("--rows", type=int, default=1_000_000, help="made-up ratings")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--others", type=int, default=os.cpu_count())
    args, flags = measuring.arguments(parser)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ratings = args.ratings or measuring.ratings_file(folder, args.rows)
        measuring.cfcli("prepare", ratings.resolve(), "--quiet", cwd=folder)
        cases = [(way, others) for others in (0, args.others) for way in WAYS]
        calls = [partial(train, folder, flags, *case) for case in cases]
        found = measuring.in_turn(args.repeats, *calls)
    seconds = {
        case: statistics.median(cost.seconds for cost in costs)
        for case, costs in zip(cases, found, strict=True)
    }
    measuring.print_head("threads", "idle, s", "busy, s", "of 1 thread, idle", "of 1 thread, busy")
    for way in WAYS:
        both = [seconds[way, others] for others in (0, args.others)]
        least = [seconds["1 thread", others] for others in (0, args.others)]
        ratios = [f"{a / b:.2f}" for a, b in zip(both, least, strict=True)]
        measuring.print_row([way, *(f"{value:.1f}" for value in both), *ratios])


if __name__ == "__main__":
    main()
