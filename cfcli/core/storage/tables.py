"""Parquet tables that are parts of artifacts."""

import io
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from cfcli.core.errors import ArtifactError


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Writes a Parquet table; Polars itself would not say which error of the system it met."""
    content = io.BytesIO()
    table.write_parquet(content)
    path.write_bytes(content.getbuffer())


def read_table(
    path: Path,
    columns: dict[str, Any],
    rows: int | None = None,
    most: int | None = None,
    only: bool = False,
) -> pl.DataFrame:
    """A Parquet table that is part of an artifact.

    Args:
        columns: that it must have, without gaps and with finite numbers, and their types.
        rows, most: how many there must be, or may: a small file can say that it holds any number.
        only: leave out other columns.

    Raises:
        ArtifactError: it is another table.
    """
    try:
        scanned = pl.scan_parquet(path, glob=False)
        names, found = scanned.collect_schema().names(), scanned.select(pl.len()).collect().item()
        if (rows is not None and found != rows) or (most is not None and found > most):
            raise ArtifactError(
                f"{path}: damaged: {path.name} has {found} rows, not {most if rows is None else rows}"
            )
        wanted = [name for name in columns if name in names] if only else None
        table = pl.read_parquet(path, columns=wanted, glob=False)  # a folder may be called [a]
    except (PolarsError, PanicException, OSError, MemoryError) as error:
        raise ArtifactError(f"{path}: damaged: {(str(error).splitlines() or [''])[0]}") from None
    for name, kind in columns.items():
        if table.schema.get(name) != kind or table[name].null_count():
            raise ArtifactError(
                f"{path}: damaged: has no column '{name}' of type {kind} without gaps"
            )
        if table.schema[name].is_float() and not table[name].is_finite().all():
            raise ArtifactError(f"{path}: damaged: column '{name}' has numbers that are not finite")
    return table


def check_range(path: Path, table: pl.DataFrame, users: int, items: int) -> None:
    """Raises an ArtifactError where ``user`` or ``item`` is no index of theirs."""
    for name, n in (("user", users), ("item", items)):
        if table.height and table[name].max() >= n:  # type: ignore[operator]
            raise ArtifactError(f"{path}: damaged: column '{name}' is not below {n}")
