"""External ids to dense indices and back."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"  # at most 18 digits: fits in 64 bits
MOST_PLACES = 8  # of a table of integers for each id
CHUNK = 1 << 15  # numbers that stay in a processor's cache while they are mixed


class IdMap:
    """A bijection between ids (text, exact to the last character) and indices 0..n-1.

    Args:
        ids: unique ids; an id's position is its index.
    """

    def __init__(self, ids: pl.Series) -> None:
        self.ids = ids.rename("id")
        self._table = pl.DataFrame({"id": self.ids}).with_row_index("index")

    @classmethod
    def of(cls, ids: pl.Series) -> "IdMap":
        """Maps ids in order: by value where all are canonical integers (``7``, not ``007``), else
        by code point.

        Args:
            ids: texts, each once or several times.
        """
        unique = ids.unique()
        return cls(
            unique.cast(pl.Int64).sort().cast(pl.String) if are_integers(unique) else unique.sort()
        )

    def __len__(self) -> int:
        return len(self.ids)

    def index(self, ids: pl.Series) -> pl.Series:
        """Index of each id (u32), null where it is unknown.

        Args:
            ids: texts, or integers, which stand for their texts, shape (N,).
        """
        if ids.dtype.is_integer() and self._by_number is not None:
            return self._by_number.index(ids)
        return (
            ids.cast(pl.String)
            .rename("id")
            .to_frame()
            .join(self._table, on="id", how="left", maintain_order="left")["index"]
        )

    @cached_property
    def _by_number(self) -> "_ByNumber | None":
        """For integers, where the ids are such and fill their range well."""
        if not len(self.ids) or not are_integers(self.ids):
            return None
        numbers = self.ids.cast(pl.Int64).to_numpy()
        low, width = int(numbers.min()), int(numbers.max()) - int(numbers.min()) + 1
        if width > MOST_PLACES * len(numbers) + CHUNK:
            return None
        places = np.full(width + 1, len(numbers), np.uint32)
        places[numbers - low] = np.arange(len(numbers))
        return _ByNumber(low, places)

    def id(self, index: pl.Series) -> pl.Series:
        """Id of each index (text).

        Args:
            index: integers, shape (N,).
        """
        return self.ids.gather(index)


@dataclass(frozen=True)
class _ByNumber:
    """A table of all integers in a range, which takes an eighth of the time of a join of texts.

    Attributes:
        low: the first integer.
        places: the index of each integer, and what stands for an unknown one as the last.
    """

    low: int
    places: NDArray[np.uint32]

    def index(self, ids: pl.Series) -> pl.Series:
        """As :meth:`IdMap.index`, of integers."""
        unknown, before = self.places[-1], self.low - 1
        numbers = ids.cast(pl.Int64, strict=False).fill_null(before).to_numpy()
        found = self.places[np.clip(numbers, before, before + len(self.places)) - self.low]
        index = pl.Series("index", found)
        missing = found == unknown
        return index.set(pl.Series(missing), None) if missing.any() else index


def are_integers(ids: pl.Series) -> bool:
    """Whether every id is a canonical integer of 64 bits, so that it can be written as one without
    a change.

    Args:
        ids: texts.
    """
    return bool(ids.str.contains(INTEGER).all())


def hash_ids(ids: Iterable[str]) -> NDArray[np.uint64]:
    """Blake2b of each id, 64 bits, the same in every process and version.

    Args:
        ids: N texts.

    Returns:
        Shape (N,).
    """
    digests = b"".join(hashlib.blake2b(i.encode(), digest_size=8).digest() for i in ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def hash_pairs(
    user_hash: NDArray[np.uint64], item_hash: NDArray[np.uint64], seed: int
) -> NDArray[np.float64]:
    """A uniform number in [0, 1) for each (user, item, seed), fixed for ever: splitmix64 (Steele et
    al. 2014) over the two hashes in turn.

    Args:
        user_hash, item_hash: shape (N,), from :func:`hash_ids`.
        seed: changes all numbers.

    Returns:
        Shape (N,).
    """
    start = np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    place = np.empty(len(user_hash))
    for at in range(0, len(place), CHUNK):
        chunk = slice(at, at + CHUNK)
        mixed = _splitmix64(_splitmix64(user_hash[chunk] ^ start) ^ item_hash[chunk])
        place[chunk] = (mixed >> np.uint64(11)) * 2.0**-53
    return place


def _splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x
