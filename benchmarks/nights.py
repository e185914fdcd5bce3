"""Spends nights on a ratings file that grows: what ``cfcli retrain`` publishes, how good it is, and
how long it takes.

Rows come in the order of their times (or of the file, where it has none). Each night is one call of
the console script, by wall clock; --full trains anew every night, to compare with. The last columns
are of the model in use in the morning: its RMSE on the ratings that come until the next night,
those whose user and item have been rated before (warm) and the others apart. With --other, the
console script of another version spends the same nights, in turn. Words after `--` go to both.

    python benchmarks/nights.py ratings.csv --nights 12 --other old/bin/cfcli -- --dim 16
"""

import json
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import measuring
import numpy as np
import polars as pl

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.inputs import ratings
from cfcli.core.inputs.roles import Form
from cfcli.core.inputs.sources import Source

COLUMNS = ["user_id", "item_id", "rating"]
FOLLOWING = "next.csv"


@dataclass
class Nights:
    """The nights that one version spends on the same files.

    Attributes:
        program: its console script.
        folder: where its store is.
        flags: for ``retrain``.
        seconds: of each night.
        warm: RMSE on warm ratings of the days between.
        published: how many models were.
    """

    program: str
    folder: Path
    flags: list[str]
    seconds: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    published: int = 0

    def spend(self, known: pl.DataFrame, following: pl.DataFrame) -> str:
        """Retrains on what is known, and judges the model in use by what follows."""
        self.folder.mkdir(exist_ok=True)
        known.select(COLUMNS).write_csv(self.folder / "ratings.csv")
        begin = time.perf_counter()
        given = ["ratings.csv", "--store", "store", "--json", "--quiet", *self.flags]
        report = json.loads(self._call("retrain", *given, may=(0, 6)))
        self.seconds.append(time.perf_counter() - begin)
        self.published += report["status"] == "published"
        parts = [report["model"], report["champion"], report["baselines"]["bias"]]
        errors = [part["rmse"] if part else None for part in parts]
        start = report["start"].partition(":")[0]
        if following.height:
            errors += self._judge(known, following)
        cells = " ".join(f"{'-':>7}" if error is None else f"{error:>7.4f}" for error in errors)
        return (
            f"{known.height:>10,} {report['new_users']:>9,} {report['new_items']:>9,} {start:>5} "
            f"{self.seconds[-1]:>6.1f} {cells}  {report['status']} {report['reason']}"
        )

    def _judge(self, known: pl.DataFrame, following: pl.DataFrame) -> list[float | None]:
        """The RMSE on warm and on other rows."""
        following.select(COLUMNS[:2]).write_csv(self.folder / FOLLOWING)
        self._call("predict", "store/current", FOLLOWING, "--out", "said.csv", "--quiet")
        said = pl.read_csv(self.folder / "said.csv")["prediction"]
        square = ((said - following["rating"]) ** 2).to_numpy()
        warm = np.ones(following.height, bool)
        for name in COLUMNS[:2]:
            warm &= following[name].is_in(known[name].implode()).to_numpy()
        self.warm.append(float(square[warm].mean() ** 0.5))
        return [self.warm[-1], float(square[~warm].mean() ** 0.5) if not warm.all() else None]

    def _call(self, *words: str, may: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            [self.program, *words], cwd=self.folder, capture_output=True, text=True
        )
        if done.returncode not in may:
            sys.exit(done.stderr)
        return done.stdout


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("ratings")
    parser.add_argument("--nights", type=int, default=10)
    parser.add_argument(
        "--start", type=float, default=0.9, help="share of the rows that the first night has"
    )
    parser.add_argument("--full", action="store_true", help="begin every training anew")
    parser.add_argument("--other", help="console script of another version")
    parser.add_argument("--own", default="", help="flags that the other version does not get")
    args, flags = measuring.arguments(parser)
    frame, _ = ratings.read([Source.of(args.ratings)], Form(PrepareConfig()))
    if "timestamp" in frame.columns:
        frame = frame.sort("timestamp", maintain_order=True)
    frame = frame.with_columns(pl.col("user_id", "item_id").cast(pl.String))
    flags += ["--full-every", "1"] if args.full else []
    measuring.heading()
    print(
        "      rows new users new items start      s    RMSE  in use  biases    warm    cold  "
        "outcome"
    )
    with tempfile.TemporaryDirectory() as name:
        sides = [Nights(measuring.CFCLI, Path(name) / "own", flags + shlex.split(args.own))]
        sides += [Nights(args.other, Path(name) / "other", flags)] * bool(args.other)
        shares = np.linspace(args.start, 1, args.nights)
        ends = [round(share * frame.height) for share in shares]
        for end, after in zip(ends, [*ends[1:], ends[-1]], strict=True):
            for side in sides:
                print(side.spend(frame[:end], frame[end:after]), flush=True)
    own = sides[0]
    for side in sides:
        mean = np.mean(side.seconds[1:])
        print(f"published {side.published} of {args.nights}; {mean:.1f} s a night after the first")
    for other in sides[1:]:
        better = sum(a < b for a, b in zip(own.warm, other.warm, strict=True))
        ratio = np.sum(own.seconds[1:]) / np.sum(other.seconds[1:])
        print(
            f"lower on warm rows on {better} of {len(own.warm)} nights, "
            f"by {np.mean(np.subtract(other.warm, own.warm)):.4f} in the mean; "
            f"{ratio:.2f} times the time"
        )


if __name__ == "__main__":
    main()
