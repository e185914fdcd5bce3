"""What tests share: made-up ratings with structure in them, and the console script."""

import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

CFCLI = Path(sys.executable).with_name("cfcli")
SECONDS = 120  # that a command may take


def write_ratings(
    path: Path, users: int = 80, items: int = 60, share: float = 0.6, seed: int = 0
) -> Path:
    """A MovieLens-shaped CSV: two tastes, item and user biases, some noise; ids start at 1."""
    generator = np.random.default_rng(seed)
    taste = np.where(np.arange(users)[:, None] % 2 == np.arange(items)[None] % 2, 1.0, -1.0)
    score = 3 + taste + generator.normal(0, 0.4, (users, 1)) + generator.normal(0, 0.4, (1, items))
    rating = np.clip(np.round(2 * (score + generator.normal(0, 0.3, (users, items)))) / 2, 0.5, 5)
    lines = [
        f"{u + 1},{i + 1},{rating[u, i]},{1_000_000_000 + 1000 * u + i}"
        for u in range(users)
        for i in range(items)
        if generator.random() < share
    ]
    path.write_text("\n".join(["userId,movieId,rating,timestamp", *lines]) + "\n")
    return path


def run_cfcli(
    *args: object, cwd: Path, env: dict[str, str] | None = None, **kwargs: Any
) -> "subprocess.CompletedProcess[str]":
    """Runs ``cfcli`` in a process of its own and waits for it.

    That process is forked from one that has imported everything (``warm.py``): half a second
    instead of two. The installed console script itself runs in a soak, and where a test asks for
    more than another folder, settings of cfcli or text on stdin.
    """
    settings = env or {}
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CFCLI_")}
    whole = clean | {"COLUMNS": "100", "CFCLI_DEBUG": "1"} | settings
    command = [str(CFCLI), *map(str, args)]
    own = all(name.startswith("CFCLI_") for name in settings)
    if own and set(kwargs) <= {"input"} and not os.environ.get("CFCLI_SOAK"):
        return warm().run(command, Path(cwd), whole, kwargs.get("input"))
    return subprocess.run(
        command, cwd=cwd, env=whole, capture_output=True, text=True, timeout=SECONDS, **kwargs
    )


def on_terminal(*args: object, cwd: Path, columns: int = 100, errors: bool = False) -> str:
    """What ``cfcli`` prints on a terminal; with ``errors`` also on stderr."""
    ours, its = os.openpty()
    env = {name: value for name, value in os.environ.items() if name != "CI"}
    env |= {"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    done = subprocess.Popen(
        [str(CFCLI), *map(str, args)], cwd=cwd, env=env, stdout=its, stderr=its if errors else None
    )
    os.close(its)
    parts = []
    with contextlib.suppress(OSError):  # the end, on Linux
        while part := os.read(ours, 1 << 16):
            parts.append(part)
    os.close(ours)
    assert done.wait(SECONDS) == 0
    return b"".join(parts).decode()


def lines(shown: str) -> list[str]:
    """The lines on a terminal, without what moves its cursor or styles what it shows."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain)]


class Warm:
    """A process that has imported everything and forks one for each command."""

    def __init__(self) -> None:
        server = [sys.executable, str(Path(__file__).with_name("warm.py"))]
        self.process = subprocess.Popen(
            server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, command: list[str], cwd: Path, env: dict[str, str], text: str | None
    ) -> "subprocess.CompletedProcess[str]":
        with tempfile.TemporaryDirectory() as folder:
            streams = {name: Path(folder, name) for name in ("stdin", "stdout", "stderr")}
            for path in streams.values():
                path.touch()
            if text is not None:
                streams["stdin"].write_text(text)
            files = {name: str(path) for name, path in streams.items()}
            code = self.call({"command": command, "cwd": str(cwd.resolve()), "env": env, **files})
            out, err = (streams[name].read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(command, code, out, err)

    def call(self, job: dict[str, Any]) -> int:
        """Runs a command and waits for it; ``warm.py`` says what a job holds."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return self._wait(job["command"])

    def _wait(self, command: list[str]) -> int:
        assert self.process.stdout
        pid = int(self.process.stdout.readline())
        killer = threading.Timer(SECONDS, os.killpg, (pid, signal.SIGKILL))
        killer.start()
        code = int(self.process.stdout.readline())
        if killer.finished.is_set():
            raise subprocess.TimeoutExpired(command, SECONDS)
        killer.cancel()
        return code


@functools.cache
def warm() -> Warm:
    return Warm()
