"""A prepared dataset: a folder of Parquet files that training and judging agree on."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from cfcli.core import publishing
from cfcli.core.errors import ArtifactError
from cfcli.core.ids import IdMap
from cfcli.core.splits import NAMES

FORMAT = 1
MANIFEST = "dataset.json"
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
        try:
            info = publishing.read_manifest(path / MANIFEST, "dataset", FORMAT)
        except ArtifactError as error:
            if (path / MANIFEST).exists():
                raise
            raise ArtifactError(f"{error}; make one with 'cfcli prepare RATINGS.csv --out {path}'") from None
        if missing := [name for name in FILES if name not in info["files"]]:
            raise ArtifactError(f"{path / MANIFEST}: does not list {missing[0]}")
        return cls(path, info)

    @cached_property
    def users(self) -> pl.DataFrame:
        """One row per user, in the order of the index: the id under its own column name, ``n_ratings``."""
        return pl.read_parquet(self.path / "users.parquet")

    @cached_property
    def items(self) -> pl.DataFrame:
        """One row per item: the id under its own column name, ``n_ratings``, ``title`` and ``genres`` where known."""
        return pl.read_parquet(self.path / "items.parquet")

    def split(self, name: str) -> pl.DataFrame:
        """The rows of ``train``, ``val`` or ``test``: ``user`` u32, ``item`` u32, ``rating`` f32, maybe a
        ``timestamp``."""
        return pl.read_parquet(self.path / f"{name}.parquet")

    def id_maps(self) -> tuple[IdMap, IdMap]:
        """The id maps of users and items."""
        return IdMap(self.users[self.info["columns"]["user"]]), IdMap(self.items[self.info["columns"]["item"]])
