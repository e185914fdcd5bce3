"""Ratings on their way into a dataset, in blocks: in memory while they are few, else on disk."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

MEMORY = 512 << 20  # bytes of ratings that are kept in memory


class Spool:
    """Rows in the order of the input, in blocks.

    Args:
        folder: is made here, for blocks beyond :data:`MEMORY`; the caller removes it.

    Attributes:
        rows: how many there are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self._kept: dict[int, pl.DataFrame] = {}
        self._heights: list[int] = []
        self._sides: list[str] = []

    @property
    def rows(self) -> int:
        return sum(self._heights)

    def append(self, block: pl.DataFrame, side: str) -> None:
        """Adds rows that were all given for one side of the split.

        Args:
            block: ``user`` and ``item`` (u32, codes), ``rating`` (f32) and perhaps ``timestamp``
                and ``weight``.
            side: one of :data:`cfcli.core.data.splits.NAMES`.
        """
        self._write(len(self._heights), block)
        self._heights.append(block.height)
        self._sides.append(side)

    def blocks(self, *columns: str) -> Iterator[tuple[int, str, pl.DataFrame]]:
        """The number of each block's first row, its side, and the block.

        Args:
            columns: to read; none for all.
        """
        starts = itertools.accumulate(self._heights, initial=0)
        for k, (start, side) in enumerate(zip(starts, self._sides, strict=False)):
            if self._heights[k]:
                yield start, side, self._read(k, columns)

    def column(self, name: str, side: str | None = None) -> NDArray[np.generic]:
        """One column of all rows, or of those of one side.

        Args:
            name: of the column.
            side: that the rows were given for; None for all rows.
        """
        parts = [frame[name].to_numpy() for _, of, frame in self.blocks(name) if side in (None, of)]
        return np.concatenate(parts) if parts else np.empty(0, np.uint32)

    def given(self, side: str) -> NDArray[np.bool_]:
        """Which rows were given for a side; shape (rows,).

        Args:
            side: one of :data:`cfcli.core.data.splits.NAMES`.
        """
        return np.repeat(np.array(self._sides) == side, self._heights)

    def counts(self, name: str, length: int) -> NDArray[np.int64]:
        """How often each code stands in a column; shape (length,).

        Args:
            name: of the column.
            length: number of codes.
        """
        total = np.zeros(length, np.int64)
        for _, _, frame in self.blocks(name):
            total += np.bincount(frame[name].to_numpy(), minlength=length)
        return total

    def change(self, function: Callable[[int, pl.DataFrame], pl.DataFrame]) -> None:
        """Replaces each block.

        Args:
            function: makes the new block from the number of the first row and the old block.
        """
        starts = list(itertools.accumulate(self._heights, initial=0))
        for k, start in enumerate(starts[:-1]):
            if self._heights[k]:
                block = function(start, self._read(k))
                self._write(k, block)
                self._heights[k] = block.height

    def _path(self, k: int) -> Path:
        return self._folder / f"{k}.arrow"

    def _read(self, k: int, columns: Sequence[str] = ()) -> pl.DataFrame:
        if (block := self._kept.get(k)) is not None:
            return block.select(columns) if columns else block
        frame = pl.scan_ipc(self._path(k), glob=False)  # a folder may be called [a]
        return (frame.select(columns) if columns else frame).collect()

    def _write(self, k: int, block: pl.DataFrame) -> None:
        self._kept.pop(k, None)
        if (
            sum(kept.estimated_size() for kept in self._kept.values()) + block.estimated_size()
            <= MEMORY
        ):
            self._kept[k] = block.rechunk()
            return
        # Not over a file that memory may still be mapped to.
        part = self._path(k).with_suffix(".part")
        block.write_ipc(part, compression="uncompressed")
        part.replace(self._path(k))
