"""Which of the ratings read stay: duplicates settled, filters applied."""

from datetime import UTC, datetime
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.config.prepare import Duplicates, PrepareConfig
from cfcli.core.data import splits
from cfcli.core.data.ids import hash_ids, hash_pairs
from cfcli.core.data.spool import Spool
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.inputs.ratings import Reader

SAMPLE_SALT = 0x5A17  # the sample must not follow the split, which hashes the same ids


def settle_duplicates(spool: Spool, reader: Reader, policy: Duplicates) -> int:
    """Leaves one row per (user, item), before the split: the same pair on two sides would leak.
    Where a split was given, its held-out copy of a pair wins, and the training copy goes.

    Returns:
        How many rows went.

    Raises:
        InputError: there are some, and the policy is ``error``.
    """
    keys = np.empty(spool.rows, np.uint64)
    for start, _, block in spool.blocks("user", "item"):
        _key(block, keys[start : start + block.height])
    keys.sort()
    is_repeated = keys[1:] == keys[:-1]
    repeated = np.unique(keys[1:][is_repeated])
    del keys
    if not len(repeated):
        return 0
    if policy == "error":
        user = reader.user_ids.to_series()[int(repeated[0] >> np.uint64(32))]
        item = reader.item_ids.to_series()[int(repeated[0] & np.uint64(2**32 - 1))]
        extra = int(is_repeated.sum())
        raise InputError(
            f"{extra:,} ratings repeat a pair, such as user '{user}' and item '{item}'; see --duplicates"
        )
    parts = []
    for start, side, block in spool.blocks():
        key = _key(block, np.empty(block.height, np.uint64))
        place = np.minimum(np.searchsorted(repeated, key), len(repeated) - 1)
        rows = np.flatnonzero(repeated[place] == key)
        parts.append(
            block[rows].with_columns(
                row=rows + start, key=key[rows], side=np.full(len(rows), splits.NAMES.index(side))
            )
        )
    frame = pl.concat(parts)
    best = frame.filter(pl.col("side") == pl.col("side").max().over("key"))
    if policy == "mean":
        best = best.with_columns(
            pl.col("rating").cast(pl.Float64).mean().over("key").cast(pl.Float32)
        )
    if policy != "first":
        best = best.sort([*(["timestamp"] if reader.has_times else []), "row"])
    keep: Literal["first", "last"] = "first" if policy == "first" else "last"
    best = best.unique("key", keep=keep, maintain_order=True).sort("row")
    dropped = np.setdiff1d(frame["row"].to_numpy(), best["row"].to_numpy(), assume_unique=True)
    rows, ratings = best["row"].to_numpy(), best["rating"].to_numpy()

    def settle(start: int, block: pl.DataFrame) -> pl.DataFrame:
        low, high = np.searchsorted(rows, [start, start + block.height])
        rating = block["rating"].to_numpy().copy()
        rating[rows[low:high] - start] = ratings[low:high]
        low, high = np.searchsorted(dropped, [start, start + block.height])
        keep = np.ones(block.height, bool)
        keep[dropped[low:high] - start] = False
        return block.with_columns(rating=rating).filter(keep)

    spool.change(settle)
    return len(dropped)


def filter_rows(spool: Spool, reader: Reader, config: PrepareConfig) -> None:
    """Drops what the configuration leaves out.

    Raises:
        InputError: nothing is left, or there are no times to filter by.
    """
    read = spool.rows
    if config.since:
        if not reader.has_times:
            raise InputError("--since needs a column of times; name it with --time-col")
        try:
            since = datetime.fromisoformat(config.since)
        except ValueError:
            raise ConfigError(f"since: '{config.since}' is not a date like 2024-01-31") from None
        if since.tzinfo:
            since = since.astimezone(UTC).replace(tzinfo=None)
        spool.change(lambda _, block: block.filter(pl.col("timestamp") >= since))
    if config.top_items:
        items = len(reader.item_ids.to_series())
        counts = spool.counts("item", items)
        first = np.full(
            items, spool.rows
        )  # of equal counts, the item that comes first in the input
        for start, _, block in spool.blocks("item"):
            np.minimum.at(first, block["item"].to_numpy(), np.arange(start, start + block.height))
        kept = np.zeros(items, bool)
        kept[np.lexsort((first, -counts))[: config.top_items]] = True
        spool.change(lambda _, block: block.filter(kept[block["item"].to_numpy()]))
    fewest = (
        ("item", config.min_item_ratings, reader.item_ids),
        ("user", config.min_user_ratings, reader.user_ids),
    )
    least = [(name, n, len(ids.to_series())) for name, n, ids in fewest if n > 1]
    before = -1
    while before != spool.rows:  # dropping users takes ratings from items, and the reverse
        before = spool.rows
        for name, n, length in least:
            enough = spool.counts(name, length) >= n
            spool.change(
                lambda _, block, name=name, enough=enough: block.filter(
                    enough[block[name].to_numpy()]
                )
            )  # type: ignore[misc]
    if config.sample and config.sample < spool.rows:
        hashes = [hash_ids(ids.to_series()) for ids in (reader.user_ids, reader.item_ids)]
        place = np.empty(spool.rows)
        for start, _, block in spool.blocks("user", "item"):
            pair = [
                h[block[name].to_numpy()] for h, name in zip(hashes, ("user", "item"), strict=True)
            ]
            place[start : start + block.height] = hash_pairs(
                pair[0], pair[1], config.seed ^ SAMPLE_SALT
            )
        chosen = np.zeros(len(place), bool)
        chosen[np.argsort(place, kind="stable")[: config.sample]] = True
        spool.change(lambda start, block: block.filter(chosen[start : start + block.height]))
    if not spool.rows:
        raise InputError(f"{reader.sources[0]['name']}: all {read:,} ratings were filtered away")


def _key(block: pl.DataFrame, out: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Writes one number for each pair of codes to ``out``."""
    out[:] = block["user"].to_numpy()
    out <<= np.uint64(32)
    out |= block["item"].to_numpy()
    return out
