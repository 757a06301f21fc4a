"""What latents are wished to look like before any image is seen: densities over the latent space.

A prior is a module with the methods of `Prior`; the mixtures are in `mixtures.py`. Densities are computed in
float32 at least, whatever the type of the points.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import softplus

from latentloom.checks import UserError, check_choice
from latentloom.latent.posterior import LOG_2PI

LISTED = 4096  # components of a prior that can be listed: the vertices of a hypercube of 12 dimensions


class Prior(Protocol):
    """A density over latents: one Gaussian or more."""

    @property
    def count(self) -> int:
        """How many Gaussians it is made of."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) of points (n, d): (n,)."""
        ...

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """Points drawn from the prior, (n, d)."""
        ...

    def components(self) -> tuple[Tensor, Tensor]:
        """Means and log-variances of the Gaussians that it is made of, (K, d) each."""
        ...

    def most_responsible(self, z: Tensor) -> Tensor:
        """The component that each point most probably comes from, (n,), a row of `components()`."""
        ...


class UnitGaussian(nn.Module):
    """N(0, 1) in each of d dimensions."""

    count = 1

    def __init__(self, d: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(1, d), persistent=False)
        self.origin: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) of points (n, d): (n,)."""
        return -(checked_points(z, self.origin.shape[1]).square() + LOG_2PI).sum(1) / 2

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """Points drawn from the prior, (n, d)."""
        return noise(self.origin.expand(n, -1), generator)

    def components(self) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the one Gaussian, (1, d) each."""
        return self.origin, self.origin

    def most_responsible(self, z: Tensor) -> Tensor:
        """0 for each point, (n,)."""
        return torch.zeros(len(z), dtype=torch.long, device=z.device)


class Hypercube(nn.Module):
    """Equal Gaussians at the vertices of a hypercube round the origin.

    All 2^d of them, which takes O(d) and not O(2^d), because the mixture is a product over dimensions:

        p(z) = prod_j ( N(z_j; -side/2, v) + N(z_j; side/2, v) ) / 2,    v = exp(logvar)

    Each vertex is a mode of its own only where v < (side/2)^2. From there on the two Gaussians along an
    edge run together, the whole mixture has a single mode, in the origin, and says nothing of clusters.

    Args:
        d: dimensions.
        side: of the hypercube, in units of z.
        logvar: -2 unless given, which leaves 5 % of the density half-way between two vertices 2 apart.
        variant: paper has logvar 1, as printed. With a side of 2 its variance e is above 1: one mode.
    """

    def __init__(
        self,
        d: int,
        *,
        side: float = 2.0,
        logvar: float | None = None,
        variant: Literal["default", "paper"] = "default",
    ) -> None:
        super().__init__()
        check_choice("variant", variant, ("default", "paper"))
        if side <= 0:
            raise UserError(
                f"the side of a hypercube must be above 0, got {side}; for one Gaussian take unit"
            )
        self.logvar = {"default": -2.0, "paper": 1.0}[variant] if logvar is None else logvar
        self.corner = side / 2
        self.count = 2**d
        self.register_buffer("origin", torch.zeros(1, d), persistent=False)
        self.origin: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) of points (n, d): (n,)."""
        size, variance = checked_points(z, self.origin.shape[1]).abs(), math.exp(self.logvar)
        nearer = -(size - self.corner).square() / (2 * variance)
        # log(exp(nearer) + exp(farther)), the farther vertex being 2 corner |z| / v below the nearer one
        both = nearer + softplus(-2 * self.corner * size / variance)
        return (both - (LOG_2PI + self.logvar) / 2 - math.log(2)).sum(1)

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """Points drawn from the prior, (n, d)."""
        shape, device = (n, self.origin.shape[1]), self.origin.device
        sign = 2 * torch.randint(2, shape, generator=generator, device=device) - 1
        return sign * self.corner + math.exp(self.logvar / 2) * noise(self.origin.expand(n, -1), generator)

    def components(self) -> tuple[Tensor, Tensor]:
        """Means and log-variances of all vertices, (2^d, d) each; bit j of a row number is the side in j."""
        bits = self._bits()
        number = torch.arange(2 ** len(bits), device=bits.device)[:, None]
        means = (2 * (number // bits % 2) - 1) * self.origin.new_tensor(self.corner)
        return means, torch.full_like(means, self.logvar)

    def most_responsible(self, z: Tensor) -> Tensor:
        """The nearest vertex of each point, (n,), a row of `components()`."""
        return ((z > 0) * self._bits()).sum(1)

    def _bits(self) -> Tensor:
        d = self.origin.shape[1]
        if self.count > LISTED:
            raise UserError(
                f"a hypercube of {d} dimensions has 2^{d} components, and at most {LISTED} are listed; "
                "take a sphere mixture of as many as you want"
            )
        return 2 ** torch.arange(d, device=self.origin.device)


def checked_points(z: Tensor, d: int) -> Tensor:
    """Points (n, d) in float32 at least."""
    if z.ndim != 2 or z.shape[1] != d or not z.is_floating_point():
        raise UserError(
            f"a prior over {d} dimensions wants floating points (n, {d}), got {z.dtype} {tuple(z.shape)}; "
            "make it with the dimension of the latents"
        )
    return z.to(torch.promote_types(z.dtype, torch.float32))


def noise(like: Tensor, generator: Generator | None) -> Tensor:
    """Draws of N(0, 1) in the shape of a tensor; torch.distributions would take no generator."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
