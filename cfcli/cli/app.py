"""The Typer app: names the commands, and maps what goes wrong to one line and an exit code."""

import atexit
import contextlib
import errno
import os
import signal
import sys
from typing import Any

import typer
from typer.core import TyperGroup

import cfcli
from cfcli.cli import (
    bench,
    evaluate,
    export_embeddings,
    plan,
    predict,
    prepare,
    recommend,
    report,
    retrain,
    rollback,
    similar,
    status,
    train,
    verify,
)
from cfcli.core.errors import CfcliError, refuse_few_addresses

ADDRESSES = 1 << 30  # bytes
EXIT_CODES = """Exit codes: 0 done, 1 a bug, 2 usage, 3 input rejected, 4 environment (permission, disk, device),
5 another process writes there, 6 a demanded bar was missed, 7 artifact missing, damaged or incompatible, 8 stale,
128+N stopped by signal N (SIGINT 130, SIGTERM 143, SIGPIPE 141)."""


class Group(TyperGroup):
    """Typer's group, with errors mapped where both the console script and a test runner pass."""

    def main(self, args: Any = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]
        standalone_mode = extra.pop("standalone_mode", True)
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        for stream in (
            sys.stdout,
            sys.stderr,
        ):  # a title must not end a run on a terminal that cannot show it
            with contextlib.suppress(AttributeError):
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        sys.exit(self._code(sys.argv[1:] if args is None else args, prog_name, extra))

    def _code(self, args: Any, prog_name: str | None, extra: dict[str, Any]) -> int:
        try:
            code = super().main(args or ["--help"], prog_name, standalone_mode=False, **extra)
            sys.stdout.flush()
            return code if isinstance(code, int) else 0
        except CfcliError as error:
            return _fail(str(error), error.exit_code)
        except typer.TyperException as error:
            command = getattr(getattr(error, "ctx", None), "command_path", "cfcli")
            return _fail(
                f"{error.format_message().rstrip('.')}; see '{command} --help'", error.exit_code
            )
        except BrokenPipeError:
            return _silence(141)
        except MemoryError:
            return _fail("not enough memory on this machine for so many rows", 4)
        except OSError as error:
            if error.errno in (
                errno.ENOSPC,
                errno.EDQUOT,
                errno.EIO,
                errno.EBADF,
            ):  # stdout itself cannot be written
                _silence(4)
                return _fail(f"{error.filename or 'stdout'}: {error.strerror}", 4)
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Typer would turn it into exit code 1 further out.
            raise typer.Exit(_silence(141)) from None


def _fail(message: str, code: int) -> int:
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
    epilog=EXIT_CODES.replace("\n", " "),
)


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Collaborative filtering on explicit ratings: a ratings file in; a trained model, its honest
    error and its embeddings out.

    Example: cfcli prepare RATINGS.csv && cfcli train --model ncf --dim 5 && cfcli evaluate
    """


app.command("prepare")(prepare.prepare)
app.command("plan")(plan.plan)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("recommend")(recommend.recommend)
app.command("export-embeddings")(export_embeddings.export_embeddings)
app.command("similar")(similar.similar)
app.command("report")(report.report)
app.command("bench")(bench.bench)
app.command("retrain")(retrain.retrain)
app.command("rollback")(rollback.rollback)
app.command("status")(status.status)
app.command("verify")(verify.verify)


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)  # as an exception, so that nothing half-written is left behind


def _open_closed_streams() -> None:
    """Puts something in place of standard streams that are closed: files opened later would get
    their numbers. What stdout was to get must not be lost in silence: it cannot be written, which
    is an error."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))


def main() -> None:
    """The console script."""
    from cfcli.core.training import lightly

    lightly.alone = True
    _open_closed_streams()
    try:
        refuse_few_addresses(
            ADDRESSES, "'ulimit -v' leaves {has} MB of addresses; cfcli needs at least {needs}"
        )
    except CfcliError as error:
        sys.exit(_fail(str(error), error.exit_code))
    for name in ("SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), _stop)
    try:
        app()
    except SystemExit as end:
        # All is written and closed by now; to take PyTorch down module by module would be a third
        # of a second more.
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
