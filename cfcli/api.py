"""The Python API: what the commands do, for notebooks and programs.

All ids here are external ids, as the ratings file has them, never row numbers. The command line
calls the same functions of :mod:`cfcli.core`. Errors are those of :mod:`cfcli.core.errors`; their
message is one line that says what to do next.
"""

import difflib
import functools
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Literal, ParamSpec, Protocol, TypeVar, get_args

import polars as pl

from cfcli.core.config.fields import Key, keys_of
from cfcli.core.config.names import known_key
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.resolve import resolve, resolve_both
from cfcli.core.config.toml import Value
from cfcli.core.config.train import TrainConfig
from cfcli.core.data import prepare as preparation
from cfcli.core.data.dataset import Dataset as StoredDataset
from cfcli.core.data.info import DatasetInfo
from cfcli.core.errors import CfcliError, ConfigError, InputError
from cfcli.core.inputs.sources import Source
from cfcli.core.pair import Pair
from cfcli.core.runs.info import RunInfo
from cfcli.core.runs.run import Run as StoredRun
from cfcli.core.serving.embeddings import Entity, Layout
from cfcli.core.serving.order import By
from cfcli.core.serving.predict import Unknown
from cfcli.core.serving.similar import Metric
from cfcli.core.training.epochs import Epoch

if TYPE_CHECKING:
    from cfcli.core.evaluation.comparison import Comparison
    from cfcli.core.evaluation.cross_validation import CrossValidation
    from cfcli.core.evaluation.cross_validation import Progress as DoneFold
    from cfcli.core.evaluation.evaluate import Evaluation

StrPath = str | Path
Id = str | int
Split = Literal["test", "val", "train"]

P = ParamSpec("P")
T = TypeVar("T")


class ArrowTable(Protocol):
    """A table of another library that can be handed over, such as one of pandas or PyArrow."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Table = pl.DataFrame | ArrowTable | Mapping[str, Sequence[object]]
Ratings = StrPath | Sequence[StrPath] | Table

# A flag as messages have it, with the word after it. Quoted texts come first: they are left alone.
FLAG = re.compile(
    r"""(?<!\w)'[^']*'|(?<![\w"/-])--(?:set )?([a-z][a-z0-9-]*)( [^\s;()]*[^\s;():,])?"""
)


def _speaks_python(function: Callable[P, T]) -> Callable[P, T]:
    """Decorates a function of the API: errors that name flags name arguments instead."""
    parameters = inspect.signature(function).parameters
    takes_keys = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    _arguments.update(parameters)

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except CfcliError as error:
            error.args = (_in_python(str(error), parameters, takes_keys),)
            raise

    return wrapped


_arguments: dict[str, inspect.Parameter] = {}  # of all functions of the API


def _in_python(message: str, own: Iterable[str] = (), takes_keys: bool = True) -> str:
    """A message in which arguments stand for flags: ``force=True`` for ``--force``.

    Advice about flags that nothing in Python stands for is left out.

    Args:
        message: as the command line shows it.
        own: the arguments of the function that was called.
        takes_keys: whether it also takes keys of the configuration.
    """
    settings = {**keys_of(TrainConfig), **keys_of(PrepareConfig)}
    own = set(own)

    def is_argument(name: str, advice: str) -> bool:
        if name in own:
            return True
        if name in keys_of(PrepareConfig):  # no setting of a function that reads as the run did
            return takes_keys or "prepare" in advice
        return name in settings or name in _arguments

    first, *rest = re.split(r"((?:;|, or) (?=[^;]*--))", message)
    kept = [first]
    for joint, advice in zip(rest[::2], rest[1::2], strict=True):
        flags = [_name_of(flag[1]) for flag in FLAG.finditer(advice) if flag[1]]
        if all(is_argument(name, advice) for name in flags):
            kept += [joint, advice]
    text = FLAG.sub(lambda flag: _argument(flag, settings), "".join(kept))
    text = re.sub(r"'cfcli (prepare|train|compare)'", r"cfcli.\1", text)
    return re.sub(r"\bRATINGS\b(?!\.)", "ratings", text)


def _name_of(flag: str) -> str:
    """The argument for a flag without its dashes."""
    return flag.replace("-", "_")


def _argument(flag: re.Match[str], settings: Mapping[str, Key]) -> str:
    """A match of ``FLAG``, as Python has it."""
    if not flag[1]:  # a quoted text
        return flag[0]
    name, after = _name_of(flag[1]), flag[2] or ""
    word = after.strip()
    before, behind = flag.string[: flag.start()], flag.string[flag.end() :]
    if word.isupper():  # what stands for a value
        return f"{name}="
    choices = set(settings[name].choices) if name in settings else set()
    if name in _arguments:
        choices |= set(get_args(_arguments[name].annotation))
    is_example = bool(word) and before.endswith(": ")
    if word in choices or is_example or re.search(r"[\d%/,]", word):
        return f"{name}={word}" if word.isdecimal() else f'{name}="{word}"'
    is_subject = not before or behind.startswith(":")
    if is_subject and not after:
        return name
    is_switch = name in settings and settings[name].hint is bool
    if name in _arguments:
        is_switch = isinstance(_arguments[name].default, bool)
    if is_switch:
        return f"{name}=True{after}"
    return f"{name}{after}" if is_subject else f"{name}={after}"


def _check_choice(name: str, value: object, choices: object) -> None:
    """Raises a ConfigError where an argument is none of its choices.

    Args:
        name: of the argument.
        value: what was given for it.
        choices: the Literal of what it may be.
    """
    known = get_args(choices)
    if not isinstance(value, str) or value not in known:
        near = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ConfigError(f"{name}: {_shown(value)} is not one of {', '.join(known)}{hint}")


def _check_count(name: str, value: object, least: int) -> None:
    """Raises a ConfigError where an argument is no whole number, or is below the least."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ConfigError(f"{name}: {_shown(value)} is not a whole number")
    if int(value) < least:
        raise ConfigError(f"{name}: {value} is below {least}")


def _shown(value: object) -> str:
    """A wrong value for a message of one line."""
    plain = value is None or isinstance(value, str | int | float)
    return repr(value) if plain else f"a value of type {type(value).__name__}"


class Dataset:
    """A dataset on disk, as :func:`prepare` makes it."""

    def __init__(self, stored: StoredDataset) -> None:
        self._stored = stored

    def __repr__(self) -> str:
        info = self.info
        return (
            f"<cfcli.Dataset {self.path}: {info.ratings:,} ratings by {info.users:,} users "
            f"of {info.items:,} items>"
        )

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._stored.path

    @property
    def info(self) -> DatasetInfo:
        """Its counts, the scale of its ratings, the names of its columns and more."""
        return self._stored.info

    @property
    def users(self) -> pl.DataFrame:
        """One row per user: the id under its own column name, ``n_ratings``, and attributes."""
        return self._stored.users

    @property
    def items(self) -> pl.DataFrame:
        """One row per item: the id, ``n_ratings``, and ``title``, ``genres`` and other attributes
        where known."""
        return self._stored.items

    @_speaks_python
    def split(self, name: Split) -> pl.DataFrame:
        """The ratings of one side of the split.

        Args:
            name: which side.

        Returns:
            Columns for the user id, the item id (texts, under their own names) and ``rating``.

        Raises:
            ConfigError: there is no such side.
            ArtifactError: the file is damaged.
        """
        _check_choice("name", name, Split)
        rows = self._stored.split(name)
        columns, ids = self.info.columns, self._stored.ids
        return pl.DataFrame(
            {
                columns.user: ids.user.id(rows["user"]),
                columns.item: ids.item.id(rows["item"]),
                "rating": rows["rating"],
            }
        )


class Run:
    """A trained model on disk, as :func:`train` makes it and :func:`load` finds it."""

    def __init__(self, stored: StoredRun) -> None:
        self._stored = stored

    def __repr__(self) -> str:
        info = self.info
        return f"<cfcli.Run {self.path}: {info.model} of dimension {info.dim}>"

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._stored.path

    @property
    def info(self) -> RunInfo:
        """How it was trained and how well: ``model``, ``dim``, ``val``, ``seconds`` and more."""
        return self._stored.info

    @property
    def users(self) -> pl.DataFrame:
        """One row per user: the id under its own column name, ``n_ratings``, ``mean``, ``bias``."""
        return self._stored.users

    @property
    def items(self) -> pl.DataFrame:
        """As ``users``, with ``title`` and ``genres`` where known."""
        return self._stored.items

    @property
    def history(self) -> pl.DataFrame:
        """One row per epoch: training and validation errors, seconds."""
        return self._stored.history

    @_speaks_python
    def evaluate(
        self,
        split: Split = "test",
        *,
        ratings: Ratings | None = None,
        data: StrPath | Dataset | None = None,
        include_trained: bool = False,
    ) -> "Evaluation":
        """Errors of the model and of four baselines on the same held-out rows.

        Args:
            split: rows of the run's dataset to judge by.
            ratings: other ratings to judge by: a file, several, or a table in memory.
            data: the run's dataset, where it is not in its old place.
            include_trained: judge the run itself, also by rows that it was trained on. Otherwise
                its twin judges a split that the run was trained on (``.judged`` says so), and rows
                of ``ratings`` are left out (``.trained_rows`` says how many).

        Returns:
            The errors: ``.rating.rmse``, ``.rating.mae``, ``.baselines`` and more.

        Raises:
            ConfigError: ``split`` is none of these.
            InputError: there are no rows to judge by, or no id in them is known.
            ArtifactError: the dataset is gone, or is another one now.
        """
        from cfcli.core.evaluation.evaluate import evaluate

        _check_choice("split", split, Split)
        source = None if ratings is None else _source(ratings)
        notes: list[str] = []
        found, _ = evaluate(
            self._stored,
            split=split,
            source=source,
            data=None if data is None else _folder(data),
            include_trained=include_trained,
            note=notes.append,
        )
        for note in notes:
            _warn(note)
        return found

    @_speaks_python
    def with_new(self, *, items: Ratings | None = None, users: Ratings | None = None) -> "Run":
        """The run with items and users that came after the training, as far as their attributes
        tell of them.

        Args:
            items: one row for each: the id, attributes as in the training, perhaps ``title``; a
                path, a Polars or pandas frame or a dictionary of columns.
            users: the same of users.

        Returns:
            A run in memory for :meth:`predict`, :meth:`recommend` (new items count where ``items``
            names them) and :meth:`similar`; what is on the disk stays as it is.

        Raises:
            ConfigError: the run was trained without attributes.
            InputError: a table cannot be read.
        """
        from cfcli.core.runs.newcomers import with_source

        stored = self._stored
        if items is not None:
            stored = with_source(stored, _source(items), "item", stored.form(), _warn)
        if users is not None:
            stored = with_source(stored, _source(users), "user", stored.form(), _warn)
        return Run(stored)

    @_speaks_python
    def predict(
        self,
        pairs: Table,
        *,
        unknown: Unknown = "fallback",
        std: bool = False,
        probabilities: bool = False,
        ratings: Ratings | None = None,
    ) -> pl.DataFrame:
        """Predicted ratings for pairs of a user and an item.

        Args:
            pairs: a table with a column of user ids and one of item ids, called as in the ratings
                file or by a common name (``user_id``, ``movieId`` ...); a Polars or pandas frame or
                a dictionary of columns.
            unknown: what pairs get whose user or item the run does not know: ``fallback`` (what is
                known of the other side), ``nan``, ``skip`` (no row) or ``error``.
            std: add a column ``std``, how far ratings fall from their prediction; for runs of the
                sampler.
            probabilities: add columns ``p_1``, ``p_2`` and so on, the probability of each step of
                the rating scale; for runs of the sampler.
            ratings: what was rated since the training; its users are folded in.

        Returns:
            The same rows in the same order with all their columns, ``prediction`` and ``source``,
            which says what it rests on: ``model``, ``folded_in``, ``item_attributes``,
            ``user_attributes``, ``user_bias``, ``item_bias`` or ``mean``. How many ids are unknown
            comes as a warning.

        Raises:
            ConfigError: ``unknown`` is none of its choices.
            InputError: a column is missing or of floats, or no id is known.
        """
        from cfcli.core.serving.predict import predict_frame

        _check_choice("unknown", unknown, Unknown)
        notes: list[str] = []
        found = predict_frame(
            self._stored,
            _frame(pairs),
            unknown=unknown,
            std=std,
            probabilities=probabilities,
            ratings=None if ratings is None else _source(ratings),
            note=notes.append,
        )
        for note in notes:
            _warn(note)
        return found

    @_speaks_python
    def recommend(
        self,
        users: Id | Sequence[Id] | None = None,
        *,
        n: int = 10,
        by: By = "list",
        ratings: Ratings | None = None,
        items: Sequence[Id] | None = None,
        include_seen: bool = False,
        min_ratings: int = 1,
        why: int = 0,
        diversify: float = 0.0,
    ) -> pl.DataFrame:
        """The best items for users, best first, without those that they rated.

        Args:
            users: their ids; all users by default.
            n: items for each user.
            by: order by ``interest`` (what the user would choose), predicted ``rating``, or
                ``list``: both together, weighted on validation rows.
            ratings: ratings of new users, or new ratings of known ones, who are folded in.
            items: ids of the items to choose from; all by default.
            include_seen: also recommend what a user rated.
            min_ratings: training ratings that an item must have.
            why: how many rated items to name as reasons for each item, in a column ``because``.
            diversify: how much to prefer items unlike those above in the list, from 0 to 1.

        Returns:
            The user id, the item id, ``rank``, ``score`` (what the order is by), ``prediction``
            (the rating), ``ratings`` (how many the item has) and, where known, ``title``.

        Raises:
            InputError: a user is not in the run.
            ConfigError: the run has no interest model, and ``by`` or ``why`` asks for it; or an
                argument is none of its choices, not a number, or too small.
        """
        from cfcli.core.serving.recommend import Choice, recommend_frame

        _check_choice("by", by, By)
        for name, count, least in ("n", n, 1), ("min_ratings", min_ratings, 0), ("why", why, 0):
            _check_count(name, count, least)
        if not isinstance(diversify, Real):
            raise ConfigError(f"diversify: {_shown(diversify)} is not a number")
        choice = Choice(
            n=n,
            by=by,
            items=None if items is None else _ids("items", items),
            include_seen=include_seen,
            min_ratings=min_ratings,
            why=why,
            diversify=diversify,
        )
        notes: list[str] = []
        found = recommend_frame(
            self._stored,
            None if users is None else _ids("users", users),
            choice,
            ratings=None if ratings is None else _source(ratings),
            note=notes.append,
        )
        for note in notes:
            _warn(note)
        return found

    @_speaks_python
    def similar(
        self,
        item: Id | None = None,
        *,
        title: str | None = None,
        n: int = 10,
        metric: Metric = "cosine",
        min_ratings: int = 1,
    ) -> pl.DataFrame:
        """The items nearest to an item.

        Args:
            item: its id.
            title: or its title, or a part of it; the most rated item of that title is taken.
            n: how many neighbours.
            metric: how nearness is measured: ``cosine``, ``dot`` or ``euclidean``.
            min_ratings: training ratings that a neighbour must have.

        Returns:
            The item asked for, the neighbour's id, ``rank``, ``score`` and, where known, ``title``.

        Raises:
            ConfigError: neither or both of ``item`` and ``title`` are given; or an argument is none
                of its choices, not a number, or too small.
            InputError: no such item.
        """
        from cfcli.core.serving.similar import similar_frame

        if (item is None) == (title is None):
            raise ConfigError("similar: give an item's id, or title=...")
        if not isinstance(item, str | Integral | None):
            raise ConfigError(f"item: give one id, not {_shown(item)}")
        if not isinstance(title, str | None):
            raise ConfigError(f"title: give a text, not {_shown(title)}")
        _check_choice("metric", metric, Metric)
        _check_count("n", n, 1)
        _check_count("min_ratings", min_ratings, 0)
        return similar_frame(
            self._stored,
            item_id=None if item is None else str(item),
            title=title,
            n=n,
            metric=metric,
            min_ratings=min_ratings,
        )

    @_speaks_python
    def embeddings(
        self,
        entity: Entity = "items",
        *,
        titles: bool = False,
        layout: Layout = "columns",
        vectors: By = "rating",
    ) -> pl.DataFrame:
        """The vectors of all items or users, sorted by id.

        Args:
            entity: whose vectors: ``items`` or ``users``.
            titles: add the titles of items.
            layout: ``columns``: one float32 column per dimension, ``column_0`` ...; ``list``: one
                column ``embedding``.
            vectors: of the ``rating`` model, of the ``interest`` model, or ``list``: vectors whose
                inner product orders items as :meth:`recommend` does.

        Returns:
            The id under its own column name, perhaps ``title``, and the vector.

        Raises:
            ConfigError: the run knows no titles, or has no such vectors; or an argument is none of
                its choices.
        """
        from cfcli.core.serving.embeddings import table

        _check_choice("entity", entity, Entity)
        _check_choice("layout", layout, Layout)
        _check_choice("vectors", vectors, By)
        return table(self._stored, entity, layout, titles, vectors=vectors)


@_speaks_python
def prepare(
    ratings: Ratings | None = None,
    *,
    dataset: str | None = None,
    out: StrPath = "data",
    items: StrPath | None = None,
    users: StrPath | None = None,
    val_file: StrPath | None = None,
    test_file: StrPath | None = None,
    config: StrPath | None = None,
    force: bool = False,
    accept_shrink: bool = False,
    **keys: Value,
) -> Dataset:
    """Turns ratings into a dataset: maps ids, settles duplicates, splits the rows.

    Args:
        ratings: a file, several files, a folder of Parquet parts, or a table in memory.
        dataset: in place of ``ratings``: ``sample``, or a MovieLens set to download.
        out: the folder of the dataset.
        items: a file of titles, genres and other attributes by item id.
        users: a file of attributes by user id; the key ``attributes`` names those that are kept.
        val_file, test_file: validation and test ratings, in files of their own.
        config: a TOML file with settings; ``keys`` win over it.
        force: replace another dataset in ``out``.
        accept_shrink: with ``force``, even if most of the former rows or ids are gone.
        **keys: keys of the configuration, such as ``split="time"`` or ``min_user_ratings=5``.

    Returns:
        The dataset. What a person should know of it comes as warnings.

    Raises:
        InputError: the ratings cannot be used.
        ConfigError: an unknown key, or ``out`` holds something else.
        LockedError: another process is writing to ``out``.
        MachineError: no permission, no space.
    """
    if (ratings is None) == (dataset is None):
        raise ConfigError("prepare: give ratings or dataset=NAME, one of them")
    settings = resolve(PrepareConfig, file=_path("config", config), flags=keys, note=_warn)
    files = Pair(_file("users", users), _file("items", items))
    if dataset is not None:
        if not isinstance(dataset, str):
            raise ConfigError(f"dataset: give a name, not {_shown(dataset)}")
        from cfcli.core.inputs import movielens

        if dataset == "sample":
            sources, own = movielens.sample()
        else:
            sources, own = movielens.sources(dataset, movielens.fetch(dataset))
        files = Pair(files.user or own.user, files.item or own.item)
    elif ratings is not None:
        sources = _sources(ratings)
    made, notes = preparation.prepare(
        sources,
        _folder(out, "out"),
        settings,
        items=files.item,
        users=files.user,
        val=_file("val_file", val_file),
        test=_file("test_file", test_file),
        force=force,
        accept_shrink=accept_shrink,
    )
    for note in notes:
        _warn(note)
    return Dataset(made)


@_speaks_python
def train(
    data: Dataset | StrPath = "data",
    *,
    out: StrPath | None = None,
    config: StrPath | None = None,
    quiet: bool = False,
    **keys: Value,
) -> Run:
    """Trains a model, stops when the validation error no longer falls, keeps the best epoch.

    Ctrl-C (a notebook's stop button) ends the training after the epoch that runs, and keeps the
    best one so far.

    Args:
        data: the dataset, or its folder.
        out: the folder of the run; by default a new one in ``runs``.
        config: a TOML file with settings; ``keys`` win over it.
        quiet: print no line per epoch.
        **keys: keys of the configuration, such as ``model="ncf"``, ``dim=5`` or ``epochs=10``.

    Returns:
        The run.

    Raises:
        ConfigError: an unknown key, or ``out`` is there already.
        InputError: the ratings hold nothing to learn.
        MachineError: no such device, not enough memory or space.
        GateError: the loss diverged.
    """
    from cfcli.core.runs.train import train as train_run

    settings = resolve(TrainConfig, file=_path("config", config), flags=keys, note=_warn)
    settings.refuse_ranks("cfcli.train")
    stored = data._stored if isinstance(data, Dataset) else StoredDataset.load(_folder(data))
    progress = None if quiet else _Lines()
    trained = train_run(stored, settings, _path("out", out), progress)
    if trained is None:  # only where several processes train, which was refused
        raise ConfigError("cfcli.train is one process")
    return Run(StoredRun(trained.path, trained.info))


@_speaks_python
def load(path: StrPath = "runs/latest") -> Run:
    """Loads a run, once all its files have been checked against its manifest.

    Args:
        path: its folder, or a link to it such as ``store/current``.

    Returns:
        The run.

    Raises:
        ArtifactError: no run is there, or it is damaged or of another version.
    """
    return Run(_stored(path, "path"))


@_speaks_python
def cross_validate(
    ratings: Ratings | None = None,
    *,
    data: Dataset | StrPath | None = None,
    folds: int | str = 5,
    items: StrPath | None = None,
    users: StrPath | None = None,
    out: StrPath | None = None,
    config: StrPath | None = None,
    quiet: bool = False,
    **keys: Value,
) -> "CrossValidation":
    """Trains and evaluates a model on several folds of the ratings.

    Args:
        ratings: a file, several files, a folder of Parquet parts, or a table in memory.
        data: in place of ``ratings``: a dataset, or its folder; all its rows are cut.
        folds: how many, cut by a hash of user and item; ``"time:5"`` for folds that each train on
            all that is older; or ``"u1.base:u1.test,u2.base:u2.test"`` in place of ``ratings``.
        items: a file of titles, genres and other attributes by item id.
        users: a file of attributes by user id; the key ``attributes`` names those that are kept.
        out: a folder that keeps all folds, from which the same call goes on.
        config: a TOML file with settings; ``keys`` win over it.
        quiet: print no line per fold.
        **keys: keys of the configuration of :func:`prepare` and :func:`train`.

    Returns:
        Mean and deviation over folds: ``.model.rmse.mean``, ``.model.rmse.std``, ``.baselines``,
        ``.lists``, and ``.evaluations`` of each fold.

    Raises:
        ConfigError: an unknown key, bad folds, or ``out`` was begun with other settings.
        InputError: the ratings cannot be used, or are too few.
        ArtifactError: ``out`` was begun with other ratings, or is damaged.
        MachineError: no such file or device, no permission, no space.
        GateError: the loss diverged.
        StoppedError: a signal came.
    """
    from cfcli.core.evaluation import cross_validation
    from cfcli.core.evaluation.folds import Spec, check_keys, open_folds

    known = {*keys_of(PrepareConfig), *keys_of(TrainConfig)}
    for name in keys:
        known_key(name, known, "configuration")
    settings, training = resolve_both(_path("config", config), (), keys, _warn)
    spec = Spec.of(str(folds))
    if data is not None:
        check_keys(name for name in keys if name in keys_of(PrepareConfig))
        data = _folder(data)
    notes: list[str] = []
    opened = open_folds(
        spec,
        settings,
        sources=() if ratings is None else _sources(ratings),
        data=data,
        items=_file("items", items),
        users=_file("users", users),
        note=notes.append,
    )
    for note in notes:
        _warn(note)
    progress = None if quiet else _say_fold
    folder = _path("out", out)
    return cross_validation.cross_validate(opened, training, out=folder, progress=progress)


@_speaks_python
def compare(
    runs: Sequence[Run | StrPath],
    *,
    split: Split = "test",
    ratings: Ratings | None = None,
) -> "Comparison":
    """Compares runs on the same rows with the first of them.

    Args:
        runs: two or more, or their folders.
        split: rows of their dataset to judge by.
        ratings: other ratings to judge by, also for runs of several datasets.

    Returns:
        ``.runs``, each with its errors and, but for the first, ``.rmse_difference`` and
        ``.ndcg_difference`` with their 95 % intervals, and a ``.verdict``.

    Raises:
        ConfigError: fewer than two runs, or ``split`` is none of these.
        InputError: no rows are left to judge by.
        ArtifactError: the runs have other test rows, or a run or a dataset is missing or damaged.
    """
    from cfcli.core.evaluation import comparison

    _check_choice("split", split, Split)
    if isinstance(runs, str | os.PathLike) or not isinstance(runs, Iterable):
        raise ConfigError(f"runs: give a list of runs or of their folders, not {_shown(runs)}")
    notes: list[str] = []
    found = comparison.compare(
        [_stored(run, "runs") for run in runs],
        split=split,
        source=None if ratings is None else _source(ratings),
        note=notes.append,
    )
    for note in notes:
        _warn(note)
    return found


def _say_fold(done: "DoneFold") -> None:
    """Prints a line about a fold to stderr."""
    print(done.line(), file=sys.stderr)


class _Lines:
    """Prints a line per epoch to stderr."""

    def named(self, run: Path) -> None:
        print(f"training {run}", file=sys.stderr)

    def start(self, device: str, batches: int, epochs: int) -> None:
        self.epochs = epochs

    def stage(self, text: str) -> None:
        print(text, file=sys.stderr)

    def batch(self, done: int) -> None:
        pass

    def epoch(self, row: Epoch) -> None:
        error = f"train RMSE {row.train_rmse:.4f}"
        if row.val_rmse is not None:
            error = f"val RMSE {row.val_rmse:.4f}"
        print(f"epoch {row.epoch:>3}/{self.epochs}  {error}  {row.seconds:.2f} s", file=sys.stderr)


def _path(name: str, path: StrPath | None) -> Path | None:
    """A path that may be left out, by the name of its argument."""
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"{name}: give a path, not {_shown(path)}")
    return Path(path)


def _file(name: str, path: StrPath | None) -> Source | None:
    """A file that may be left out, by the name of its argument, as an input to read."""
    return None if _path(name, path) is None else Source.of(str(path))


def _folder(data: Dataset | StrPath, name: str = "data") -> Path:
    """The folder of a dataset, by the name of its argument."""
    folder = data.path if isinstance(data, Dataset) else _path(name, data)
    if folder is None:
        raise ConfigError(f"{name}: give a path, not None")
    return folder


def _stored(run: Run | StrPath, name: str) -> StoredRun:
    """A run, or the one in a folder, by the name of its argument."""
    return run._stored if isinstance(run, Run) else StoredRun.load(_folder(run, name))


def _warn(text: str) -> None:
    warnings.warn(_in_python(text), stacklevel=4)


def _frame(table: Table) -> pl.DataFrame:
    """A table of any kind as a Polars frame."""
    if isinstance(table, str | os.PathLike):
        raise InputError(f"not a table of columns: '{table}'; read a file with polars.read_csv")
    try:
        frame = table if isinstance(table, pl.DataFrame) else pl.DataFrame(table)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise InputError(f"not a table of columns: {error}") from None
    for name, kind in frame.schema.items():
        if kind == pl.Object:
            raise InputError(f"the table: column '{name}' holds neither texts nor numbers")
    return frame


def _sources(ratings: Ratings) -> list[Source]:
    """Ratings in files or in memory, as inputs to read."""
    if isinstance(ratings, str | Path):
        return Source.all_of(ratings)
    if isinstance(ratings, Sequence):
        if not ratings or not all(isinstance(path, str | Path) for path in ratings):
            raise InputError("ratings: give a path, a list of paths, or a table with named columns")
        return [source for path in ratings for source in Source.all_of(path)]
    return [Source.of_frame(_frame(ratings), "the table")]


def _source(ratings: Ratings) -> Source:
    """Ratings that are one input."""
    sources = _sources(ratings)
    if len(sources) != 1:
        raise ConfigError("give one file or one table of ratings")
    return sources[0]


def _ids(name: str, ids: Id | Iterable[Id]) -> pl.Series:
    """Ids as texts, which they are, by the name of their argument."""
    if isinstance(ids, str | Integral):
        ids = [str(ids)]
    if not isinstance(ids, Iterable):
        raise ConfigError(f"{name}: give an id or a list of ids, not {_shown(ids)}")
    return pl.Series([str(id) for id in ids], dtype=pl.String)
