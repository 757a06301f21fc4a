"""What a latent says of an image: its class, how sure that is, how far it lies from the class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentloom.evaluation import energy_confidence, softmax_confidence
from latentloom.latent.geometry import Metric, nearness, unit
from latentloom.values import Latent


@dataclass(frozen=True)
class Predictions:
    """The class of each of n images, and what speaks for it.

    `ood` is minus the log sum exp of the logits, the free energy (Liu et al. 2020, arXiv:2010.03759), of
    any sign: the higher, the less the image is like those of any known class. It has no scale of its
    own. Compare it with that of images whose classes are known.
    """

    y: Tensor  # (n,) int64
    labels: tuple[str, ...]  # names of the classes y
    probability: Tensor  # of the class, by the softmax of the logits, (n,) in [1/C, 1]
    ood: Tensor  # (n,)
    to_centre: Tensor  # Euclidean distance to the mean training latent of the class, (n,); nan without one
    # To the learned vector of the class, (n,): Euclidean; 1 - cos in a model that classifies by the cosine.
    to_class_embedding: Tensor | None
    to_label_embedding: Tensor | None  # 1 - cos with the vector of the class name, (n,) in [0, 2]

    def columns(self) -> dict[str, tuple[str, ...] | Tensor]:
        """What tables show, by the name of the column."""
        distances = {
            "distance_to_centre": self.to_centre,
            "distance_to_class_embedding": self.to_class_embedding,
            "distance_to_label_embedding": self.to_label_embedding,
        }
        there = {name: values for name, values in distances.items() if values is not None}
        return {"label": self.labels, "probability": self.probability, **there, "ood": self.ood}


def predictions(latent: Latent, class_names: tuple[str, ...], metric: Metric = "euclidean") -> Predictions:
    """The predictions of a latent, in float64.

    Args:
        latent: with logits (n, C) and, shared, class_centres (C, d).
        class_names: C.
        metric: by which distances to class embeddings are taken.
    """
    y, probability = softmax_confidence(latent.logits)
    embeddings, meanings = latent.get("class_embeddings"), latent.get("label_embeddings")
    return Predictions(
        y=y,
        labels=tuple(class_names[k] for k in y.tolist()),
        probability=probability,
        ood=-energy_confidence(latent.logits),
        to_centre=_distance(latent.z, latent["class_centres"][y], "euclidean"),
        to_class_embedding=None if embeddings is None else _distance(latent.z, embeddings[y], metric),
        to_label_embedding=None if meanings is None else _distance(latent.z, meanings[y], "cosine"),
    )


def centre_logits(z: Tensor, centres: Tensor) -> Tensor:
    """Logits (n, C) of a model that has none of its own: -|z - c|^2, -inf of a class without a centre."""
    present = centres.isfinite().all(1)
    logits = nearness(z, centres.nan_to_num(0.0), "euclidean")
    return torch.where(present, logits, -math.inf)


def _distance(z: Tensor, points: Tensor, metric: Metric) -> Tensor:
    """Of each row of z (n, d) to that of points (n, d): Euclidean, or 1 - cos; (n,) float64."""
    z, points = z.double(), points.double()
    if metric == "cosine":
        return 1 - (unit(z) * unit(points)).sum(1)
    found: Tensor = torch.linalg.vector_norm(z - points, dim=1)
    return found
