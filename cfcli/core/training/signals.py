"""Signals that end a training in good order."""

import contextlib
import signal
from types import FrameType

from cfcli.core.errors import StoppedError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SignalWatch:
    """Notes SIGINT, SIGTERM and SIGHUP within a ``with`` block, instead of ending the process. A
    second signal ends it at once. In a thread other than the main one nothing is caught, as Python
    allows no handlers there.

    Attributes:
        number: the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> "SignalWatch":
        self.remember()
        self.install()
        return self

    def __exit__(self, *error: object) -> None:
        self.restore()

    def remember(self) -> None:
        """Takes note of the handlers that :meth:`restore` will put back."""
        self.former = {number: signal.getsignal(number) for number in SIGNALS}

    def restore(self) -> None:
        """Puts the former handlers back."""
        for number, handler in self.former.items():
            with contextlib.suppress(ValueError):
                signal.signal(number, handler)

    def install(self) -> None:
        """Sets the handlers, also where a library has put its own in their place."""
        for number in SIGNALS:
            with contextlib.suppress(ValueError):
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.number = number


def number_of(stop: KeyboardInterrupt | SystemExit | StoppedError) -> int:
    """The number of the signal that an exception stands for, as the command line raises it.

    Args:
        stop: what ended the work.
    """
    if isinstance(stop, StoppedError):
        return stop.exit_code - 128
    if isinstance(stop, SystemExit) and isinstance(stop.code, int) and stop.code > 128:
        return stop.code - 128
    return int(signal.SIGINT)


def raise_stopped(number: int) -> None:
    """Says which signal ended the work before it came to anything.

    Args:
        number: of the signal.

    Raises:
        StoppedError: always.
    """
    name = signal.Signals(number).name
    raise StoppedError(f"stopped by {name} before the first epoch ended; nothing was kept", number)
