"""The Gaussian that an encoder gives for each image: its density, its divergence, its collapse."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentloom.checks import UserError

LOG_2PI = math.log(2 * math.pi)
NARROWEST = -80.0  # log-variance; float32 cannot hold a step as small as this away from 0


def check_posterior(mean: Tensor, logvar: Tensor) -> None:
    """Refuse anything but floating means and log-variances of one shape, (n, d)."""
    if mean.ndim != 2 or mean.shape != logvar.shape or not mean.is_floating_point():
        raise UserError(
            f"mean and logvar must be floating (n, d), both alike, got {mean.dtype} {tuple(mean.shape)} and "
            f"{tuple(logvar.shape)}; flatten maps with .flatten(1)"
        )


def normal_log_density(z: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mean, exp(logvar)) of each coordinate, in the shape of z.

    Written in the log-variance, which has no range to leave: finite where z, mean and logvar are, as long
    as (z - mean)^2 / exp(logvar) can be held. Below a log-variance of -80 the distance counts as at -80.
    """
    scaled = (z - mean) * (-logvar.clamp_min(NARROWEST) / 2).exp()
    return -(scaled.square() + logvar + LOG_2PI) / 2


def unit_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, 1)) of each coordinate, (n, d), >= 0; infinite where the variance is.

    >>> unit_divergence(torch.tensor([[2., 0.]]), torch.zeros(1, 2))
    tensor([[2., 0.]])
    """
    return (logvar.expm1() - logvar + mean.square()) / 2


def active_units(mean: Tensor, *, threshold: float = 0.01) -> Tensor:
    """Share of the dimensions whose posterior mean tells images apart.

    A dimension is active where the variance over the images of its posterior mean is above the threshold.

    Args:
        mean: posterior means of many images, (n, d).
        threshold: in squared units of z, against a prior of variance about 1.

    Returns:
        A scalar in [0, 1]; 0 means that the posterior has collapsed on the prior. 0 below two images.

    Paper: Burda et al. 2016, Importance Weighted Autoencoders, arXiv:1509.00519, sec. 5.2.
    """
    if len(mean) < 2:
        return torch.zeros((), dtype=mean.dtype, device=mean.device)
    return (mean.detach().double().var(0) > threshold).to(mean.dtype).mean()
