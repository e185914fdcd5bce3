"""Adagrad with one accumulator per row, for tables of which a step moves few rows."""

from collections.abc import Iterable

import torch
from torch import Tensor

EPS = 1e-10  # so that a gradient of zeros divides by something


class RowwiseAdagrad(torch.optim.Optimizer):
    """Adagrad (Duchi et al. 2011, "Adaptive Subgradient Methods") whose accumulator is the mean
    over a row, as in TorchRec: the state of a table (N, D) is (N,).

    Args:
        tables: (N, D) or (N,), whose gradients are sparse in the first dimension, and coalesced.
        lr: learning rate.
    """

    def __init__(self, tables: Iterable[Tensor], lr: float) -> None:
        super().__init__(tables, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Moves the rows that have a gradient.

        Args:
            closure: not used.
        """
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                state = self.state[table]
                if not state:
                    state["squares"] = table.new_zeros(len(table))
                ids, rows = table.grad.indices()[0], table.grad.values()
                new = rows.square().view(len(ids), -1).mean(1)
                squares = state["squares"].index_select(0, ids) + new
                state["squares"].index_copy_(0, ids, squares)
                size = squares.sqrt_().add_(EPS)
                if rows.dim() > 1:
                    size = size[:, None]
                table.index_add_(0, ids, rows / size, alpha=-group["lr"])
