"""How often faults are tried: seldom in CI, often in a soak (``make soak``, which sets
``CFCLI_SOAK``)."""

import os
from collections.abc import Callable

import pytest

SOAK = bool(os.environ.get("CFCLI_SOAK"))
Count = Callable[[int, int], int]
Tried = Callable[[str, str, int, int], None]

in_a_soak = pytest.mark.skipif(not SOAK, reason="takes long: in a soak alone")
