"""What can go wrong, one class per exit code.

The message of an error is one line: what is wrong, where, and what to do next. ``cfcli.cli.app``
prints it and exits with ``exit_code``; code that uses the library catches the class.
"""

import resource


class CfcliError(Exception):
    """Base of all errors that a user can cause or meet. Anything else is a bug (exit code 1).

    Attributes:
        exit_code: the status with which the command line exits.
    """

    exit_code = 1


class ConfigError(CfcliError):
    """A flag, key or value that is not valid, alone or together with another."""

    exit_code = 2


class InputError(CfcliError):
    """Data that cannot be used: unreadable as ratings, with bad rows, or too little of it."""

    exit_code = 3


class MachineError(CfcliError):
    """The machine lacks something: permission, space, a file, a device, a package, the network."""

    exit_code = 4


class LostError(MachineError):
    """Another process of the same training ended too early. What is on disk can be resumed."""


class LockedError(CfcliError):
    """Another process is writing the same artifact."""

    exit_code = 5


class GateError(CfcliError):
    """The result is there, but it misses a bar that the user demanded."""

    exit_code = 6


class ArtifactError(CfcliError):
    """A dataset or run that is missing, damaged, of another version, or does not match its
    counterpart."""

    exit_code = 7


class ReplacedError(ArtifactError):
    """Another dataset has taken the place of the one in use. What was made of it can be resumed."""


class StaleError(CfcliError):
    """The published model is older than allowed."""

    exit_code = 8


class StoppedError(CfcliError):
    """A signal asked the work to stop.

    Args:
        message: the line for the user.
        signal_number: the number of the signal, such as 15 for SIGTERM.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class UnwrittenError(StoppedError):
    """A signal came while a finished training was written. Its checkpoint can be resumed."""


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
