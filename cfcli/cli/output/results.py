"""What ``--json`` prints where no class of the core has just these keys."""

from dataclasses import dataclass
from typing import Literal

from cfcli.core.serving.fallback import Basis
from cfcli.core.storage.schema import left_out


@dataclass(frozen=True)
class Written:
    """Rows that went to a file.

    Attributes:
        file: that they went to.
        rows: how many there are.
        users: whose lists they are; only of ``recommend``.
    """

    file: str
    rows: int
    users: int | None = left_out()


@dataclass(frozen=True)
class Exported:
    """Embeddings that went to files.

    Attributes:
        files: that they went to.
        rows: vectors in all of them.
        dim: numbers of a vector.
        entity: whose vectors they are.
    """

    files: list[str]
    rows: int
    dim: int
    entity: Literal["items", "users", "both"]


@dataclass(frozen=True)
class ReportedRun:
    """A run in a report.

    Attributes:
        run: its folder.
        items: on its map.
    """

    run: str
    items: int


@dataclass(frozen=True)
class Reported:
    """A report that was written.

    Attributes:
        report: the page.
        bytes: its size.
        runs: that it shows.
    """

    report: str
    bytes: int
    runs: list[ReportedRun]


@dataclass(frozen=True, kw_only=True)
class PredictedRow:
    """A row of ``predict``, beside the columns of its input.

    Attributes:
        prediction: the rating; null with ``--unknown nan`` where an id is unknown.
        source: what it rests on.
        std: the expected error, with ``--std``.
    """

    prediction: float | None
    source: Basis | None
    std: float | None = left_out()


@dataclass(frozen=True, kw_only=True)
class RecommendedRow:
    """A row of ``recommend``, beside the ids of the user and the item under their own names.

    Attributes:
        rank: place on the list, from 1.
        score: what the order is by; it compares items of one list only.
        prediction: the rating; null where no model tells it.
        ratings: how many the item has in training.
        title: where the run knows titles; null where that of the item is unknown.
        because: ids of the rated items that speak most for this one, with ``--why``.
    """

    rank: int
    score: float
    prediction: float | None
    ratings: int
    title: str | None = left_out()
    because: list[str] | None = left_out()


@dataclass(frozen=True, kw_only=True)
class SimilarRow:
    """A row of ``similar``, beside the id of the neighbour under its own name.

    Attributes:
        query: id of the item whose neighbours these are.
        rank: place among them, from 1.
        score: how near it is; higher is nearer.
        ratings: how many the neighbour has in training.
        title: where the run knows titles; null where that of the item is unknown.
    """

    query: str
    rank: int
    score: float
    ratings: int
    title: str | None = left_out()
