"""Pipes, folders, devices and links in the place of files: refused at once."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from artifact_faults import KINDS, files_of, flaw, load

from cfcli.core.runs import writing


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A gigabyte more than now: what would take all that the machine has must not harm others."""
    pages = (
        int(Path("/proc/self/statm").read_text().split()[0])
        if Path("/proc/self/statm").exists()
        else 1 << 22
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "special", ["a pipe", "a folder", "no end", "a link to itself", "a link to nothing"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_refused_at_once(special: str, kind: str, copy: Path) -> None:
    """A pipe that nobody writes to would be waited for, for ever; /dev/zero would be read for
    ever."""
    lost = []
    for path in files_of(copy, kind):
        whole = path.read_bytes()
        path.unlink()
        match special:
            case "a pipe":
                os.mkfifo(path)
            case "a folder":
                path.mkdir()
            case _:
                path.symlink_to(
                    {"no end": "/dev/zero", "a link to itself": path.name}.get(special, "gone")
                )
        if kind == "checkpoint":
            why = flaw(
                lambda: (writing.resumable(copy / "stopped"), load(copy, kind)),
                "last.ckpt",
                "stopped",
            )
        else:
            why = flaw(lambda: load(copy, kind), path.name, str(path.parent))
        if why:
            lost.append((path.name, why))
        if special == "a folder":
            path.rmdir()
        else:
            path.unlink()
        path.write_bytes(whole)
        if lost:
            break  # one is enough: each may take all its seconds
    assert not lost
