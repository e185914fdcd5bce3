"""The Typer app: names the commands, and turns each error into one line and an exit code."""

import contextlib
import errno
import gc
import os
import re
import resource
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

import cfcli
from cfcli.core.errors import CfcliError, MachineError, refuse_few_addresses

ADDRESSES = 1 << 30  # bytes
YOUNG = 50_000  # objects
THREADS = 12  # at most, beside four for each processor, as counted in all commands
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)  # stdout itself cannot be written
EXIT_CODES = (
    "Exit codes: 0 done, 1 a bug, 2 usage, 3 input rejected, 4 environment (permission, disk, "
    "device), 5 another process writes there, 6 a required threshold was missed, 7 artifact missing, "
    "damaged or incompatible, 8 stale, 128+N stopped by signal N (SIGINT 130, SIGTERM 143, "
    "SIGPIPE 141)."
)

# Each command and its topic in the help. The command export-embeddings is the function
# export_embeddings of the module cfcli.cli.export_embeddings, which is imported when needed.
COMMANDS = {
    "prepare": "Make a model",
    "plan": "Make a model",
    "train": "Make a model",
    "evaluate": "Make a model",
    "cross-validate": "Make a model",
    "compare": "Make a model",
    "bench": "Make a model",
    "predict": "Use a model",
    "recommend": "Use a model",
    "similar": "Use a model",
    "export-embeddings": "Use a model",
    "report": "Use a model",
    "retrain": "Keep a model up to date",
    "rollback": "Keep a model up to date",
    "status": "Keep a model up to date",
    "verify": "Keep a model up to date",
    "doctor": "Keep a model up to date",
}


class Group(TyperGroup):
    """Typer's group, which loads commands when they are needed and turns errors into exit codes
    where both the console script and a test runner pass."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # An unknown name loads all commands, so that the error can suggest the nearest one.
        needed = [cmd_name] if cmd_name in COMMANDS else list(COMMANDS)
        for name in needed:
            if name not in self.commands:
                self.commands[name] = _load(name)
        return super().get_command(ctx, cmd_name)

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        standalone_mode = extra.pop("standalone_mode", True)
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        # A title must not end a run on a terminal that cannot show it.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError):
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        sys.exit(self._code(sys.argv[1:] if args is None else args, prog_name, extra))

    def _code(self, args: Sequence[str], prog_name: str | None, extra: dict[str, Any]) -> int:
        """Runs a command line, and prints its error if there is one.

        Returns:
            The exit code.
        """
        try:
            code = super().main(args or ["--help"], prog_name, standalone_mode=False, **extra)
            sys.stdout.flush()
            return code if isinstance(code, int) else 0
        except CfcliError as error:
            return _fail(str(error), error.exit_code)
        except typer.TyperException as error:
            context = getattr(error, "ctx", None)
            command = getattr(context, "command_path", "cfcli")
            message = error.format_message().rstrip(".")
            if re.search(r"option: -\d", message):
                message += " (ids that begin with - stand behind --)"
            return _fail(f"{message}; see '{command} --help'", error.exit_code)
        except BrokenPipeError:
            return _silence(141)
        except SystemExit as end:
            if not isinstance(end.__context__, BrokenPipeError):
                raise
            return _silence(141)  # Rich and Typer end with 1 then
        except MemoryError:
            return _fail("not enough memory on this machine for so many rows", 4)
        except RuntimeError as error:
            # What Path.resolve() of Python 3.12 and older says of a link that leads to itself.
            if not str(error).startswith("Symlink loop"):
                raise
            return _fail(f"{error}; name a file or folder that is there", 4)
        except OSError as error:
            if error.errno not in FULL:
                raise
            _silence(4)
            return _fail(f"{error.filename or 'stdout'}: {error.strerror}", 4)

    def invoke(self, ctx: Any) -> Any:
        _refuse_few_threads()
        return super().invoke(ctx)


def _refuse_few_threads() -> None:
    """Starts as many threads as the libraries will, all at once: where one of theirs cannot start,
    they take sound files for damaged, or end the process. Not where addresses are limited, as a
    thread can take 64 MB of them for good."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chosen = (os.environ.get(f"{name}_THREADS", "") for name in ("OMP_NUM", "POLARS_MAX"))
    needed = THREADS + 2 * sum(int(text) if text.isdigit() else cpus for text in chosen)
    end, threads = threading.Event(), []
    try:
        for _ in range(needed):
            thread = threading.Thread(target=end.wait)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        raise MachineError(
            f"this process may start {len(threads)} threads, and cfcli needs {needed}; raise "
            "'ulimit -u' or the limit of the container, or set OMP_NUM_THREADS=1 and "
            "POLARS_MAX_THREADS=1"
        ) from None
    finally:
        end.set()
        for thread in threads:
            thread.join()


def _load(name: str) -> Any:
    """Imports the module of a command and makes the command from its function."""
    function = name.replace("-", "_")
    module = import_module(f"cfcli.cli.{function}")
    single = typer.Typer(rich_markup_mode="rich", add_completion=False)
    single.command(name, rich_help_panel=COMMANDS[name])(getattr(module, function))
    return typer.main.get_command(single)


def _fail(message: str, code: int) -> int:
    """Prints an error as one line, and returns its exit code."""
    from cfcli.cli.console import safe

    # Only what safe() leaves can be markup, and print() reads none.
    text = safe(message.replace("\n", " ")).replace("\\[", "[")
    with contextlib.suppress(OSError):
        print(f"error: {text}", file=sys.stderr)
    return code


def _silence(code: int) -> int:
    """Points stdout nowhere, so that Python's own flush at exit does not complain."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _version(wanted: bool) -> None:
    if wanted:
        print(cfcli.__version__)
        raise typer.Exit()


app = typer.Typer(
    cls=Group,
    name="cfcli",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog=EXIT_CODES,
)


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Train collaborative-filtering models on explicit ratings.

    A ratings file goes in. A trained model, its test error and its
    embeddings come out.

    Example: cfcli prepare RATINGS.csv && cfcli train && cfcli evaluate
    """


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)  # as an exception, so that nothing half-written is left behind


def _open_closed_streams() -> None:
    """Opens /dev/null in place of standard streams that are closed, as files opened later would get
    their numbers. In place of stdout it is open for reading only, so that writing a result there is
    an error instead of a silent loss."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))


def main() -> None:
    """The console script."""
    _open_closed_streams()
    try:
        refuse_few_addresses(
            ADDRESSES, "'ulimit -v' leaves {has} MB of addresses; cfcli needs at least {needs}"
        )
    except CfcliError as error:
        sys.exit(_fail(str(error), error.exit_code))
    # Threads of OpenMP that wait spin for a while, and take the time of those that work where other
    # processes are busy, too: see benchmarks/busy.py. It is read when PyTorch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Python looks for garbage each time 700 objects are new; libraries are 100,000s that all stay.
    # Looking for it less often takes an eighth from the import of PyTorch.
    gc.set_threshold(YOUNG)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, _stop)
    try:
        app()
    finally:
        # Python's last garbage collections would visit all objects of PyTorch: a quarter of a
        # second. What is frozen they leave alone.
        gc.freeze()
