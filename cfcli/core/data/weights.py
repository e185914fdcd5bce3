"""How much each training row counts: by a weight of its own, by its age, or by both."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.errors import ConfigError

LEAST = 1e-6  # that a row counts, where the average is 1: what rounds to 0 could not be divided by
SECOND = 1e6  # microseconds
EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Weighting:
    """Weights that average 1 over the rows they were made for.

    Attributes:
        half_life: in seconds, after which a rating counts half; None where age does not matter.
        newest: the newest time of the rows.
        oldest: their oldest time, which a row without a time counts as.
        mean: of the weights before they are divided by it.
    """

    half_life: float | None = None
    newest: datetime = EPOCH
    oldest: datetime = EPOCH
    mean: float = 1.0

    @classmethod
    def of(cls, blocks: Iterable[pl.DataFrame], half_life: float | None) -> "Weighting":
        """The weighting of training rows.

        Args:
            blocks: the rows, which are gone through twice: ``weight`` where they have weights, and
                with a half-life ``timestamp``.
            half_life: in seconds, or None.

        Raises:
            ConfigError: a half-life, but no row has a time.
        """
        found = cls()
        if half_life is not None:
            found = cls(half_life, *_span(blocks))
        total, n = 0.0, 0
        for block in blocks:
            total += float(found._plain(block).sum())
            n += block.height
        return replace(found, mean=total / max(n, 1))

    def weights(self, block: pl.DataFrame) -> NDArray[np.float32]:
        """The weights of some of the rows, (N,).

        Args:
            block: N rows with the columns that :meth:`of` took.
        """
        weights = np.maximum(self._plain(block) / self.mean, LEAST)
        return weights.astype(np.float32)

    def _plain(self, block: pl.DataFrame) -> NDArray[np.float64]:
        """The weights before they are made to average 1, (N,)."""
        found = np.ones(block.height)
        if "weight" in block.columns:
            found *= block["weight"].to_numpy()
        if self.half_life is not None:
            time = block["timestamp"].fill_null(self.oldest)
            age = (self.newest - time).dt.total_microseconds().to_numpy()
            found *= 0.5 ** (age / (self.half_life * SECOND))
        return found


def no_times(*, are_there: bool) -> str:
    """What is said where a setting needs times and no rating has one.

    Args:
        are_there: whether there is a column of times, of which none could be read.
    """
    if are_there:
        return (
            "none of the ratings has a readable time; prepare them with --time-format, "
            "or leave it out"
        )
    return "the ratings have no times; prepare them with --time-col, or leave it out"


def _span(blocks: Iterable[pl.DataFrame]) -> tuple[datetime, datetime]:
    """The newest and the oldest time of rows.

    Raises:
        ConfigError: they have none.
    """
    ends: list[object] = []
    are_there = False
    for block in blocks:
        if "timestamp" in block.columns:
            are_there = True
            ends += [block["timestamp"].max(), block["timestamp"].min()]
    known = [end for end in ends if isinstance(end, datetime)]
    if not known:
        raise ConfigError(f"half_life: {no_times(are_there=are_there)}")
    return max(known), min(known)
