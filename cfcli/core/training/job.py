"""What a solver gets, and what it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from cfcli.core.config.train import TrainConfig
from cfcli.core.data.attributes import Encoded
from cfcli.core.data.blocks import Blocks, Summary
from cfcli.core.data.info import Scale
from cfcli.core.models.base import Shape
from cfcli.core.models.warm_start import WarmStart
from cfcli.core.pair import Pair
from cfcli.core.training.checkpoints import FILE, Identity
from cfcli.core.training.epochs import Progress
from cfcli.core.training.trained import TrainedModel

# Columns ``user``, ``item``, ``rating`` and perhaps ``weight`` and ``timestamp``: in memory or on
# the disk.
Ratings = pl.DataFrame | Blocks


class TrainingData:
    """Ratings to train on and to validate by.

    A solver takes each table once and turns it into a form of its own. From then on nothing here
    holds the table, which may be a fifth of all memory.

    Args:
        train: the training rows; on the disk only for gradient descent. Where they have a column
            ``weight``, which averages 1, errors count so much in the fit. With the setting
            ``times`` they need ``timestamp``.
        val: the validation rows; with none, the last epoch counts as the best.
        users, items: how many there are (U and I).
        scale: of the ratings; None for the lowest and the highest training rating.
        fingerprint: of the data, which a checkpoint must share.
        attributes: of users and of items, where some are known.
    """

    def __init__(
        self,
        train: Ratings,
        val: Ratings,
        users: int,
        items: int,
        *,
        scale: Scale | None = None,
        fingerprint: str = "",
        attributes: Pair[Encoded | None] | None = None,
    ) -> None:
        self._train: Ratings | None = train
        self._val: Ratings | None = val
        self.users, self.items = users, items
        self.scale = scale
        self.fingerprint = fingerprint
        self.attributes = attributes or Pair[Encoded | None](None, None)

    @property
    def n(self) -> int:
        """How many training rows there are, before they are taken."""
        assert self._train is not None
        return len(self._train)

    def summary(self) -> Summary:
        """The summary of the training rows, before they are taken."""
        assert self._train is not None
        return Summary.of(self._train, self.users, self.items)

    def take_train(self) -> Ratings:
        """Hands over the training rows."""
        rows, self._train = self._train, None
        assert rows is not None
        return rows

    def take_val(self) -> Ratings:
        """Hands over the validation rows."""
        rows, self._val = self._val, None
        assert rows is not None
        return rows


@dataclass(frozen=True)
class TrainingJob:
    """One training, as :func:`cfcli.core.training.fit.fit` has checked it.

    Attributes:
        data: the ratings.
        summary: of the training rows.
        shape: of the data.
        config: the settings.
        progress: hears of each step and epoch.
        begin: when the training began, by ``time.perf_counter()``.
        folder: for checkpoints; None on all ranks but the first.
        warm_start: the earlier model to begin with, if any.
        resume: the checkpoint to go on from, if any.
        keeps_checkpoint: whether to leave a checkpoint of the end, as more is to be fitted.
        smaller: dimensions that the sampler makes models of, too.
    """

    data: TrainingData
    summary: Summary
    shape: Shape
    config: TrainConfig
    progress: Progress
    begin: float
    folder: Path | None = None
    warm_start: WarmStart | None = None
    resume: Path | None = None
    keeps_checkpoint: bool = False
    smaller: Sequence[int] = ()

    @property
    def checkpoint(self) -> Path | None:
        """Where to save."""
        return self.folder / FILE if self.folder else None

    @property
    def identity(self) -> Identity:
        """What a checkpoint must share with this training."""
        return Identity.of(self.config, self.data.fingerprint)


class Solver(Protocol):
    """A way to find the parameters of a model."""

    def fit(self, job: TrainingJob) -> TrainedModel:
        """Trains until the validation error stops falling, a limit is reached or a signal comes.

        A solver tells ``job.progress`` of its steps and epochs, saves checkpoints, and removes
        them once it has run to its end, unless ``job.keeps_checkpoint``.

        Args:
            job: what to train, and how.

        Raises:
            MachineError: no such device, no space.
            ArtifactError: the checkpoint is damaged, or belongs to another training.
            GateError: the training diverged.
            StoppedError: a signal came before the first epoch ended.
        """
        ...
