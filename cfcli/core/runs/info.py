"""What the manifest of a run says."""

from dataclasses import dataclass
from typing import Literal

from cfcli.core.config.train import Link, Model
from cfcli.core.data.info import Attribute, Columns, PlainConfig
from cfcli.core.metrics.lists import Quality
from cfcli.core.metrics.ratings import Errors
from cfcli.core.models.interest import Weights
from cfcli.core.models.ordinal import OrdinalModel
from cfcli.core.models.times import Calendar
from cfcli.core.models.warm_start import WarmStartInfo
from cfcli.core.pair import Pair
from cfcli.core.storage.manifests import File
from cfcli.core.storage.schema import left_out

FORMAT = 2


@dataclass(frozen=True)
class Shape:
    """The data that a model was trained on, as :class:`cfcli.core.models.base.Shape` has it.

    Attributes:
        users: how many there are (U).
        items: how many there are (I).
        low: lowest rating that is predicted.
        high: highest rating that is predicted.
        start: the rating that the untrained model predicts.
    """

    users: int
    items: int
    low: float
    high: float
    start: float


@dataclass(frozen=True)
class TrainedOn:
    """The dataset that a run was trained on.

    Attributes:
        path: from the folder of the run to that of the dataset.
        fingerprint: of the dataset.
        train: ratings of its training side.
    """

    path: str
    fingerprint: str
    train: int


@dataclass(frozen=True, kw_only=True)
class InterestInfo:
    """The interest model of a run, or why there is none.

    Attributes:
        method: how it was fitted.
        dim: dimension of its vectors (K).
        seconds: that fitting it took, with all choosing.
        reason: why there is none, or what of it is missing.
        val: quality of the lists for liked validation rows; None where none were left to choose by.
        penalty: of EASE.
        weights: of the order of the lists.
        deviation: standard deviation of the ratings that it was fitted on.
        liked_from: lowest rating of what a user liked.
    """

    method: Literal["ease"] | None = None
    dim: int | None = None
    seconds: float | None = None
    reason: str | None = None
    val: Quality | None = None
    penalty: float | None = None
    weights: Weights | None = None
    deviation: float | None = None
    liked_from: float | None = None


@dataclass(frozen=True)
class Refit:
    """What the models of a run were fitted on in the end.

    Attributes:
        rating_rows: ratings that the rating model was trained on.
        interest_rows: those that the interest model was fitted on.
        rating_sides: sides of the split that these are,
        interest_sides: and those.
        reason: why the rating model was not trained on more, where more was asked for.
    """

    rating_rows: int
    interest_rows: int
    rating_sides: list[str]
    interest_sides: list[str]
    reason: str | None = None


@dataclass(frozen=True)
class Tried:
    """A dimension that ``dim = "auto"`` tried.

    Attributes:
        dim: this.
        val: errors on the validation ratings.
        seconds: that the training took. One of the sampler serves several dimensions.
    """

    dim: int
    val: Errors
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The manifest of a run.

    Attributes:
        format: number of the format of runs.
        cfcli: version that made it.
        created: when, in UTC, as ISO 8601 has it.
        status: whether the training was stopped early by a signal.
        model: mf or ncf.
        solver: gibbs or adam.
        optimizer: what adam stepped by; None with gibbs.
        link: how a score becomes a rating.
        noise: variance of a rating around its expectation.
        dim: embedding dimension (D).
        shape: of the data.
        columns: names of the columns of the input.
        integer_ids: whether all ids are whole numbers.
        dataset: that it was trained on.
        train_mean: mean of the ratings that were trained on.
        warm_start: the run that it began with, if any.
        epochs: how many it was trained for.
        best_epoch: the epoch that was kept, from 1.
        val: errors on the validation ratings after the best epoch, before they were trained on.
        seconds: that the training took.
        ratings_per_second: of the median epoch.
        batch_size: ratings per step.
        device: cpu, cuda or mps.
        peak_rss_mb: most memory that the process held, in MB.
        config: the settings of the training.
        versions: of Python and of the packages that matter.
        machine: operating system and processor.
        files: the files of the run.
        interest: the interest model; None in runs of version 0.1.
        refit: ratings that the models were fitted on; None in runs of version 0.1.
        tried: the dimensions that this one was chosen from; None where it was given.
        twin: the manifest of the run within it that has not seen the held-out ratings.
        attributes: of users and of items that the models know; None where there are none.
        reading: the keys of ``[prepare]`` that say what form the ratings had; None where it was
            the usual one.
        ordinal: the probabilities of the steps of the scale; None where nothing says them.
        times: how time is divided for its effects; None where the model knows none.
    """

    format: int = FORMAT
    cfcli: str
    created: str
    status: Literal["finished", "stopped"]
    model: Model
    solver: str
    optimizer: str | None
    link: Link
    noise: float
    dim: int
    shape: Shape
    columns: Columns
    integer_ids: Pair[bool]
    dataset: TrainedOn
    train_mean: float
    warm_start: WarmStartInfo | None
    epochs: int
    best_epoch: int
    val: Errors
    seconds: float
    ratings_per_second: int
    batch_size: int
    device: str
    peak_rss_mb: int
    config: PlainConfig
    versions: dict[str, str]
    machine: str
    files: dict[str, File]
    interest: InterestInfo | None = left_out()
    refit: Refit | None = left_out()
    reading: PlainConfig | None = left_out()
    tried: list[Tried] | None = left_out()
    twin: File | None = left_out()
    ordinal: OrdinalModel | None = left_out()
    attributes: Pair[list[Attribute]] | None = left_out()
    times: Calendar | None = left_out()

    @property
    def counts(self) -> Pair[int]:
        """How many users and items there are."""
        return Pair(self.shape.users, self.shape.items)
