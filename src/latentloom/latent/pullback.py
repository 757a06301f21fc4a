"""Distances of points as a decoder sees them: how far their images lie apart, to first order."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.latent.geometry import root

LARGEST = 10  # dimensions; each costs a forward-mode product with the decoder and a column of pixels
TOGETHER = 5  # directions at a time: more are no faster, and each holds the decoder's layers once more


@torch.no_grad()
def pullback_metric(decode: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """M(z) = J(z)^T J(z) at each point, (n, d, d), float32 at least; J is the Jacobian of the decoder.

    The length of a small step v at z, sqrt(v^T M v), is how far the decoder's output moves: in pixels, or
    in their logits where it ends in those. By d products in forward mode, in the memory of d outputs and
    of five passes through the decoder.

    It carries no gradient. That of M would take second derivatives of the decoder, which with ReLUs are 0
    wherever there are any; what was left would draw all images together, for the sake of small distances.

    Args:
        decode: points (n, d) -> images (n, ...), each from its own point alone (no batch statistics).
        z: points, (n, d), d at most 10.

    Paper: Arvanitidis, Hansen and Hauberg 2018, Latent Space Oddity, arXiv:1710.11379.
    """
    if z.ndim != 2 or z.shape[1] > LARGEST:
        raise UserError(
            f"the pull-back metric wants points (n, d) of d <= {LARGEST}, got {tuple(z.shape)}; "
            f"set --model.latent_dim to {LARGEST} or less"
        )

    def column(direction: Tensor) -> Tensor:
        """The derivative of all outputs in one direction, (n, pixels)."""
        moved: Tensor = torch.func.jvp(decode, (z,), (direction.expand_as(z),))[1]
        return moved.flatten(1)

    _load_forward_mode()
    columns = torch.func.vmap(column, out_dims=1, chunk_size=TOGETHER)(torch.eye(z.shape[1]).to(z))
    with torch.autocast(z.device.type, enabled=False):
        columns = columns.to(torch.promote_types(columns.dtype, torch.float32))  # (n, d, pixels)
        return columns @ columns.mT


def pullback_distances(z: Tensor, metric: Tensor) -> Tensor:
    """Distances between all points by the mean of the metrics at both ends, (n, n), >= 0.

        sqrt((z_i - z_j)^T (M_i + M_j) / 2 (z_i - z_j))

    For a linear decoder A that is |A z_i - A z_j|; for any other it stands for the geodesic where M changes
    little on the way. Multiplied out, so that no tensor is larger than (n, n) or (n, d^2); the slope is 0,
    not infinite, where two points are one.

    Args:
        z: points, (n, d).
        metric: symmetric, positive semi-definite, (n, d, d), as from `pullback_metric`.
    """
    n, d = z.shape
    if metric.shape != (n, d, d):
        raise UserError(f"wanted a metric ({n}, {d}, {d}) at {n} points, got {tuple(metric.shape)}")
    # As in squared_distances: digits are lost far from the origin, so the origin goes to the points.
    z = z - z.detach().mean(0)
    ahead = torch.einsum("ide,ie->id", metric, z)  # M_i z_i
    outer = (z[:, :, None] * z[:, None]).flatten(1)  # z_j z_j^T, (n, d^2)
    # (z_i - z_j)^T M_i (z_i - z_j), (n, n); row i holds the metric
    squared = (ahead * z).sum(1)[:, None] - 2 * ahead @ z.mT + metric.flatten(1) @ outer.mT
    return root(((squared + squared.mT) / 2).clamp_min(0))


@cache
def _load_forward_mode() -> None:
    """At its first product in forward mode torch compiles rules of its own, and warns of how it does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated")
        torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))
