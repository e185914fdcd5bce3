"""From ratings files to a dataset: filter, settle duplicates, map ids, split, write."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

import cfcli
from cfcli.core import items as item_files
from cfcli.core import publishing, ratings, splits
from cfcli.core.config import PrepareConfig, as_dict
from cfcli.core.dataset import FILES, FORMAT, MANIFEST, Dataset
from cfcli.core.errors import ArtifactError, ConfigError, InputError
from cfcli.core.ids import IdMap, are_integers, hash_ids, hash_pairs
from cfcli.core.ratings import Source

# What stands beside the ids in the tables of datasets, runs and reports.
RESERVED = {
    "n_ratings", "genres", "rating", "prediction", "mean", "user_mean", "item_mean", "bias", "warm", "query", "rank",
    "score",
}  # fmt: skip
REJECTS = "rejects.csv"
SAMPLE_SALT = 0x5A17  # the sample must not follow the split, which hashes the same ids


def prepare(
    sources: Sequence[Source],
    out: Path,
    config: PrepareConfig,
    *,
    items: Source | None = None,
    val: Source | None = None,
    test: Source | None = None,
    force: bool = False,
) -> tuple[Dataset, list[str]]:
    """Reads ratings, splits them and writes the dataset to ``out``, all of it or nothing.

    Args:
        items: titles and genres.
        val, test: given splits; then ``config.split`` only cuts what is still to be cut from ``sources``.
        force: replace another dataset.

    Returns:
        The dataset and notes for the user, one sentence each.

    Raises:
        InputError: the ratings cannot be used.
        ConfigError: ``out`` holds something else.
    """
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
    parts = [(splits.TRAIN, sources)] + [(n, [s]) for n, s in ((splits.VAL, val), (splits.TEST, test)) if s]
    read = [(name, ratings.read(part, config)) for name, part in parts]
    notes = [note for _, part in read for note in part.notes]
    columns = read[0][1].columns
    for role in ("user", "item"):
        if columns[role] in RESERVED:
            raise InputError(f"{sources[0].name}: cfcli uses the name '{columns[role]}' itself; rename that column")
    frame = pl.concat([part.frame.with_columns(given=pl.lit(name)) for name, part in read], how="diagonal")
    frame, duplicates = _settle_duplicates(frame, config)
    if duplicates:
        notes.append(f"{duplicates:,} ratings of pairs rated before; kept: {config.duplicates}")
    n_read = frame.height
    frame = _filter(frame, config)
    if frame.height == 0:
        raise InputError(f"{sources[0].name}: all {n_read:,} ratings were filtered away")
    users, item_ids = IdMap.of(frame["user_id"]), IdMap.of(frame["item_id"])
    rows = frame.select(
        users.index(frame["user_id"]).alias("user"),
        item_ids.index(frame["item_id"]).alias("item"),
        pl.col("rating").cast(pl.Float32),
        *(["timestamp"] if "timestamp" in frame.columns else []),
    )
    sides = _split(rows, frame["given"], {name for name, _ in parts}, users, item_ids, config)
    tables = {name: rows[sides[name]] for name in splits.NAMES}
    train = tables[splits.TRAIN]
    if train.height == 0:
        raise InputError(f"{sources[0].name}: no training rows are left of {rows.height:,} ratings")
    scale = _rating_scale(train["rating"], config)
    if scale["min"] == scale["max"]:
        notes.append(f"all training ratings are {scale['min']:g}; there is nothing to learn from them")

    titles = None
    if items is not None:
        if columns["item"] == "title":
            raise InputError(f"{sources[0].name}: the item column is called 'title' already; leave out --items")
        titles, item_notes = item_files.read(items)
        notes += item_notes
    tables["users"] = _entities(users, rows["user"], columns["user"])
    tables["items"] = _entities(item_ids, rows["item"], columns["item"], titles)
    if titles is not None and (missing := tables["items"]["title"].null_count()):
        notes.append(f"{missing:,} of {len(item_ids):,} items have no title in {items.name if items else ''}")

    seen_user, seen_item = train["user"].unique(), train["item"].unique()
    cold = {
        name: tables[name]
        .filter(~(pl.col("user").is_in(seen_user.implode()) & pl.col("item").is_in(seen_item.implode())))
        .height
        for name in (splits.VAL, splits.TEST)
    }
    rejects = pl.concat([part.rejects for _, part in read])
    reasons = (
        rejects["reason"].str.replace_all(r"(?s)'.*'|\d\S*", "…").value_counts(sort=True) if rejects.height else None
    )
    sources_info = [record for _, part in read for record in part.sources]
    info: dict[str, Any] = {
        "format": FORMAT,
        "cfcli": cfcli.__version__,
        "sources": sources_info,
        "config": as_dict(config),
        "columns": columns,
        "integer_ids": {"user": are_integers(users.ids), "item": are_integers(item_ids.ids)},
        "ratings": rows.height,
        "users": len(users),
        "items": len(item_ids),
        **{name: tables[name].height for name in splits.NAMES},
        "cold": cold,
        "rejected": dict(reasons.iter_rows()) if reasons is not None else {},
        "duplicates": duplicates,
        "rating_scale": scale,
        "mean": float(train["rating"].cast(pl.Float64).mean()),  # type: ignore[arg-type]
        "histogram": _histogram(rows["rating"]),
    }
    return _write(out, tables, info, rejects, force), notes


def _settle_duplicates(frame: pl.DataFrame, config: PrepareConfig) -> tuple[pl.DataFrame, int]:
    """One row per (user, item), before the split: the same pair on two sides would leak. Where a split was given, its
    held-out copy of a pair wins, and the training copy goes."""
    pair = ["user_id", "item_id"]
    extra = frame.height - frame.select(pl.struct(pair).n_unique()).item()
    if not extra:
        return frame, 0
    if config.duplicates == "error":
        example = frame.filter(frame.select(pair).is_duplicated()).row(0, named=True)
        raise InputError(
            f"{extra:,} ratings repeat a pair, such as user '{example['user_id']}' and item '{example['item_id']}'; "
            "see --duplicates"
        )
    side = pl.col("given").replace_strict({splits.TRAIN: 0, splits.VAL: 1, splits.TEST: 2}, return_dtype=pl.Int8)
    frame = frame.with_row_index("row").with_columns(side=side)
    age = [column for column in ("timestamp",) if column in frame.columns]
    best = frame.filter(pl.col("side") == pl.col("side").max().over(pair))
    if config.duplicates == "mean":
        best = best.with_columns(pl.col("rating").mean().over(pair))
    if config.duplicates != "first":
        best = best.sort([*age, "row"])
    keep: Literal["first", "last"] = "first" if config.duplicates == "first" else "last"
    best = best.unique(pair, keep=keep, maintain_order=True).sort("row")
    return best.drop("row", "side"), extra


def _filter(frame: pl.DataFrame, config: PrepareConfig) -> pl.DataFrame:
    if config.since:
        if "timestamp" not in frame.columns:
            raise InputError("--since needs a column of times; name it with --time-col")
        try:
            since = datetime.fromisoformat(config.since)
        except ValueError:
            raise ConfigError(f"since: '{config.since}' is not a date like 2024-01-31") from None
        if since.tzinfo:
            since = since.astimezone(UTC).replace(tzinfo=None)
        frame = frame.filter(pl.col("timestamp") >= since)
    if config.top_items:
        top = frame.group_by("item_id", maintain_order=True).len().sort("len", descending=True, maintain_order=True)
        frame = frame.filter(pl.col("item_id").is_in(top["item_id"].head(config.top_items).implode()))
    while True:  # dropping users takes ratings from items, and the reverse
        before = frame.height
        for column, least in (("item_id", config.min_item_ratings), ("user_id", config.min_user_ratings)):
            if least > 1:
                frame = frame.filter(pl.len().over(column) >= least)
        if frame.height == before:
            break
    if config.sample and config.sample < frame.height:
        place = hash_pairs(*_pair_hashes(frame["user_id"], frame["item_id"]), config.seed ^ SAMPLE_SALT)
        frame = frame[np.sort(np.argsort(place, kind="stable")[: config.sample])]
    return frame


def _pair_hashes(users: pl.Series, items: pl.Series) -> tuple[Any, Any]:
    pairs = []
    for ids in (users, items):
        known = IdMap(ids.unique())
        pairs.append(hash_ids(known.ids)[known.index(ids).to_numpy()])
    return pairs[0], pairs[1]


def _split(
    rows: pl.DataFrame, given: pl.Series, names: set[str], users: IdMap, items: IdMap, config: PrepareConfig
) -> dict[str, splits.Rows]:
    """Row numbers of each side: those of ``names`` were given and stay, the others are cut as configured."""
    fixed = {name: np.flatnonzero((given == name).to_numpy()) for name in splits.NAMES}
    free = fixed[splits.TRAIN]
    val_size = 0.0 if splits.VAL in names else config.val_size
    test_size = 0.0 if splits.TEST in names else config.test_size
    part = rows[free]
    if config.split == "random":
        cut = splits.at_random(len(free), val_size, test_size, config.seed)
    elif config.split == "hash":
        hashes = [hash_ids(m.ids)[part[name].to_numpy()] for m, name in ((users, "user"), (items, "item"))]
        cut = splits.by_hash(hashes[0], hashes[1], val_size, test_size, config.seed)
    elif config.split == "time":
        if "timestamp" not in part.columns:
            raise InputError("--split time needs a column of times; name it with --time-col")
        cut = splits.by_time(part["timestamp"], val_size, test_size)
    else:
        times = part["timestamp"] if "timestamp" in part.columns else None
        cut = splits.by_user_last(part["user"], times, val_size, test_size)
    return {name: fixed[name] if name != splits.TRAIN and name in names else free[cut[name]] for name in splits.NAMES}


def _entities(ids: IdMap, index: pl.Series, name: str, titles: pl.DataFrame | None = None) -> pl.DataFrame:
    counts = np.bincount(index.to_numpy(), minlength=len(ids)).astype(np.uint32)
    frame = pl.DataFrame({name: ids.ids, "n_ratings": counts})
    if titles is not None:
        frame = frame.join(titles, left_on=name, right_on="id", how="left", maintain_order="left")
    return frame


def _rating_scale(rating: pl.Series, config: PrepareConfig) -> dict[str, float | None]:
    """Lowest and highest rating, and the step between ratings (null where they look continuous): of the training rows
    alone, or as declared."""
    values = rating.unique().sort().cast(pl.Float64)
    low, high = config.rating_range or (float(values[0]), float(values[-1]))
    gaps = np.diff(values.to_numpy())
    step = float(gaps.min()) if 0 < len(gaps) < 200 else None
    if step is not None and np.abs(gaps / step - np.round(gaps / step)).max() > 1e-3:
        step = None
    return {"min": low, "max": high, "step": round(step, 6) if step is not None else None}


def _histogram(rating: pl.Series) -> list[dict[str, float]]:
    """Counts by rating, or by ten equal bins where there are more than 20 different ones."""
    if rating.n_unique() <= 20:
        counts = rating.rename("rating").value_counts().sort("rating")
        return [{"rating": float(r), "n": n} for r, n in counts.iter_rows()]
    n, edges = np.histogram(rating.to_numpy(), bins=10)
    return [{"rating": round(float(low), 6), "n": int(c)} for low, c in zip(edges, n, strict=False)]


def _write(
    out: Path, tables: dict[str, pl.DataFrame], info: dict[str, Any], rejects: pl.DataFrame, force: bool
) -> Dataset:
    with publishing.directory(out) as folder:
        digests = {}
        for name, table in tables.items():
            path = folder / f"{name}.parquet"
            table.write_parquet(path)
            digests[path.name] = publishing.sha256(path)
        key = {"files": digests, "config": info["config"], "columns": info["columns"], "format": FORMAT}
        info["fingerprint"] = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        if not force:
            _refuse_to_replace(out, info["fingerprint"])
        if rejects.height:
            rejects.write_csv(folder / REJECTS)
            (folder / REJECTS).chmod(0o600)  # raw rows, perhaps personal: not part of the manifest
        publishing.write_manifest(folder / MANIFEST, info, list(FILES))
    return Dataset.load(out)


def _refuse_to_replace(out: Path, fingerprint: str) -> None:
    """An unchanged dataset may be written again; another one goes only when the user says so."""
    if not (out / MANIFEST).exists():
        return
    try:
        former = Dataset.load(out).info["fingerprint"]
    except ArtifactError:
        former = None
    if former != fingerprint:
        raise ConfigError(f"{out}: holds another dataset; replace it with --force, or choose another --out")
