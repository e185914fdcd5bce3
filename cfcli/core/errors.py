"""What can go wrong, one class per exit code.

The message of an error is one line: what is wrong, where, and what to do next. ``cfcli.cli.app``
prints it and leaves with ``exit_code``; code that uses the library catches the class.
"""

import resource


class CfcliError(Exception):
    """The base of all errors that a user can make or meet; anything else is a bug (exit code 1)."""

    exit_code = 1


class ConfigError(CfcliError):
    """A flag, key or value that makes no sense, alone or with another."""

    exit_code = 2


class InputError(CfcliError):
    """Data that cannot be used: unreadable as ratings, bad rows, too little of it."""

    exit_code = 3


class MachineError(CfcliError):
    """The machine does not give what is needed: permission, space, a file, a device, a package, the
    network."""

    exit_code = 4


class LostError(MachineError):
    """Another process of the same training ended before its time; what is on disk can be gone on
    with."""


class LockedError(CfcliError):
    """Another process is writing the same thing."""

    exit_code = 5


class GateError(CfcliError):
    """The result is there, but misses a bar that was asked for."""

    exit_code = 6


class ArtifactError(CfcliError):
    """A dataset or run that is missing, damaged, of another version, or does not belong to its
    partner."""

    exit_code = 7


class StaleError(CfcliError):
    """What is published is older than allowed."""

    exit_code = 8


class StoppedError(CfcliError):
    """A signal asked the work to stop.

    Args:
        signal_number: its number, such as 15 for SIGTERM.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def refuse_few_addresses(least: int, text: str) -> None:
    """Raises a MachineError where ``ulimit -v`` leaves fewer bytes of addresses than ``least``:
    libraries were seen to wait for memory for ever. ``text`` has the places ``{has}`` and
    ``{needs}``, for megabytes."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < least:
        raise MachineError(text.format(has=f"{limit >> 20:,}", needs=f"{least >> 20:,}"))
