"""What can go wrong, one class per exit code.

The message of an error is one line: what is wrong, where, and what to do next. ``cfcli.cli.app``
prints it and exits with ``exit_code``; code that uses the library catches the class.
"""

import os
import resource
from pathlib import PurePath

STDIN = "<stdin>"


class CfcliError(Exception):
    """Base of all errors that a user can cause or meet. Anything else is a bug (exit code 1).

    Args:
        message: the line for the user.
        file: that it is about; without it, :attr:`place` looks for one in the message.
        line: in that file, from 1; in a table without lines, the row.
        column: name of the column at fault.

    Attributes:
        exit_code: the status with which the command line exits.
        kind: what went wrong, in one word for programs.
    """

    exit_code = 1
    kind = "bug"

    def __init__(
        self,
        message: str = "",
        *,
        file: str | None = None,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        super().__init__(message)
        self.file, self.line, self.column = file, line, column

    @property
    def place(self) -> str | None:
        """The file or folder that the error is about, as far as it is known.

        Messages begin with it, but a message about a setting may begin with the name of that.
        """
        start, colon, _ = str(self).partition(": ")
        if self.file is not None or not colon:
            return self.file
        is_path = " " not in start and ("/" in start or PurePath(start).suffix != "")
        if is_path or start == STDIN or (self.exit_code != 2 and os.path.lexists(start)):
            return start
        return None


class ConfigError(CfcliError):
    """A flag, key or value that is not valid, alone or together with another."""

    exit_code, kind = 2, "config"


class InputError(CfcliError):
    """Data that cannot be used: unreadable as ratings, with bad rows, or too little of it."""

    exit_code, kind = 3, "input"

    @classmethod
    def at(cls, file: str, line: int, text: str, column: str = "") -> "InputError":
        """The error of a row.

        Args:
            file: that it stands in.
            line: in that file, from 1; in a table without lines, the row.
            text: what is wrong with it.
            column: name of the column at fault; empty where the whole row is.
        """
        shown = f"column '{column}': {text}" if column else text
        return cls(f"{file}:{line}: {shown}", file=file, line=line, column=column or None)


class MachineError(CfcliError):
    """The machine lacks something: permission, space, a file, a device, a package, the network."""

    exit_code, kind = 4, "machine"


class LostError(MachineError):
    """Another process of the same training ended too early. What is on disk can be resumed."""

    kind = "lost"


class LockedError(CfcliError):
    """Another process is writing the same artifact."""

    exit_code, kind = 5, "locked"


class GateError(CfcliError):
    """The result is there, but it misses a bar that the user demanded."""

    exit_code, kind = 6, "gate"


class ArtifactError(CfcliError):
    """A dataset or run that is missing, damaged, of another version, or does not match its
    counterpart."""

    exit_code, kind = 7, "artifact"


class ReplacedError(ArtifactError):
    """Another dataset has taken the place of the one in use. What was made of it can be resumed."""

    kind = "replaced"


class StaleError(CfcliError):
    """The published model is older than allowed."""

    exit_code, kind = 8, "stale"


class StoppedError(CfcliError):
    """A signal asked the work to stop.

    Args:
        message: the line for the user.
        signal_number: the number of the signal, such as 15 for SIGTERM.
    """

    kind = "stopped"

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class UnwrittenError(StoppedError):
    """A signal came while a finished training was written. Its checkpoint can be resumed."""

    kind = "unwritten"


def refuse_few_addresses(least: int, text: str) -> None:
    """Checks the limit of the address space (``ulimit -v``), as libraries were seen to wait forever
    for memory that they cannot get.

    Args:
        least: the bytes of addresses that are needed.
        text: the message, with the places ``{has}`` and ``{needs}`` for megabytes.

    Raises:
        MachineError: the limit is below ``least``.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < least:
        raise MachineError(text.format(has=f"{limit >> 20:,}", needs=f"{least >> 20:,}"))
