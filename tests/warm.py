"""Runs ``cfcli`` in processes that need not import anything.

This process imports all of cfcli and the libraries once. It is told what to do by lines of JSON on
a socket, which standard input is:

- ``{"command": [...], "cwd": "...", "env": {...}, "limits": [...]}``, with three open files beside
  it: it forks a child that becomes one call of the console script, with these files as its standard
  streams, and answers with the child's process id.
- ``{"pid": ..., "wait": ...}``: it answers with the child's exit code, which is -N if signal N
  ended it. If it is not to wait for the end, that may be ``null``.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import resource
import socket
import sys
import tempfile
import threading
import traceback
import weakref
from typing import Any

# What functions of cfcli import when they are called.
LATE = (
    "jinja2",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "pandas",
    "polars._utils.parquet",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "pytorch_lightning",
    "rich._emoji_codes",
    "rich.status",
    "safetensors.numpy",
    "scipy.sparse",
    "sklearn.metrics",
    "sklearn.model_selection",
    "torch.distributed",
    "torch.utils.serialization.config",
    "typer._adapters",  # half of the time of a command that does little
    "typer._click.decorators",
)


def import_all() -> None:
    """Imports everything, but uses nothing: threads of a library do not survive a fork."""
    import cfcli

    for name in LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for module in pkgutil.walk_packages(cfcli.__path__, "cfcli."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert threading.active_count() == 1
    gc.freeze()  # what is there stays: children look for garbage among their own objects alone
    # What libraries would take apart at the end of this process no child need take apart at its own.
    for finalizer in weakref.finalize._registry:  # type: ignore[attr-defined]
        finalizer.atexit = False


def call(job: dict[str, Any], streams: list[int]) -> int:
    """What the console script does, in the child: its exit code."""
    os.setpgid(0, 0)
    for number, handle in enumerate(streams):
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - they stay open, as a process has them
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, closefd=False, errors="backslashreplace")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(job["env"])
    tempfile.tempdir = None
    os.chdir(job["cwd"])
    for name, most in job["limits"]:
        resource.setrlimit(name, (most, most))
    sys.argv = job["command"]
    from cfcli.cli.app import main

    try:
        main()
        code: object = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    code = int(code is not None) if not isinstance(code, int) else code
    return code if flushed() else 120


def flushed() -> bool:
    """Whether all that was said could be written; if not, it is told as Python does at its end."""
    whole = True
    for stream in (sys.stdout, sys.stderr):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            whole = False
            if stream is sys.stdout:
                with contextlib.suppress(OSError, ValueError):
                    print(
                        f"Exception ignored in: {stream!r}\n{error!r}", file=sys.stderr, flush=True
                    )
    return whole


def started(job: dict[str, Any], streams: list[int]) -> int:
    """The process id of a child that does a job."""
    pid = os.fork()
    if pid == 0:
        os._exit(call(job, streams))
    for handle in streams:
        os.close(handle)
    return pid


def code_of(pid: int, wait: bool) -> int | None:
    """The exit code of a child; None if it still runs and is not to be waited for."""
    ended, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def received(client: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """A line of JSON and the open files that came with it; None at the end."""
    line, streams, _, _ = socket.recv_fds(client, 1 << 16, 3)
    while line and not line.endswith(b"\n"):
        line += client.recv(1 << 16)
    return (json.loads(line) if line else None), streams


def serve() -> None:
    import_all()
    os.fsync = os.fstat  # type: ignore[assignment] # as in conftest.py
    with socket.socket(fileno=0) as client:
        while True:
            job, streams = received(client)
            if job is None:
                return
            if streams:
                answer: int | None = started(job, streams)
            else:
                answer = code_of(job["pid"], job["wait"])
            client.sendall(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    serve()
