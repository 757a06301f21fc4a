"""Principal directions of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def principal(z: Tensor, keep: Tensor, share: float) -> Tensor:
    """Directions that carry `share` of the variance of the kept rows; no gradient passes.

    The smallest d' with sum of the first d' variances >= share * sum of all variances
    (Latent Boost, v2 Eq. 8). Directions of zero variance are never among them.

    Args:
        z: points, (n, d), floating.
        keep: rows that count, (n,), bool.
        share: in (0, 1].

    Returns:
        Orthonormal columns, (d, min(n, d)), largest variance first; dropped columns are 0, so that
        the shape does not depend on the values. Without variance all of it is 0.
    """
    n, d = z.shape
    kept = keep[:, None].to(z.dtype)
    mean = (torch.where(keep[:, None], z, 0.0)).sum(0) / kept.sum().clamp_min(1)
    centred = torch.where(keep[:, None], z - mean, 0.0)
    # An eigen-solver raises on nan; the loss is where it must show.
    centred = torch.where(centred.isfinite(), centred, 0.0)
    if d <= n:
        power, basis = torch.linalg.eigh(centred.mT @ centred)
    else:
        power, left = torch.linalg.eigh(centred @ centred.mT)
        basis = centred.mT @ (left / power.clamp_min(0).sqrt().clamp_min(1e-30))
    power, basis = power.flip(-1), basis.flip(-1)
    real = power > power.amax() * max(n, d) * torch.finfo(z.dtype).eps
    power = torch.where(real, power, 0.0)
    # A product, since cumsum has no deterministic form on a GPU; strictly before, so that the direction
    # that crosses the share is kept.
    before = power @ torch.ones_like(power).expand(len(power), -1).triu(1)
    wanted = real & (before < share * power.sum())
    return torch.where(wanted, basis, 0.0)
