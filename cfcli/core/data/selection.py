"""Which of the ratings read stay: duplicates are settled, filters applied."""

from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.config.prepare import Duplicates, PrepareConfig
from cfcli.core.data import splits
from cfcli.core.data.ids import hash_ids, hash_pairs
from cfcli.core.data.spool import Spool
from cfcli.core.errors import ConfigError, InputError
from cfcli.core.inputs.intake import Intake
from cfcli.core.threads import in_threads

KEY_BITS = 64  # of the numbers that are sorted
STEP = 1 << 16  # of them at once, which stay in the cache
THREADS = 2  # more would wait for the memory
OLDEST = -(2**63)  # what a row without a time counts as
SAMPLE_SALT = 0x5A17  # the sample must not follow the split, which hashes the same ids


def settle_duplicates(spool: Spool, intake: Intake, policy: Duplicates) -> int:
    """Leaves one row per (user, item), before the split: the same pair on two sides would leak.
    Where a split was given, its held-out copy of a pair wins, and the training copy goes.

    Args:
        spool: the ratings.
        intake: knows their ids.
        policy: which row of a pair stays, with its weight; ``mean`` gives it the mean of their
            ratings, by weight where they have weights.

    Returns:
        How many rows went.

    Raises:
        InputError: there are some, and the policy is ``error``, or it goes by times that cannot be
            read.
    """
    repeats = _repeats(spool, intake)
    if not len(repeats.rows):
        return 0
    if policy == "error":
        first = int(repeats.rows[0])
        user = intake.user_ids.to_series()[int(spool.column("user")[first])]
        item = intake.item_ids.to_series()[int(spool.column("item")[first])]
        raise InputError(
            f"{len(repeats.rows) - len(repeats.starts):,} ratings repeat a pair, such as user "
            f"'{user}' and item '{item}'; see --duplicates"
        )
    if policy == "last" and intake.times.unread_rows and _hangs_on_unread(spool, repeats):
        intake.require_times("--duplicates last")
    may_stay = _held_out(spool, repeats)
    kept = _kept(spool, repeats, may_stay, policy, intake.has_times)
    stays = np.ones(spool.rows, bool)
    stays[repeats.rows] = False
    stays[repeats.rows[kept]] = True
    means = _means(spool, repeats, may_stay, kept) if policy == "mean" else None

    def settle(start: int, block: pl.DataFrame) -> pl.DataFrame:
        """A block without the rows that go.

        Args:
            start: number of its first row.
            block: as it was read.
        """
        part = slice(start, start + block.height)
        if means is not None:
            block = block.with_columns(rating=pl.Series(means[part]))
        return block.filter(stays[part])

    spool.change(settle)
    return len(repeats.rows) - len(repeats.starts)


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
        if not spool.rows:
            notes = "".join(f"; {note}" for note in intake.times.notes(intake.newest))
            raise InputError(
                f"{intake.sources[0].name}: none of {read:,} ratings is of {config.since} or "
                f"later, as the newest is of {intake.newest}{notes}"
            )
    if config.top_items:
        _keep_top_items(spool, len(intake.item_ids.to_series()), config.top_items)
    _keep_active(spool, intake, config)
    if config.sample and config.sample < spool.rows:
        _keep_sample(spool, intake, config.sample, config.seed)
    if not spool.rows:
        raise InputError(f"{intake.sources[0].name}: all {read:,} ratings were filtered away")


class _Repeats(NamedTuple):
    """The rows of pairs that were rated more than once, pair by pair and then in their order.

    Attributes:
        rows: their numbers, (N,).
        starts: where the rows of each pair begin, (P,).
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    def over(self, function: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        """A sum or a maximum over the rows of each pair, for each row, (N,).

        Args:
            function: such as ``numpy.maximum``.
            values: one for each row, (N,).
        """
        sizes = np.diff(self.starts, append=len(self.rows))
        return np.repeat(function.reduceat(values, self.starts), sizes)


def _repeats(spool: Spool, intake: Intake) -> _Repeats:
    """Finds them by sorting. Where pair and row fit into 64 bits together, which holds for 100
    million rows of 2 million users and 60,000 items, one sort of numbers does it all: four times as
    fast as sorting places."""
    users, items = (len(ids.to_series()) for ids in (intake.user_ids, intake.item_ids))
    bits = spool.rows.bit_length()
    fits = (users * items).bit_length() + bits <= KEY_BITS
    keys = np.empty(spool.rows, np.uint64)

    def fill(given: tuple[int, str, pl.DataFrame]) -> None:
        """Numbers of the pairs of a block, and of their rows where these fit.

        Args:
            given: the block, as :meth:`Spool.blocks` has it.
        """
        start, _, block = given
        user, item = (block[name].to_numpy() for name in ("user", "item"))
        for at in range(0, len(user), STEP):
            part = keys[start + at : start + min(at + STEP, len(user))]
            part[:] = user[at : at + STEP]
            part *= np.uint64(items)
            part += item[at : at + STEP]
            if fits:
                part <<= np.uint64(bits)
                part += np.arange(start + at, start + at + len(part), dtype=np.uint64)

    for _ in in_threads(fill, spool.blocks("user", "item"), THREADS):
        pass
    if fits:
        keys.sort()
        below = np.uint64((1 << bits) - 1)
        is_same = np.empty(len(keys) - 1, bool)
        for start in range(0, len(is_same), STEP):
            part = keys[start : start + STEP + 1]
            is_same[start : start + STEP] = (part[1:] ^ part[:-1]) <= below
        if not is_same.any():
            return _Repeats(np.empty(0, np.int64), np.empty(0, np.int64))
        order = keys
    else:
        order = np.argsort(keys, kind="stable").astype(np.uint64)
        keys, below = keys[order], np.uint64(2**64 - 1)
        is_same = keys[1:] == keys[:-1]
    after = np.concatenate([[False], is_same])  # whether the row before is of the same pair
    among = after | np.concatenate([is_same, [False]])
    rows = order[among]
    rows &= below
    return _Repeats(rows.view(np.int64), np.flatnonzero(~after[among]))


def _kept(
    spool: Spool,
    repeats: _Repeats,
    stays: NDArray[np.bool_],
    policy: Duplicates,
    has_times: bool,
) -> NDArray[np.int64]:
    """The place of the row of each pair that stays, (P,), among those that may stay, (N,)."""
    if policy != "first" and has_times:
        times = _times(spool)[repeats.rows]
        times[~stays] = OLDEST
        stays = stays & (times == repeats.over(np.maximum, times))
        del times
    places = np.arange(len(repeats.rows))
    if policy == "first":
        places[~stays] = len(places)
        return np.minimum.reduceat(places, repeats.starts)
    places[~stays] = -1
    return np.maximum.reduceat(places, repeats.starts)


def _hangs_on_unread(spool: Spool, repeats: _Repeats) -> bool:
    """Whether the rating of a pair depends on a time that cannot be read."""
    ratings = spool.column("rating")[repeats.rows]
    differs = repeats.over(np.maximum, ratings) > repeats.over(np.minimum, ratings)
    unread = spool.column("unread")[repeats.rows].astype(bool)
    return bool((differs & unread).any())


def _times(spool: Spool) -> NDArray[np.int64]:
    """When each rating was given, :data:`OLDEST` where that is unknown."""
    times = np.empty(spool.rows, np.int64)
    for start, _, block in spool.blocks("timestamp"):
        known = block["timestamp"].cast(pl.Int64).fill_null(OLDEST)
        times[start : start + block.height] = known.to_numpy()
    return times


def _held_out(spool: Spool, repeats: _Repeats) -> NDArray[np.bool_]:
    """Which rows are on the last of the sides that their pair is on, (N,)."""
    sides = np.empty(spool.rows, np.int8)
    for start, side, block in spool.blocks("user"):
        sides[start : start + block.height] = splits.NAMES.index(side)
    own = sides[repeats.rows]
    found: NDArray[np.bool_] = own == repeats.over(np.maximum, own)
    return found


def _means(
    spool: Spool, repeats: _Repeats, stays: NDArray[np.bool_], kept: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The ratings of all rows, where those that stay of repeated pairs have the mean."""
    ratings = spool.column("rating").astype(np.float32)
    weight = stays.astype(np.float64)
    if "weight" in next(spool.blocks())[2].columns:
        weight *= spool.column("weight")[repeats.rows].astype(np.float64)
    total = repeats.over(np.add, weight * ratings[repeats.rows])
    mean = total / repeats.over(np.add, weight)
    ratings[repeats.rows[kept]] = mean[kept]
    return ratings


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
