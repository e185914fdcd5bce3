"""The tables of a dataset: users and items with their index, and the rows of each side of the
split."""

import contextlib
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.data import splits
from cfcli.core.data.blocks import Blocks
from cfcli.core.data.ids import IdMap, hash_ids
from cfcli.core.data.info import Bar, Scale
from cfcli.core.data.spool import Spool
from cfcli.core.data.unknown import UnknownIds
from cfcli.core.errors import InputError
from cfcli.core.inputs.sources import Source
from cfcli.core.pair import Entity, Pair

FAR = 4  # times the size of all others, from which a rating may be none
FEW = 0.001  # share of the ratings that may be exceptions
DISTINCT = 1000  # with more different ratings than this, the scale has no steps


@dataclass(frozen=True)
class Entities:
    """The users, or the items, that have ratings (N of C codes in the spool).

    Attributes:
        map: their ids.
        index: the index of each code, (C,); 0 for a code without ratings.
        hashes: the hash of the id of each code, (C,); 0 for a code without ratings.
        counts: number of ratings of each, in the order of the map, (N,).
    """

    map: IdMap
    index: NDArray[np.uint32]
    hashes: NDArray[np.uint64]
    counts: NDArray[np.uint32]

    @classmethod
    def of(cls, spool: Spool, name: str, ids: pl.Series) -> "Entities":
        """Maps the codes of the spool to indices.

        Args:
            spool: the ratings.
            name: its column of codes, ``user`` or ``item``.
            ids: the id of each code, (C,).
        """
        by_code = spool.counts(name, len(ids))
        used = np.flatnonzero(by_code)
        known = ids.gather(used)
        id_map = IdMap.of(known)
        index = np.zeros(len(ids), np.uint32)
        index[used] = id_map.index(known).to_numpy()
        hashes = np.zeros(len(ids), np.uint64)
        hashes[used] = hash_ids(known)
        counts = np.zeros(len(id_map), np.uint32)
        counts[index[used]] = by_code[used]
        return cls(id_map, index, hashes, counts)

    def table(self, name: str) -> pl.DataFrame:
        """Makes the table that a dataset holds.

        Args:
            name: of the column of ids.

        Returns:
            One row each, in the order of the index: the id and ``n_ratings``.
        """
        return pl.DataFrame({name: self.map.ids, "n_ratings": self.counts})


class Values:
    """Statistics of ratings that come block by block.

    Attributes:
        counts: columns ``rating`` and ``count``, sorted; None if over ``DISTINCT`` ratings differ.
        low: the lowest rating.
        high: the highest rating.
        total: the sum of the ratings.
    """

    def __init__(self) -> None:
        self.counts: pl.DataFrame | None = pl.DataFrame(
            schema={"rating": pl.Float32, "count": pl.UInt32}
        )
        self.low, self.high = np.inf, -np.inf
        self.total = 0.0

    def add(self, rating: pl.Series) -> None:
        """Adds a block.

        Args:
            rating: its ratings, float32, of any number.
        """
        values = rating.to_numpy()
        self.low = float(values.min(initial=self.low))
        self.high = float(values.max(initial=self.high))
        self.total += float(rating.cast(pl.Float64).sum())
        if self.counts is not None:
            counts = _added(self.counts, rating.rename("rating").value_counts())
            self.counts = counts if counts.height <= DISTINCT else None


def _added(*counts: pl.DataFrame) -> pl.DataFrame:
    """The sum of counts by rating."""
    return pl.concat(counts).group_by("rating").agg(pl.col("count").sum()).sort("rating")


@dataclass
class Sides:
    """What was written.

    Attributes:
        n: number of rows of each side of the split, by name.
        cold: number of rows whose user or item has no training rating, by name of the held-out
            side.
        unknown: what was counted in each file that was given, by name of the side.
        train: statistics of the training ratings.
        histogram: of all ratings.
        notes: what looks wrong about the ratings, one sentence each.
    """

    n: dict[str, int]
    cold: dict[str, int]
    unknown: dict[str, Pair[UnknownIds]]
    train: Values
    histogram: list[Bar]
    notes: list[str]

    def scale(self, low: float, high: float) -> Scale:
        """The scale of the training rows.

        Args:
            low: the lowest rating, of these rows or as declared.
            high: the highest rating.

        Returns:
            Both, and the step between ratings: None where they look continuous.
        """
        known = self.train.counts if self.train.counts is not None else pl.DataFrame({"rating": []})
        gaps = np.diff(known["rating"].cast(pl.Float64).to_numpy())
        if not 0 < len(gaps) < 200:
            return Scale(low, high, None)
        step = float(gaps.min())
        steps = gaps / step
        is_even = np.abs(steps - np.round(steps)).max() <= 1e-3
        return Scale(low, high, round(step, 6) if is_even else None)


def write_sides(
    spool: Spool,
    folder: Path,
    given: dict[str, Source | None],
    users: Entities,
    items: Entities,
    has_times: bool,
    config: PrepareConfig,
) -> Sides:
    """Writes the tables of train, val and test, their rows in the order of the input.

    Args:
        spool: the ratings.
        folder: of the dataset.
        given: the file that was given for val or test, by name; None for a side that is cut from
            the training rows.
        users: those that have ratings.
        items: those that have ratings.
        has_times: write the column ``timestamp``.
        config: ``split``, ``val_size``, ``test_size`` and ``seed``; with ``weight_col`` the column
            ``weight`` is written.

    Raises:
        InputError: a split by time, without times.
        OSError: no permission, or no space.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [("user", pa.uint32()), ("item", pa.uint32()), ("rating", pa.float32())]
    if has_times:
        fields.append(("timestamp", pa.timestamp("us")))
    if config.weight_col is not None:
        fields.append(("weight", pa.float32()))
    schema = pa.schema(fields)
    seen_user, seen_item = np.zeros(len(users.map), bool), np.zeros(len(items.map), bool)
    n = dict.fromkeys(splits.NAMES, 0)
    values = {name: Values() for name in splits.NAMES}
    cuts = _cuts(spool, given, users, items, config)
    written: list[Future[None]] = []
    with ThreadPoolExecutor(2) as threads:  # packing blocks takes longer than making them
        files = {}
        try:
            for name in splits.NAMES:
                files[name] = pq.ParquetWriter(
                    folder / f"{name}.parquet",
                    schema,
                    compression="zstd",
                    use_dictionary=["rating"],
                )
            for (_, _, block), sides in zip(spool.blocks(), cuts, strict=True):
                mapped = block.with_columns(
                    user=users.index[block["user"].to_numpy()],
                    item=items.index[block["item"].to_numpy()],
                ).select(schema.names)
                for future in written:
                    future.result()
                written = []
                for k, name in enumerate(splits.NAMES):
                    part = mapped.filter(sides == k)
                    n[name] += part.height
                    values[name].add(part["rating"])
                    if name == splits.TRAIN:
                        seen_user[part["user"].to_numpy()] = True
                        seen_item[part["item"].to_numpy()] = True
                    if part.height:
                        packed = part.to_arrow()
                        # A cast that changes nothing loads PyArrow's functions, for 0.03 s.
                        if not packed.schema.equals(schema):
                            packed = packed.cast(schema)
                        written.append(threads.submit(files[name].write_table, packed))
            for future in written:
                future.result()
        finally:
            wait(written)  # a file that is closed while a thread writes it is a crash
            has_failed = sys.exc_info()[0] is not None  # its error is the one to show
            for file in files.values():
                with contextlib.suppress(OSError) if has_failed else contextlib.nullcontext():
                    file.close()
    cold: dict[str, int] = {}
    unknown: dict[str, Pair[UnknownIds]] = {}
    for name in (splits.VAL, splits.TEST):
        cold[name] = 0
        if given[name]:
            unknown[name] = Pair(
                _unknown("user", users, seen_user), _unknown("item", items, seen_item)
            )
        for frame in Blocks(folder / f"{name}.parquet", len(users.map), len(items.map)):
            seen = seen_user[frame["user"].to_numpy()] & seen_item[frame["item"].to_numpy()]
            cold[name] += int((~seen).sum())
            if name in unknown:
                for counts, of in zip(unknown[name], (users, items), strict=True):
                    ids = of.map.id(frame[counts.role])
                    counts.count(ids, counts.known.index(ids))
    histogram, notes = _histogram(spool, list(values.values()))
    return Sides(n, cold, unknown, values[splits.TRAIN], histogram, notes)


def _unknown(role: Entity, entities: Entities, seen: NDArray[np.bool_]) -> UnknownIds:
    """A counter of those that are not in the training rows."""
    return UnknownIds(role, IdMap(entities.map.ids.filter(pl.Series(seen))), "training")


def _cuts(
    spool: Spool,
    given: dict[str, Source | None],
    users: Entities,
    items: Entities,
    config: PrepareConfig,
) -> Iterator[splits.Sides]:
    """The side of each row, block by block.

    Rows that were given for a side stay there; the others are split as configured.
    """
    val_size = 0.0 if given[splits.VAL] else config.val_size
    test_size = 0.0 if given[splits.TEST] else config.test_size
    sides = None
    if config.split == "random":
        rows = int(spool.given(splits.TRAIN).sum())
        sides = splits.at_random(rows, val_size, test_size, config.seed)
    elif config.split != "hash":
        times = None
        if "timestamp" in next(spool.blocks())[2].columns:
            times = pl.Series(spool.column("timestamp", splits.TRAIN))
        if config.split == "user-last":
            user_of_row = pl.Series(spool.column("user", splits.TRAIN))
            sides = splits.by_user_last(user_of_row, times, val_size, test_size)
        elif times is None:
            raise InputError("--split time needs a column of times; name it with --time-col")
        else:
            sides = splits.by_time(times, val_size, test_size)
    at = 0
    for _, side, block in spool.blocks("user", "item"):
        if side != splits.TRAIN:
            yield np.full(block.height, splits.NAMES.index(side), np.uint8)
        elif sides is None:
            user = users.hashes[block["user"].to_numpy()]
            item = items.hashes[block["item"].to_numpy()]
            yield splits.by_hash(user, item, val_size, test_size, config.seed)
        else:
            yield sides[at : at + block.height]
            at += block.height


def _histogram(spool: Spool, values: list[Values]) -> tuple[list[Bar], list[str]]:
    """Counts by rating, or by ten equal bins where there are more than 20 different ones; and notes
    on them."""
    notes = None
    known = [part.counts for part in values if part.counts is not None]
    if len(known) == len(values):
        counts = _added(*known)
        rating = counts["rating"].cast(pl.Float64).to_numpy()
        notes = _far_off(rating, rating, counts["count"].cast(pl.Int64).to_numpy())
        if counts.height <= 20:
            return [Bar(float(rating), n) for rating, n in counts.iter_rows()], notes
    edges = np.linspace(min(part.low for part in values), max(part.high for part in values), 11)
    total = np.zeros(10, np.int64)
    for _, _, block in spool.blocks("rating"):
        total += np.histogram(block["rating"].to_numpy(), bins=edges)[0]
    bars = [Bar(round(float(low), 6), int(n)) for low, n in zip(edges, total, strict=False)]
    if notes is None:
        notes = _far_off(edges[:-1][total > 0], edges[1:][total > 0], total[total > 0])
    return bars, notes


def _far_off(
    low: NDArray[np.float64], high: NDArray[np.float64], n: NDArray[np.int64]
) -> list[str]:
    """Notes on a few ratings far above or below all others, such as a row of totals.

    Args:
        low, high: the ends of bins that hold ratings, in their order, (B,).
        n: how many ratings each holds, (B,).
    """
    notes = []
    for sign in (1, -1):
        size = np.maximum(high - low[0], np.abs(high))[:-1]
        beyond = n.sum() - n.cumsum()[:-1]
        is_far = (low[1:] - high[:-1] > FAR * size) & (high[:-1] > low[0])
        for k in np.flatnonzero(is_far & (beyond <= max(1, FEW * n.sum())))[:1]:
            others = ",".join(f"{end:g}" for end in sorted((sign * low[0], sign * high[k])))
            notes.append(
                f"far from all other ratings: {beyond[k]:,} of {n.sum():,}, such as "
                f"{sign * high[-1]:g}; if that is a total or a mistake, --rating-range {others} "
                "refuses it and names the line"
            )
        low, high, n = -high[::-1], -low[::-1], n[::-1]
    return notes
