"""How often faults are tried: seldom in CI, often in a soak (``make soak``, which sets
``SOAK``)."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from cfcli.core.errors import CfcliError

SOAK = bool(os.environ.get("SOAK"))
Count = Callable[[int, int], int]
Tried = Callable[[str, str, int, int], None]

in_a_soak = pytest.mark.skipif(not SOAK, reason="takes long: in a soak alone")


@dataclass
class Trials:
    """Tries of one fault, and what each lost."""

    number: int = 0
    lost: list[str] = field(default_factory=list)

    @contextmanager
    def one(self, what: object) -> Iterator[None]:
        """One try: what does not hold in it is lost, and so is what cannot be read."""
        self.number += 1
        try:
            yield
        except (AssertionError, CfcliError) as error:
            self.lost.append(f"{what}: {error}")

    def end(self, tried: Tried, fault: str, what: str) -> None:
        """Notes them for the table; nothing may be lost."""
        tried(fault, what, self.number, len(self.lost))
        assert not self.lost, "\n".join(self.lost)
