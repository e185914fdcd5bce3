"""What time adds to predicted ratings.

    r_uit = r_ui + c_1(u, day of t) + c_2(u, ten minutes of t) + c_3(u, minute of t)
            + d(i, bin of t)

c are biases of a user that last for a window of time, as people rate in sittings, each in a mood
and each through some part of the catalogue. d is a bias of an item that moves slowly. Both follow
Koren (2009), "Collaborative Filtering with Temporal Dynamics", who has days alone: shorter windows
within the day gained more than the day itself on every data set that was tried.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

LENGTHS = (86_400, 600, 60)  # of windows, in seconds
BINS = 20  # of the time that the training rows span; an item's bias moves from one to the next
FULL = 1.5  # ratings in a window on average, below which it says nothing that its rating does not
Seconds = NDArray[np.float64]
Floats = NDArray[np.float32]
Indices = NDArray[np.integer]


@dataclass(frozen=True)
class Calendar:
    """How time is divided.

    Attributes:
        begin: the oldest time of the training rows, in seconds since 1970.
        end: the newest one.
        lengths: of the windows, in seconds.
    """

    begin: float
    end: float
    lengths: list[int]

    @classmethod
    def of(cls, user: Indices, time: Seconds) -> "Calendar":
        """The calendar of training rows: with the windows that hold several ratings of a user, each
        of which divides the one before.

        Args:
            user: index of the user of each row, (N,).
            time: of each row, in seconds since 1970, (N,); NaN where there is none.
        """
        found = cls(float(np.nanmin(time)), float(np.nanmax(time)), [])
        known = int(np.isfinite(time).sum())
        groups = 0
        for length in LENGTHS:
            keys = found.windows(length, user, time)
            n = len(np.unique(keys[keys >= 0]))
            if groups < n <= known / FULL:
                found.lengths.append(length)
                groups = n
        return found

    def windows(self, length: int, user: Indices, time: Seconds) -> NDArray[np.int64]:
        """A number for each user and window, (N,); -1 for times beyond those of the training.

        Args:
            length: of the windows, in seconds.
            user: index of the user of each row, (N,).
            time: of each row, in seconds since 1970, (N,); NaN where there is none.
        """
        first, last = int(self.begin // length), int(self.end // length)
        known = (time >= self.begin) & (time <= self.end)
        window = (np.where(known, time, self.begin) // length).astype(np.int64) - first
        return np.where(known, user.astype(np.int64) * (last - first + 1) + window, -1)

    def middles(self, length: int, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], Seconds]:
        """The user (N,) and the time amid the window (N,) of each number.

        Args:
            length: of the windows, in seconds.
            keys: as :meth:`windows` gives them, (N,).
        """
        first, last = int(self.begin // length), int(self.end // length)
        user, window = np.divmod(keys, last - first + 1)
        return user, ((window + first + 0.5) * length).clip(self.begin, self.end)

    @property
    def centres(self) -> Seconds:
        """The time amid each bin, (T,)."""
        return self.begin + (np.arange(BINS) + 0.5) / BINS * (self.end - self.begin)

    def bins(self, time: Seconds) -> NDArray[np.int64]:
        """The bin of each time, (N,): the last one where there is none.

        Args:
            time: in seconds since 1970, (N,); NaN where there is none.
        """
        share = (time - self.begin) / max(self.end - self.begin, 1.0)
        return np.nan_to_num(share * BINS, nan=BINS).clip(0, BINS - 1).astype(np.int64)


@dataclass(frozen=True)
class TimeEffects:
    """What time adds to the ratings of a model, whose own parameters are those of the newest time.

    Attributes:
        calendar: how time is divided.
        keys: of the windows of each length, as :meth:`Calendar.windows` numbers them, ascending.
        values: what each of them adds, in ratings.
        items: what each bin adds to an item, beside the last bin, (I, T).
    """

    calendar: Calendar
    keys: list[NDArray[np.int64]]
    values: list[Floats]
    items: Floats

    def offset(self, user: Indices, item: Indices, time: Seconds) -> Floats:
        """What time adds to ratings, (N,).

        Args:
            user: indices of the users, (N,); -1 where unknown.
            item: indices of the items, (N,); -1 where unknown. Those beyond the items of the
                training count as unknown.
            time: in seconds since 1970, (N,); NaN where unknown, which adds nothing.
        """
        known = (item >= 0) & (item < len(self.items))
        by_item = self.items[np.where(known, item, 0), self.calendar.bins(time)]
        found = np.where(known, by_item, np.float32(0))
        for k in range(len(self.keys)):
            found += np.where(user >= 0, self.of_window(k, user, time), np.float32(0))
        return found

    def of_window(self, k: int, user: Indices, time: Seconds) -> Floats:
        """What windows of one length add, 0 where unknown, (N,).

        Args:
            k: place of the length.
            user: indices of the users, (N,).
            time: in seconds since 1970, (N,).
        """
        keys = self.keys[k]
        wanted = self.calendar.windows(self.calendar.lengths[k], user, time)
        place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        return np.where(keys[place] == wanted, self.values[k][place], np.float32(0))

    def tensors(self) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
        """All numbers by name."""
        found: dict[str, NDArray[np.float32] | NDArray[np.int64]] = {"items": self.items}
        for length, keys, values in zip(self.calendar.lengths, self.keys, self.values, strict=True):
            found |= {f"keys_{length}": keys, f"values_{length}": values}
        return found

    @classmethod
    def of(
        cls, calendar: Calendar, tensors: Mapping[str, NDArray[np.generic]], items: int
    ) -> "TimeEffects | None":
        """The effects by the numbers of :meth:`tensors`; None where they do not fit.

        Args:
            calendar: how time is divided.
            tensors: by name.
            items: how many items there are (I).
        """
        wanted = {"items"} | {f"{x}_{n}" for n in calendar.lengths for x in ("keys", "values")}
        if set(tensors) != wanted or tensors["items"].shape != (items, BINS):
            return None
        keys = [np.asarray(tensors[f"keys_{n}"]) for n in calendar.lengths]
        values = [np.asarray(tensors[f"values_{n}"]) for n in calendar.lengths]
        floats = [*values, np.asarray(tensors["items"])]
        is_sound = all(
            key.dtype == np.int64 and key.shape == value.shape and key.ndim == 1 and key.size
            for key, value in zip(keys, values, strict=True)
        )
        is_sound = is_sound and all((np.diff(key) > 0).all() for key in keys)
        if not is_sound or any(x.dtype != np.float32 or not np.isfinite(x).all() for x in floats):
            return None
        return cls(calendar, keys, values, floats[-1])


def seconds_of(timestamp: pl.Series) -> Seconds:
    """Times in seconds since 1970, (N,), NaN where there is none.

    Args:
        timestamp: of each row, in UTC, (N,).
    """
    return timestamp.dt.epoch("us").cast(pl.Float64).fill_null(float("nan")).to_numpy() / 1e6
