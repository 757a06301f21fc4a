"""Networks that turn points (n, d) into images (n, c, h, w)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from latentloom.checks import UserError, check_choice
from latentloom.encoders.networks import MAPS

Build = Callable[[int, int, int], nn.Module]

WIDTH = 256  # of the hidden layers of the MLP, as in the encoder `mlp`


@dataclass(frozen=True)
class DecoderInfo:
    """A registered decoder: how it is built, the images it can make, the encoder it mirrors."""

    build: Build  # channels, size, latent_dim -> network
    smallest: int  # images, in pixels
    about: str


DECODERS: dict[str, DecoderInfo] = {}


def decoder(smallest: int, about: str) -> Callable[[Build], Build]:
    """Register a function (channels, size, latent_dim) -> network that ends in (n, channels, size, size)."""

    def keep(build: Build) -> Build:
        if build.__name__ in DECODERS:
            raise ValueError(f"two decoders are called {build.__name__!r}; rename one")
        DECODERS[build.__name__] = DecoderInfo(build, smallest, about)
        return build

    return keep


def build_decoder(name: str, channels: int, size: int, latent_dim: int) -> nn.Module:
    """The network of that name from points (n, latent_dim) to images (n, channels, size, size).

    There is no activation at its end: the values are logits of a Bernoulli likelihood, or pixels in [0, 1]
    of a Gaussian one.

    Args:
        name: of `DECODERS`.
        channels, size: of the images.
        latent_dim: d of the points.
    """
    check_choice("decoder", name, DECODERS)
    smallest = DECODERS[name].smallest
    if size < smallest:
        raise UserError(
            f"decoder {name!r} makes images of at least {smallest} pixels, got {size}; "
            "choose larger images with --data.size, or another decoder"
        )
    if latent_dim < 1 or channels < 1:
        raise UserError(
            f"a decoder needs latent_dim and channels of at least 1, got {latent_dim} and {channels}"
        )
    return DECODERS[name].build(channels, size, latent_dim)


@decoder(smallest=1, about="two hidden layers of 256, the mirror of the encoder mlp")
def mlp(channels: int, size: int, latent_dim: int) -> nn.Module:
    """Two hidden layers and a linear one."""
    return nn.Sequential(
        nn.Linear(latent_dim, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, channels * size * size),
        nn.Unflatten(1, (channels, size, size)),
    )


@decoder(smallest=4, about="a linear layer and two transposed convolutions, the mirror of the encoder conv")
def conv(channels: int, size: int, latent_dim: int) -> nn.Module:
    """A linear layer and two transposed convolutions, each of which doubles the side.

    Kernels of 4 at stride 2 overlap evenly, so that no chequered pattern is built in. A side that is not
    a multiple of 4 gains the row and column that the encoder `conv` lost by halving.
    """
    outer, inner = MAPS
    half, quarter = size // 2, size // 4
    return nn.Sequential(
        nn.Linear(latent_dim, inner * quarter * quarter),
        nn.ReLU(),
        nn.Unflatten(1, (inner, quarter, quarter)),
        nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1, output_padding=half % 2),
        nn.ReLU(),
        nn.ConvTranspose2d(outer, channels, 4, stride=2, padding=1, output_padding=size % 2),
    )
