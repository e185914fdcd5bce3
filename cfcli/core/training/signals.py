"""Signals that end a training in good order."""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from cfcli.core.errors import StoppedError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 8  # seconds
TOGETHER = 0.2  # seconds in which signals are one: forked readers of ratings hand theirs on
END = 0  # is no signal


class SignalWatch:
    """Notes SIGINT, SIGTERM and SIGHUP within a ``with`` block, instead of ending the process. A
    second signal ends it at once. Signals that were ignored before stay so. In a thread other than
    the main one nothing is caught, as Python allows no handlers there.

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
        for number, former in self.former.items():
            with contextlib.suppress(ValueError):
                signal.signal(number, former if former == signal.SIG_IGN else self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.number = number


class HardStop:
    """Ends a process that does not end itself: at a second signal, or :data:`GRACE` seconds after
    the first. Python runs handlers between its own instructions only, and a rank that waits for
    one that hangs comes to none. It works in the main thread, with signals that have handlers.

    Args:
        last: called before the end.

    Attributes:
        is_orderly: set when the process is about to end itself; then only a second signal counts.
    """

    def __init__(self, last: Callable[[], None]) -> None:
        self.last, self.is_orderly = last, False
        self.former = -1

    def begin(self) -> None:
        """Watches from here on."""
        self.read, self.write = os.pipe()
        os.set_blocking(self.write, False)
        with contextlib.suppress(ValueError):
            self.former = signal.set_wakeup_fd(self.write)
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self) -> None:
        """Watches no more."""
        with contextlib.suppress(ValueError):
            signal.set_wakeup_fd(self.former)
        os.write(self.write, bytes([END]))
        os.close(self.write)

    def _watch(self) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if first := self._next(None):
            second = self._next(GRACE)
            if second is None and self.is_orderly:
                second = self._next(None)
            if second != END:
                self.last()
                os._exit(128 + first)
        os.close(self.read)

    def _next(self, limit: float | None) -> int | None:
        """The next signal; 0 when the watch ends, None after so many seconds."""
        while select.select([self.read], [], [], limit)[0]:
            time.sleep(TOGETHER)
            came = os.read(self.read, 64)
            if END in came:
                return END
            if found := [number for number in came if number in SIGNALS]:
                return found[0]
        return None


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
