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
from cfcli.core.data.ids import IdMap, hash_ids
from cfcli.core.data.info import Bar, Scale
from cfcli.core.data.spool import Spool
from cfcli.core.errors import InputError
from cfcli.core.inputs import parquet
from cfcli.core.inputs.sources import Source

DISTINCT = 1000  # ratings of more values than this are no steps of a scale


@dataclass(frozen=True)
class Entities:
    """The users, or the items, that have ratings.

    Attributes:
        map: their ids.
        index: shape (codes,): the index of each code of the spool that is in use.
        hashes: shape (codes,): the hash of its id.
        counts: shape (len(map),): ratings of each.
    """

    map: IdMap
    index: NDArray[np.uint32]
    hashes: NDArray[np.uint64]
    counts: NDArray[np.uint32]

    @classmethod
    def of(cls, spool: Spool, name: str, ids: pl.Series) -> "Entities":
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

    def table(self, name: str, titles: pl.DataFrame | None = None) -> pl.DataFrame:
        """One row each, in the order of the index: the id under its own column name, ``n_ratings``
        and titles."""
        frame = pl.DataFrame({name: self.map.ids, "n_ratings": self.counts})
        if titles is not None:
            frame = frame.join(
                titles, left_on=name, right_on="id", how="left", maintain_order="left"
            )
        return frame


class Values:
    """Ratings as they come by: their range, their sum and, while there are few different ones, how
    many of each."""

    def __init__(self) -> None:
        self.counts: pl.DataFrame | None = pl.DataFrame(
            schema={"rating": pl.Float32, "count": pl.UInt32}
        )
        self.low, self.high, self.total = np.inf, -np.inf, 0.0

    def add(self, rating: pl.Series) -> None:
        if not len(rating):
            return
        self.low, self.high = min(self.low, rating.min()), max(self.high, rating.max())  # type: ignore[type-var,assignment]
        self.total += float(rating.cast(pl.Float64).sum())
        if self.counts is not None:
            counts = _added(self.counts, rating.rename("rating").value_counts())
            self.counts = counts if counts.height <= DISTINCT else None


def _added(*counts: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(counts).group_by("rating").agg(pl.col("count").sum()).sort("rating")


@dataclass
class Sides:
    """What was written: rows of each side, cold rows among them, and the ratings."""

    n: dict[str, int]
    cold: dict[str, int]
    train: Values
    histogram: list[Bar]

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
        step = float(gaps.min()) if 0 < len(gaps) < 200 else None
        if step is not None and np.abs(gaps / step - np.round(gaps / step)).max() > 1e-3:
            step = None
        return Scale(low, high, round(step, 6) if step is not None else None)


def write_sides(
    spool: Spool,
    folder: Path,
    given: dict[str, Source | None],
    users: Entities,
    items: Entities,
    has_times: bool,
    config: PrepareConfig,
) -> Sides:
    """Writes train, val and test in the order of the input."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [("user", pa.uint32()), ("item", pa.uint32()), ("rating", pa.float32())]
    schema = pa.schema(fields + [("timestamp", pa.timestamp("us"))] * has_times)
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
                        seen_user[part["user"].to_numpy()] = seen_item[part["item"].to_numpy()] = (
                            True
                        )
                    if part.height:
                        written.append(
                            threads.submit(files[name].write_table, part.to_arrow().cast(schema))
                        )
            for future in written:
                future.result()
        finally:
            wait(written)  # a file that is closed while a thread writes it is a crash
            for file in files.values():
                with (
                    contextlib.suppress(OSError) if sys.exc_info()[0] else contextlib.nullcontext()
                ):
                    file.close()
    cold = {}
    for name in (splits.VAL, splits.TEST):
        cold[name] = 0
        with pq.ParquetFile(folder / f"{name}.parquet") as table:
            for frame in parquet.frames(table, parquet.BLOCK_ROWS, ["user", "item"]):
                seen = seen_user[frame["user"].to_numpy()] & seen_item[frame["item"].to_numpy()]
                cold[name] += int((~seen).sum())
    return Sides(n, cold, values[splits.TRAIN], _histogram(spool, list(values.values())))


def _cuts(
    spool: Spool,
    given: dict[str, Source | None],
    users: Entities,
    items: Entities,
    config: PrepareConfig,
) -> Iterator[splits.Sides]:
    """The side of each row, block by block: what was given for a side stays there, the others are
    cut as configured."""
    val_size = 0.0 if given[splits.VAL] else config.val_size
    test_size = 0.0 if given[splits.TEST] else config.test_size
    sides = None
    if config.split == "random":
        sides = splits.at_random(
            int(spool.given(splits.TRAIN).sum()), val_size, test_size, config.seed
        )
    elif config.split != "hash":
        times = None
        if "timestamp" in next(spool.blocks())[2].columns:
            times = pl.Series(spool.column("timestamp", splits.TRAIN))
        if config.split == "user-last":
            sides = splits.by_user_last(
                pl.Series(spool.column("user", splits.TRAIN)), times, val_size, test_size
            )
        elif times is None:
            raise InputError("--split time needs a column of times; name it with --time-col")
        else:
            sides = splits.by_time(times, val_size, test_size)
    at = 0
    for _, side, block in spool.blocks("user", "item"):
        if side != splits.TRAIN:
            yield np.full(block.height, splits.NAMES.index(side), np.uint8)
        elif sides is None:
            user, item = (
                users.hashes[block["user"].to_numpy()],
                items.hashes[block["item"].to_numpy()],
            )
            yield splits.by_hash(user, item, val_size, test_size, config.seed)
        else:
            yield sides[at : at + block.height]
            at += block.height


def _histogram(spool: Spool, values: list[Values]) -> list[Bar]:
    """Counts by rating, or by ten equal bins where there are more than 20 different ones."""
    known = [part.counts for part in values if part.counts is not None]
    if len(known) == len(values) and (counts := _added(*known)).height <= 20:
        return [Bar(float(rating), n) for rating, n in counts.iter_rows()]
    edges = np.linspace(min(part.low for part in values), max(part.high for part in values), 11)
    total = np.zeros(10, np.int64)
    for _, _, block in spool.blocks("rating"):
        total += np.histogram(block["rating"].to_numpy(), bins=edges)[0]
    return [Bar(round(float(low), 6), int(n)) for low, n in zip(edges, total, strict=False)]
