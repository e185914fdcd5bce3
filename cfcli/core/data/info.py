"""What the manifest of a dataset says."""

from dataclasses import dataclass
from typing import Literal

from cfcli.core.pair import Pair
from cfcli.core.storage.manifests import File
from cfcli.core.storage.schema import left_out

FORMAT = 2
PlainConfig = dict[str, object]  # numbers, texts, booleans, lists and tables of them by key


@dataclass(frozen=True)
class Columns(Pair[str]):
    """How the first input calls its columns.

    Attributes:
        user: the column of users' ids.
        item: the column of items' ids.
        rating: the column of ratings.
        time: the column of times, if there are times.
        weight: the column of weights, if ratings have some.
    """

    user: str
    item: str
    rating: str
    time: str | None = left_out()
    weight: str | None = left_out()


@dataclass(frozen=True)
class InputFile:
    """A file that ratings were read from.

    Attributes:
        name: as it was given.
        bytes: its size on disk.
        sha256: of its content on disk.
        rows: ratings in it, rejected ones included.
    """

    name: str
    bytes: int
    sha256: str
    rows: int


@dataclass(frozen=True)
class Inputs:
    """What was given to ``cfcli prepare``.

    Attributes:
        dataset: name of a known dataset, in the place of files.
        ratings: files and folders of ratings.
        items: file of items.
        users: file of users.
        val_file: file of validation ratings.
        test_file: file of test ratings.
    """

    dataset: str | None = left_out()
    ratings: list[str] | None = left_out()
    items: str | None = left_out()
    users: str | None = left_out()
    val_file: str | None = left_out()
    test_file: str | None = left_out()


@dataclass(frozen=True)
class Scale:
    """The scale of the training ratings.

    Attributes:
        min: lowest rating.
        max: highest rating.
        step: between ratings; None where they look continuous.
    """

    min: float
    max: float
    step: float | None = None


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram of ratings.

    Attributes:
        rating: the rating, or where the bin begins.
        n: ratings in it.
    """

    rating: float
    n: int


@dataclass(frozen=True)
class Attribute:
    """What is known of all users, or of all items, by one name.

    Attributes:
        name: of the column.
        kind: a ``category`` is one text, a ``list`` several with ``|`` between them, a ``number``
            a number.
        missing: how many entities of the dataset have no value.
        values: of a category or a list, those that count, sorted; None for a number.
        knots: of a number, ascending, in its unit; None otherwise.
    """

    name: str
    kind: Literal["category", "list", "number"]
    missing: int
    values: list[str] | None = left_out()
    knots: list[float] | None = left_out()

    @property
    def columns(self) -> int:
        """How many columns :func:`cfcli.core.data.attributes.encode` makes of it."""
        return len(self.values or self.knots or ())


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """The manifest of a dataset.

    Attributes:
        format: number of the format of datasets.
        cfcli: version that made it.
        fingerprint: of the files, the settings and the names of columns.
        sources: the files that ratings were read from.
        input: what was given to ``cfcli prepare``; None in early datasets.
        config: the keys of ``[prepare]``.
        columns: names of the columns.
        integer_ids: whether all ids are whole numbers.
        ratings: how many there are on all sides of the split.
        users: how many have ratings.
        items: how many have ratings.
        train: ratings to train on.
        val: ratings to choose the best epoch by.
        test: ratings to judge by.
        cold: of ``val`` and ``test``, ratings whose user or item is not in ``train``.
        rejected: rows that were no ratings, by reason.
        duplicates: ratings left out because the pair was rated more than once.
        rating_scale: of the training ratings, or as declared.
        mean: of the training ratings.
        histogram: of all ratings.
        files: the files of the dataset.
        attributes: of users and of items, columns of their tables; None where there are none.
    """

    format: int = FORMAT
    cfcli: str
    fingerprint: str
    sources: list[InputFile]
    input: Inputs | None = left_out()
    config: PlainConfig
    columns: Columns
    integer_ids: Pair[bool]
    ratings: int
    users: int
    items: int
    train: int
    val: int
    test: int
    cold: dict[str, int]
    rejected: dict[str, int]
    duplicates: int
    rating_scale: Scale
    mean: float
    histogram: list[Bar]
    files: dict[str, File]
    attributes: Pair[list[Attribute]] | None = left_out()

    def rows(self, side: str) -> int:
        """How many ratings are on a side of the split.

        Args:
            side: train, val or test.
        """
        return {"train": self.train, "val": self.val, "test": self.test}[side]

    @property
    def counts(self) -> Pair[int]:
        """How many users and items there are."""
        return Pair(self.users, self.items)
