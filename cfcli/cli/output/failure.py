"""An error of a command, as one line or as one JSON object."""

import contextlib
import json
import shutil
import sys
import traceback as tracebacks
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cfcli
from cfcli.core.errors import CfcliError
from cfcli.core.storage.schema import left_out, to_json

LONGEST = 300  # characters of what an unexpected error says


@dataclass(frozen=True)
class Failure:
    """What went wrong in a command: what ``--json`` prints on stderr.

    Attributes:
        code: the exit code.
        kind: what went wrong, in one word for programs.
        message: what went wrong, in one line.
        file: the file or folder that it is about, where that is known.
        line: in that file, from 1; in a table without lines, the row.
        column: name of the column at fault.
        traceback: of a bug.
    """

    code: int
    kind: str
    message: str
    file: str | None = None
    line: int | None = None
    column: str | None = None
    traceback: str | None = left_out()

    @classmethod
    def of(cls, error: CfcliError) -> "Failure":
        """The failure that an error makes.

        Args:
            error: that ended the command.
        """
        place = error.place, error.line, error.column
        return cls(error.exit_code, error.kind, str(error), *place)

    @classmethod
    def of_bug(cls, error: BaseException) -> "Failure":
        """The failure that an error makes which nobody expected.

        Args:
            error: that ended the command.
        """
        kind = type(error).__name__
        text = " ".join(str(error).split())
        said = f"{kind}: {text[:LONGEST]}" if text else kind
        message = (
            f"this is a bug in cfcli: {said}{_place(error)}; please report it, with what the same "
            "command prints under CFCLI_DEBUG=1 and what 'cfcli doctor' prints"
        )
        whole = "".join(tracebacks.format_exception(error))
        return cls(CfcliError.exit_code, CfcliError.kind, message, traceback=whole)

    def tell(self, args: Sequence[str], *, in_detail: bool = False) -> int:
        """Prints it on stderr.

        Args:
            args: of the command line, which may ask for JSON.
            in_detail: whether the traceback is printed, too; JSON always has it.

        Returns:
            The exit code.
        """
        message = self.message.replace("\n", " ")
        line = self._line(message)
        if wants_json(args):
            line = json.dumps(to_json(self) | {"message": message})
        elif in_detail and self.traceback:
            line = self.traceback + line
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr)
        return self.code

    def _line(self, message: str) -> str:
        from cfcli.cli.console import safe, wrapped

        # Only what safe() leaves can be markup, and print() reads none.
        text = safe(message).replace("\\[", "[")
        line = f"error: {text}"
        if not sys.stderr.isatty():
            return line
        return wrapped(line, shutil.get_terminal_size().columns)


def _place(error: BaseException) -> str:
    """Where in cfcli an error came up, for a message."""
    root = Path(cfcli.__file__).parent
    for frame in reversed(tracebacks.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(root):
            return f" ({path.relative_to(root.parent)}:{frame.lineno})"
    return ""


def wants_json(args: Sequence[str]) -> bool:
    """Whether a command line asks for JSON.

    Args:
        args: of the command line; what stands behind ``--`` are no flags.
    """
    args = list(args)
    flags = args[: args.index("--")] if "--" in args else args
    return "--json" in flags
