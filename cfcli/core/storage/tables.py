"""Parquet tables that are parts of artifacts."""

import io
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from cfcli.core.errors import ArtifactError

Columns = Mapping[str, type[pl.DataType]]  # types by name


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a Parquet table. Polars itself would not say which error of the system it met.

    Args:
        table: what to write.
        path: of the file.

    Raises:
        OSError: it cannot be written.
    """
    content = io.BytesIO()
    table.write_parquet(content)
    path.write_bytes(content.getbuffer())


def read_table(
    path: Path,
    columns: Columns,
    rows: int | None = None,
    most: int | None = None,
    only: bool = False,
) -> pl.DataFrame:
    """Read a Parquet table that is part of an artifact.

    Args:
        path: of the file.
        columns: the columns that it must have, without gaps and with finite numbers.
        rows: how many rows there must be. A small file can claim any number.
        most: how many rows there may be.
        only: leave out other columns.

    Raises:
        ArtifactError: it is another table.
    """
    try:
        scanned = pl.scan_parquet(path, glob=False)
        names = scanned.collect_schema().names()
        found = scanned.select(pl.len()).collect().item()
        if (rows is not None and found != rows) or (most is not None and found > most):
            wanted = most if rows is None else rows
            raise ArtifactError(f"{path}: damaged: {path.name} has {found} rows, not {wanted}")
        chosen = [name for name in columns if name in names] if only else None
        table = pl.read_parquet(path, columns=chosen, glob=False)  # a folder may be called [a]
    except (PolarsError, PanicException, OSError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        raise ArtifactError(f"{path}: damaged: {reason}") from None
    for name, kind in columns.items():
        if table.schema.get(name) != kind or table[name].null_count():
            raise ArtifactError(
                f"{path}: damaged: has no column '{name}' of type {kind} without gaps"
            )
        if table.schema[name].is_float() and not table[name].is_finite().all():
            raise ArtifactError(f"{path}: damaged: column '{name}' has numbers that are not finite")
    return table


def check_range(path: Path, table: pl.DataFrame, users: int, items: int) -> None:
    """Check that all indices in a table are those of users and items.

    Args:
        path: of the table, for messages.
        table: columns ``user`` and ``item``, whole numbers from 0.
        users: how many users there are.
        items: how many items there are.

    Raises:
        ArtifactError: an index is too high.
    """
    for name, n in (("user", users), ("item", items)):
        if table.height and table[name].max() >= n:  # type: ignore[operator]
            raise ArtifactError(f"{path}: damaged: column '{name}' is not below {n}")
