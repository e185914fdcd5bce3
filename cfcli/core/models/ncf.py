"""Neural collaborative filtering for explicit ratings: He et al. (2017), "Neural Collaborative
Filtering"."""

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cfcli.core.config.train import TrainConfig
from cfcli.core.models.base import Factors, Shape, TrainingStatistics

NETWORK_L2 = 3e-3  # weight of the network's squared weights, in units of ``l2``


class NCF(Factors):
    """The score is the inner product of the two embeddings plus a dense network on both, side by
    side.

    Both parts share the embeddings, unlike NeuMF, so that an item has one. A network alone must
    learn to multiply (Rendle et al. 2020, "Neural Collaborative Filtering vs. Matrix Factorization
    Revisited"): on MovieLens 100K the product beside it lowers the RMSE by 0.014.

    ``config.ncf.hidden`` gives the widths of the ReLU layers, ``config.ncf.dropout`` the share of
    their units that is dropped in training.
    """

    deep = True
    INIT_SCALE = 0.1  # at 0.05 one seed in eight never left the start on a checkerboard of tastes

    def __init__(
        self,
        config: TrainConfig,
        shape: Shape,
        statistics: TrainingStatistics,
        device: str | None = None,
    ) -> None:
        super().__init__(config, shape, statistics, device)
        widths = [2 * config.dimension, *config.ncf.hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(config.ncf.dropout)]
        last = nn.Linear(widths[-1], 1)
        nn.init.constant_(last.bias, self.start_score)
        self.network = nn.Sequential(*layers, last)

    def head(self, product: Tensor, p: Tensor, q: Tensor) -> Tensor:
        output: Tensor = self.network(torch.cat([p, q], dim=1))
        return output.squeeze(1) + product

    def penalty(self) -> Tensor:
        layers = [layer for layer in self.network if isinstance(layer, nn.Linear)]
        squares = torch.stack([layer.weight.square().sum() for layer in layers])
        return super().penalty() + NETWORK_L2 * squares.sum()

    @torch.no_grad()
    def begin_from(self, tensors: Mapping[str, Tensor]) -> None:
        super().begin_from(tensors)
        network = {
            name.removeprefix("network."): value
            for name, value in tensors.items()
            if name.startswith("network.")
        }
        if self.link == "identity":
            last = len(self.network) - 1
            network["0.weight"] = network["0.weight"] * self.unit**0.5
            network[f"{last}.weight"] = network[f"{last}.weight"] / self.unit
            network[f"{last}.bias"] = (network[f"{last}.bias"] - self.start) / self.unit
        self.network.load_state_dict(network)

    @torch.no_grad()
    def folded(self) -> dict[str, Tensor]:
        found = super().folded() | {"product": torch.ones(1)}
        for name, value in self.network.state_dict().items():
            found[f"network.{name}"] = value.clone()
        if self.link == "identity":
            last = f"network.{len(self.network) - 1}"
            found["network.0.weight"] /= self.unit**0.5  # the embeddings that it takes have grown
            found[f"{last}.weight"] *= self.unit
            found[f"{last}.bias"] = self.start + self.unit * found[f"{last}.bias"]
        return found
