"""Files that are damaged, cut short, missing or another's: refused, never used."""

import random
import shutil
from pathlib import Path

import pytest
from artifact_faults import KINDS, USES, Use, files_of, flaw, load
from shell import run_cfcli
from soak import Count, Tried

from cfcli.core.runs import writing


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_whole_loads(kind: str, copy: Path) -> None:
    load(copy, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_byte_is_noticed(kind: str, copy: Path, count: Count, tried: Tried) -> None:
    chance = random.Random(kind)
    files = files_of(copy, kind)
    lost = []
    for path in files:
        whole = path.read_bytes()
        times = count(-(-200 // len(files)), 1000)
        for k in range(times):
            harmed = bytearray(whole)
            place = chance.randrange(len(whole))
            harmed[place] ^= 1 << chance.randrange(8) if k % 2 else chance.randrange(1, 256)
            path.write_bytes(harmed)
            if why := flaw(lambda: load(copy, kind), path.name):
                lost.append((path.name, place, harmed[place], why))
        path.write_bytes(whole)
        tried(
            "F14",
            f"a byte flipped in {kind}: {path.name}",
            times,
            sum(name == path.name for name, *_ in lost),
        )
    assert not lost
    load(copy, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_or_long_or_missing_or_of_another_is_noticed(
    kind: str, copy: Path, pool: Path, tried: Tried
) -> None:
    lost, n = [], 0
    for path in files_of(copy, kind):
        whole = path.read_bytes()
        other = (pool / "other" / path.relative_to(copy)).read_bytes()
        assert kind == "checkpoint" or path.name == "config.toml" or whole != other
        kept = sorted({0, 1, len(whole) // 2, len(whole) - 1})
        harms = {f"cut to {size}": whole[:size] for size in kept} | {
            "a byte more": whole + b"\0",
            "missing": None,
        }
        if (
            kind != "checkpoint" and whole != other
        ):  # another's checkpoint is whole: that tests below have
            harms["of another"] = other
        for what, content in harms.items():
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            n += 1
            gone = kind == "checkpoint" and content is None

            def action(gone: bool = gone) -> object:
                return writing.resumable(copy / "stopped") if gone else load(copy, kind)

            names = (
                ("stopped",)
                if gone
                else (path.name, str(path.parent))
                if content is None
                else (path.name,)
            )
            if why := flaw(action, *names):
                lost.append((path.name, what, why))
            path.write_bytes(whole)
    tried("F15", f"files of {kind} cut, longer, missing, swapped", n, len(lost))
    assert not lost


@pytest.mark.parametrize("args", ["evaluate mf", "train --data data --out new"])
def test_a_command_refuses_in_one_line(args: str, copy: Path) -> None:
    path = copy / ("mf/users.parquet" if "mf" in args else "data/train.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    done = run_cfcli(*args.split(), cwd=copy)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (7, "", 1)
    assert done.stderr.startswith("error: ")
    assert path.name in done.stderr
    assert not (copy / "new").exists()


def test_all_uses_work_while_nothing_is_wrong(use: Use) -> None:
    for name in USES:
        shutil.rmtree("new", ignore_errors=True)
        code, _, err, error = use(name)
        assert code == 0, (name, err, error)
