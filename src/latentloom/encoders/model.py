"""The one contract between a model and all that follows: model(x) -> Latent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from latentloom.checks import UserError
from latentloom.encoders.heads import Centres, ClassEmbeddings, Linear, joined
from latentloom.encoders.normalise import Standardise
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
    encoder: nn.Module,
    *,
    latent_dim: int,
    classes: int,
    standardise: Standardise,
    classifier: Literal["linear", "euclidean", "cosine"] = "linear",
    class_embeddings: Tensor | bool = False,
    learned_centres: bool = False,
) -> Model:
    """An encoder, fed with images as they are, with its heads.

    Args:
        encoder: images (n, c, h, w) -> (n, latent_dim).
        latent_dim: what the encoder ends in.
        classes: C.
        standardise: what images pass first.
        classifier: a linear head, or the nearest class embedding.
        class_embeddings: add a learned vector per class; a tensor (C, d) is what they start at.
        learned_centres: add one learned point per class.
    """
    if classifier != "linear" and class_embeddings is False:
        raise UserError(
            f"the classifier {classifier!r} takes the nearest class embedding, and the model has none; "
            "add --model.class_embeddings true"
        )
    heads: dict[str, nn.Module] = {}
    if classifier == "linear":
        heads["linear"] = Linear(latent_dim, classes)
    if class_embeddings is not False:
        start = class_embeddings if isinstance(class_embeddings, Tensor) else None
        by = None if classifier == "linear" else classifier
        heads["class_embeddings"] = ClassEmbeddings(latent_dim, classes, start, by)
    if learned_centres:
        heads["centres"] = Centres(latent_dim, classes)
    # Channels last makes the convolutions of the small CNN nearly twice as fast on one core.
    whole = nn.Sequential(standardise, encoder).to(memory_format=torch.channels_last)
    return Model(whole, heads)
