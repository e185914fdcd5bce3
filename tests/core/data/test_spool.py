"""Rows stay what they are, in memory or on disk."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cfcli.core.data import spool as spools
from cfcli.core.data.spool import Spool

A = pl.DataFrame(
    {"user": [0, 1, 1], "rating": [1.0, 2.0, 3.0]}, schema={"user": pl.UInt32, "rating": pl.Float32}
)
B = pl.DataFrame({"user": [2], "rating": [4.0]}, schema=A.schema)


@pytest.mark.parametrize("memory", [0, 30, 1 << 20])
def test_blocks_come_back_in_order(
    memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "MEMORY", memory)
    spool = Spool(tmp_path / "[s]")
    for block, side in ((A, "train"), (A.clear(), "train"), (B, "test"), (A, "train")):
        spool.append(block, side)
    assert spool.rows == 7
    assert [(start, side, block.height) for start, side, block in spool.blocks()] == [
        (0, "train", 3), (3, "test", 1), (4, "train", 3),
    ]  # fmt: skip
    assert spool.column("rating").tolist() == [1, 2, 3, 4, 1, 2, 3]
    assert spool.column("user", "test").tolist() == [2]
    assert spool.given("test").tolist() == [False, False, False, True, False, False, False]
    assert spool.counts("user", 4).tolist() == [2, 4, 1, 0]
    spool.change(lambda start, block: block.filter(np.arange(start, start + block.height) % 2 == 0))
    assert spool.column("rating").tolist() == [1, 3, 1, 3]
    assert spool.given("test").sum() == 0
    assert bool(list((tmp_path / "[s]").iterdir())) == (memory < 100)
