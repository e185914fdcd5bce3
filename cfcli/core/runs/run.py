"""A run: the folder of one training, which stands on its own."""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray
from polars.exceptions import PanicException, PolarsError

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import from_dict
from cfcli.core.config.toml import Value
from cfcli.core.config.train import TrainConfig
from cfcli.core.data.attributes import check_attributes
from cfcli.core.data.content import Content
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.entities import check_columns, read_entities
from cfcli.core.data.ids import IdMap
from cfcli.core.errors import ArtifactError, ConfigError, InputError
from cfcli.core.inputs.roles import Form, is_place
from cfcli.core.models.biases import BiasModel
from cfcli.core.models.interest import Interest
from cfcli.core.models.kinds import KINDS, Sizes
from cfcli.core.models.ordinal import LEAST_ROWS, MOST_STEPS, OrdinalModel
from cfcli.core.models.scoring import Predictor
from cfcli.core.models.times import TimeEffects
from cfcli.core.pair import Entity, Pair
from cfcli.core.runs.info import FORMAT, RunInfo
from cfcli.core.storage import manifests, publishing, targets, trust
from cfcli.core.storage.schema import read_as
from cfcli.core.storage.tables import check_range, read_table
from cfcli.core.storage.tensors import load_tensors

MANIFEST = manifests.NAMES["run"]
RUNS = Path("runs")
LATEST = RUNS / "latest"
FILES = ("config.toml", "model.safetensors", "users.parquet", "items.parquet", "metrics.csv")
CHECKPOINT = Path("checkpoints") / "last.ckpt"  # of a run that may be resumed
PINNED = "dataset"  # links to the dataset, while a run is not finished
DATASET = "dataset.txt"  # the path of the dataset, while a run is not finished
SEEN = "seen.parquet"
STEPS = "steps.csv"
SAMPLES = "samples.safetensors"
INTEREST = "interest.safetensors"
CONTENT = "content.safetensors"  # what attributes tell of vectors
TIMES = "times.safetensors"  # what time adds to ratings
TEST = "test.parquet"  # test rows, in runs of a store, whose dataset is replaced every night
TWIN = "twin"  # a run within a run that was trained on all rows: the same without held-out ones
TRACE: dict[str, type[pl.DataType]] = {"step": pl.Int64, "train_mse": pl.Float64}
ERRORS = "train_mse train_rmse val_mse val_rmse val_mae learning_rate seconds ratings_per_second"
EPOCHS = {"epoch": pl.Int64, **dict.fromkeys(ERRORS.split(), pl.Float64)}
ENTITY_COLUMNS = {"n_ratings": pl.UInt32, "mean": pl.Float64, "bias": pl.Float64}


class Folded(NamedTuple):
    """Users who were folded in.

    Attributes:
        place: of each, (N,).
        left: of the variance of a new user's vector, the share that their ratings leave, (N,).
    """

    place: NDArray[np.integer]
    left: NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """A run on disk, verified.

    Attributes:
        path: its folder.
        info: its manifest.
    """

    path: Path
    info: RunInfo

    @classmethod
    def load(cls, path: Path = LATEST) -> "Run":
        """Load a run, once every file has the size and the checksum of the manifest, and tensors
        and id maps fit each other.

        Args:
            path: its folder.

        Raises:
            ArtifactError: none there, damaged, of another format, or where strangers may write.
        """
        _check_store(path)
        path = short(path.resolve())  # one version, even if the pointer moves meanwhile
        hint = "; make one with 'cfcli train', or name the folder of one"
        if (publishing.staging_of(path) / CHECKPOINT).exists():
            hint = f" yet; if its training was killed, go on with 'cfcli train --resume {path}'"
        manifest = path / MANIFEST
        content = manifests.read(manifest, "run", FORMAT, FILES, hint)
        info = read_as(RunInfo, manifest, content)
        check_columns(manifest, info.columns)
        for described in info.attributes or ():
            check_attributes(manifest, described)
        low, high = info.shape.low, info.shape.high
        if not low < high:
            raise ArtifactError(f"{manifest}: damaged: ratings from {low} to {high}")
        if not _is_moment(info.created):
            raise ArtifactError(f"{manifest}: damaged: 'created' is '{info.created}', not a time")
        run = cls(path, info)
        run._check_tensors()
        _ = run.users, run.items, run.content  # read, and so checked
        return run

    def with_parts(self, **parts: object) -> "Run":
        """The run in memory alone, with other tables, tensors or models.

        Args:
            parts: values by the names of the properties that are read once.
        """
        other = Run(self.path, self.info)
        other.__dict__.update(self.__dict__ | parts)
        return other

    @property
    def name(self) -> str:
        """The name of its folder, and of a twin that of the run that it is a part of."""
        return self.path.parent.name if self.path.name == TWIN else self.path.name

    def _check_tensors(self) -> None:
        """Raises an ArtifactError unless the tensors are those of the model and fit each other."""
        file, tensors = self.path / "model.safetensors", self.tensors
        adam, ncf = self.config.adam, self.config.ncf
        sizes = Sizes(
            self.info.counts.user, self.info.counts.item, self.info.dim, adam.biases, ncf.hidden
        )
        wanted = KINDS[self.info.model].tensors(sizes)
        if {name: tensor.shape for name, tensor in tensors.items()} != wanted:
            raise ArtifactError(
                f"{file}: damaged: its tensors are not those of {self.info.model} on its users and "
                "items"
            )
        _check_numbers(file, tensors)

    @cached_property
    def config(self) -> TrainConfig:
        """The settings that the run was trained with.

        Raises:
            ArtifactError: they are not those of a training.
        """
        for name in ("model", "dim", "seed"):
            if name not in self.info.config:
                raise ArtifactError(f"{self.path / MANIFEST}: damaged: 'config' has no '{name}'")
        try:
            return from_dict(TrainConfig, self.info.config)
        except ConfigError as error:
            raise ArtifactError(f"{self.path / MANIFEST}: damaged: {error}") from None

    @cached_property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """The parameters by name, float32."""
        return load_tensors(self.path / "model.safetensors")

    def embeddings(self, entity: Entity) -> NDArray[np.float32]:
        """The embeddings of users or items, (N, D); ``tensors`` may have more columns in a run with
        new items, see :func:`cfcli.core.runs.newcomers.with_newcomers`.

        Args:
            entity: which.
        """
        table = self.tensors[f"{entity}_embedding.weight"]
        return np.ascontiguousarray(table[:, : self.info.dim], np.float32)

    @cached_property
    def samples(self) -> dict[str, NDArray[Any]]:
        """Samples of the posterior and the noise, see
        :meth:`cfcli.core.training.gibbs.posterior.Posterior.samples`.

        Raises:
            ConfigError: the run keeps none.
            ArtifactError: they are damaged.
        """
        if SAMPLES not in self.info.files:
            raise ConfigError(
                f"{self.path}: keeps no samples; only runs of 'cfcli train --solver gibbs' know "
                "how sure they are"
            )
        found = load_tensors(self.path / SAMPLES)
        if not self._are_samples(found):
            raise ArtifactError(
                f"{self.path / SAMPLES}: damaged: not samples of its users and items"
            )
        return found

    def _are_samples(self, found: dict[str, NDArray[Any]]) -> bool:
        """Whether tensors are at least two samples of the run's users and items."""
        users, items = self.info.counts
        try:
            n, _, rank = found["users"].shape
        except (KeyError, ValueError):
            return False
        wanted = {
            "users": (n, users, rank),
            "items": (n, items, rank),
            "user_noise": (users,),
            "item_noise": (items,),
        }
        if n < 2 or {name: tensor.shape for name, tensor in found.items()} != wanted:
            return False
        for tensor in found.values():
            if tensor.dtype.kind != "f" or not np.isfinite(tensor).all():
                return False
        return bool((found["user_noise"] >= 0).all() and (found["item_noise"] >= 0).all())

    @property
    def ordinal(self) -> OrdinalModel:
        """The probabilities of the steps of the scale.

        Raises:
            ConfigError: the run has none.
            ArtifactError: they are damaged.
        """
        found = self.info.ordinal
        if found is None:
            _ = self.samples  # without them it says why
            raise ConfigError(
                f"{self.path}: has no probabilities: they need a scale of at most {MOST_STEPS} "
                f"steps, {LEAST_ROWS} validation ratings for each, and enough epochs before the "
                "refit; train again with these"
            )
        if not found.is_sound:
            raise ArtifactError(
                f"{self.path / MANIFEST}: damaged: 'ordinal' is no model of a scale"
            )
        return found

    @cached_property
    def users(self) -> pl.DataFrame:
        """One row per user, in the order of the index: the id under its own column name,
        ``n_ratings`` that were trained on, ``mean`` and damped ``bias`` of those."""
        return self._entities("user")

    @cached_property
    def items(self) -> pl.DataFrame:
        """As ``users``, with ``title`` and ``genres`` where known."""
        return self._entities("item")

    def _entities(self, entity: Entity) -> pl.DataFrame:
        info = self.info
        rows = info.counts[entity]
        return read_entities(
            self.path, entity, info.columns, info.integer_ids, rows, ENTITY_COLUMNS
        )

    @property
    def ids(self) -> Pair[IdMap]:
        """The id maps of users and items."""
        columns = self.info.columns
        return Pair(IdMap(self.users[columns.user]), IdMap(self.items[columns.item]))

    @property
    def history(self) -> pl.DataFrame:
        """One row per epoch, as :class:`cfcli.core.training.epochs.Epoch` has them."""
        return self._errors("metrics.csv", EPOCHS)

    @property
    def trace(self) -> pl.DataFrame:
        """Columns ``step`` and ``train_mse``: the error of the training rows of a step and those
        since the row before; empty where the run kept none."""
        if STEPS not in self.info.files:
            return pl.DataFrame(schema=TRACE)
        return self._errors(STEPS, TRACE)

    def _errors(self, name: str, columns: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
        """A table of errors by epoch or step.

        Raises:
            ArtifactError: it is another table.
        """
        path = self.path / name
        try:
            return pl.read_csv(path, glob=False, schema_overrides=columns).select(*columns)
        except (PolarsError, PanicException, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise ArtifactError(f"{path}: damaged: {reason}") from None

    def seen(self, *, trained: bool = False) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """What each user rated: user u's items are ``items[starts[u]:starts[u + 1]]``; returns
        ``starts`` (U + 1,) and ``items``.

        Args:
            trained: leave out what is not on the training side of the split.

        Raises:
            ArtifactError: the run keeps no record of it.
        """
        pairs = self.seen_pairs()
        if trained:
            pairs = pairs.filter("trained")
        return starts_of(pairs["user"].to_numpy(), self.users.height), pairs["item"].to_numpy()

    def seen_pairs(self) -> pl.DataFrame:
        """The pairs of all sides of the split, sorted: ``user``, ``item``, whether the rating was
        ``trained`` on, and its ``weight`` in the interest model, 0 where it has none. Runs of
        version 0.1 only know the pairs that were trained on.

        Raises:
            ArtifactError: the run keeps no record of it.
        """
        if SEEN not in self.info.files:
            raise ArtifactError(
                f"{self.path}: keeps no {SEEN}; train again, or give --include-seen or --seen FILE"
            )
        most = self.users.height * self.items.height
        columns: dict[str, type[pl.DataType]] = {"user": pl.UInt32, "item": pl.UInt32}
        if self.knows_all_pairs:
            columns |= {"trained": pl.Boolean, "weight": pl.Float32}
        pairs = read_table(self.path / SEEN, columns, most=most)
        check_range(self.path / SEEN, pairs, self.users.height, self.items.height)
        if not self.knows_all_pairs:
            pairs = pairs.with_columns(trained=True, weight=pl.lit(0.0, pl.Float32))
        return pairs

    @property
    def knows_all_pairs(self) -> bool:
        """Whether it keeps the pairs of all sides of the split, as runs do since version 0.2."""
        return self.info.refit is not None

    def form(self, flags: Mapping[str, Value] | None = None) -> Form:
        """What form ratings, pairs and ids for this run have: that of its own ratings, unless flags
        say otherwise.

        Args:
            flags: values of keys of ``[prepare]``; None for those not given.

        Raises:
            ConfigError: a value is not valid.
        """
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        reading = dict(self.info.reading or {})
        headerless = bool(reading.pop("no_header", False))
        columns = {role: name for role, name in asdict(self.info.columns).items() if name}
        chosen = {role: str(reading.pop(f"{role}_col", "")) for role in columns}
        places = {role: name for role, name in chosen.items() if is_place(name)}
        config = from_dict(PrepareConfig, {**reading, **given})
        return Form(config, columns, headerless, places)

    def check_scale(self, ratings: pl.Series, where: str) -> None:
        """Raises an InputError where ratings are outside the scale of the run.

        Args:
            ratings: to be used with the run, (N,).
            where: they are from, for the message.
        """
        low, high = self.info.shape.low, self.info.shape.high
        outside = ratings.filter(~ratings.is_between(low, high))
        if len(outside):
            raise InputError(
                f"{where}: {len(outside):,} of {len(ratings):,} ratings, such as {outside[0]:g}, "
                f"are outside the scale of {self.path}, {low:g} to {high:g}"
            )

    @property
    def trained_sides(self) -> tuple[str, ...]:
        """The sides of the split that its rating model was trained on."""
        return tuple(self.info.refit.rating_sides) if self.info.refit else ("train",)

    @property
    def fitted_sides(self) -> tuple[str, ...]:
        """The sides that any of its models was fitted on: their rows say nothing of its lists."""
        refit = self.info.refit
        return (*self.trained_sides, *(refit.interest_sides if refit else ()))

    @cached_property
    def twin(self) -> "Run | None":
        """The same model without the held-out rows, where the run was trained on these, too; None
        where it was not.

        Raises:
            ArtifactError: it is damaged or missing.
        """
        wanted = self.info.twin
        if wanted is None:
            return None
        if not (self.path / TWIN / MANIFEST).exists():
            raise ArtifactError(
                f"{self.path / TWIN}: missing, though {self.path / MANIFEST} names it; copy the "
                "whole folder of the run, or train again"
            )
        twin = Run.load(self.path / TWIN)
        if manifests.file_of(twin.path / MANIFEST) != wanted:
            raise ArtifactError(f"{twin.path}: is not the twin that {self.path / MANIFEST} names")
        return twin

    @cached_property
    def interest(self) -> Interest | None:
        """The interest model, or None where the run has none.

        Raises:
            ArtifactError: its file is damaged.
        """
        info = self.info.interest
        if info is None or info.method is None:
            return None
        path = self.path / INTEREST
        found = load_tensors(path)
        (users, items), dim = self.info.counts, info.dim
        wanted = {"user": (users, dim), "item": (items, dim), "scale": (items,), "raters": (items,)}
        if {name: tensor.shape for name, tensor in found.items()} != wanted:
            raise ArtifactError(f"{path}: damaged: its tensors are not of its users and items")
        _check_numbers(path, found)
        return Interest(found)

    @cached_property
    def content(self) -> Pair[Content | None]:
        """What attributes tell of users and items, see
        :func:`cfcli.core.runs.content.fit_content`; None where the run knows no attributes.

        Raises:
            ArtifactError: its file is damaged.
        """
        described = self.info.attributes
        if described is None:
            return Pair(None, None)
        path = self.path / CONTENT
        found = load_tensors(path)
        interest = self.info.interest
        k = interest.dim if interest is not None and interest.dim else None
        parts: list[Content | None] = []
        for (entity, attributes), last in zip(described.named(), (0, 1), strict=True):
            if not attributes:
                parts.append(None)
                continue
            width = self.info.dim + 1 + (k + last if k else 0)
            part = {
                name.removeprefix(f"{entity}_"): value
                for name, value in found.items()
                if name.startswith(f"{entity}_")
            }
            shift = self.info.counts["user" if entity == "item" else "item"], self.info.dim + 1
            parts.append(Content.of(path, attributes, part, width, shift))
        return Pair(*parts)

    @cached_property
    def times(self) -> TimeEffects | None:
        """What time adds to the ratings of the model, which are those of the newest time; None
        where it knows nothing of times.

        Raises:
            ArtifactError: its file is damaged.
        """
        calendar = self.info.times
        if calendar is None:
            return None
        path = self.path / TIMES
        found = TimeEffects.of(calendar, load_tensors(path), self.info.counts.item)
        if found is None:
            raise ArtifactError(f"{path}: damaged: its tensors are not of its times and items")
        return found

    @cached_property
    def folded(self) -> Folded:
        """Users whose vectors come from ratings that came after the training, see
        :func:`cfcli.core.serving.folding.folded_in`."""
        return Folded(np.zeros(0, np.int64), np.zeros(0))

    @property
    def judged(self) -> "Run":
        """What stands for the run where it is compared with others: its twin, or without one the
        run itself.

        Raises:
            ArtifactError: the twin is damaged.
        """
        return self.twin or self

    def predictor(self, *, is_bounded: bool = True) -> Predictor:
        """The model as NumPy computes it.

        Args:
            is_bounded: whether ratings are kept within the scale.
        """
        info = self.info
        low, high = (info.shape.low, info.shape.high) if is_bounded else (-math.inf, math.inf)
        return Predictor(info.model, self.tensors, low, high, info.link, info.noise)

    def baseline(self) -> BiasModel:
        """Means and damped biases of the rows that were trained on."""
        users, items = self.users, self.items
        return BiasModel(
            self.info.train_mean,
            users["n_ratings"].to_numpy(),
            items["n_ratings"].to_numpy(),
            users["mean"].to_numpy(),
            items["mean"].to_numpy(),
            users["bias"].to_numpy(),
            items["bias"].to_numpy(),
        )

    def rows(self, side: str, data: Path | None = None) -> pl.DataFrame:
        """The ratings on one side of the split.

        Args:
            side: train, val or test.
            data: where the run's dataset is now; by default where it was. Test rows that the run
                itself keeps need none.

        Returns:
            Columns ``user``, ``item`` and ``rating``; ``timestamp`` where the model asks for it.

        Raises:
            ArtifactError: the dataset is gone, or is another one now.
        """
        if side != "test" or data is not None or TEST not in self.info.files:
            rows = self.dataset(data).split(side, times=self.info.times is not None)
        else:
            columns = {"user": pl.UInt32, "item": pl.UInt32, "rating": pl.Float32}
            rows = read_table(self.path / TEST, columns, most=self.users.height * self.items.height)
            check_range(self.path / TEST, rows, self.users.height, self.items.height)
        return rows.select("user", "item", "rating", cs.by_name("timestamp", require_all=False))

    def dataset(self, path: Path | None = None) -> Dataset:
        """The dataset that the run was trained on.

        Args:
            path: where it is now; by default where it was.

        Raises:
            ArtifactError: it is gone, or is another one now.
        """
        recorded = self.info.dataset
        try:
            where = path or short((self.path / recorded.path).resolve())
            where.exists()
        except (OSError, ValueError):
            raise ArtifactError(
                f"{self.path / MANIFEST}: damaged: its dataset is nowhere"
            ) from None
        dataset = Dataset.load(where)
        found, wanted = dataset.info.fingerprint, recorded.fingerprint
        if found != wanted:
            raise ArtifactError(
                f"{where}: is not the dataset that {self.path} was trained on (fingerprint "
                f"{found}, not {wanted}); prepare that one again, or train again"
            )
        return dataset


def _check_store(path: Path) -> None:
    """Raises an ArtifactError if a run is that of a store that a stranger may change."""
    place = path.resolve() if os.path.islink(path) else path.absolute()
    store = path.parent if path.name == "current" else place.parent.parent
    if os.path.exists(path) and (path.name == "current" or targets.is_store(store)):
        trust.refuse_strangers(path, store)


def _check_numbers(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    """Raises an ArtifactError unless all tensors of a file are finite and float32."""
    for tensor in tensors.values():
        if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
            raise ArtifactError(f"{path}: damaged: not all of its numbers are finite")


def starts_of(user: NDArray[np.uint32], users: int) -> NDArray[np.int64]:
    """Where each user's rows begin, and where the last ones end.

    Args:
        user: the user of each row, in ascending order, (N,).
        users: how many users there are (U).

    Returns:
        Places of rows, (U + 1,).
    """
    return np.concatenate([[0], np.cumsum(np.bincount(user, minlength=users))]).astype(np.int64)


def _is_moment(text: str) -> bool:
    """Whether a text is a time with its offset from UTC, as ISO 8601 has it."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def short(path: Path) -> Path:
    """A path as one would write it here: relative where it lies below the working folder.

    Args:
        path: an absolute path.
    """
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
