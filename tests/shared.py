"""Types of what workers share."""

from collections.abc import Callable
from pathlib import Path

Fill = Callable[[Path], object]
MadeOnce = Callable[[str, Fill], Path]
