"""Heads: what hangs on a latent; whatever is learned beside the encoder lives here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from latentloom.checks import UserError
from latentloom.encoders.semantic import LabelEmbeddings
from latentloom.latent.geometry import Metric, nearness
from latentloom.values import Latent


class Linear(nn.Module):
    """Logits of a linear classifier: samples["logits"], (n, C)."""

    def __init__(self, latent_dim: int, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(latent_dim, classes)

    def forward(self, z: Tensor) -> Latent:
        return Latent({"logits": self.layer(z)})


class ClassEmbeddings(nn.Module):
    """One learned vector per class: shared["class_embeddings"], (C, d).

    Moving Targets (2023) starts them at N(0, 1) in each coordinate.

    Args:
        latent_dim: d.
        classes: C.
        start: vectors to start at, (C, d); N(0, 1) unless given.
        classify: also classify by the nearest of them, with samples["logits"] (n, C) of -|z - c|^2
            (euclidean) or of the cosine of z and c. None leaves that to another head.
        tied: keep the vectors as they start, and learn one factor for all of them, so that classes lie to
            each other as the vectors do.
    """

    vectors: Tensor

    def __init__(
        self,
        latent_dim: int,
        classes: int,
        start: Tensor | None = None,
        classify: Metric | None = None,
        *,
        tied: bool = False,
    ) -> None:
        super().__init__()
        self.classify = classify
        if tied and start is None:
            raise UserError(
                "class embeddings are tied to vectors that are given; set --model.embeddings_from"
            )
        if start is not None and start.shape != (classes, latent_dim):
            raise UserError(
                f"class embeddings must be ({classes}, {latent_dim}), a row per class, got "
                f"{tuple(start.shape)}; set --model.latent_dim to their length"
            )
        if start is not None and not start.isfinite().all():
            raise UserError("class embeddings to start at must be finite, got nan or inf")
        first = torch.randn(classes, latent_dim) if start is None else start.float().clone()
        if tied:
            self.register_buffer("vectors", first)
        else:
            self.vectors = nn.Parameter(first)
        self.factor = nn.Parameter(torch.ones(())) if tied else None

    @property
    def places(self) -> Tensor:
        """Where they are, (C, d)."""
        return self.vectors if self.factor is None else self.factor * self.vectors

    def forward(self, z: Tensor) -> Latent:
        places = self.places
        if self.classify is None:
            return Latent({}, {"class_embeddings": places})
        return Latent({"logits": nearness(z, places, self.classify)}, {"class_embeddings": places})


class Centres(nn.Module):
    """One learned point per class: shared["centres"], (C, d)."""

    def __init__(self, latent_dim: int, classes: int) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.randn(classes, latent_dim))

    def forward(self, z: Tensor) -> Latent:
        return Latent({}, {"centres": self.points})


def parameter_groups(
    model: nn.Module, *, weight_decay: float = 0.0, heads_lr: float | None = None
) -> list[dict[str, Any]]:
    """Parameters of a model for any optimiser of torch.optim: what is learned of classes apart.

    Class embeddings and learned centres have no weight decay, which would draw the classes together, nor
    has the balance of class and group; and, where `heads_lr` is given, they have that learning rate. All
    else has `weight_decay`.
    """
    heads = [m for m in model.modules() if isinstance(m, (ClassEmbeddings, Centres, LabelEmbeddings))]
    points = [parameter for head in heads for parameter in head.parameters()]
    apart = {id(parameter) for parameter in points}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in apart]
    own_lr = {} if heads_lr is None else {"lr": heads_lr}
    return [
        {"params": rest, "weight_decay": weight_decay},
        *([{"params": points, "weight_decay": 0.0, **own_lr}] if points else []),
    ]


def joined(parts: Iterable[Latent]) -> Latent:
    """What every part of a model has made of the same images."""
    samples: dict[str, Tensor] = {}
    shared: dict[str, Tensor] = {}
    for part in parts:
        samples.update(part.samples)
        shared.update(part.shared)
    return Latent(samples, shared)
