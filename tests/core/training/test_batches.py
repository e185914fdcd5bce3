"""Ratings as mini-batches."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cfcli.core.training.batches import Batch, Batches, Rows, Shard
from cfcli.core.training.benchmark import data_loader


@pytest.fixture(scope="module")
def rows() -> Rows:
    n = np.arange(23)
    return Rows.of(pl.DataFrame({"user": n, "item": n * 2, "rating": n / 2}))


def joined(batches: "list[Batch]") -> list[tuple[float, ...]]:
    return [tuple(map(float, row)) for batch in batches for row in zip(*batch, strict=True)]


@pytest.mark.parametrize(
    ("size", "sizes"), [(5, [5, 5, 5, 5, 3]), (23, [23]), (1000, [23]), (1, [1] * 23)]
)
@pytest.mark.parametrize("seed", [None, 7])
def test_a_pass_holds_each_row_once(
    rows: Rows, size: int, sizes: list[int], seed: int | None
) -> None:
    batches = Batches(rows, size, seed)
    found = list(batches)
    assert [len(rating) for _, _, rating in found] == sizes
    assert len(batches) == len(sizes)
    expected = [(float(k), 2.0 * k, k / 2) for k in range(23)]
    assert sorted(joined(found)) == expected
    assert (joined(found) == expected) == (seed is None)  # no seed, no shuffling


def test_the_order_changes_by_pass_and_is_fixed_by_the_seed(rows: Rows) -> None:
    one, same, other = Batches(rows, 5, 7), Batches(rows, 5, 7), Batches(rows, 5, 8)
    passes = [joined(list(one)) for _ in range(3)]
    assert passes[0] != passes[1] != passes[2] != passes[0]
    torch.manual_seed(0)  # the order hangs on nothing else
    assert passes == [joined(list(same)) for _ in range(3)]
    assert joined(list(other)) != passes[0]


def test_the_types_are_those_promised(rows: Rows) -> None:
    for columns in ((rows.user, rows.item, rows.rating), next(iter(Batches(rows, 5, 7)))):
        assert [column.dtype for column in columns] == [torch.int32, torch.int32, torch.float32]
        assert all(column.is_contiguous() for column in columns)
    assert len(rows) == 23


def test_pytorchs_loader_yields_the_same_rows(rows: Rows) -> None:
    frame = pl.DataFrame({"user": rows.user, "item": rows.item, "rating": rows.rating})
    loader = data_loader(frame, 5, workers=0)
    found = list(loader)
    assert len(found) == 5
    assert sorted(joined(found)) == joined(list(Batches(rows, 5)))
    assert joined(found) != joined(list(Batches(rows, 5)))
    assert [column.dtype for column in found[0]] == [torch.int32, torch.int32, torch.float32]


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 9), st.integers(1, 4))
@settings(deadline=None)
def test_ranks_share_each_step_of_one(n: int, ranks: int, size: int, steps: int) -> None:
    frame = {"user": range(n), "item": range(n), "rating": [0.0] * n, "weight": range(n)}
    rows = Rows.of(pl.DataFrame(frame))
    alone = [step for user, *_ in Batches(rows, size * steps, 7) for step in user.split(size)]
    shares = [Shard(rank, ranks) for rank in range(ranks)]
    of = [share.of(n) for share in shares]
    assert [k for rows_of in of for k in rows_of] == list(range(n))
    assert max(map(len, of)) - min(map(len, of)) <= 1
    together: list[list[torch.Tensor]] = [[] for _ in alone]
    for share in shares:
        batches = Batches(rows.part(share.of(n)), size * steps, 7, share, n, size)
        found = []
        for batch in batches:
            columns, *split = batch if ranks > 1 else (batch,)
            user, item, rating, weight = columns
            assert torch.equal(user, item)
            assert torch.equal(user.float(), weight)
            assert len(user) == len(rating)
            own, all_of = (
                split or ([len(part) for part in user.split(size)],) * 2
            )  # one rank has no others
            found += user.split(own)
            assert [len(alone[len(found) - len(own) + k]) for k in range(len(own))] == all_of
        for k, step in enumerate(found):
            together[k].append(step)
    assert [sorted(torch.cat(step).tolist()) for step in together] == [
        sorted(step.tolist()) for step in alone
    ]
