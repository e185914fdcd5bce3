"""From ratings files to a dataset: settle duplicates, filter, map ids, split, write."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

import cfcli
from cfcli.core import items as item_files
from cfcli.core import publishing, splits
from cfcli.core.config import PrepareConfig, as_dict
from cfcli.core.dataset import FILES, FORMAT, MANIFEST, Dataset
from cfcli.core.errors import ArtifactError, ConfigError, InputError
from cfcli.core.ids import IdMap, are_integers, hash_ids
from cfcli.core.ratings import REJECTS, Reader, id_notes
from cfcli.core.selection import filter_rows, settle_duplicates
from cfcli.core.sources import Source
from cfcli.core.spool import Spool

# What stands beside the ids in the tables of datasets, runs and reports.
RESERVED = {
    "n_ratings", "genres", "rating", "prediction", "mean", "user_mean", "item_mean", "bias", "warm", "query", "rank",
    "score",
}  # fmt: skip
DISTINCT = 1000  # ratings of more values than this are no steps of a scale
SHRUNK = 0.5  # of the rows or ids of the dataset that is replaced


def prepare(
    sources: Sequence[Source],
    out: Path,
    config: PrepareConfig,
    *,
    items: Source | None = None,
    val: Source | None = None,
    test: Source | None = None,
    force: bool = False,
    accept_shrink: bool = False,
) -> tuple[Dataset, list[str]]:
    """Reads ratings, splits them and writes the dataset to ``out``, all of it or nothing, in memory for a few blocks
    of them.

    Args:
        items: titles and genres.
        val, test: given splits; then ``config.split`` only cuts what is still to be cut from ``sources``.
        force: replace another dataset.
        accept_shrink: even if it had more than twice the rows, or most of its users or items are gone.

    Returns:
        The dataset and notes for the user, one sentence each.

    Raises:
        InputError: the ratings cannot be used.
        ConfigError: ``out`` holds something else.
        LockedError: another process is writing to ``out``.
        MachineError: no permission, no space.
    """
    given = {splits.VAL: val, splits.TEST: test}
    parts = [(splits.TRAIN, source) for source in sources] + [(name, s) for name, s in given.items() if s]
    _check_out(out, [source for _, source in parts])
    titles, notes = item_files.read(items) if items is not None else (None, [])
    with publishing.directory(out) as folder:
        spool = Spool(folder / "spool")
        reader = Reader(config, folder)
        timeless = False
        for side, source in parts:
            for block in reader.blocks(source):
                timeless |= "timestamp" not in block.columns
                spool.append(block, side)
        reader.finish()
        columns = reader.columns
        for role in ("user", "item"):
            if columns[role] in RESERVED or (columns[role] == "title" and titles is not None):
                name = sources[0].name
                raise InputError(f"{name}: cfcli uses the name '{columns[role]}' itself; rename that column")
        if reader.has_times and timeless:
            spool.change(lambda _, block: block if "timestamp" in block.columns else block.with_columns(NO_TIME))
        duplicates = settle_duplicates(spool, reader, config.duplicates)
        notes += reader.notes()
        if duplicates:
            notes.append(f"{duplicates:,} ratings of pairs rated before; kept: {config.duplicates}")
        filter_rows(spool, reader, config)
        users = _Entities.of(spool, "user", reader.user_ids.to_series())
        item_ids = _Entities.of(spool, "item", reader.item_ids.to_series())
        for entities, role in ((users, "user"), (item_ids, "item")):
            notes += id_notes(entities.map.ids, columns[role])
        former = _former(out)
        if former and force and not accept_shrink:
            _refuse_to_shrink(former, spool.rows, (users, item_ids))
        found = _write_sides(spool, folder, given, users, item_ids, reader.has_times, config)
        shutil.rmtree(folder / "spool")
        if not found.n[splits.TRAIN]:
            raise InputError(f"{sources[0].name}: no training rows are left of {sum(found.n.values()):,} ratings")
        for name, held in given.items():
            if held and found.n[name] and found.cold[name] == found.n[name]:
                raise InputError(f"{held.name}: no row has both a user and an item of the training ratings")
        users.table(columns["user"]).write_parquet(folder / "users.parquet")
        item_table = item_ids.table(columns["item"], titles)
        item_table.write_parquet(folder / "items.parquet")
        if items is not None and (missing := item_table["title"].null_count()):
            notes.append(f"{missing:,} of {item_table.height:,} items have no title in {items.name}")
        scale = found.scale(config.rating_range)
        if scale["min"] == scale["max"]:
            notes.append(f"all training ratings are {scale['min']:g}; there is nothing to learn from them")
        listed = publishing.listing(folder, FILES)
        settings = as_dict(config)
        key = {"files": listed, "config": settings, "columns": columns, "format": FORMAT}
        info: dict[str, Any] = {
            "format": FORMAT,
            "cfcli": cfcli.__version__,
            "fingerprint": hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16],
            "sources": reader.sources,
            "config": settings,
            "columns": columns,
            "integer_ids": {"user": are_integers(users.map.ids), "item": are_integers(item_ids.map.ids)},
            "ratings": sum(found.n.values()),
            "users": len(users.map),
            "items": len(item_ids.map),
            **found.n,
            "cold": {name: found.cold[name] for name in given},
            "rejected": dict(reader.rejected.most_common()),
            "duplicates": duplicates,
            "rating_scale": scale,
            "mean": found.train.total / found.n[splits.TRAIN],
            "histogram": found.histogram,
        }
        if former and former.info["fingerprint"] != info["fingerprint"] and not force:
            raise ConfigError(f"{out}: holds another dataset; replace it with --force, or choose another --out")
        info = publishing.write_manifest(folder / MANIFEST, info, listed)
    return Dataset(out, info), notes


NO_TIME = pl.lit(None, pl.Datetime("us")).alias("timestamp")


@dataclass(frozen=True)
class _Entities:
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
    def of(cls, spool: Spool, name: str, ids: pl.Series) -> "_Entities":
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
        """One row each, in the order of the index: the id under its own column name, ``n_ratings`` and titles."""
        frame = pl.DataFrame({name: self.map.ids, "n_ratings": self.counts})
        if titles is not None:
            frame = frame.join(titles, left_on=name, right_on="id", how="left", maintain_order="left")
        return frame


class _Values:
    """Ratings as they come by: their range, their sum and, while there are few different ones, how many of each."""

    def __init__(self) -> None:
        self.counts: pl.DataFrame | None = pl.DataFrame(schema={"rating": pl.Float32, "count": pl.UInt32})
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
class _Sides:
    """What was written: rows of each side, cold rows among them, and the ratings."""

    n: dict[str, int]
    cold: dict[str, int]
    train: _Values
    histogram: list[dict[str, float]]

    def scale(self, declared: tuple[float, float] | None) -> dict[str, float | None]:
        """Lowest and highest rating, and the step between ratings (null where they look continuous): of the training
        rows alone, or as declared."""
        low, high = declared or (float(self.train.low), float(self.train.high))
        known = self.train.counts if self.train.counts is not None else pl.DataFrame({"rating": []})
        gaps = np.diff(known["rating"].cast(pl.Float64).to_numpy())
        step = float(gaps.min()) if 0 < len(gaps) < 200 else None
        if step is not None and np.abs(gaps / step - np.round(gaps / step)).max() > 1e-3:
            step = None
        return {"min": low, "max": high, "step": round(step, 6) if step is not None else None}


def _write_sides(
    spool: Spool,
    folder: Path,
    given: dict[str, Source | None],
    users: _Entities,
    items: _Entities,
    has_times: bool,
    config: PrepareConfig,
) -> _Sides:
    """Writes train, val and test in the order of the input."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [("user", pa.uint32()), ("item", pa.uint32()), ("rating", pa.float32())]
    schema = pa.schema(fields + [("timestamp", pa.timestamp("us"))] * has_times)
    seen_user, seen_item = np.zeros(len(users.map), bool), np.zeros(len(items.map), bool)
    n = dict.fromkeys(splits.NAMES, 0)
    values = {name: _Values() for name in splits.NAMES}
    cuts = _cuts(spool, given, users, items, config)
    written: list[Future[None]] = []
    with ThreadPoolExecutor(2) as threads:  # packing blocks takes longer than making them
        files = {}
        try:
            for name in splits.NAMES:
                files[name] = pq.ParquetWriter(
                    folder / f"{name}.parquet", schema, compression="zstd", use_dictionary=["rating"]
                )
            for (_, _, block), sides in zip(spool.blocks(), cuts, strict=True):
                mapped = block.with_columns(
                    user=users.index[block["user"].to_numpy()], item=items.index[block["item"].to_numpy()]
                ).select(schema.names)
                for future in written:
                    future.result()
                written = []
                for k, name in enumerate(splits.NAMES):
                    part = mapped.filter(sides == k)
                    n[name] += part.height
                    values[name].add(part["rating"])
                    if name == splits.TRAIN:
                        seen_user[part["user"].to_numpy()] = seen_item[part["item"].to_numpy()] = True
                    if part.height:
                        written.append(threads.submit(files[name].write_table, part.to_arrow().cast(schema)))
            for future in written:
                future.result()
        finally:
            for file in files.values():
                file.close()
    cold = {}
    for name in (splits.VAL, splits.TEST):
        cold[name] = 0
        with pq.ParquetFile(folder / f"{name}.parquet") as table:
            for batch in table.iter_batches(columns=["user", "item"]):
                cold[name] += int((~(seen_user[batch["user"]] & seen_item[batch["item"]])).sum())
    return _Sides(n, cold, values[splits.TRAIN], _histogram(spool, list(values.values())))


def _cuts(
    spool: Spool, given: dict[str, Source | None], users: _Entities, items: _Entities, config: PrepareConfig
) -> Iterator[splits.Sides]:
    """The side of each row, block by block: what was given for a side stays there, the others are cut as configured."""
    val_size = 0.0 if given[splits.VAL] else config.val_size
    test_size = 0.0 if given[splits.TEST] else config.test_size
    sides = None
    if config.split == "random":
        sides = splits.at_random(int(spool.given(splits.TRAIN).sum()), val_size, test_size, config.seed)
    elif config.split != "hash":
        times = None
        if "timestamp" in next(spool.blocks())[2].columns:
            times = pl.Series(spool.column("timestamp", splits.TRAIN))
        if config.split == "user-last":
            sides = splits.by_user_last(pl.Series(spool.column("user", splits.TRAIN)), times, val_size, test_size)
        elif times is None:
            raise InputError("--split time needs a column of times; name it with --time-col")
        else:
            sides = splits.by_time(times, val_size, test_size)
    at = 0
    for _, side, block in spool.blocks("user", "item"):
        if side != splits.TRAIN:
            yield np.full(block.height, splits.NAMES.index(side), np.uint8)
        elif sides is None:
            user, item = users.hashes[block["user"].to_numpy()], items.hashes[block["item"].to_numpy()]
            yield splits.by_hash(user, item, val_size, test_size, config.seed)
        else:
            yield sides[at : at + block.height]
            at += block.height


def _histogram(spool: Spool, values: list[_Values]) -> list[dict[str, float]]:
    """Counts by rating, or by ten equal bins where there are more than 20 different ones."""
    known = [part.counts for part in values if part.counts is not None]
    if len(known) == len(values) and (counts := _added(*known)).height <= 20:
        return [{"rating": float(r), "n": n} for r, n in counts.iter_rows()]
    edges = np.linspace(min(part.low for part in values), max(part.high for part in values), 11)
    total = np.zeros(10, np.int64)
    for _, _, block in spool.blocks("rating"):
        total += np.histogram(block["rating"].to_numpy(), bins=edges)[0]
    return [{"rating": round(float(low), 6), "n": int(n)} for low, n in zip(edges, total, strict=False)]


def _check_out(out: Path, sources: Sequence[Source]) -> None:
    """Raises before anything is read when ``out`` would swallow an input or files of someone else."""
    target = _real(out)
    for source in sources:
        if source.path is None:
            continue
        lies = _real(source.path)
        if target == lies or target in lies.parents or (lies.is_dir() and lies in target.parents):
            raise InputError(f"{source.path}: lies in or around the output {out}; choose another --out")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is not a directory; choose another --out")
    if out.is_dir():
        own = {MANIFEST, REJECTS, *FILES} if (out / MANIFEST).exists() else set()
        kept = (path.name for path in out.glob(".*") if path.is_file() and not path.is_symlink())
        others = sorted({path.name for path in out.iterdir()} - own - set(kept))
        if others:
            where = out / "prepared"
            raise ConfigError(
                f"{out}: holds other files ({others[0]}); a dataset needs a folder of its own: --out {where}"
            )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # which bears with links that lead nowhere


def _former(out: Path) -> Dataset | None:
    """The dataset that would be replaced; one that is damaged counts as another than any."""
    if not (out / MANIFEST).exists():
        return None
    try:
        return Dataset.load(out)
    except ArtifactError:
        return Dataset(out, {"fingerprint": None})


def _refuse_to_shrink(former: Dataset, rows: int, entities: tuple[_Entities, _Entities]) -> None:
    """Raises an InputError when what is to be replaced had far more rows, or most of its ids are gone: more often a
    broken export than the truth."""
    if former.info["fingerprint"] is None:
        return
    hint = "if that is right, replace it with --accept-shrink"
    if rows < SHRUNK * former.info["ratings"]:
        raise InputError(f"{former.path}: has {former.info['ratings']:,} ratings, the new input {rows:,}; {hint}")
    for known, new, what in zip(former.id_maps(), entities, ("users", "items"), strict=True):
        there = new.map.index(known.ids).is_not_null().mean()
        if isinstance(there, float) and there < SHRUNK:
            example = f"they were like '{known.ids[0]}' and are like '{new.map.ids[0]}'"
            raise InputError(f"{former.path}: only {there:.0%} of its {what} are in the new input, {example}; {hint}")
