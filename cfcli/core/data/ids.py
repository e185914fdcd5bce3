"""External ids to dense indices and back."""

import hashlib
from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"  # at most 18 digits: fits in 64 bits
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
        """Maps ids in order: by value where all are canonical integers (``7``, not ``007``), else by
        code point.

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
            ids: texts, shape (N,).
        """
        return (
            ids.rename("id")
            .to_frame()
            .join(self._table, on="id", how="left", maintain_order="left")["index"]
        )

    def id(self, index: pl.Series) -> pl.Series:
        """Id of each index (text).

        Args:
            index: integers, shape (N,).
        """
        return self.ids.gather(index)


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
    return np.array(
        [
            int.from_bytes(hashlib.blake2b(i.encode(), digest_size=8).digest(), "little")
            for i in ids
        ],
        dtype=np.uint64,
    )


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
