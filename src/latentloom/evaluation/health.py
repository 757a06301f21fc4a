"""Whether a latent space is in order while it is trained."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from latentloom.evaluation._table import checked_rows
from latentloom.evaluation.blocks import all_finite, blocks
from latentloom.evaluation.structure import (
    components,
    effective_rank,
    principal_variances,
    scatter,
    scatter_ratio,
    silhouette,
)
from latentloom.latent.posterior import active_units

SAMPLE = 1000  # points whose silhouette is taken; its standard error is then below 0.02

# The spread of points over their distance from the origin. Float32 tells 1e-7 apart; with a few
# hundred summands in a linear layer, 1e-5 is what is left to a classifier.
ONE_PLACE = 1e-5
# And a spread in units of z, for points that shrink towards the origin: a layer that follows, with
# weights of the usual size below 1, adds a bias 1e5 times as large.
SHRUNK = 1e-5
# Share of the variance along one direction. Untrained, the small CNN and the MLP have up to 0.42 on
# Fashion-MNIST.
ONE_DIRECTION = 0.99
# Standard deviations above chance. Latents that know anything of the classes lie ten and more above it.
CHANCE = 3.0
# Variance over images of the means of a posterior, against a prior of about 1. Untrained, the MLP and the
# convolutional encoder have 6e-4 and more in some dimension, on digits and MNIST.
COLLAPSED = 1e-4
# Labelled points per class, on average, below which chance itself is too wide to say anything.
ENOUGH = 20


def latent_health(z: Tensor, y: Tensor) -> dict[str, float]:
    """Figures to log after every epoch, by the names of their scores.

    The silhouette is that of at most 1000 labelled points, the same rows in every call of as many rows.
    """
    rows = (y >= 0).nonzero()[:, 0]
    drawn = np.random.default_rng(0).permutation(len(rows))[:SAMPLE]
    sample = rows[torch.from_numpy(drawn).to(rows.device)]
    return {
        "silhouette": silhouette(z[sample], y[sample]).item(),
        "effective_rank": effective_rank(z).item(),
        "scatter_ratio": scatter_ratio(z, y).item(),
        "components": components(z).item(),
    }


def collapse(z: Tensor, y: Tensor) -> str | None:
    """The name and the figures of a collapse of the labelled points; None where there is none.

    all points in one place      their spread is 1e-5 of their distance from the origin, or 1e-5
    rank one                     99 % of the variance is along one direction; needs three classes,
                                 because two that are well apart do lie on a line
    all class centres in one place
                                 class means differ by no more than if labels were dealt at random;
                                 needs 20 points per class

    Points that are not finite are not judged: a loss that is not finite names itself.
    """
    points, labels = checked_rows(z, y)
    if (labels >= 0).sum() < 2 or not all_finite(points, labels):
        return None
    variances = principal_variances(points, labels)
    classes = len(torch.unique(labels[labels >= 0]))
    return (
        _one_place(points, labels, variances)
        or (_one_direction(variances) if classes > 2 else None)
        or (_no_better_than_chance(points, labels, variances) if classes > 1 else None)
    )


def posterior_collapse(mean: Tensor) -> str | None:
    """The name and the figures of a posterior that has collapsed on its prior; None where it has not.

    It has where in no dimension the means tell images apart; see `active_units`, with a threshold that an
    untrained network is above. A dimension or two that do not are usual where there are more than the
    images need. Means that are not finite are not judged.

    Args:
        mean: posterior means of many images, (n, d).
    """
    if len(mean) < 2 or not mean.isfinite().all() or active_units(mean, threshold=COLLAPSED) > 0:
        return None
    return f"posterior on its prior: none of {mean.shape[1]} dimensions tells images apart"


def _one_place(z: Tensor, y: Tensor, variances: Tensor) -> str | None:
    squares = torch.cat([points.square().sum(1) for points, _ in blocks(z, y)])
    spread, far = variances.sum().sqrt().item(), squares.mean().sqrt().item()
    if spread > max(ONE_PLACE * far, SHRUNK):
        return None
    return f"all points in one place: {spread:.1e} apart at a distance of {far:.1e} from the origin"


def _one_direction(variances: Tensor) -> str | None:
    share = (variances[0] / variances.sum()).item()
    if len(variances) < 2 or share < ONE_DIRECTION:
        return None
    return f"rank one: {share:.1%} of the variance is along one direction"


def _no_better_than_chance(z: Tensor, y: Tensor, variances: Tensor) -> str | None:
    """Compare the scatter of class means with what labels dealt at random would give.

    Then (between / (C - 1)) / (within / (n - C)) is about 1, with a standard deviation of about
    sqrt(2 / ((C - 1) r)), r = (sum v)^2 / sum v^2 the number of directions that points vary in.
    """
    n, classes = int((y >= 0).sum()), len(torch.unique(y[y >= 0]))
    if n < ENOUGH * classes:
        return None
    within, between = scatter(z, y)
    ratio = (between / (classes - 1) / (within / (n - classes))).item()
    directions = (variances.sum().square() / variances.square().sum()).item()
    if not ratio < 1 + CHANCE * math.sqrt(2 / ((classes - 1) * directions)):
        return None
    return f"all class centres in one place: they differ {ratio:.2f} times as much as by chance"
