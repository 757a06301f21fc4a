"""Losses of a linear head."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from latentloom.checks import check_labelled
from latentloom.losses._table import term


@term
def cross_entropy(logits: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean of -log softmax(logits)[y] over the labelled rows.

    Args:
        logits: (n, C), floating.
        y: classes, (n,), integer in [0, C), or -1 for unlabelled.
        label_smoothing: share of the target spread evenly over all classes, in [0, 1).

    Returns:
        A scalar >= 0; 0 without a labelled row.
    """
    check_labelled(logits, y)
    total = functional.cross_entropy(
        logits, y.long(), ignore_index=-1, reduction="sum", label_smoothing=label_smoothing
    )
    return total / (y >= 0).sum().clamp_min(1)
