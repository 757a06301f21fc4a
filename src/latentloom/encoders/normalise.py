"""How pixels are scaled before the encoder sees them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentloom.checks import UserError

LEAST_STD = 1e-3  # a quarter of a grey level: a channel that never changes must not be divided by 0

# Moving Targets (2023), Table 2: mean and deviation of each channel.
_MNIST = ((33.3149,), (78.5639,))
PAPER_CONSTANTS = {
    "mnist": _MNIST,
    "fashion-mnist": _MNIST,
    "kmnist": _MNIST,
    "cifar10": ((0.491, 0.482, 0.447), (0.202, 0.200, 0.201)),
    "cifar100": ((0.507, 0.487, 0.441), (0.201, 0.198, 0.202)),
}


class Standardise(nn.Module):
    """(x - mean) / std per channel, of uint8 images scaled to [0, 1] or of floats in [0, 1].

    Args:
        mean: (c,) on the scale 0 to 1.
        std: (c,) on the scale 0 to 1, > 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.reshape(1, -1, 1, 1))
        self.register_buffer("std", std.reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (unit_range(channels_last(x), self.mean.dtype) - self.mean) / self.std


def channels_last(x: Tensor) -> Tensor:
    """The same images (n, c, h, w), with the channels of a pixel side by side in memory.

    Convolutions and pooling are faster so, up to twice on a CPU. `torch.channels_last` would leave images of
    one channel as they are, and what follows would take the slow way.
    """
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).flatten(2).view(n, h, w, c).permute(0, 3, 1, 2)


def unit_range(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 images as floats in [0, 1]; floats as they are."""
    return x.to(dtype) / 255 if x.dtype == torch.uint8 else x


def measured_standardise(images: Tensor) -> Standardise:
    """Mean 0 and deviation 1 in every channel of these images, floats in [0, 1], (n, c, h, w).

    A channel that never changes becomes 0.
    """
    return Standardise(images.mean((0, 2, 3)), images.std((0, 2, 3)).clamp_min(LEAST_STD))


def paper_standardise(data_name: str) -> Standardise:
    """The literal constants of Moving Targets (2023), as its code applied them: to pixels of 0 to 255.

    Those of MNIST are MNIST's own on that scale, and serve Fashion-MNIST and KMNIST too. Those of CIFAR
    belong to pixels of 0 to 1, so that the encoder sees values up to about 1300 there.
    """
    if data_name not in PAPER_CONSTANTS:
        raise UserError(
            f"Moving Targets (2023) gives no constants for {data_name!r}, only for "
            f"{', '.join(sorted(PAPER_CONSTANTS))}; leave out --model.normalise paper"
        )
    mean, std = map(torch.tensor, PAPER_CONSTANTS[data_name])
    return Standardise(mean / 255, std / 255)
