"""A prepared dataset: a folder of Parquet files that training and judging agree on."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import polars as pl

from cfcli.core.data.attributes import Encoded, check_attributes, encode
from cfcli.core.data.blocks import Blocks
from cfcli.core.data.entities import check_columns, read_entities
from cfcli.core.data.ids import IdMap
from cfcli.core.data.info import FORMAT, DatasetInfo
from cfcli.core.data.splits import NAMES
from cfcli.core.data.weights import Weighting, no_times
from cfcli.core.errors import ArtifactError, ConfigError, ReplacedError
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
        home: the folder that it is known by, where ``path`` is another one.
        stamp: what tells its manifest from one that takes its place.
    """

    path: Path
    info: DatasetInfo
    home: Path | None = None
    stamp: tuple[int, int, int] | None = None

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
        stamp = _stamp(manifest)
        content = manifests.read(manifest, "dataset", FORMAT, FILES, hint)
        info = read_as(DatasetInfo, manifest, content)
        check_columns(manifest, info.columns)
        for described in info.attributes or ():
            check_attributes(manifest, described)
        found = cls(path, info, stamp=stamp)
        found._check_unchanged()
        return found

    def stamped(self) -> "Dataset":
        """The same, once its files are in their place: :meth:`unchanged` can tell them from
        others."""
        return replace(self, stamp=_stamp(self.path / MANIFEST))

    def pinned(self, folder: Path) -> "Dataset":
        """The same dataset by links to its files, which stay as they are whatever takes its place.

        Args:
            folder: for the links; one of a process that was killed is replaced.

        Returns:
            The dataset itself where no links can be made.

        Raises:
            ArtifactError: another dataset has taken its place.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        try:
            for name in (MANIFEST, *FILES):
                os.link(self.path / name, folder / name)
        except OSError:  # on another file system, or one without links, or files of somebody else
            shutil.rmtree(folder)
            return self
        self._check_unchanged()
        return replace(self, path=folder, home=self.path)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Makes sure that what the block reads is of this dataset.

        Raises:
            ReplacedError: another one has taken its place.
        """
        try:
            yield
        except ArtifactError:  # of which that may be the cause
            self._check_unchanged()
            raise
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        if self.stamp is not None and _stamp(self.path / MANIFEST) != self.stamp:
            raise ReplacedError(f"{self.path}: was replaced by another dataset while it was in use")

    @cached_property
    def users(self) -> pl.DataFrame:
        """One row per user, in the order of the index: the id under its own column name,
        ``n_ratings`` and attributes."""
        return read_entities(
            self.path, "user", self.info.columns, self.info.integer_ids, self.info.users,
            ENTITY_COLUMNS,
        )  # fmt: skip

    @cached_property
    def items(self) -> pl.DataFrame:
        """One row per item: the id under its own column name, ``n_ratings``, ``title``,
        ``genres`` and other attributes where known."""
        return read_entities(
            self.path, "item", self.info.columns, self.info.integer_ids, self.info.items,
            ENTITY_COLUMNS,
        )  # fmt: skip

    @cached_property
    def attributes(self) -> Pair[Encoded | None]:
        """What training needs of the attributes of users and of items; None where there are
        none."""
        described = self.info.attributes
        if described is None:
            return Pair(None, None)
        tables = Pair(self.users, self.items)
        return Pair(
            *(
                Encoded(each, encode(each, table)) if each else None
                for each, table in zip(described, tables, strict=True)
            )
        )

    @property
    def ids(self) -> Pair[IdMap]:
        """The id maps of users and items."""
        columns = self.info.columns
        return Pair(IdMap(self.users[columns.user]), IdMap(self.items[columns.item]))

    def split(self, name: str, *, times: bool = False, weights: bool = False) -> pl.DataFrame:
        """The ratings on one side of the split.

        Args:
            name: train, val or test.
            times: keep the column ``timestamp``, if there is one.
            weights: keep the column ``weight``, if there is one.

        Returns:
            Columns ``user`` u32, ``item`` u32, ``rating`` f32 and perhaps ``timestamp`` and
            ``weight`` f32.

        Raises:
            ArtifactError: the file is damaged.
        """
        path = self.path / f"{name}.parquet"
        columns = {"user": pl.UInt32, "item": pl.UInt32, "rating": pl.Float32}
        if weights and self.info.columns.weight is not None:
            columns["weight"] = pl.Float32
        with self.unchanged():
            table = read_table(path, columns, self.info.rows(name), only=not times)
            check_range(path, table, self.info.users, self.info.items)
        return table if weights else table.drop("weight", strict=False)

    def training_rows(
        self, sides: Sequence[str], half_life: float | None = None, *, times: bool = False
    ) -> pl.DataFrame:
        """The ratings to train on, with weights where they have some.

        Args:
            sides: of the split: train, and perhaps val and test.
            half_life: after which a rating counts half, in seconds; None: age does not matter.
            times: keep the column ``timestamp``.

        Returns:
            Columns ``user`` u32, ``item`` u32, ``rating`` f32 and, where there is a half-life or a
            column of weights, ``weight`` f32, which averages 1; with ``times``, ``timestamp``.

        Raises:
            ArtifactError: a file is damaged.
            ConfigError: a half-life or ``times``, but no times.
        """
        has_times = times or half_life is not None
        rows = pl.concat([self.split(side, times=has_times, weights=True) for side in sides])
        if times and not ("timestamp" in rows.columns and rows["timestamp"].count()):
            raise ConfigError(f"times: {no_times(are_there=self.info.columns.time is not None)}")
        kept = ["user", "item", "rating", *(["timestamp"] if times else [])]
        if not self.is_weighed(half_life):
            return rows.select(kept)
        weight = Weighting.of([rows], half_life).weights(rows)
        return rows.select(*kept, weight=pl.Series(weight))

    def training_blocks(self, half_life: float | None = None) -> Blocks:
        """The training rows, block by block, with weights as :meth:`training_rows` has them.

        Args:
            half_life: after which a rating counts half, in seconds; None: age does not matter.

        Raises:
            ArtifactError: the file is damaged.
            ConfigError: a half-life, but no times.
        """
        found = self.blocks("train")
        if not self.is_weighed(half_life):
            return found
        others = ["weight"] if self.info.columns.weight is not None else []
        if half_life is not None and found.has("timestamp"):
            others.append("timestamp")
        found = replace(found, others=tuple(others))
        return replace(found, weighting=Weighting.of(found, half_life))

    def is_weighed(self, half_life: float | None) -> bool:
        """Whether training rows have weights.

        Args:
            half_life: after which a rating counts half, or None.
        """
        return half_life is not None or self.info.columns.weight is not None

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


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Device, number and time of a file; None where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
