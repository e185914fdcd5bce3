"""The tables of users and items in artifacts."""

from pathlib import Path
from typing import Any

import polars as pl

from cfcli.core.data.ids import are_integers
from cfcli.core.errors import ArtifactError
from cfcli.core.storage.tables import read_table

# What stands beside the ids in the tables of datasets, runs and reports.
RESERVED = {
    "n_ratings", "genres", "rating", "prediction", "mean", "user_mean", "item_mean", "bias", "warm", "query", "rank",
    "score",
}  # fmt: skip


def check_columns(path: Path, info: dict[str, Any]) -> None:
    """Raises an ArtifactError where the ids' columns in a manifest are called as others beside
    them."""
    names = [info["columns"][role] for role in ("user", "item")]
    if taken := RESERVED & {*names} or ({names[0]} & {names[1]}):
        raise ArtifactError(f"{path}: damaged: a column of ids is called {min(taken)!r}")


def read_entities(
    folder: Path, name: str, info: dict[str, Any], rows: int, columns: dict[str, Any]
) -> pl.DataFrame:
    """The table of the users or items (``name`` without the s) that are part of an artifact: one
    row each, with their id as text.

    Raises:
        ArtifactError: it is another table, has an id twice, or ids that are no numbers though the
            manifest says so.
    """
    path, column = folder / f"{name}s.parquet", info["columns"][name]
    table = read_table(path, {column: pl.String, **columns}, rows)
    if table[column].n_unique() < rows:
        raise ArtifactError(f"{path}: damaged: column '{column}' has an id twice")
    if info["integer_ids"][name] and not are_integers(table[column]):
        raise ArtifactError(f"{path}: damaged: column '{column}' has ids that are no whole numbers")
    for text in ("title", "genres"):
        if table.schema.get(text, pl.String) != pl.String:
            raise ArtifactError(f"{path}: damaged: column '{text}' is no text")
    return table
