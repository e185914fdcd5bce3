"""Which row of a repeated pair stays, against the plain rule."""

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.data import prepare, selection
from cfcli.core.inputs.sources import Source


def source(rows: list[tuple[int, int, float, int | None]]) -> Source:
    lines = [f"{u},{i},{r},{'' if t is None else t}" for u, i, r, t in rows]
    text = "\n".join(["user,item,rating,time", *lines, ""]).encode()
    return Source("t", lambda: io.BytesIO(text))


def settled(
    rows: list[tuple[int, int, float, int | None]], policy: str
) -> dict[tuple[int, int], float]:
    """The rating of each pair by the plain rule."""
    found: dict[tuple[int, int], list[tuple[int, int, float]]] = {}
    for place, (user, item, rating, time) in enumerate(rows):
        found.setdefault((user, item), []).append((-1 if time is None else time, place, rating))
    if policy == "mean":
        return {pair: float(np.mean([row[2] for row in own])) for pair, own in found.items()}
    if policy == "first":
        return {pair: own[0][2] for pair, own in found.items()}
    return {pair: max(own)[2] for pair, own in found.items()}


@pytest.mark.parametrize("policy", ["last", "first", "mean"])
@pytest.mark.parametrize("bits", [64, 8])  # by one sort of numbers, and by sorting places
def test_one_row_of_each_pair_stays(
    policy: str, bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "KEY_BITS", bits)
    random = np.random.default_rng(3)
    rows = [
        (int(u), int(i), float(r), None if t < 5 else int(t) + 10**9)
        for u, i, r, t in random.integers([0, 0, 1, 0], [20, 15, 6, 40], (600, 4))
    ]
    config = PrepareConfig(duplicates=policy, test_size=0.0)
    made, _ = prepare.prepare([source(rows)], tmp_path / "data", config)
    sides = pl.concat([made.split(name) for name in ("train", "val")])
    users, items = made.ids.user.id(sides["user"]), made.ids.item.id(sides["item"])
    found = {(int(u), int(i)): r for u, i, r in zip(users, items, sides["rating"], strict=True)}
    expected = settled(rows, policy)
    assert found == pytest.approx(expected, rel=1e-6)
    assert sides.height == len(expected)
    assert made.info.duplicates == len(rows) - len(expected)
