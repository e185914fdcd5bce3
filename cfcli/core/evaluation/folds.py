"""The folds of a cross-validation: which ratings each trains on, and which judge it."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import from_dict
from cfcli.core.data import prepare as preparation
from cfcli.core.data.dataset import Dataset
from cfcli.core.data.ids import hash_ids
from cfcli.core.data.known import NONE
from cfcli.core.data.splits import NAMES, folds_by_hash, slices_by_time
from cfcli.core.errors import ConfigError, InputError, MachineError
from cfcli.core.inputs.sources import Source
from cfcli.core.pair import Pair

OF_DATA = ("split", "val_size", "seed")  # the keys of ``[prepare]`` that hold for a dataset, too
FEWEST = 2  # folds that have a deviation


@dataclass(frozen=True)
class Spec:
    """What the value of ``--folds`` asks for.

    Attributes:
        text: the value.
        kind: how rows are told apart.
        n: number of folds.
        files: for each fold, the names of its training and its test ratings, where files are given.
    """

    text: str
    kind: Literal["hash", "time", "files"]
    n: int
    files: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, text: str) -> "Spec":
        """Reads a value such as ``5``, ``time:5`` or ``u1.base:u1.test,u2.base:u2.test``.

        Args:
            text: the value.

        Raises:
            ConfigError: it is none of these, or asks for fewer than two folds.
        """
        first, _, rest = text.partition(":")
        if _is_count(text):
            found = cls(text, "hash", int(text))
        elif first == "time" and _is_count(rest):
            found = cls(text, "time", int(rest))
        else:
            pairs = [part.strip().split(":") for part in text.split(",")]
            if not all(len(pair) == 2 and all(pair) for pair in pairs):
                raise ConfigError(
                    f"--folds: '{text}' is not like 5, time:5 or BASE:TEST,BASE:TEST,..."
                )
            files = tuple((base, test) for base, test in pairs)
            found = cls(text, "files", len(files), files)
        if found.n < FEWEST:
            raise ConfigError(f"--folds: '{text}' makes fewer than two folds; give 2 or more")
        return found


def _is_count(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit() and len(text) < 10


@dataclass(frozen=True)
class Fold:
    """One fold, as ``prepare`` takes it.

    Attributes:
        train: ratings to train on, from which validation rows are cut.
        test: ratings to judge by.
        config: how they are prepared.
        items: titles and attributes of items.
        users: attributes of users.
    """

    train: list[Source]
    test: Source
    config: PrepareConfig
    items: Source | None = None
    users: Source | None = None


class Folds(Protocol):
    """All folds of a cross-validation.

    Attributes:
        spec: how many there are, and of which kind.
        key: of all ratings, the same for the same ones.
        config: how ratings are read and validation rows are cut.
    """

    @property
    def spec(self) -> Spec: ...

    @property
    def key(self) -> str: ...

    @property
    def config(self) -> PrepareConfig: ...

    def fold(self, k: int) -> Fold:
        """One of them.

        Args:
            k: its number, from 0.
        """
        ...


def open_folds(
    spec: Spec,
    prepare: PrepareConfig,
    *,
    sources: Sequence[Source] = (),
    data: Path | None = None,
    items: Source | None = None,
    users: Source | None = None,
    note: Callable[[str], object] | None = None,
) -> Folds:
    """Reads what is to be cut into folds, and checks that it can be.

    Args:
        spec: the folds.
        prepare: how ratings are read and validation rows are cut.
        sources: the ratings.
        data: a dataset in their place; all its rows count.
        items: titles and attributes of items.
        users: attributes of users.
        note: is called with what a person should know of the ratings.

    Raises:
        ConfigError: there are no ratings, or more than one of ``sources``, ``data`` and files in
            ``spec``.
        InputError: the ratings cannot be used, are fewer than the folds, or have no times.
        ArtifactError: the dataset is missing or damaged.
        MachineError: a file is missing or cannot be read.
    """
    given = [bool(sources), data is not None, spec.kind == "files"]
    if sum(given) != 1:
        raise ConfigError(
            "give one of RATINGS, --data DIR and --folds BASE:TEST,..."
            + (", not several" if any(given) else "")
        )
    if spec.kind == "files":
        return GivenFolds(spec, prepare, items, users)
    if data is not None:
        for flag, file in (("items", items), ("users", users)):
            if file is not None:
                raise ConfigError(
                    f"--{flag} cannot be combined with --data, whose {flag} are known"
                )
        return CutFolds(spec, prepare, Dataset.load(data))
    whole = prepare.replace(val_size=0.0, test_size=0.0)
    if spec.kind == "time":
        whole = whole.replace(split="time")  # which refuses ratings whose times are not known
    with tempfile.TemporaryDirectory(prefix="cfcli-") as scratch:
        rows = Path(scratch, "rows")
        try:
            dataset, notes = preparation.prepare(sources, rows, whole, items=items, users=users)
        except InputError as error:
            raise InputError(str(error).replace("--split time", "--folds time")) from None
        for text in notes:
            if note is not None:
                note(text)
        return CutFolds(spec, prepare, dataset)


def check_keys(names: Iterable[str]) -> None:
    """Refuses settings of reading beside a dataset, which was read before.

    Args:
        names: keys of ``[prepare]`` that were given.

    Raises:
        ConfigError: one of them says how ratings are read or filtered.
    """
    for name in names:
        if name not in OF_DATA:
            raise ConfigError(
                f"{name} cannot be combined with --data: its ratings are read already"
            )


class GivenFolds:
    """Folds in files, prepared as ``prepare BASE --test-file TEST`` does.

    Args:
        spec: with the names of the files.
        config: how they are prepared.
        items: titles and attributes of items.
        users: attributes of users.
    """

    def __init__(
        self, spec: Spec, config: PrepareConfig, items: Source | None, users: Source | None
    ) -> None:
        self.spec, self.config, self._items, self._users = spec, config, items, users
        digest = hashlib.sha256()
        for k in range(spec.n):
            fold = self.fold(k)
            for source in (*fold.train, fold.test):
                digest.update(_digest(source))
        for file in (items, users):
            if file is not None:
                digest.update(_digest(file))
        self.key = digest.hexdigest()

    def fold(self, k: int) -> Fold:
        """See :class:`Folds`."""
        base, test = self.spec.files[k]
        return Fold(Source.all_of(base), Source.of(test), self.config, self._items, self._users)


def _names(dataset: Dataset) -> tuple[str, ...] | None:
    """The attributes of a dataset, as the key ``attributes`` takes them."""
    described = dataset.info.attributes
    if described is not None:
        return tuple(each.name for side in described for each in side)
    return NONE if dataset.items.width > 2 else None  # beside the id and the number of ratings


class CutFolds:
    """Folds cut from the rows of a dataset: by a hash of user, item and seed, or by time.

    Of folds by time, each trains on all rows before its own, and rows after them are left out:
    with K folds the rows are cut into K + 1 slices, as the first one only trains.

    Args:
        spec: the folds.
        config: how validation rows are cut: ``split``, ``val_size`` and ``seed``. In folds by time
            they are always the newest of the rows to train on.
        dataset: whose rows of all sides are cut.
    """

    def __init__(self, spec: Spec, config: PrepareConfig, dataset: Dataset) -> None:
        self.spec, self.key, self.config = spec, dataset.info.fingerprint, config
        self._columns, self._ids = dataset.info.columns, dataset.ids
        sides = [dataset.split(side, times=True, weights=True) for side in NAMES]
        self._rows = pl.concat(sides).sort("user", "item")
        self._tables = Pair(dataset.users, dataset.items).map(lambda table: table.drop("n_ratings"))
        self._attributes = _names(dataset)
        self._range = from_dict(PrepareConfig, dataset.info.config).rating_range
        self._parts = spec.n + 1 if spec.kind == "time" else spec.n
        self._part = self._part_of_rows()
        if not np.bincount(self._part, minlength=self._parts).all():
            raise InputError(
                f"--folds: {self._rows.height:,} ratings are too few for {spec.n} folds: "
                "one of them is empty"
            )

    def fold(self, k: int) -> Fold:
        """See :class:`Folds`."""
        if self.spec.kind == "time":
            train, test = self._part <= k, self._part == k + 1
        else:
            train, test = self._part != k, self._part == k
        files: dict[str, Source] = {}
        for entity, table in self._tables.named():
            if table.width > 1:
                files[f"{entity}s"] = Source.of_frame(table, f"{entity}s")
        name = f"fold {k + 1}"
        held_out = self._source(test, f"{name}, test rows")
        return Fold([self._source(train, name)], held_out, self._config(), **files)

    def _part_of_rows(self) -> NDArray[np.int64]:
        """The number of the fold, or of the slice of time, that each row belongs to, (N,)."""
        rows = self._rows
        if self.spec.kind == "time":
            if "timestamp" not in rows.columns:
                raise InputError("--folds time needs ratings with times; name them with --time-col")
            return slices_by_time(rows["timestamp"], self._parts)
        user, item = (hash_ids(side.ids) for side in self._ids)
        of_rows = user[rows["user"].to_numpy()], item[rows["item"].to_numpy()]
        return folds_by_hash(*of_rows, self._parts, self.config.seed)

    def _config(self) -> PrepareConfig:
        """How each fold is prepared: nothing is left to be read in a special form or filtered."""
        columns, config = self._columns, self.config
        return PrepareConfig(
            user_col=columns.user,
            item_col=columns.item,
            rating_col=columns.rating,
            time_col=columns.time,
            weight_col=columns.weight,
            split="time" if self.spec.kind == "time" else config.split,
            val_size=config.val_size,
            test_size=0.0,
            rating_range=self._range,
            attributes=self._attributes,
            seed=config.seed,
        )

    def _source(self, mask: NDArray[np.bool_], name: str) -> Source:
        """Some of the rows, by external ids."""
        rows, columns = self._rows.filter(mask), self._columns
        ids = {role: ids.id(rows[role]) for role, ids in self._ids.named()}
        names = {"user": columns.user, "item": columns.item, "rating": columns.rating}
        if columns.time is not None:
            names["timestamp"] = columns.time
        if columns.weight is not None:
            names["weight"] = columns.weight
        return Source.of_frame(rows.with_columns(**ids).rename(names), name)


def _digest(source: Source) -> bytes:
    """The SHA-256 of an input as it lies on disk."""
    if source.name == "<stdin>":
        raise ConfigError("-: files of folds are read more than once; name a file")
    try:
        with source.open() as raw:
            return hashlib.file_digest(raw, "sha256").digest()  # type: ignore[arg-type]
    except IsADirectoryError:
        raise InputError(f"{source.name}: is a directory; give the files in it") from None
    except OSError as error:
        raise MachineError(f"{source.name}: {error.strerror or error}") from None
