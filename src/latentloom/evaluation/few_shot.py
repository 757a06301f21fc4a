"""Few-shot: classes that were never trained on, from a few images of each."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.evaluation._table import labelled_rows
from latentloom.evaluation.blocks import all_finite
from latentloom.evaluation.certainty import distance_logits
from latentloom.latent.geometry import Metric, unit


def few_shot_accuracy(
    z: Tensor,
    y: Tensor,
    *,
    shots: int,
    episodes: int = 100,
    queries: int = 15,
    metric: Metric = "euclidean",
    seed: int = 0,
) -> Tensor:
    """Accuracy of class embeddings made from a few images, in each of many draws: (episodes,) float64.

    An episode draws, of every class in y, `shots` support images and other images as queries, without
    replacement. A class is embedded at the mean of its support latents, for cosine of their unit
    vectors, and a query belongs to the nearest class:

        mean over queries q of [argmin over j of f(z[q], mean of the support of class j) == y[q]]

    The mean is the point of least squared distance to the support; the mean of unit vectors has the
    direction of highest cosine to it, since a cosine sees no lengths, and neither should the mean.

    The draws depend on y, shots, queries and the seed alone, so latent spaces of the same images are
    compared over the same episodes; and the queries are drawn first, so that one shot and five are
    asked the same. `mean_interval(accuracies.tolist())` is the 95 % interval of the mean over draws,
    with images and latent space held fixed.

    Args:
        z: latents, (n, d), of classes that the model was not trained on.
        y: their classes, (n,); -1 is unlabelled and left out.
        shots: support images of a class in an episode.
        episodes: how many.
        queries: of each class in an episode; fewer, of all classes alike, where the smallest class has
            fewer than shots + queries images.
        metric: euclidean or cosine.
        seed: of the draws.

    Returns:
        Shares in [0, 1]; chance is 1/C. Of classes equally near the first is taken, so points in one
        place give 1/C. nan where a labelled point is not finite.

    Paper: Snell et al. 2017, Prototypical networks for few-shot learning, arXiv:1703.05175, for the mean.
    """
    if shots < 1 or episodes < 1 or queries < 1:
        raise UserError(
            f"shots, episodes and queries must be at least 1, got {shots}, {episodes} and {queries}"
        )
    points, labels = labelled_rows(z, y)
    rows = _draws(labels, shots, queries, episodes, seed)
    if not all_finite(points):
        return points.new_full((episodes,), math.nan)
    directed = unit(points) if metric == "cosine" else points
    return torch.stack([_accuracy(directed[drawn], shots, metric) for drawn in rows])


def _draws(y: Tensor, shots: int, queries: int, episodes: int, seed: int) -> Tensor:
    """Rows drawn of each class, (episodes, C, queries + shots), the queries first."""
    classes, counts = torch.unique(y, return_counts=True)
    _check_counts(classes.tolist(), counts.tolist(), shots)
    wanted = min(shots + queries, int(counts.min()))
    generator = torch.Generator().manual_seed(seed)

    def drawn(label: Tensor) -> Tensor:
        rows = (y == label).nonzero()[:, 0]
        chance = torch.rand(episodes, len(rows), generator=generator, dtype=torch.float64)
        return rows[chance.argsort(1)[:, :wanted].to(rows.device)]

    return torch.stack([drawn(label) for label in classes], 1)


def _check_counts(classes: list[int], counts: list[int], shots: int) -> None:
    """Refuse fewer than two classes, and a class that cannot give a query beside its support."""
    if len(classes) < 2:
        raise UserError(
            f"few-shot accuracy needs labelled images of at least two classes, got {len(classes)}"
        )
    for label, count in zip(classes, counts, strict=True):
        if count <= shots:
            raise UserError(
                f"class {label} has {count} labelled images, wanted at least {shots + 1} for {shots} shots "
                "and a query; add images of it, leave the class out, or ask for fewer shots"
            )


def _accuracy(points: Tensor, shots: int, metric: Metric) -> Tensor:
    """Share of queries nearest to their own class, of points (C, queries + shots, d) of one episode."""
    asked, support = points[:, :-shots], points[:, -shots:]
    nearest = distance_logits(asked.flatten(0, 1), support.mean(1), metric).argmax(1)  # (C * queries,)
    own = torch.arange(len(asked), device=points.device)[:, None]
    return (nearest.view(asked.shape[:2]) == own).double().mean()
