"""The tables of users and items in artifacts."""

from pathlib import Path

import polars as pl

from cfcli.core.data.ids import are_integers
from cfcli.core.errors import ArtifactError
from cfcli.core.pair import Entity, Pair
from cfcli.core.storage import tables
from cfcli.core.storage.tables import read_table

# Names of other columns in the tables of datasets, runs and reports, which ids cannot have.
RESERVED = {
    "n_ratings", "genres", "rating", "prediction", "mean", "user_mean", "item_mean", "bias", "warm",
    "query", "rank", "score",
}  # fmt: skip


def check_columns(path: Path, columns: Pair[str]) -> None:
    """Check that the columns of ids have names of their own.

    Args:
        path: of the manifest, for messages.
        columns: names of the columns of ids.

    Raises:
        ArtifactError: a column beside the ids has that name, or both have the same.
    """
    taken = RESERVED & {columns.user, columns.item}
    if columns.user == columns.item:
        taken.add(columns.user)
    if taken:
        raise ArtifactError(f"{path}: damaged: a column of ids is called {min(taken)!r}")


def read_entities(
    folder: Path,
    entity: Entity,
    id_columns: Pair[str],
    integer_ids: Pair[bool],
    rows: int,
    columns: tables.Columns,
) -> pl.DataFrame:
    """Read the table of users or of items that is part of an artifact.

    Args:
        folder: of the artifact.
        entity: which of the two tables.
        id_columns: names of the columns of ids.
        integer_ids: whether all ids are whole numbers.
        rows: how many rows there must be.
        columns: the columns that must stand beside the ids.

    Returns:
        One row per user or item, their ids as text.

    Raises:
        ArtifactError: the table has other columns or rows, has an id twice, or has ids that are no
            whole numbers though ``integer_ids`` says so.
    """
    path, column = folder / f"{entity}s.parquet", id_columns[entity]
    table = read_table(path, {column: pl.String, **columns}, rows)
    if table[column].n_unique() < rows:
        raise ArtifactError(f"{path}: damaged: column '{column}' has an id twice")
    if integer_ids[entity] and not are_integers(table[column]):
        raise ArtifactError(f"{path}: damaged: column '{column}' has ids that are no whole numbers")
    for text in ("title", "genres"):
        if table.schema.get(text, pl.String) != pl.String:
            raise ArtifactError(f"{path}: damaged: column '{text}' is no text")
    return table
