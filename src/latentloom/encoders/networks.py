"""Networks that turn images (n, c, h, w) into points (n, d)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentloom.checks import UserError, unknown


@dataclass(frozen=True)
class EncoderInfo:
    """A registered encoder: how it is built, the dimension it ends in, the images it can take."""

    build: Callable[[int, int], nn.Module]  # channels, size -> network
    latent_dim: int
    smallest: int  # images, in pixels
    about: str


ENCODERS: dict[str, EncoderInfo] = {}


def encoder(
    latent_dim: int, smallest: int, about: str
) -> Callable[[Callable[[int, int], nn.Module]], Callable[[int, int], nn.Module]]:
    """Register a function (channels, size) -> network that ends in (n, latent_dim)."""

    def keep(build: Callable[[int, int], nn.Module]) -> Callable[[int, int], nn.Module]:
        if build.__name__ in ENCODERS:
            raise ValueError(f"two encoders are called {build.__name__!r}; rename one")
        ENCODERS[build.__name__] = EncoderInfo(build, latent_dim, smallest, about)
        return build

    return keep


def build_encoder(name: str, channels: int, size: int, latent_dim: int | None = None) -> nn.Module:
    """The network of that name for images (channels, size, size).

    Where `latent_dim` differs from the network's own, a linear projection without activation follows.
    """
    if name not in ENCODERS:
        raise unknown("encoder", name, ENCODERS)
    info = ENCODERS[name]
    if size < info.smallest:
        raise UserError(
            f"encoder {name!r} needs images of at least {info.smallest} pixels, got {size}; "
            "choose mlp, or larger images with --data.size"
        )
    network = info.build(channels, size)
    if latent_dim is None or latent_dim == info.latent_dim:
        return network
    if latent_dim < 1:
        raise UserError(f"latent_dim must be at least 1, got {latent_dim}")
    return nn.Sequential(network, nn.Linear(info.latent_dim, latent_dim))


@encoder(latent_dim=64, smallest=4, about="two hidden layers of 256, for small images such as digits")
def mlp(channels: int, size: int) -> nn.Module:
    """Two hidden layers and a linear one."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size * size, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, 64),
    )


@encoder(latent_dim=64, smallest=10, about="two convolutions and a layer of 64, as for Fashion-MNIST")
def small_cnn(channels: int, size: int) -> nn.Module:
    """Two blocks of convolution, pooling, ReLU and dropout, then a linear layer.

    Latent Boost, arXiv:2412.08515, sec. 5, which takes a latent of 64 "from the flattening layer" of such
    a network; flattening alone gives more, so that the layer of 64 is our reading of it.
    """
    side = ((size - 2) // 2 - 2) // 2
    return nn.Sequential(
        *_small_block(channels, 32), *_small_block(32, 64), nn.Flatten(), nn.Linear(64 * side * side, 64)
    )


def _small_block(inputs: int, outputs: int) -> list[nn.Module]:
    # Pooling before the ReLU gives the same values from a quarter of the work.
    return [nn.Conv2d(inputs, outputs, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.25)]


@encoder(latent_dim=512, smallest=32, about="VGG-16 with batch norm, its convolutions alone")
def vgg16(channels: int, size: int) -> nn.Module:
    """The convolutions of VGG-16 with batch norm; at 32 x 32 they end in one place of 512 channels."""
    from torchvision.models import vgg16_bn

    features = vgg16_bn(weights=None).features
    features[0] = nn.Conv2d(channels, 64, 3, padding=1)
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@encoder(latent_dim=512, smallest=16, about="ResNet-18; a 3 x 3 stem for images below 64 pixels")
def resnet18(channels: int, size: int) -> nn.Module:
    """ResNet-18 without its last layer."""
    from torchvision.models import resnet18 as build

    return _headless(build(weights=None), channels, size)


@encoder(latent_dim=2048, smallest=16, about="ResNet-50; a 3 x 3 stem for images below 64 pixels")
def resnet50(channels: int, size: int) -> nn.Module:
    """ResNet-50 without its last layer."""
    from torchvision.models import resnet50 as build

    return _headless(build(weights=None), channels, size)


def _headless(resnet: nn.Module, channels: int, size: int) -> nn.Module:
    if size < 64:
        # The usual stem would leave a 32 x 32 image with a map of 1 x 1.
        resnet.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        resnet.maxpool = nn.Identity()
    elif channels != 3:
        resnet.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    resnet.fc = nn.Identity()
    return resnet


class Standardise(nn.Module):
    """uint8 images, or floats in [0, 1], to channels of mean 0 and deviation 1 over the training images."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.reshape(1, -1, 1, 1))
        self.register_buffer("std", std.reshape(1, -1, 1, 1).clamp_min(1e-3))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.mean.dtype) / 255 if x.dtype == torch.uint8 else x
        return (x - self.mean) / self.std
