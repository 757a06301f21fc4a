"""Out of distribution: whether images of no known class are told from those of known ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.evaluation.certainty import distance_logits, softmax_confidence
from latentloom.values import Finding, Latent


def maximum_softmax(logits: Tensor) -> Tensor:
    """Largest softmax probability of each row of logits (n, C): (n,) in [1/C, 1].

    Paper: Hendrycks and Gimpel 2017, A baseline for detecting misclassified and out-of-distribution
    examples, arXiv:1610.02136.
    """
    return softmax_confidence(logits)[1]


def energy_confidence(logits: Tensor) -> Tensor:
    """Minus the free energy, log sum exp of each row of logits (n, C): (n,), of any sign.

    Paper: Liu et al. 2020, Energy-based out-of-distribution detection, Eq. 4 at T = 1, arXiv:2010.03759.
    """
    return logits.detach().double().logsumexp(1)


def centre_confidence(z: Tensor, class_centres: Tensor) -> Tensor:
    """Minus the Euclidean distance of each point (n, d) to the nearest class centre (C, d): (n,), <= 0.

    Centres that are not finite are left out.
    """
    return -(-distance_logits(z, class_centres)).amin(1).sqrt()


def label_confidence(z: Tensor, label_embeddings: Tensor) -> Tensor:
    """Minus the distance 1 - cos of each point (n, d) to the nearest label embedding (C, d): (n,) in [-2, 0].

    A point in the origin has the cosine 0 with all.
    """
    return distance_logits(z, label_embeddings, "cosine").amax(1).clamp(-1, 1) - 1


# Higher inside the distribution than outside: what confidence is taken, from which tensors of a latent,
# and how to say it.
CONFIDENCES: dict[str, tuple[Callable[..., Tensor], tuple[str, ...], str]] = {
    "max_softmax": (maximum_softmax, ("logits",), "largest softmax probability"),
    "energy": (energy_confidence, ("logits",), "log sum exp of logits"),
    "nearest_centre": (centre_confidence, ("z", "class_centres"), "distance to the nearest class centre"),
    "nearest_label": (
        label_confidence,
        ("z", "label_embeddings"),
        "cosine distance to the nearest label embedding",
    ),
}


def separation(inside: Tensor, outside: Tensor) -> float:
    """Area under the ROC curve of confidences inside (n,) against outside (m,), in [0, 1].

    The chance that of one image from inside and one from outside the first is the surer, equal ones
    counting half:

        mean over i, k of [inside[i] > outside[k]] + [inside[i] == outside[k]] / 2

    Degenerate: 1/2 where all are equally sure; nan where one is not finite.
    """
    from sklearn.metrics import roc_auc_score

    if not len(inside) or not len(outside):
        raise UserError(
            f"wanted images inside and outside the distribution, got {len(inside)} and {len(outside)}"
        )
    confidence = torch.cat([inside.double().cpu(), outside.double().cpu()])
    if not confidence.isfinite().all():
        return math.nan
    is_inside = torch.arange(len(confidence)) < len(inside)
    return float(roc_auc_score(is_inside.numpy(), confidence.numpy()))


def ood_findings(inside: Latent, outside: Mapping[str, Latent], *, split: str) -> dict[str, Finding]:
    """How well each confidence tells images of the distribution from others, as lines of a card.

    Named "ood/max_softmax_auroc/near", "ood/energy_auroc/far" and so on; a confidence whose tensors are
    missing is left out. Labels play no part.

    Args:
        inside: latents of a split of known classes; its shared class_centres, means of training
            latents, and label_embeddings (C, d) are what distances are measured to.
        outside: latents of images of no known class, by the name of their domain, such as "near" (other
            classes of the same kind) and "far" (another kind of images).
        split: name of the one inside.
    """
    found = {}
    for name, (confidence, reads, said) in CONFIDENCES.items():
        if not all(key in inside for key in reads):
            continue
        rows, references = reads[0], [inside[key] for key in reads[1:]]
        sure = confidence(inside[rows], *references)
        for domain, others in outside.items():
            value = separation(sure, confidence(others[rows], *references))
            protocol = (
                f"area under the ROC curve by {said}; {len(sure):,} images of {split} against "
                f"{len(others.z):,} of {domain}"
            )
            found[f"ood/{name}_auroc/{domain}"] = Finding(value, "higher", 0.0, 1.0, protocol)
    return found
