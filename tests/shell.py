"""What tests share: made-up ratings with structure in them, and the console script."""

import contextlib
import functools
import json
import math
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any

import numpy as np

CFCLI = Path(sys.executable).with_name("cfcli")
SECONDS = 120  # that a command may take
STREAMS = ("stdin", "stdout", "stderr")
# Settings that no library reads as it is loaded.
READ_LATE = ("CI", "COLUMNS", "NO_COLOR", "TERM", "TMPDIR")

Stream = IO[Any] | int | None  # as subprocess.Popen takes them
Limits = dict[int, int]
Settings = dict[str, str | None]  # None: not to be there


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


def start_cfcli(
    *args: object, cwd: Path, env: Settings | None = None, fresh: bool = False, **kwargs: Any
) -> "subprocess.Popen[str] | Started":
    """Starts ``cfcli`` in a process of its own.

    That process is forked from one that has imported everything (``warm.py``): a twentieth of a
    second instead of one or two. The installed console script itself runs in a soak, and where a
    test asks for it (``fresh``) or for more than another folder, other streams, limits, and
    settings of cfcli or of a terminal. ``limits`` are those of ``resource.setrlimit``.
    """
    settings = env or {}
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CFCLI_")}
    given = clean | {"COLUMNS": "100", "CFCLI_DEBUG": "1"} | settings
    whole = {name: value for name, value in given.items() if value is not None}
    command = [str(CFCLI), *map(str, args)]
    late = all(name.startswith(("CFCLI_", "SLURM_")) or name in READ_LATE for name in settings)
    fresh = fresh or not late or bool(os.environ.get("SOAK"))
    if not fresh and set(kwargs) <= {*STREAMS, "limits"}:
        return Started(command, Path(cwd), whole, **kwargs)
    if limits := kwargs.pop("limits", None):
        kwargs["preexec_fn"] = functools.partial(limit, limits)
    return subprocess.Popen(command, cwd=cwd, env=whole, text=True, **kwargs)


def limit(limits: Limits) -> None:
    """Sets what this process may take; in a child, before the program starts."""
    for name, most in limits.items():
        resource.setrlimit(name, (most, most))


def run_cfcli(
    *args: object, cwd: Path, input: str | None = None, **kwargs: Any
) -> "subprocess.CompletedProcess[str]":
    """Runs ``cfcli`` as ``start_cfcli`` does, and waits for it; ``input`` is what it reads."""
    if "limits" in kwargs:  # which hold for files, but not for pipes
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with start_cfcli(*args, cwd=cwd, **pipes, **kwargs) as process:
            out, err = process.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode or 0, out, err)
    with contextlib.ExitStack() as stack:
        files: dict[str, IO[str]] = {}
        for name in STREAMS:
            if name not in kwargs:
                files[name] = stack.enter_context(tempfile.TemporaryFile("w+"))
        if input is not None:
            files["stdin"].write(input)
            files["stdin"].seek(0)
        process = start_cfcli(*args, cwd=cwd, **kwargs, **files)
        killer = threading.Timer(SECONDS, process.kill)
        killer.start()
        code = process.wait()
        if killer.finished.is_set():
            raise subprocess.TimeoutExpired(process.args, SECONDS)
        killer.cancel()
        for file in files.values():
            file.seek(0)
        said = {name: file.read() for name, file in files.items()}
    return subprocess.CompletedProcess(process.args, code, said.get("stdout"), said.get("stderr"))


def on_terminal(*args: object, cwd: Path, columns: int = 100, errors: bool = False) -> str:
    """What ``cfcli`` prints on a terminal; with ``errors`` also on stderr."""
    ours, its = os.openpty()
    env = {"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1", "CI": None}
    process = start_cfcli(*args, cwd=cwd, env=env, stdout=its, stderr=its if errors else None)
    os.close(its)
    parts = []
    with contextlib.suppress(OSError):  # the end, on Linux
        while part := os.read(ours, 1 << 16):
            parts.append(part)
    os.close(ours)
    assert process.wait(SECONDS) == 0
    return b"".join(parts).decode()


def lines(shown: str) -> list[str]:
    """The lines on a terminal, without what moves its cursor or styles what it shows."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain)]


class Started:
    """A process that ``warm.py`` forks. What is not said here is as with ``subprocess.Popen``."""

    def __init__(
        self,
        command: list[str],
        cwd: Path,
        env: dict[str, str],
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        limits: Limits | None = None,
    ) -> None:
        self.args = command
        self.returncode: int | None = None
        self._reading: dict[str, tuple[threading.Thread, list[str]]] = {}
        with contextlib.ExitStack() as closed:
            self.stdin, reads = _ends(stdin, 0, closed)
            self.stdout, writes = _ends(stdout, 1, closed)
            self.stderr, says = _ends(stderr, 2, closed)
            job = {"command": command, "cwd": str(cwd.resolve()), "env": env}
            job["limits"] = [*(limits or {}).items()]
            self.pid = _number(warm().ask(job, reads, writes, says))

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *error: object) -> None:
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.wait()

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = warm().ask({"pid": self.pid, "wait": False})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if timeout is None and self.returncode is None:
            self.returncode = warm().ask({"pid": self.pid, "wait": True})
        end = time.monotonic() + (timeout or 0)
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(0.005)
        return _number(self.returncode)

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        if self.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.close()
        for name, stream in (("stdout", self.stdout), ("stderr", self.stderr)):
            if name not in self._reading:
                parts: list[str] = []
                read = functools.partial(_read, stream, parts)
                thread = threading.Thread(target=read, daemon=True)
                thread.start()
                self._reading[name] = thread, parts
        end = math.inf if timeout is None else time.monotonic() + timeout
        for thread, _ in self._reading.values():
            thread.join(None if timeout is None else max(0, end - time.monotonic()))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if timeout is None else max(0, end - time.monotonic()))
        out, err = ("".join(parts) for _, parts in self._reading.values())
        return out, err


def _read(stream: IO[str] | None, parts: list[str]) -> None:
    if stream:
        with stream:
            parts.append(stream.read())


def _number(answer: int | None) -> int:
    assert answer is not None
    return answer


def _ends(asked: Stream, number: int, closed: contextlib.ExitStack) -> tuple[IO[str] | None, int]:
    """Our end of a standard stream, where we have one, and that of the process.

    Args:
        asked: What the stream is to be.
        number: The stream's number.
        closed: Closes the end of the process in this one.
    """
    if asked is None:
        return None, number
    if asked == subprocess.PIPE:
        reads, writes = os.pipe()
        ours, its = (writes, reads) if number == 0 else (reads, writes)
        closed.callback(os.close, its)
        return os.fdopen(ours, "w" if number == 0 else "r"), its
    if asked == subprocess.DEVNULL:
        its = os.open(os.devnull, os.O_RDWR)
        closed.callback(os.close, its)
        return None, its
    return None, asked if isinstance(asked, int) else asked.fileno()


class Warm:
    """A process that has imported everything and forks one for each command."""

    def __init__(self) -> None:
        self.socket, its = socket.socketpair()
        server = [sys.executable, str(Path(__file__).with_name("warm.py"))]
        with its:
            self.process = subprocess.Popen(server, stdin=its)
        self.answers = self.socket.makefile()
        self.lock = threading.Lock()  # a command that takes too long is killed by another thread

    def ask(self, job: dict[str, Any], *streams: int) -> int | None:
        """Sends a line and waits for its answer; ``warm.py`` says what there is."""
        with self.lock:
            socket.send_fds(self.socket, [json.dumps(job).encode() + b"\n"], streams)
            answer: int | None = json.loads(self.answers.readline())
        return answer


@functools.cache
def warm() -> Warm:
    return Warm()
