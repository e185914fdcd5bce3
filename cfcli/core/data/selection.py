"""Which of the ratings read stay: duplicates are settled, filters applied."""

from datetime import UTC, datetime
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.config.prepare import Duplicates, PrepareConfig
from cfcli.core.data import splits
from cfcli.core.data.ids import hash_ids, hash_pairs
from cfcli.core.data.spool import Spool
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.inputs.intake import Intake

SAMPLE_SALT = 0x5A17  # the sample must not follow the split, which hashes the same ids


def settle_duplicates(spool: Spool, intake: Intake, policy: Duplicates) -> int:
    """Leaves one row per (user, item), before the split: the same pair on two sides would leak.
    Where a split was given, its held-out copy of a pair wins, and the training copy goes.

    Args:
        spool: the ratings.
        intake: knows their ids.
        policy: which row of a pair stays; ``mean`` gives it the mean of their ratings.

    Returns:
        How many rows went.

    Raises:
        InputError: there are some, and the policy is ``error``, or it goes by times that cannot be
            read.
    """
    keys = np.empty(spool.rows, np.uint64)
    for start, _, block in spool.blocks("user", "item"):
        _write_keys(block, keys[start : start + block.height])
    keys.sort()
    is_repeated = keys[1:] == keys[:-1]
    repeated = np.unique(keys[1:][is_repeated])
    del keys
    if not len(repeated):
        return 0
    if policy == "error":
        user = intake.user_ids.to_series()[int(repeated[0] >> np.uint64(32))]
        item = intake.item_ids.to_series()[int(repeated[0] & np.uint64(2**32 - 1))]
        raise InputError(
            f"{int(is_repeated.sum()):,} ratings repeat a pair, such as user '{user}' and "
            f"item '{item}'; see --duplicates"
        )
    frame = _rows_of(spool, repeated)
    if policy == "last" and "unread" in frame.columns:
        differ = pl.col("rating").n_unique().over("key") > 1
        if frame.select((differ & pl.col("unread").any().over("key")).any()).item():
            intake.require_times("--duplicates last")
    best = _best(frame, policy, intake.has_times)
    dropped = np.setdiff1d(frame["row"].to_numpy(), best["row"].to_numpy(), assume_unique=True)
    rows = best["row"].to_numpy()
    ratings = best["rating"].to_numpy()

    def settle(start: int, block: pl.DataFrame) -> pl.DataFrame:
        """A block without the rows that go; those that stay of repeated pairs get their rating.

        Args:
            start: number of its first row.
            block: as it was read.
        """
        end = start + block.height
        rating = block["rating"].to_numpy().copy()
        low, high = np.searchsorted(rows, [start, end])
        rating[rows[low:high] - start] = ratings[low:high]
        stays = np.ones(block.height, bool)
        low, high = np.searchsorted(dropped, [start, end])
        stays[dropped[low:high] - start] = False
        return block.with_columns(rating=rating).filter(stays)

    spool.change(settle)
    return len(dropped)


def filter_rows(spool: Spool, intake: Intake, config: PrepareConfig) -> None:
    """Drops what the configuration leaves out.

    Args:
        spool: the ratings.
        intake: knows their ids.
        config: ``since``, ``top_items``, ``min_item_ratings``, ``min_user_ratings`` and ``sample``
            are applied, in this order.

    Raises:
        InputError: nothing is left, or there are no times to filter by.
    """
    read = spool.rows
    if config.since:
        if not intake.has_times:
            raise InputError("--since needs a column of times; name it with --time-col")
        since = _moment(config.since)
        spool.change(lambda _, block: block.filter(pl.col("timestamp") >= since))
    if config.top_items:
        _keep_top_items(spool, len(intake.item_ids.to_series()), config.top_items)
    _keep_active(spool, intake, config)
    if config.sample and config.sample < spool.rows:
        _keep_sample(spool, intake, config.sample, config.seed)
    if not spool.rows:
        raise InputError(f"{intake.sources[0].name}: all {read:,} ratings were filtered away")


def _rows_of(spool: Spool, keys: NDArray[np.uint64]) -> pl.DataFrame:
    """The rows of some pairs (sorted), with ``row``, ``key`` and ``side``."""
    parts = []
    for start, side, block in spool.blocks():
        key = np.empty(block.height, np.uint64)
        _write_keys(block, key)
        place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        rows = np.flatnonzero(keys[place] == key)
        sides = np.full(len(rows), splits.NAMES.index(side))
        parts.append(block[rows].with_columns(row=rows + start, key=key[rows], side=sides))
    return pl.concat(parts)


def _best(frame: pl.DataFrame, policy: Duplicates, has_times: bool) -> pl.DataFrame:
    """The row of each pair that stays, in the order of the input."""
    best = frame.filter(pl.col("side") == pl.col("side").max().over("key"))
    if policy == "first":
        return best.unique("key", keep="first", maintain_order=True).sort("row")
    if policy == "mean":
        mean = pl.col("rating").cast(pl.Float64).mean().over("key")
        best = best.with_columns(mean.cast(pl.Float32))
    best = best.sort(["timestamp", "row"] if has_times else ["row"])
    return best.unique("key", keep="last", maintain_order=True).sort("row")


def _moment(text: str) -> datetime:
    """A date or time as UTC without a zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"since: '{text}' is not a date like 2024-01-31") from None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _keep_top_items(spool: Spool, items: int, n: int) -> None:
    """Keeps the ``n`` items with the most ratings; of equal counts, those that come first."""
    counts = spool.counts("item", items)
    first = np.full(items, spool.rows)  # the row on which each item comes first
    for start, _, block in spool.blocks("item"):
        np.minimum.at(first, block["item"].to_numpy(), np.arange(start, start + block.height))
    kept = np.zeros(items, bool)
    kept[np.lexsort((first, -counts))[:n]] = True
    spool.change(lambda _, block: block.filter(kept[block["item"].to_numpy()]))


def _keep_active(spool: Spool, intake: Intake, config: PrepareConfig) -> None:
    """Drops users and items with few ratings until none is left: dropping users takes ratings from
    items, and the reverse."""
    limits = []
    if config.min_item_ratings > 1:
        limits.append(("item", config.min_item_ratings, len(intake.item_ids.to_series())))
    if config.min_user_ratings > 1:
        limits.append(("user", config.min_user_ratings, len(intake.user_ids.to_series())))
    before = -1
    while before != spool.rows:
        before = spool.rows
        for name, least, length in limits:
            spool.change(partial(_filter_codes, name, spool.counts(name, length) >= least))


def _filter_codes(
    name: str, kept: NDArray[np.bool_], start: int, block: pl.DataFrame
) -> pl.DataFrame:
    return block.filter(kept[block[name].to_numpy()])


def _keep_sample(spool: Spool, intake: Intake, n: int, seed: int) -> None:
    """Keeps the ``n`` ratings whose pairs have the smallest hashes."""
    user_hash = hash_ids(intake.user_ids.to_series())
    item_hash = hash_ids(intake.item_ids.to_series())
    place = np.empty(spool.rows)
    for start, _, block in spool.blocks("user", "item"):
        place[start : start + block.height] = hash_pairs(
            user_hash[block["user"].to_numpy()],
            item_hash[block["item"].to_numpy()],
            seed ^ SAMPLE_SALT,
        )
    chosen = np.zeros(len(place), bool)
    chosen[np.argsort(place, kind="stable")[:n]] = True
    spool.change(lambda start, block: block.filter(chosen[start : start + block.height]))


def _write_keys(block: pl.DataFrame, out: NDArray[np.uint64]) -> None:
    """Writes one number for each pair of codes to ``out``."""
    out[:] = block["user"].to_numpy()
    out <<= np.uint64(32)
    out |= block["item"].to_numpy()
