"""Parquet files: their columns have types already."""

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from cfcli.core.inputs.arrow import BLOCK_ROWS, ArrowTable, checked, damage
from cfcli.core.inputs.sources import Source
from cfcli.core.inputs.streams import Opened
from cfcli.core.inputs.tables import Reading

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["BLOCK_ROWS", "frames", "open_parquet"]


@contextlib.contextmanager
def open_parquet(opened: Opened, source: Source, reading: Reading) -> Iterator[ArrowTable]:
    """Opens a Parquet file.

    Args:
        opened: its bytes, of which none were read yet.
        source: that they are from; its constant columns are added to those of the file.
        reading: how to read it.

    Raises:
        InputError: what is read from it within the block is damaged.
    """
    import pyarrow.parquet as pq

    with (
        opened.seekable(reading.scratch) as path,
        damage("Parquet", source.name),
        pq.ParquetFile(path, page_checksum_verification=True) as file,
    ):
        yield ArrowTable(file.schema_arrow, partial(frames, file), source)


def frames(file: "pq.ParquetFile", rows: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Some columns of a Parquet file, a number of rows at once.

    Args:
        file: from pyarrow.
        rows: most of them at once.
        columns: their names.
    """
    for batch in file.iter_batches(rows, columns=list(columns), use_threads=False):
        yield checked(batch, columns)
