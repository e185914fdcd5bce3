"""A prepared dataset: a folder of Parquet files that training and judging agree on."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from cfcli.core.data.blocks import Blocks
from cfcli.core.data.entities import check_columns, read_entities
from cfcli.core.data.ids import IdMap
from cfcli.core.data.info import FORMAT, DatasetInfo
from cfcli.core.data.splits import NAMES
from cfcli.core.errors import ArtifactError
from cfcli.core.pair import Pair
from cfcli.core.storage import manifests
from cfcli.core.storage.schema import read_as
from cfcli.core.storage.tables import check_range, read_table

MANIFEST = manifests.NAMES["dataset"]
FILES = ("users.parquet", "items.parquet", *(f"{name}.parquet" for name in NAMES))
ENTITY_COLUMNS = {"n_ratings": pl.UInt32}


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk, verified.

    Attributes:
        path: its folder.
        info: its manifest.
    """

    path: Path
    info: DatasetInfo

    @classmethod
    def load(cls, path: Path) -> "Dataset":
        """Load a dataset, once every file has the size and the checksum of the manifest.

        Args:
            path: its folder.

        Raises:
            ArtifactError: none there, damaged, or of another format.
        """
        hint = f"; make one with 'cfcli prepare RATINGS.csv --out {path}'"
        manifest = path / MANIFEST
        content = manifests.read(manifest, "dataset", FORMAT, FILES, hint)
        info = read_as(DatasetInfo, manifest, content)
        check_columns(manifest, info.columns)
        return cls(path, info)

    @cached_property
    def users(self) -> pl.DataFrame:
        """One row per user, in the order of the index: the id under its own column name and
        ``n_ratings``."""
        return read_entities(
            self.path, "user", self.info.columns, self.info.integer_ids, self.info.users,
            ENTITY_COLUMNS,
        )  # fmt: skip

    @cached_property
    def items(self) -> pl.DataFrame:
        """One row per item: the id under its own column name, ``n_ratings``, ``title`` and
        ``genres`` where known."""
        return read_entities(
            self.path, "item", self.info.columns, self.info.integer_ids, self.info.items,
            ENTITY_COLUMNS,
        )  # fmt: skip

    @property
    def ids(self) -> Pair[IdMap]:
        """The id maps of users and items."""
        columns = self.info.columns
        return Pair(IdMap(self.users[columns.user]), IdMap(self.items[columns.item]))

    def split(self, name: str, *, times: bool = False) -> pl.DataFrame:
        """The ratings on one side of the split.

        Args:
            name: train, val or test.
            times: keep the column ``timestamp``, if there is one.

        Returns:
            Columns ``user`` u32, ``item`` u32, ``rating`` f32 and perhaps ``timestamp``.

        Raises:
            ArtifactError: the file is damaged.
        """
        path = self.path / f"{name}.parquet"
        columns = {"user": pl.UInt32, "item": pl.UInt32, "rating": pl.Float32}
        table = read_table(path, columns, self.info.rows(name), only=not times)
        check_range(path, table, self.info.users, self.info.items)
        return table

    def blocks(self, name: str) -> Blocks:
        """The ratings on one side of the split, block by block.

        Args:
            name: train, val or test.

        Raises:
            ArtifactError: the file is damaged.
        """
        found = Blocks(self.path / f"{name}.parquet", self.info.users, self.info.items)
        wanted = self.info.rows(name)
        if len(found) != wanted:
            raise ArtifactError(f"{found.path}: damaged: has {len(found)} rows, not {wanted}")
        return found
