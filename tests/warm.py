"""Runs ``cfcli`` in processes that need not import anything.

This process imports all of cfcli and the libraries once. For each line of JSON on stdin it forks a
child that becomes one call of the console script, and writes two lines to stdout: the child's
process id, and later its exit code, which is -N if signal N ended it.
"""

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import sys
import threading
import traceback
from typing import Any

# What functions of cfcli import when they are called.
LATE = (
    "jinja2",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "pandas",
    "pyarrow.parquet",
    "pytorch_lightning",
    "scipy.sparse",
    "sklearn.metrics",
    "torch.distributed",
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


def call(job: dict[str, Any]) -> int:
    """What the console script does, in the child: its exit code."""
    os.setpgid(0, 0)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        handle = os.open(job[name], os.O_RDONLY if number == 0 else os.O_WRONLY)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - they stay open, as a process has them
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
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
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code if isinstance(code, int) else int(code is not None)


def serve() -> None:
    import_all()
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(call(job))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
