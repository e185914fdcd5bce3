"""Ids that a run does not know, and what they were perhaps meant to be."""

from collections.abc import Callable
from typing import NamedTuple

import polars as pl

from cfcli.core.data.ids import IdMap
from cfcli.core.errors import InputError
from cfcli.core.pair import Entity, Pair

SAMPLE = 100  # unknown ids that are compared with the known ones
SHOWN = 40  # characters of an id in a message

# What may have happened to ids on their way through other programs, and what undoes it.
FORMS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "blanks around it": lambda id: id.str.strip_chars(),
    "quotes around it": lambda id: id.str.strip_chars().str.strip_chars("\"'").str.strip_chars(),
    "written as a decimal": lambda id: id.str.replace(r"^(-?\d+)\.0*$", "$1"),
    "leading zeros": lambda id: id.str.replace(r"^(-?)0+(\d)", "$1$2"),
    "another form of Unicode": lambda id: id.str.normalize("NFKC"),
    "another letter case": lambda id: id.str.normalize("NFKC").str.to_lowercase(),
}
UNDOES_ALL = ("quotes around it", "written as a decimal", "leading zeros", "another letter case")


class Lookalike(NamedTuple):
    """An unknown id that differs from a known one only by how it is written.

    Attributes:
        unknown: the one.
        known: the other.
        reason: in what they differ.
    """

    unknown: str
    known: str
    reason: str


def find_lookalike(unknown: pl.Series, known: IdMap) -> Lookalike | None:
    """Finds the likely reason why ids are unknown: the one that explains most of them.

    Args:
        unknown: texts, some of which may be null, (N,).
        known: the ids that are known.
    """
    plain = pl.col("id")
    for reason in UNDOES_ALL:
        plain = FORMS[reason](plain)
    sample = pl.DataFrame({"id": unknown.unique(maintain_order=True)})
    ids = pl.DataFrame({"id": known.ids}).with_columns(plain=plain)
    pairs = sample.with_columns(plain=plain).join(
        ids.filter(pl.col("plain") != ""), on="plain", maintain_order="left_right", suffix="_known"
    )
    if not pairs.height:
        return None
    found = {
        reason: pairs.filter(form(pl.col("id")) == form(pl.col("id_known")))
        for reason, form in FORMS.items()
    }
    reason, hits = max(found.items(), key=lambda one: one[1]["id"].n_unique())
    if not hits.height:
        reason, hits = "written in another way", pairs
    return Lookalike(hits["id"][0], hits["id_known"][0], reason)


def example_of(unknown: pl.Series, known: IdMap, where: str = "the run") -> str:
    """An unknown id for messages: ``'1.0' (the run has '1': written as a decimal?)``.

    Args:
        unknown: texts, of which the first :data:`SAMPLE` are looked at, (N,).
        known: the ids of the run.
        where: what has those, if it is not the run.
    """
    found = find_lookalike(unknown.head(SAMPLE), known)
    if found is None:
        return f"'{(unknown[0] or '')[:SHOWN]}'"
    return f"'{found.unknown[:SHOWN]}' ({where} has '{found.known[:SHOWN]}': {found.reason}?)"


class UnknownIds:
    """Counts the rows whose user or item a run does not know.

    Args:
        role: whether these are users or items.
        known: the ids of the run.
        where: what has those, if it is not the run.

    Attributes:
        rows: how many were counted.
        missing: how many of them have an unknown id.
    """

    def __init__(self, role: Entity, known: IdMap, where: str = "the run") -> None:
        self.role, self.known, self.where = role, known, where
        self.rows = self.missing = 0
        self._sample = pl.Series([], dtype=pl.String)

    @property
    def are_all(self) -> bool:
        """Whether there are rows, and all of them have an unknown id."""
        return 0 < self.rows == self.missing

    def count(self, ids: pl.Series, index: pl.Series) -> None:
        """Counts rows.

        Args:
            ids: theirs, texts or integers, (N,).
            index: of each id, null where it is unknown, (N,).
        """
        self.rows += len(index)
        self.missing += index.null_count()
        wanted = SAMPLE - len(self._sample)
        if index.null_count() and wanted:
            self._sample = self._sample.append(
                ids.filter(index.is_null()).head(wanted).cast(pl.String)
            )

    def notes(self, *, are_expected: bool = False) -> list[str]:
        """What a person should know, in one sentence; none where all ids are known.

        Args:
            are_expected: nothing is wrong with unknown ids unless they look like known ones.
        """
        if not self.missing or (are_expected and not find_lookalike(self._sample, self.known)):
            return []
        example = example_of(self._sample, self.known, self.where)
        rows = f"{self.missing:,} of {self.rows:,} rows"
        return [f"{rows}: {self.role} not in {self.where}, such as {example}"]


def unknown_ids(known: Pair[IdMap]) -> Pair[UnknownIds]:
    """Counters for users and items.

    Args:
        known: the ids of the run.
    """
    return Pair(UnknownIds("user", known.user), UnknownIds("item", known.item))


def notes_on(counts: Pair[UnknownIds], where: str) -> list[str]:
    """What a person should know about the ids of a table, one sentence each.

    Args:
        counts: of its rows.
        where: its name, for messages.

    Raises:
        InputError: the run knows neither a user nor an item in it.
    """
    notes = counts.user.notes() + counts.item.notes()
    if counts.user.are_all and counts.item.are_all:
        nothing = "none of its users and none of its items are in the run"
        raise InputError(f"{where}: {nothing}; {'; '.join(notes)}")
    return notes
