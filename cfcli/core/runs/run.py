"""A run: the folder of one training, which stands on its own."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.config.resolve import from_dict
from cfcli.core.config.train import Link, Model, TrainConfig
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.entities import check_columns, read_entities
from cfcli.core.data.ids import IdMap
from cfcli.core.errors import ArtifactError, ConfigError
from cfcli.core.models.biases import BiasModel
from cfcli.core.models.kinds import KINDS, Sizes
from cfcli.core.models.scoring import Predictor
from cfcli.core.storage import manifests
from cfcli.core.storage.schema import check
from cfcli.core.storage.tables import check_range, read_table
from cfcli.core.storage.tensors import load_tensors

FORMAT = 2
MANIFEST = "run.json"
RUNS = Path("runs")
LATEST = RUNS / "latest"
SCHEMA = {
    "created": str, "status": ("finished", "stopped"), "model": get_args(Model), "link": get_args(Link), "noise": float,
    "dim": int, "shape": {"users": int, "items": int, "low": float, "high": float}, "train_mean": float,
    "columns": {"user": str, "item": str}, "integer_ids": {"user": bool, "item": bool},
    "dataset": {"path": str, "fingerprint": str}, "warm_start": dict | None,
    "config": {"model": get_args(Model), "dim": int, "seed": int},
}  # fmt: skip
FILES = ("config.toml", "model.safetensors", "users.parquet", "items.parquet", "metrics.csv")
CHECKPOINT = Path("checkpoints") / "last.ckpt"  # of a run that may be resumed
SEEN = "seen.parquet"
STEPS = "steps.csv"
SAMPLES = "samples.safetensors"


@dataclass(frozen=True)
class Run:
    """A run on disk, verified.

    Attributes:
        path: its folder.
        info: its manifest: ``model``, ``shape``, ``columns``, ``dataset``, ``val`` and more.
    """

    path: Path
    info: dict[str, Any]

    @classmethod
    def load(cls, path: Path = LATEST) -> "Run":
        """The run in a folder, once every file has the size and the checksum of the manifest, and
        tensors and id maps fit each other.

        Raises:
            ArtifactError: none there, damaged, of another format, or in a folder that anyone may
                write to.
        """
        path = short(path.resolve())  # one version, even if the pointer moves meanwhile
        hint = "; make one with 'cfcli train', or name the folder of one"
        info = manifests.read(path / MANIFEST, "run", FORMAT, FILES, hint)
        check(path / MANIFEST, info, SCHEMA)
        check_columns(path / MANIFEST, info)
        if not info["shape"]["low"] < info["shape"]["high"]:
            raise ArtifactError(
                f"{path / MANIFEST}: damaged: ratings from {info['shape']['low']} to {info['shape']['high']}"
            )
        run = cls(path, info)
        run._check_tensors()
        _ = run.users, run.items  # read, and so checked
        return run

    def _check_tensors(self) -> None:
        """Raises an ArtifactError unless the tensors are those of the model and fit each other."""
        file, shape, tensors = self.path / "model.safetensors", self.info["shape"], self.tensors
        sizes = Sizes(
            shape["users"],
            shape["items"],
            self.info["dim"],
            self.config.adam.biases,
            self.config.ncf.hidden,
        )
        wanted = KINDS[self.info["model"]].tensors(sizes)
        if {name: tensor.shape for name, tensor in tensors.items()} != wanted:
            raise ArtifactError(
                f"{file}: damaged: its tensors are not those of {self.info['model']} on its users and items"
            )
        if not all(
            tensor.dtype == np.float32 and np.isfinite(tensor).all() for tensor in tensors.values()
        ):
            raise ArtifactError(f"{file}: damaged: not all of its numbers are finite")

    @cached_property
    def config(self) -> TrainConfig:
        """The settings that the run was trained with.

        Raises:
            ArtifactError: they are not those of a training.
        """
        try:
            return from_dict(TrainConfig, self.info["config"])
        except ConfigError as error:
            raise ArtifactError(f"{self.path / MANIFEST}: damaged: {error}") from None

    @cached_property
    def tensors(self) -> dict[str, Any]:
        """The parameters by name, float32."""
        return load_tensors(self.path / "model.safetensors")

    @cached_property
    def samples(self) -> dict[str, Any]:
        """Samples of the posterior and the noise, see
        :meth:`cfcli.core.training.gibbs.posterior.Posterior.samples`.

        Raises:
            ConfigError: the run keeps none.
        """
        if SAMPLES not in self.info["files"]:
            raise ConfigError(
                f"{self.path}: keeps no samples; only runs of 'cfcli train --solver gibbs' know how sure they are"
            )
        found, shape = load_tensors(self.path / SAMPLES), self.info["shape"]
        try:
            n, *of_users = found["users"].shape
            wanted = {"users": (n, *of_users), "items": (n, shape["items"], of_users[1])}
            wanted |= {"user_noise": (shape["users"],), "item_noise": (shape["items"],)}
            sound = (
                n >= 2
                and of_users[0] == shape["users"]
                and {k: v.shape for k, v in found.items()} == wanted
            )
            sound = sound and all(
                v.dtype.kind == "f" and np.isfinite(v).all() for v in found.values()
            )
            sound = sound and all((found[f"{name}_noise"] >= 0).all() for name in ("user", "item"))
        except (KeyError, ValueError, IndexError):
            sound = False
        if not sound:
            raise ArtifactError(
                f"{self.path / SAMPLES}: damaged: not samples of its users and items"
            )
        return found

    @cached_property
    def users(self) -> pl.DataFrame:
        """One row per user, in the order of the index: the id under its own column name,
        ``n_ratings`` in the training rows, ``mean`` and damped ``bias`` of those."""
        return self._entities("user")

    @cached_property
    def items(self) -> pl.DataFrame:
        """As ``users``, with ``title`` and ``genres`` where known."""
        return self._entities("item")

    def _entities(self, name: str) -> pl.DataFrame:
        columns = {"n_ratings": pl.UInt32, "mean": pl.Float64, "bias": pl.Float64}
        return read_entities(self.path, name, self.info, self.info["shape"][f"{name}s"], columns)

    @property
    def history(self) -> pl.DataFrame:
        """One row per epoch, as :class:`cfcli.core.training.epochs.Epoch` has them."""
        return pl.read_csv(self.path / "metrics.csv", glob=False)

    @property
    def trace(self) -> pl.DataFrame:
        """Columns ``step`` and ``train_mse``: the error of the training rows of a step and those
        since the row before; empty where the run kept none."""
        if STEPS not in self.info["files"]:
            return pl.DataFrame(schema=["step", "train_mse"])
        return pl.read_csv(self.path / STEPS, glob=False)

    def seen(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """What each user rated in training: user u's items are ``items[starts[u]:starts[u + 1]]``;
        returns ``starts`` (U + 1,) and ``items``.

        Raises:
            ArtifactError: the run keeps no record of it.
        """
        pairs = self.seen_pairs()
        return starts_of(pairs["user"].to_numpy(), self.users.height), pairs["item"].to_numpy()

    def seen_pairs(self) -> pl.DataFrame:
        """The training rows' ``user`` and ``item``, sorted.

        Raises:
            ArtifactError: the run keeps no record of it.
        """
        if SEEN not in self.info["files"]:
            raise ArtifactError(
                f"{self.path}: keeps no {SEEN}; train again, or give --include-seen or --seen FILE"
            )
        most = self.users.height * self.items.height
        pairs = read_table(self.path / SEEN, {"user": pl.UInt32, "item": pl.UInt32}, most=most)
        check_range(self.path / SEEN, pairs, self.users.height, self.items.height)
        return pairs

    def id_maps(self) -> tuple[IdMap, IdMap]:
        """The id maps of users and items."""
        return IdMap(self.users[self.info["columns"]["user"]]), IdMap(
            self.items[self.info["columns"]["item"]]
        )

    def predictor(self) -> Predictor:
        """What scores pairs."""
        shape = self.info["shape"]
        low, high, link, noise = shape["low"], shape["high"], self.info["link"], self.info["noise"]
        return Predictor(self.info["model"], self.tensors, low, high, link, noise)

    def baseline(self) -> BiasModel:
        """Means and damped biases of the training rows."""
        columns = [self.users["n_ratings"], self.items["n_ratings"]]
        columns += [table[name] for name in ("mean", "bias") for table in (self.users, self.items)]
        return BiasModel(self.info["train_mean"], *(column.to_numpy() for column in columns))

    def dataset(self, path: Path | None = None) -> Dataset:
        """The dataset that the run was trained on, from where it was, or from ``path``.

        Raises:
            ArtifactError: it is gone, or is another one now.
        """
        recorded = self.info["dataset"]
        try:
            where = path or short((self.path / recorded["path"]).resolve())
            where.exists()
        except (OSError, ValueError):
            raise ArtifactError(
                f"{self.path / MANIFEST}: damaged: its dataset is nowhere"
            ) from None
        dataset = Dataset.load(where)
        if dataset.info["fingerprint"] != recorded["fingerprint"]:
            raise ArtifactError(
                f"{where}: is not the dataset that {self.path} was trained on (fingerprint "
                f"{dataset.info['fingerprint']}, not {recorded['fingerprint']}); prepare that one again, or train again"
            )
        return dataset


def starts_of(user: NDArray[np.integer[Any]], users: int) -> NDArray[np.int64]:
    """Where each user's rows begin, and where the last ones end, (U + 1,), in rows sorted by
    user."""
    return np.concatenate([[0], np.cumsum(np.bincount(user, minlength=users))]).astype(np.int64)


def short(path: Path) -> Path:
    """The path from where the user stands, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
