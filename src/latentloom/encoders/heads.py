"""Heads: what hangs on a latent; whatever is learned beside the encoder lives here."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentloom.values import Latent


class Linear(nn.Module):
    """Logits of a linear classifier: samples["logits"], (n, C)."""

    def __init__(self, latent_dim: int, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(latent_dim, classes)

    def forward(self, z: Tensor) -> Latent:
        return Latent({"logits": self.layer(z)})


class Centres(nn.Module):
    """One learned point per class: shared["centres"], (C, d)."""

    def __init__(self, latent_dim: int, classes: int) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.randn(classes, latent_dim))

    def forward(self, z: Tensor) -> Latent:
        return Latent({}, {"centres": self.points})


def joined(z: Tensor, parts: list[Latent]) -> Latent:
    """z with what every head made of it."""
    samples: dict[str, Tensor] = {"z": z}
    shared: dict[str, Tensor] = {}
    for part in parts:
        samples.update(part.samples)
        shared.update(part.shared)
    return Latent(samples, shared)
