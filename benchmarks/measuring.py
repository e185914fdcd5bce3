"""What all benchmarks share: seconds and memory of a process, tables that say where and when they
were made, and made-up ratings.

Nothing large is imported at the top: what this process takes in memory, its children are said to
have taken.
"""

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")
CFCLI = str(Path(sys.executable).with_name("cfcli"))
ROWS_PER_USER, ROWS_PER_ITEM = 154, 423  # of MovieLens-25M
MOST_ITEMS = 60_000  # its catalogue is not made larger
DIM = 8


class Cost(NamedTuple):
    """What a process took, and what it wrote to stdout."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


class Failed(RuntimeError):
    """A process that ended with an error; the last line of its stderr."""


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the docstring of the script."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def arguments(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """The arguments of the script, and the words after `--`, which are for a command."""
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    return parser.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :]


def run(*command: object, cwd: Path | None = None) -> Cost:
    """Runs a command in a process of its own and measures it.

    Raises:
        Failed: it ended with an error.
    """
    words = [str(part) for part in command]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(words, cwd=cwd, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        out.seek(0)
        errors.seek(0)
        if status:
            last = (errors.read().strip().splitlines() or [f"status {status}"])[-1]
            raise Failed(f"{shlex.join(words)}: {last}")
        cpu = usage.ru_utime + usage.ru_stime
        return Cost(seconds, cpu, megabytes(usage.ru_maxrss), out.read())


def cfcli(*args: object, cwd: Path | None = None) -> Cost:
    """Runs the console script and measures it."""
    return run(CFCLI, *args, cwd=cwd)


def megabytes(maxrss: int) -> float:
    """The largest resident size as getrusage has it: kilobytes on Linux, bytes on macOS."""
    return maxrss / (1 << (20 if sys.platform == "darwin" else 10))


def in_turn(repeats: int, *ways: Callable[[], T]) -> list[list[T]]:
    """The results of each way, measured in turn, so that a busy moment harms them alike."""
    found: list[list[T]] = [[] for _ in ways]
    for _ in range(repeats):
        for costs, way in zip(found, ways, strict=True):
            costs.append(way())
    return found


def heading() -> None:
    """Prints the command, the date, the machine and the commit, for the line above a table."""
    script = f"benchmarks/{Path(sys.argv[0]).name}"
    command = shlex.join(["python", script, *sys.argv[1:]])
    print(f"`{command}`, {date.today()}, {machine()}, commit {commit()}\n", flush=True)


def machine() -> str:
    """The name of the processor and the number of its cores."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    found = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    name = found[1] if found else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def commit() -> str:
    """The commit of the code that is measured."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def print_row(cells: Sequence[object]) -> None:
    """Prints a row of a Markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def print_head(*names: str) -> None:
    """Prints where and when, and the head of a Markdown table."""
    heading()
    print_row(names)
    print("|" + "---|" * len(names), flush=True)


def ratings_file(folder: Path, rows: int) -> Path:
    """A CSV of so many made-up ratings, kept in the folder for the next time."""
    path = folder / f"{rows}.csv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        write_csv(part, rows)
        part.rename(path)
    return path


def write_csv(path: Path, rows: int, seed: int = 42, block: int = 2_000_000) -> None:
    """Makes ratings up as MovieLens-25M has them: users and items of very different activity, and
    latent tastes.

    Writes ``userId,movieId,rating,timestamp`` with no pair twice, by user and item, a block of
    rows at a time.

    Activity of users is log-normal (at least 20 ratings), popularity of items a power law, and a
    rating, in half stars, the sum of both biases, an inner product of ``DIM`` dimensions and noise.
    """
    import numpy as np
    import polars as pl

    random = np.random.default_rng(seed)
    users, items = max(rows // ROWS_PER_USER, 10), min(max(rows // ROWS_PER_ITEM, 60), MOST_ITEMS)
    activity = np.exp(random.normal(0, 1.35, users))
    counts = np.clip(activity / activity.sum() * rows, 20, items // 3).astype(int)
    popularity = np.cumsum((np.arange(items) + 30.0) ** -1.1)
    popularity /= popularity[-1]
    ids = np.sort(random.choice(4 * items, items, replace=False) + 1)[random.permutation(items)]
    taste, trait = (random.normal(0, 0.35, (n, DIM)).astype(np.float32) for n in (users, items))
    user_bias = random.normal(0, 0.4, users).astype(np.float32)
    item_bias = random.normal(0, 0.5, items).astype(np.float32)
    joined = random.integers(789_652_009, 1_489_652_009, users)
    upto = np.cumsum(counts)
    done = first = 0
    with open(path, "wb") as file:
        file.write(b"userId,movieId,rating,timestamp\n")
        while done < rows:
            last = min(
                int(np.searchsorted(upto, (upto[first - 1] if first else 0) + block)) + 1, users
            )
            # Draws more than are needed, as some fall on the same item.
            user = np.repeat(np.arange(first, last), (1.6 * counts[first:last]).astype(int) + 10)
            item = np.searchsorted(popularity, random.random(len(user)))
            pair = np.unique(user * np.int64(items) + item)[: rows - done]
            if not len(pair):
                raise ValueError(f"{users} users are too few for {rows} ratings of {items} items")
            user, item = pair // items, pair % items
            score = 3.5 + user_bias[user] + item_bias[item] + (taste[user] * trait[item]).sum(1)
            score += random.normal(0, 0.7, len(user)).astype(np.float32)
            frame = pl.DataFrame(
                {
                    "user": user + 1,
                    "item": ids[item],
                    "rating": np.clip(np.round(2 * score) / 2, 0.5, 5).astype(np.float64),
                    "time": joined[user] + random.integers(0, 1_000_000, len(user)),
                }
            )
            frame.sort("user", "item").write_csv(file, include_header=False)
            done, first = done + len(user), last
