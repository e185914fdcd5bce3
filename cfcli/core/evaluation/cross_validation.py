"""How good a model is over several folds of the ratings: the mean, and how far folds differ."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

import numpy as np

from cfcli.core.config.resolve import as_dict
from cfcli.core.config.train import TrainConfig
from cfcli.core.data import prepare as preparation
from cfcli.core.data.info import PlainConfig
from cfcli.core.errors import ArtifactError, ConfigError, StoppedError
from cfcli.core.evaluation.evaluate import BASELINES, Evaluation, evaluate
from cfcli.core.evaluation.folds import Fold, Folds
from cfcli.core.evaluation.lists import ORDERS, ListEvaluation, ListQuality
from cfcli.core.metrics.lists import Quality
from cfcli.core.metrics.ratings import Errors
from cfcli.core.runs import train as fitting
from cfcli.core.runs.run import Run
from cfcli.core.storage import manifests, publishing, targets
from cfcli.core.storage.manifests import File
from cfcli.core.storage.schema import Measure, left_out, plain, read_as, to_json
from cfcli.version import __version__

FORMAT = 1
PLAN = "folds.json"
RESULT = "evaluation.json"


@dataclass(frozen=True)
class Spread:
    """One measure over folds.

    Attributes:
        mean: over the folds where it is a number.
        std: standard deviation over them, with n - 1 in the denominator; not a number for fewer
            than two.
    """

    mean: Measure
    std: Measure

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """The mean and the deviation of values.

        Args:
            values: one per fold; what is not a number is left out.
        """
        known = np.array([value for value in values if not np.isnan(value)])
        return cls(
            float(known.mean()) if len(known) else float("nan"),
            float(known.std(ddof=1)) if len(known) > 1 else float("nan"),
        )


@dataclass(frozen=True)
class Spreads:
    """Several measures over folds: a field for each, called as in what one fold has."""

    @classmethod
    def of(cls, found: Sequence[Errors] | Sequence[Quality]) -> Self:
        """The spread of each measure.

        Args:
            found: one per fold.
        """
        names = [field.name for field in fields(cls)]
        return cls(*(Spread.of(getattr(one, name) for one in found) for name in names))


@dataclass(frozen=True)
class ErrorSpread(Spreads):
    """Errors over folds, as :class:`cfcli.core.metrics.ratings.Errors` has them.

    Attributes:
        mse: mean squared error.
        rmse: its root, of each fold.
        mae: mean absolute error.
    """

    mse: Spread
    rmse: Spread
    mae: Spread


@dataclass(frozen=True)
class QualitySpread(Spreads):
    """Quality of lists over folds, as :class:`cfcli.core.metrics.lists.Quality` has it.

    Attributes:
        ndcg: normalised discounted cumulative gain.
        recall: share of the relevant items that are on the list.
    """

    ndcg: Spread
    recall: Spread


@dataclass(frozen=True)
class ListQualitySpread:
    """Quality of the lists of one order over folds.

    Attributes:
        all: for all held-out rows.
        liked: for those that the user liked.
        coverage: share of the items that stand on at least one list.
        novelty: mean self-information of the items on the lists, in bits.
    """

    all: QualitySpread
    liked: QualitySpread
    coverage: Spread
    novelty: Spread

    @classmethod
    def of(cls, found: Sequence[ListQuality]) -> "ListQualitySpread":
        """The spread of qualities.

        Args:
            found: one per fold.
        """
        return cls(
            QualitySpread.of([one.all for one in found]),
            QualitySpread.of([one.liked for one in found]),
            Spread.of(one.coverage for one in found),
            Spread.of(one.novelty for one in found),
        )


@dataclass(frozen=True, kw_only=True)
class ListSpread:
    """Quality of lists over folds, as :class:`cfcli.core.evaluation.lists.ListEvaluation` has it.

    Attributes:
        k: places of a list.
        popular: of the most rated items.
        rating: of the order by predicted rating.
        interest: of the order by interest; None where a fold has no interest model.
        list: of the order of ``recommend``.
    """

    k: int
    popular: ListQualitySpread
    rating: ListQualitySpread
    interest: ListQualitySpread | None = left_out()
    list: ListQualitySpread

    @classmethod
    def of(cls, found: Sequence[ListEvaluation]) -> "ListSpread":
        """The spread of lists.

        Args:
            found: one per fold.
        """
        orders = {}
        for name in ORDERS:
            of_folds = [getattr(one, name) for one in found]
            if None not in of_folds:
                orders[name] = ListQualitySpread.of(of_folds)
        return cls(k=found[0].k, **orders)


@dataclass(frozen=True)
class CrossValidation:
    """How good a model is over folds.

    Attributes:
        folds: how many there are.
        model: errors of the model.
        baselines: errors of the baselines, by their names.
        lists: quality of the lists; None where a fold has none.
        evaluations: of each fold.
    """

    folds: int
    model: ErrorSpread
    baselines: dict[str, ErrorSpread]
    lists: ListSpread | None
    evaluations: list[Evaluation]

    @classmethod
    def of(cls, found: list[Evaluation]) -> "CrossValidation":
        """Sums up folds.

        Args:
            found: one per fold.
        """
        baselines = {
            name: ErrorSpread.of([one.baselines[name] for one in found]) for name in BASELINES
        }
        lists = [one.lists for one in found if one.lists is not None]
        return cls(
            len(found),
            ErrorSpread.of([one.model for one in found]),
            baselines,
            ListSpread.of(lists) if len(lists) == len(found) else None,
            found,
        )


@dataclass(frozen=True)
class Progress:
    """A fold that is done.

    Attributes:
        fold: its number, from 1.
        folds: how many there are.
        evaluation: of the fold.
        seconds: that it took; None where an earlier call had finished it.
    """

    fold: int
    folds: int
    evaluation: Evaluation
    seconds: float | None

    def line(self) -> str:
        """What a person should know of it."""
        one = self.evaluation
        lists = f", nDCG liked {one.lists.list.liked.ndcg:.4f}" if one.lists else ""
        took = "kept from before" if self.seconds is None else f"{self.seconds:.1f} s"
        return (
            f"fold {self.fold}/{self.folds}: RMSE {one.model.rmse:.4f}, damped biases "
            f"{one.baselines['bias'].rmse:.4f}{lists}, {one.n:,} test rows, {took}"
        )


@dataclass(frozen=True)
class Plan:
    """What the folder of a cross-validation was begun with.

    Attributes:
        format: number of the format.
        cfcli: version that began it.
        folds: the value of ``--folds``.
        ratings: what tells the ratings from others.
        prepare: the settings of ``[prepare]``,
        train: and of ``[train]``.
        files: no others belong to it.
    """

    format: int
    cfcli: str
    folds: str
    ratings: str
    prepare: PlainConfig
    train: PlainConfig
    files: dict[str, File]


def cross_validate(
    folds: Folds,
    train: TrainConfig,
    *,
    out: Path | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> CrossValidation:
    """Trains a model on each fold as ``train`` does, and judges it as ``evaluate`` does.

    Args:
        folds: see :func:`cfcli.core.evaluation.folds.open_folds`.
        train: the settings of each training.
        out: a folder that keeps dataset, run and evaluation of each fold. Folds that are finished
            there are not trained again. By default all vanishes.
        progress: is called after each fold.

    Raises:
        ConfigError: several processes or a warm start are asked for; ``out`` was begun with other
            settings, or holds something else.
        InputError: a fold has nothing to learn or to judge by.
        LockedError: another process works in ``out``.
        ArtifactError: ``out`` was begun with other ratings, or is damaged.
        MachineError: no such device, no permission, no space.
        GateError: the loss diverged.
        StoppedError: a signal; finished folds stay in ``out``.
    """
    train.refuse_ranks("cross-validate")
    if train.warm_start:
        raise ConfigError("warm_start: the run may know the test rows of a fold; leave it out")
    n = folds.spec.n
    found = []
    with _place(out) as place:
        if out is not None:
            _begin(out, _plan(folds, train))
        for k in range(n):
            begin = time.perf_counter()
            folder = place / f"fold-{k + 1}"
            finished = _read(folder)
            evaluation = finished or _judge(folds.fold(k), folder, train)
            if out is None:  # room for the next one
                shutil.rmtree(folder)
                evaluation = replace(evaluation, run=folder.name)
            found.append(evaluation)
            seconds = None if finished else time.perf_counter() - begin
            if progress is not None:
                progress(Progress(k + 1, n, evaluation, seconds))
    return CrossValidation.of(found)


def check_out(out: Path) -> None:
    """Refuse a folder that cannot hold folds, before the work begins.

    Args:
        out: that the user named; one that holds folds already is well.

    Raises:
        ConfigError: it belongs to an artifact, or holds other files.
    """
    targets.check_folder(out)
    with publishing.machine_errors(out):
        if out.exists() and not out.is_dir():
            raise ConfigError(f"{out}: is not a directory; choose another --out")
        others = []
        if out.is_dir() and not (out / PLAN).exists():
            others = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    if others:
        raise ConfigError(
            f"{out}: holds other files ({others[0]}); folds need a folder of their own: "
            f"--out {out / 'folds'}"
        )


@contextlib.contextmanager
def _place(out: Path | None) -> Iterator[Path]:
    """The folder for folds, locked: the one that is named, or one that vanishes."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="cfcli-") as scratch:
            yield Path(scratch)
        return
    check_out(out)
    with publishing.lock(out / ".lock"):
        yield out


def _plan(folds: Folds, train: TrainConfig) -> Plan:
    return Plan(
        FORMAT,
        __version__,
        folds.spec.text,
        folds.key,
        {**as_dict(folds.config)},
        {**as_dict(train)},
        {},
    )


def _begin(out: Path, plan: Plan) -> None:
    """Writes down what a cross-validation rests on, or refuses to go on with another one.

    Raises:
        ConfigError: it was begun with other settings.
        ArtifactError: with other ratings, or it is damaged.
    """
    path = out / PLAN
    if not path.exists():
        manifests.write(path, to_json(plan), {})
        return
    before = read_as(Plan, path, manifests.read(path, "cross-validation", FORMAT))
    hint = "choose another --out, or remove that folder"
    for name in ("cfcli", "folds", "prepare", "train"):
        old, new = getattr(before, name), plain(getattr(plan, name))
        if old != new:
            raise ConfigError(f"{out}: was begun with {_change(name, old, new)}; {hint}")
    if before.ratings != plan.ratings:
        raise ArtifactError(f"{out}: was begun with other ratings; {hint}")


def _change(name: str, old: object, new: object) -> str:
    """The first value that is another one now."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return f"{name} {old}, not {new}"
    key = next(key for key in {**old, **new} if old.get(key) != new.get(key))
    return _change(key, old.get(key), new.get(key))


def _judge(fold: Fold, folder: Path, train: TrainConfig) -> Evaluation:
    """Prepares, trains and evaluates a fold, and writes down what came of it.

    Raises:
        StoppedError: a signal came.
    """
    run = folder / "run"
    if run.exists():  # of a process that was killed before it was judged
        publishing.discard(run)
    dataset, _ = preparation.prepare(
        fold.train,
        folder / "data",
        fold.config,
        items=fold.items,
        users=fold.users,
        test=fold.test,
        force=True,
        accept_shrink=True,
    )
    trained = fitting.train(dataset, train, run)
    if trained is None:  # only where several processes train, which was refused
        raise ConfigError("cross-validate is one process")
    if trained.stopped_by:
        publishing.discard(run)
        raise StoppedError(
            f"stopped in {folder.name}; with --out, the same command goes on with that fold",
            trained.stopped_by,
        )
    evaluation, _ = evaluate(Run.load(run))
    manifests.write(folder / RESULT, {"format": FORMAT, **to_json(evaluation)}, {})
    return evaluation


def _read(folder: Path) -> Evaluation | None:
    """What came of a fold; None where it is not finished.

    Raises:
        ArtifactError: it is damaged.
    """
    path = folder / RESULT
    if not path.exists():
        return None
    found = read_as(Evaluation, path, manifests.read(path, "evaluation", FORMAT))
    return replace(found, run=str(folder / "run"))
