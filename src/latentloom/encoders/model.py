"""The one contract between a model and all that follows: model(x) -> Latent."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from latentloom.encoders.heads import Centres, Linear, joined
from latentloom.encoders.networks import ENCODERS, Standardise, build_encoder
from latentloom.values import Latent


class Model(nn.Module):
    """Images to a `Latent`: an encoder and the heads on its end.

    Args:
        encoder: (n, c, h, w) -> (n, d).
        heads: modules (n, d) -> `Latent`.
    """

    def __init__(self, encoder: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)

    def forward(self, x: Tensor) -> Latent:
        z = self.encoder(x)
        return joined(z, [head(z) for head in self.heads.values()])


def build_model(
    encoder: str,
    *,
    channels: int,
    size: int,
    classes: int,
    mean: Tensor,
    std: Tensor,
    latent_dim: int | None = None,
    learned_centres: bool = False,
) -> Model:
    """One of our own encoders, fed with images as they are, under a linear head.

    Args:
        encoder: a name of `ENCODERS`.
        channels, size: of the images.
        classes: of the linear head.
        mean, std: (c,) of the training images on the scale 0 to 1.
        latent_dim: the encoder's own unless given.
        learned_centres: add one learned point per class.
    """
    network = build_encoder(encoder, channels, size, latent_dim)
    dim = latent_dim or ENCODERS[encoder].latent_dim
    heads: dict[str, nn.Module] = {"linear": Linear(dim, classes)}
    if learned_centres:
        heads["centres"] = Centres(dim, classes)
    # Channels last makes the convolutions of the small CNN nearly twice as fast on one core.
    whole = nn.Sequential(Standardise(mean, std), network).to(memory_format=torch.channels_last)
    return Model(whole, heads)
