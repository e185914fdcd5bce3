"""The Typer app: names the commands, and turns each error into one line and an exit code."""

import contextlib
import dataclasses
import errno
import functools
import gc
import inspect
import io
import json
import os
import platform
import resource
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import cfcli
from cfcli.cli.guide import environment, mistakes
from cfcli.cli.guide import help as helping
from cfcli.cli.output.failure import Failure
from cfcli.core.errors import CfcliError, MachineError, refuse_few_addresses

ADDRESSES = 1 << 30  # bytes
YOUNG = 50_000  # objects
THREADS = 12  # at most, beside four for each processor, as counted in all commands
USAGE = "usage"  # the kind of errors that the parser of the command line finds
# stdout itself cannot be written
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF, errno.EFBIG, errno.EAGAIN)
ENVIRONMENT = (
    "Environment: CFCLI_DATA and CFCLI_STORE stand for --data and --store, and CFCLI_<KEY> for the "
    "flag of any key of the configuration, as in CFCLI_DIM=16."
)
EXIT_CODES = (
    "Exit codes: 0 done, 1 a bug, 2 usage, 3 input rejected, 4 environment (permission, disk, "
    "device), 5 another process writes there, 6 a required threshold was missed, 7 artifact "
    "missing, damaged or incompatible, 8 stale, 128+N stopped by signal N (SIGINT 130, SIGTERM "
    "143, SIGPIPE 141)."
)

HELP = "Show the help of a command, as in 'cfcli help train'."

FOLDERS = ("prepare", "train", "cross-validate", "plan")  # what --out of these commands is
# Each command and its topic in the help. The command export-embeddings is the function
# export_embeddings of the module cfcli.cli.export_embeddings, which is imported when needed.
COMMANDS = {
    "prepare": "Make a model",
    "train": "Make a model",
    "evaluate": "Make a model",
    "cross-validate": "Make a model",
    "plan": "Make a model",
    "bench": "Make a model",
    "predict": "Use it",
    "recommend": "Use it",
    "similar": "Use it",
    "export-embeddings": "Use it",
    "retrain": "Run it every night",
    "status": "Run it every night",
    "rollback": "Run it every night",
    "compare": "Look",
    "report": "Look",
    "verify": "Look",
    "doctor": "Look",
}


class Group(TyperGroup):
    """Typer's group, which loads commands when they are needed and turns errors into exit codes
    where both the console script and a test runner pass."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no such command '{args[0]}'{mistakes.nearest_command(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads ``help train`` as ``train --help``."""
        if args == ["--help-all"]:
            args = ["--help"]
        if args[:1] == ["help"]:
            named = [word for word in args[1:] if word not in ("help", "--help", "-h")]
            has_own = bool(named) and named[-1] == "--help-all"
            args = named if has_own else [*named, "--help"]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(helping.as_text(self.page(ctx)))

    def page(self, ctx: Any) -> helping.Page:
        """The help, which lists all commands by topic.

        Args:
            ctx: click's context.
        """
        topics: dict[str, list[helping.Entry]] = {}
        for name, topic in COMMANDS.items():
            topics.setdefault(topic, []).append(helping.Entry(name, summary(name)))
        topics["Look"].append(helping.Entry("help", HELP))
        page = helping.page_of(self, ctx)
        options = [entry for entries in page.sections.values() for entry in entries]
        return dataclasses.replace(
            page,
            usage="cfcli COMMAND [OPTIONS]",
            commands=topics,
            sections={helping.MAIN: options},
            end=[ENVIRONMENT, EXIT_CODES],
        )

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        standalone_mode = extra.pop("standalone_mode", True)
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        _write_all_to_stdout()
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
            if instruction := os.environ.get("_CFCLI_COMPLETE"):
                from cfcli.cli.guide import completion

                print(completion.answer(instruction, self, COMMANDS, summary), end="")
                return 0
            code = super().main(args or ["--help"], prog_name, standalone_mode=False, **extra)
            sys.stdout.flush()
            return code if isinstance(code, int) else 0
        except CfcliError as error:
            return Failure.of(error).tell(args)
        except typer.TyperException as error:
            command = next((word for word in args if word in COMMANDS), "")
            text = mistakes.message_of(error, command)
            return Failure(error.exit_code, USAGE, text).tell(args)
        except BrokenPipeError:
            return _silence(141)
        except SystemExit as end:
            if not isinstance(end.__context__, BrokenPipeError):
                raise
            return _silence(141)  # Rich and Typer end with 1 then
        except MemoryError:
            return _machine("not enough memory on this machine for so many rows").tell(args)
        except RuntimeError as error:
            # What Path.resolve() of Python 3.12 and older says of a link that leads to itself.
            if not str(error).startswith("Symlink loop"):
                return _bug(error, args)
            return _machine(f"{error}; name a file or folder that is there").tell(args)
        except OSError as error:
            if error.errno not in FULL:
                return _bug(error, args)
            _silence(4)
            return _machine(f"{error.filename or 'stdout'}: {error.strerror}").tell(args)
        except BaseException as error:
            # Panics of Polars are no subclass of Exception.
            if isinstance(error, KeyboardInterrupt | GeneratorExit):
                raise
            return _bug(error, args)

    def invoke(self, ctx: Any) -> Any:
        _refuse_few_threads()
        return super().invoke(ctx)


def _write_all_to_stdout() -> None:
    """Buffers stdout where PYTHONUNBUFFERED took its buffer away: without one, Python does not look
    at how much of a write a full disk took."""
    raw = getattr(sys.stdout, "buffer", None)
    if isinstance(raw, io.FileIO):
        buffer = io.BufferedWriter(raw)
        sys.stdout = io.TextIOWrapper(buffer, sys.stdout.encoding, line_buffering=True)


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
    """Makes a command from its function."""
    single = typer.Typer(rich_markup_mode=None, add_completion=False)
    function = _with_notes(_function(name), has_file=name not in FOLDERS)
    single.command(name, cls=helping.Command)(helping.with_help_all(function))
    return typer.main.get_command(single)


def _with_notes(function: Callable[..., Any], *, has_file: bool) -> Callable[..., Any]:
    """The function of a command, which first tells of environment variables without effect, and in
    the end of a folder that was made for its output.

    Args:
        function: of the command.
        has_file: whether ``--out`` is a file, whose folder may be a slip of the pen.
    """

    @functools.wraps(function)
    def run(**given: Any) -> Any:
        if given.get("quiet"):
            return function(**given)
        _note(environment.without_effect(os.environ))
        out = given.get("out") if has_file else None
        folder = Path(out).parent if out else Path()
        was_missing = not folder.exists()
        result = function(**given)
        if was_missing and folder.exists():
            _note([f"made the folder {folder}, which was not there"])
        return result

    return run


def _note(notes: Sequence[str]) -> None:
    """Prints notes; of several processes only the first does."""
    if not notes:
        return
    from cfcli.cli.console import Out
    from cfcli.core.training.distributed.ranks import FIRST

    if FIRST not in os.environ:
        console = Out()
        for note in notes:
            console.note(note)


def _function(name: str) -> Callable[..., Any]:
    """Imports the module of a command, and finds the function in it."""
    function = name.replace("-", "_")
    found: Callable[..., Any] = getattr(import_module(f"cfcli.cli.{function}"), function)
    return found


def summary(name: str) -> str:
    """What a command does, in a sentence.

    Args:
        name: of the command.
    """
    return helping.parts(inspect.getdoc(_function(name)) or "")[0]


def _machine(message: str) -> Failure:
    """The failure of a machine that lacks something."""
    return Failure.of(MachineError(message))


def _bug(error: BaseException, args: Sequence[str]) -> int:
    """Says that an error is one that nobody expected.

    Args:
        error: that ended the command.
        args: of the command line.

    Returns:
        The exit code.
    """
    return Failure.of_bug(error).tell(args, in_detail=bool(os.environ.get(environment.DEBUG)))


def _silence(code: int) -> int:
    """Points stdout and a stderr that nobody reads nowhere, so that Python's own flush at exit
    neither complains nor changes the exit code."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        try:
            sys.stderr.flush()
        except BrokenPipeError:
            os.dup2(nowhere, sys.stderr.fileno())
    return code


def _version(ctx: typer.Context, wanted: bool) -> None:
    """Prints the version, with ``--json`` those of Python and the libraries too."""
    if not wanted:
        return
    if ctx.params.get("json"):
        print(json.dumps(versions()))
    else:
        print(cfcli.__version__)
    raise typer.Exit()


def versions() -> dict[str, str | None]:
    """The versions of cfcli, Python and the libraries; None where a library is missing."""
    from importlib import metadata

    from cfcli.core.retraining.doctor import LIBRARIES

    found: dict[str, str | None] = {
        "cfcli": cfcli.__version__,
        "python": platform.python_version(),
    }
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _show_completion(shell: str | None) -> None:
    if shell:
        from cfcli.cli.guide import completion

        print(completion.script(shell), end="")
        raise typer.Exit()


def _install_completion(shell: str | None) -> None:
    if shell:
        from cfcli.cli.guide import completion

        print(completion.install(shell))
        raise typer.Exit()


app = typer.Typer(
    cls=Group,
    name="cfcli",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def _root(
    ctx: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, help="Show the version.")
    ] = False,
    # Eager ones are read first, so that --version knows of it.
    json: Annotated[
        bool, typer.Option("--json", is_eager=True, help="With --version: of all libraries, too.")
    ] = False,
    install_completion: Annotated[
        str | None,
        typer.Option(
            metavar="SHELL",
            callback=_install_completion,
            help="Complete words in bash, zsh or fish.",
        ),
    ] = None,
    show_completion: Annotated[
        str | None,
        typer.Option(
            metavar="SHELL", callback=_show_completion, help="Print the script that does so."
        ),
    ] = None,
) -> None:
    """Train collaborative-filtering models on explicit ratings.

    A ratings file goes in. A trained model, its test error and its embeddings
    come out.

    Examples:
        cfcli prepare ratings.csv && cfcli train && cfcli evaluate
        cfcli help train
    """
    if json:
        ctx.fail("--json stands behind the command, as in 'cfcli evaluate --json'")


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
        sys.exit(Failure.of(error).tell(sys.argv[1:]))
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
