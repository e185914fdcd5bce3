"""Matrix factorisation: Koren, Bell and Volinsky (2009), "Matrix Factorization Techniques for
Recommender Systems"."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cfcli.core.config.train import TrainConfig
from cfcli.core.models.base import Factors, Shape, TrainingStatistics


class MF(Factors):
    """The score is the inner product of the two embeddings, plus a bias.

    With ``config.adam.inner_product_weight`` the product has a weight to learn.
    """

    def __init__(
        self,
        config: TrainConfig,
        shape: Shape,
        statistics: TrainingStatistics,
        device: str | None = None,
    ) -> None:
        super().__init__(config, shape, statistics, device)
        self.linear = nn.Linear(1, 1)
        if not config.adam.inner_product_weight:
            nn.init.ones_(self.linear.weight).requires_grad_(False)
        nn.init.constant_(self.linear.bias, self.start_score)

    def head(self, product: Tensor, p: Tensor, q: Tensor) -> Tensor:
        return self.linear.weight[0] * product + self.linear.bias

    def head_backward(self, head: Tensor, product: Tensor, slope: Tensor) -> Tensor:
        self.linear.bias.grad = slope.sum()[None]
        if self.linear.weight.requires_grad:
            self.linear.weight.grad = (slope @ product)[None, None]
        return self.linear.weight[0] * slope

    @torch.no_grad()
    def begin_from(self, tensors: Mapping[str, Tensor]) -> None:
        super().begin_from(tensors)
        self.linear.weight.copy_(tensors["linear.weight"])
        bias = tensors["linear.bias"]
        if self.link == "identity":
            bias = (bias - self.start) / self.unit
        self.linear.bias.copy_(bias)

    @torch.no_grad()
    def folded(self) -> dict[str, Tensor]:
        weight, bias = self.linear.weight.clone(), self.linear.bias.clone()
        if self.link == "identity":
            bias = self.start + self.unit * bias
        return super().folded() | {"linear.weight": weight, "linear.bias": bias}
