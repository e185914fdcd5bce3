"""What tests of a failing machine share. What was there before stays whole, and what is new is
whole or not there."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from shell import Started, start_cfcli

from cfcli.cli.output.progress import LINES_EVERY
from cfcli.core.data.dataset import Dataset

Done = subprocess.CompletedProcess[str]
Process = subprocess.Popen[str] | Started
SECONDS = 10  # in which a signal ends anything


def clean() -> dict[str, str]:
    """The environment without settings of this program, but with a line for each epoch."""
    own = {"COLUMNS": "100", LINES_EVERY: "0"}
    return {k: v for k, v in os.environ.items() if not k.startswith("CFCLI_")} | own


def start(*args: object, cwd: Path, **kwargs: Any) -> Process:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return start_cfcli(*args, cwd=cwd, env={LINES_EVERY: "0"}, **pipes, **kwargs)


def until(process: Process, text: str) -> bool:
    """Reads its stderr up to a line that begins so; False if none does."""
    assert process.stderr
    return any(line.startswith(text) for line in process.stderr)


def fingerprint(dataset: Path) -> str:
    return str(Dataset.load(dataset).info.fingerprint)


def parts(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.name.endswith((".part", ".former"))
    )


def flaw(done: Done, code: int, *names: object, lines: int = 3) -> str:
    """What is wrong about how a command failed: empty if it has the exit code and says so in few
    lines, one of which has one of the names in it."""
    if done.returncode != code:
        return f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"
    said = done.stderr.splitlines()
    if "Traceback" in done.stderr or len(said) > lines:
        return f"{len(said)} lines: {done.stderr[:300]}"
    if not any(
        line.startswith("error: ") and any(str(name) in line for name in names) for line in said
    ):
        return f"names nothing: {done.stderr[:300]}"
    return ""


def ended(process: Process, seconds: float = SECONDS) -> tuple[str, str, float]:
    """Its stdout, its stderr and the seconds it took; it is killed if it takes too long."""
    begin = time.monotonic()
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    return out, err, time.monotonic() - begin
