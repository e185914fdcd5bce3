"""An error of a command, as one line or as one JSON object."""

import contextlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cfcli.core.errors import CfcliError


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
    """

    code: int
    kind: str
    message: str
    file: str | None = None
    line: int | None = None
    column: str | None = None

    @classmethod
    def of(cls, error: CfcliError) -> "Failure":
        """The failure that an error makes.

        Args:
            error: that ended the command.
        """
        place = error.place, error.line, error.column
        return cls(error.exit_code, error.kind, str(error), *place)

    def tell(self, args: Sequence[str]) -> int:
        """Prints it on stderr.

        Args:
            args: of the command line, which may ask for JSON.

        Returns:
            The exit code.
        """
        whole = asdict(self) | {"message": self.message.replace("\n", " ")}
        line = json.dumps(whole) if wants_json(args) else self._line(whole["message"])
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


def wants_json(args: Sequence[str]) -> bool:
    """Whether a command line asks for JSON.

    Args:
        args: of the command line; what stands behind ``--`` are no flags.
    """
    args = list(args)
    flags = args[: args.index("--")] if "--" in args else args
    return "--json" in flags
