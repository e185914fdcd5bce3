"""A prepared dataset: a folder of Parquet files that training and judging agree on."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from cfcli.core.data.blocks import Blocks
from cfcli.core.data.entities import check_columns, read_entities
from cfcli.core.data.ids import IdMap
from cfcli.core.data.splits import NAMES
from cfcli.core.errors import ArtifactError
from cfcli.core.storage import manifests
from cfcli.core.storage.schema import check
from cfcli.core.storage.tables import check_range, read_table

FORMAT = 2
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
        """One row per user, in the order of the index: the id under its own column name,
        ``n_ratings``."""
        return self._entities("user")

    @cached_property
    def items(self) -> pl.DataFrame:
        """One row per item: the id under its own column name, ``n_ratings``, ``title`` and
        ``genres`` where known."""
        return self._entities("item")

    def split(self, name: str, *, times: bool = False) -> pl.DataFrame:
        """The rows of ``train``, ``val`` or ``test``: ``user`` u32, ``item`` u32, ``rating`` f32;
        where asked for and there, also ``timestamp``."""
        columns = {"user": pl.UInt32, "item": pl.UInt32, "rating": pl.Float32}
        table = read_table(self.path / f"{name}.parquet", columns, self.info[name], only=not times)
        check_range(self.path / f"{name}.parquet", table, self.info["users"], self.info["items"])
        return table

    def blocks(self, name: str) -> Blocks:
        """The rows of ``train``, ``val`` or ``test``, block by block."""
        found = Blocks(self.path / f"{name}.parquet", self.info["users"], self.info["items"])
        if len(found) != self.info[name]:
            raise ArtifactError(
                f"{found.path}: damaged: has {len(found)} rows, not {self.info[name]}"
            )
        return found

    def id_maps(self) -> tuple[IdMap, IdMap]:
        """The id maps of users and items."""
        return IdMap(self.users[self.info["columns"]["user"]]), IdMap(
            self.items[self.info["columns"]["item"]]
        )

    def _entities(self, name: str) -> pl.DataFrame:
        return read_entities(
            self.path, name, self.info, self.info[f"{name}s"], {"n_ratings": pl.UInt32}
        )
