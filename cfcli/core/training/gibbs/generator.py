"""Random numbers of the sampler."""

import torch
from torch import Tensor


class Generator:
    """Draws random numbers on the CPU, so that a seed gives the same ones on every device.

    Args:
        seed: of the sequence.
        device: where normal numbers are moved to.

    Attributes:
        source: PyTorch's generator.
    """

    def __init__(self, seed: int, device: str) -> None:
        self.source = torch.Generator().manual_seed(seed)
        self.device = device

    def normal(self, *shape: int) -> Tensor:
        """Draws from the standard normal distribution, in float32, on the device.

        Args:
            shape: of the tensor that is returned.
        """
        return torch.randn(*shape, generator=self.source).to(self.device)

    def gamma(self, shape: Tensor) -> Tensor:
        """Draws from gamma distributions of scale 1, in double precision, on the CPU.

        Args:
            shape: the shape parameter of each distribution, of any size.

        Returns:
            One number for each distribution.
        """
        return torch._standard_gamma(shape.cpu().double(), generator=self.source)
