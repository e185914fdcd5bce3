"""Adagrad with one accumulator a row, for tables of which a step is on few rows."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

EPS = 1e-10  # so that a gradient of zeros divides by something


class RowwiseAdagrad(torch.optim.Optimizer):
    """Adagrad (Duchi et al. 2011, "Adaptive Subgradient Methods"), but a row shares the mean of its
    squared gradients, as in TorchRec: the state of a table (N, D) is (N,).

    Args:
        tables: whose gradients are sparse in the first dimension, and coalesced.
        lr: learning rate.
    """

    def __init__(self, tables: Iterable[Tensor], lr: float) -> None:
        super().__init__(tables, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                state = self.state[table]
                if not state:
                    state["squares"] = torch.zeros(
                        len(table), dtype=table.dtype, device=table.device
                    )
                ids, rows = table.grad.indices()[0], table.grad.values()
                squares = state["squares"].index_select(0, ids) + rows.square().view(
                    len(ids), -1
                ).mean(1)
                state["squares"].index_copy_(0, ids, squares)
                size = squares.sqrt_().add_(EPS).view(-1, *[1] * (rows.dim() - 1))
                table.index_add_(0, ids, rows / size, alpha=-group["lr"])
