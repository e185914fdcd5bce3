"""Neural collaborative filtering: He et al. (2017), "Neural Collaborative Filtering", its MLP, for explicit ratings."""

import itertools

import torch
from torch import Tensor, nn

from cfcli.core.config import TrainConfig
from cfcli.core.models.base import Factors, Shape


class NCF(Factors):
    """The score is a dense network on the two embeddings side by side.

    ``config.hidden`` gives the widths of its ReLU layers, ``config.dropout`` the share of their units dropped.
    """

    INIT_SCALE = 0.1  # at 0.05 one seed in eight never left the start on a checkerboard of tastes

    def __init__(self, config: TrainConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        widths = [2 * config.dim, *config.hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(config.dropout)]
        last = nn.Linear(widths[-1], 1)
        nn.init.constant_(last.bias, self.start_logit)
        self.network = nn.Sequential(*layers, last)

    def score(self, p: Tensor, q: Tensor) -> Tensor:
        return self.network(torch.cat([p, q], dim=1)).squeeze(1)  # type: ignore[no-any-return]
