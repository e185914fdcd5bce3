"""A prepared dataset: a folder of Parquet files that training and judging agree on."""

import io
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from cfcli.core import manifests
from cfcli.core.blocks import Blocks
from cfcli.core.errors import ArtifactError
from cfcli.core.ids import IdMap, are_integers
from cfcli.core.splits import NAMES

FORMAT = 2
# What stands beside the ids in the tables of datasets, runs and reports.
RESERVED = {
    "n_ratings", "genres", "rating", "prediction", "mean", "user_mean", "item_mean", "bias", "warm", "query", "rank",
    "score",
}  # fmt: skip
MANIFEST = "dataset.json"
SCHEMA = {
    "fingerprint": str, "columns": {"user": str, "item": str, "rating": str}, "users": int, "items": int,
    "ratings": int, "train": int, "val": int, "test": int, "integer_ids": {"user": bool, "item": bool},
    "rating_scale": {"min": float, "max": float}, "mean": float,
}  # fmt: skip
FILES = ("users.parquet", "items.parquet", *(f"{name}.parquet" for name in NAMES))


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk, verified.

    Attributes:
        path: its folder.
        info: its manifest: ``columns``, ``counts``, ``rating_scale``, ``fingerprint`` and more.
    """

    path: Path
    info: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> "Dataset":
        """The dataset in a folder, once every file has the size and the checksum of the manifest.

        Raises:
            ArtifactError: none there, damaged, or of another format.
        """
        hint = f"; make one with 'cfcli prepare RATINGS.csv --out {path}'"
        info = manifests.read(path / MANIFEST, "dataset", FORMAT, FILES, hint)
        check(path / MANIFEST, info, SCHEMA)
        check_columns(path / MANIFEST, info)
        return cls(path, info)

    @cached_property
    def users(self) -> pl.DataFrame:
        """One row per user, in the order of the index: the id under its own column name, ``n_ratings``."""
        return self._entities("user")

    @cached_property
    def items(self) -> pl.DataFrame:
        """One row per item: the id under its own column name, ``n_ratings``, ``title`` and ``genres`` where known."""
        return self._entities("item")

    def split(self, name: str, *, times: bool = False) -> pl.DataFrame:
        """The rows of ``train``, ``val`` or ``test``: ``user`` u32, ``item`` u32, ``rating`` f32; where asked for and
        there, also ``timestamp``."""
        columns = {"user": pl.UInt32, "item": pl.UInt32, "rating": pl.Float32}
        table = read_table(self.path / f"{name}.parquet", columns, self.info[name], only=not times)
        check_range(self.path / f"{name}.parquet", table, self.info["users"], self.info["items"])
        return table

    def blocks(self, name: str) -> Blocks:
        """The rows of ``train``, ``val`` or ``test``, block by block."""
        found = Blocks(self.path / f"{name}.parquet", self.info["users"], self.info["items"])
        if len(found) != self.info[name]:
            raise ArtifactError(f"{found.path}: damaged: has {len(found)} rows, not {self.info[name]}")
        return found

    def id_maps(self) -> tuple[IdMap, IdMap]:
        """The id maps of users and items."""
        return IdMap(self.users[self.info["columns"]["user"]]), IdMap(self.items[self.info["columns"]["item"]])

    def _entities(self, name: str) -> pl.DataFrame:
        return read_entities(self.path, name, self.info, self.info[f"{name}s"], {"n_ratings": pl.UInt32})


def check(path: Path, info: dict[str, Any], schema: dict[str, Any]) -> None:
    """Holds a manifest to what the program relies on: types, or the values that are allowed.

    Raises:
        ArtifactError: something is missing or of another kind.
    """
    for key, wanted in schema.items():
        value = info.get(key) if isinstance(info, dict) else None
        if isinstance(wanted, dict):
            check(path, value or {}, wanted)
            continue
        if isinstance(wanted, tuple):
            good = value in wanted
        elif wanted is float:
            good = isinstance(value, int | float) and abs(value) <= sys.float_info.max
        else:
            good = isinstance(value, wanted) and not (wanted is int and value < 0)
        if not good:
            raise ArtifactError(f"{path}: damaged: '{key}' is {str(value)[:40]!r}")


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Writes a Parquet table; Polars itself would not say which error of the system it met."""
    content = io.BytesIO()
    table.write_parquet(content)
    path.write_bytes(content.getbuffer())


def read_table(
    path: Path, columns: dict[str, Any], rows: int | None = None, most: int | None = None, only: bool = False
) -> pl.DataFrame:
    """A Parquet table that is part of an artifact.

    Args:
        columns: that it must have, without gaps and with finite numbers, and their types.
        rows, most: how many there must be, or may: a small file can say that it holds any number.
        only: leave out other columns.

    Raises:
        ArtifactError: it is another table.
    """
    try:
        scanned = pl.scan_parquet(path, glob=False)
        names, found = scanned.collect_schema().names(), scanned.select(pl.len()).collect().item()
        if (rows is not None and found != rows) or (most is not None and found > most):
            raise ArtifactError(f"{path}: damaged: {path.name} has {found} rows, not {most if rows is None else rows}")
        wanted = [name for name in columns if name in names] if only else None
        table = pl.read_parquet(path, columns=wanted, glob=False)  # a folder may be called [a]
    except (PolarsError, PanicException, OSError, MemoryError) as error:
        raise ArtifactError(f"{path}: damaged: {(str(error).splitlines() or [''])[0]}") from None
    for name, kind in columns.items():
        if table.schema.get(name) != kind or table[name].null_count():
            raise ArtifactError(f"{path}: damaged: has no column '{name}' of type {kind} without gaps")
        if table.schema[name].is_float() and not table[name].is_finite().all():
            raise ArtifactError(f"{path}: damaged: column '{name}' has numbers that are not finite")
    return table


def check_columns(path: Path, info: dict[str, Any]) -> None:
    """Raises an ArtifactError where the ids' columns in a manifest are called as others beside them."""
    names = [info["columns"][role] for role in ("user", "item")]
    if taken := RESERVED & {*names} or ({names[0]} & {names[1]}):
        raise ArtifactError(f"{path}: damaged: a column of ids is called {min(taken)!r}")


def read_entities(folder: Path, name: str, info: dict[str, Any], rows: int, columns: dict[str, Any]) -> pl.DataFrame:
    """The table of the users or items (``name`` without the s) that are part of an artifact: one row each, with their
    id as text.

    Raises:
        ArtifactError: it is another table, has an id twice, or ids that are no numbers though the manifest says so.
    """
    path, column = folder / f"{name}s.parquet", info["columns"][name]
    table = read_table(path, {column: pl.String, **columns}, rows)
    if table[column].n_unique() < rows:
        raise ArtifactError(f"{path}: damaged: column '{column}' has an id twice")
    if info["integer_ids"][name] and not are_integers(table[column]):
        raise ArtifactError(f"{path}: damaged: column '{column}' has ids that are no whole numbers")
    for text in ("title", "genres"):
        if table.schema.get(text, pl.String) != pl.String:
            raise ArtifactError(f"{path}: damaged: column '{text}' is no text")
    return table


def check_range(path: Path, table: pl.DataFrame, users: int, items: int) -> None:
    """Raises an ArtifactError where ``user`` or ``item`` is no index of theirs."""
    for name, n in (("user", users), ("item", items)):
        if table.height and table[name].max() >= n:  # type: ignore[operator]
            raise ArtifactError(f"{path}: damaged: column '{name}' is not below {n}")
