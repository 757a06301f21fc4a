"""Zero-shot: classes that were never trained on, known by their names alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.evaluation._table import labelled_rows
from latentloom.evaluation.blocks import all_finite
from latentloom.evaluation.nearest import nearest


def held_out(classes: int, count: int, seed: int) -> Tensor:
    """Some classes to be left out of training, drawn without replacement: (count,) int64, rising.

    Args:
        classes: how many there are.
        count: how many to leave out, of which at least two can be told apart, and two must remain.
        seed: of the draw.
    """
    if not 2 <= count <= classes - 2:
        raise UserError(
            f"cannot hold out {count} of {classes} classes; wanted at least 2, and at least 2 to train on"
        )
    drawn = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))[:count]
    return drawn.sort().values


def zero_shot_accuracy(
    z: Tensor, y: Tensor, label_embeddings: Tensor, classes: Tensor, *, generalised: bool = False
) -> Tensor:
    """Accuracy of the nearest label embedding, over images of held-out classes: () float64, in [0, 1].

    mean over i with y[i] in the classes of [argmax over j of cos(z[i], e[j]) == y[i]]

    j runs over the held-out classes, so that chance is one over their number; or, generalised, over all
    C classes: harder, since images are drawn to the classes that were trained on.

    Degenerate: of equal cosines the first counts as the largest, so that points in the origin get the
    first class; nan where a point is not finite.

    Args:
        z: latents in the space of the label embeddings, (n, d).
        y: their classes, (n,); images of other classes, and unlabelled ones (-1), are left out.
        label_embeddings: a vector per class, (C, d), held-out classes among them.
        classes: those held out, (c,) integer, such as `held_out` draws.
        generalised: whether the classes that were trained on may be predicted too.
    """
    _check_classes(classes, len(label_embeddings))
    points, labels = labelled_rows(z, y)
    classes = classes.to(labels)
    asked = torch.isin(labels, classes)
    if not asked.any():
        raise UserError(f"no image is of the held-out classes {classes.tolist()}; give latents of theirs")
    if not all_finite(points[asked]):
        return points.new_tensor(math.nan)
    among = torch.arange(len(label_embeddings), device=labels.device) if generalised else classes
    found = among[nearest(points[asked], label_embeddings.to(points)[among], "cosine")]
    return (found == labels[asked]).double().mean()


def _check_classes(classes: Tensor, known: int) -> None:
    """Refuse held-out classes that are none, repeat, or have no label embedding."""
    given = classes.tolist()
    if not given or len(set(given)) < len(given) or not 0 <= min(given) <= max(given) < known:
        raise UserError(
            f"wanted different held-out classes from 0 to {known - 1}, got {given}; see held_out, and give a "
            "label embedding for every class"
        )
