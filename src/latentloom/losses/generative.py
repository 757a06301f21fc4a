"""Losses of autoencoders and of variational ones: reconstruction, and divergence from a prior.

None of them reads a label: every row counts, labelled or not.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from latentloom.checks import UserError, check_choice
from latentloom.latent.posterior import check_posterior, normal_log_density, unit_divergence
from latentloom.losses._table import term

VARIANTS = ("default", "wrong_sign", "no_entropy", "paper")


@term
def kl(
    mean: Tensor,
    logvar: Tensor,
    z: Tensor,
    log_prior: Tensor,
    *,
    free_bits: float = 0.0,
    variant: Literal["default", "wrong_sign", "no_entropy", "paper"] = "default",
) -> Tensor:
    """Bring the posterior of each image to the prior, whatever the prior is: KL by one draw per image.

    With z_n drawn from q_n = N(mean_n, exp(logvar_n)), the mean over n of

        log q_n(z_n) - log p(z_n)

    The other variants are for the record, since models trained with them fail:

        wrong_sign   log p - log q. Minimised, it drives the posterior away from the prior
        no_entropy   without the -1/2 sum_j logvar_nj of log q, the part that keeps variances from 0
        paper        both, as Algorithm 4 of the paper prints them: Q - P with P = -1/2 (z - mean)^2 /
                     exp(logvar) and Q the same of the prior. The print has neither log-sum-exp over
                     components nor weights either; here they are in log_prior, and so is the prior's own
                     -1/2 sum_j logvar, a constant while the prior is fixed

    Args:
        mean: of the posterior of each image, (n, d), floating.
        logvar: its log-variance, (n, d).
        z: a draw from it, (n, d), with the gradient through mean and logvar.
        log_prior: log p(z), (n,), written by the head that owns the prior.
        free_bits: nats per dimension that cost nothing: where the mean over n is below free_bits * d it
            is held there, without a gradient. 0 turns that off.
        variant: as above.

    Returns:
        A scalar, an unbiased estimate of the divergence, so that it can be below 0; 0 for an empty batch.
        Finite as long as the squares of z are.

    Paper: Kingma and Welling 2014, Auto-Encoding Variational Bayes, arXiv:1312.6114, Eq. 7, the term
    log p(z) - log q(z|x); free bits: Kingma et al. 2016, arXiv:1606.04934, Eq. 15.
    """
    check_posterior(mean, logvar)
    check_choice("variant", variant, VARIANTS)
    if z.shape != mean.shape or log_prior.shape != mean.shape[:1]:
        raise UserError(
            f"z must be {tuple(mean.shape)} and log_prior ({len(mean)},), got {tuple(z.shape)} and "
            f"{tuple(log_prior.shape)}; log_prior is prior.log_prob(z)"
        )
    if len(mean) == 0:
        return log_prior.sum() + mean.sum()
    log_posterior = normal_log_density(z, mean, logvar).sum(1)
    if variant in ("no_entropy", "paper"):
        log_posterior = log_posterior + logvar.sum(1) / 2
    value = _mean_over_rows(log_posterior - log_prior)
    value = _beyond(value, free_bits, mean.shape[1])
    return -value if variant in ("wrong_sign", "paper") else value


@term
def unit_kl(mean: Tensor, logvar: Tensor, *, free_bits: float = 0.0) -> Tensor:
    """Bring the posterior of each image to N(0, 1) in each dimension: KL in closed form.

    The mean over n of

        sum_j 1/2 (exp(logvar_nj) + mean_nj^2 - 1 - logvar_nj)

    Args:
        mean: of the posterior of each image, (n, d), floating.
        logvar: its log-variance, (n, d).
        free_bits: nats per dimension that cost nothing: where the mean over n of a dimension is below,
            it is held there, without a gradient. 0 turns that off.

    Returns:
        A scalar >= 0; 0 for an empty batch. Infinite where exp(logvar) is, from logvar 88 in float32.

    Paper: Kingma and Welling 2014, arXiv:1312.6114, appendix B; free bits: Kingma et al. 2016,
    arXiv:1606.04934, Eq. 15.
    """
    check_posterior(mean, logvar)
    if len(mean) == 0:
        return mean.sum()
    per_dimension = _mean_over_rows(unit_divergence(mean, logvar))
    return _beyond(per_dimension, free_bits, 1).sum()


@term
def reconstruction(
    reconstruction: Tensor,
    x: Tensor,
    *,
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian",
    pixels: Literal["sum", "mean"] = "sum",
) -> Tensor:
    """Bring what the decoder makes of a latent to the image: -log p(x | z), up to a constant.

    The mean over the images of the sum, or mean, over pixels and channels of

        gaussian    1/2 (x - r)^2, a Gaussian of variance 1 round r
        bernoulli   -x log s(r) - (1 - x) log(1 - s(r)) with s the logistic function

    Args:
        reconstruction: r, (n, c, h, w), or any shape with a row per image, floating: the means of a
            Gaussian, or logits.
        x: the images, of the same shape, floating; in [0, 1] for bernoulli.
        likelihood: as above.
        pixels: sum is the likelihood, and what a divergence in nats is to be added to. mean does not
            depend on the size of the image; it is half of what is commonly called MSE (gaussian).

    Returns:
        A scalar >= 0; 0 for an empty batch. For bernoulli nan where x is outside [0, 1], since the loss
        would have no lower end there; see `check_in_unit_range`.
    """
    check_choice("likelihood", likelihood, ("gaussian", "bernoulli"))
    check_choice("pixels", pixels, ("sum", "mean"))
    _check_images(reconstruction, x)
    if likelihood == "gaussian":
        each = (reconstruction - x).square() / 2
    else:
        inside = torch.where((x >= 0) & (x <= 1), x, torch.nan)
        each = binary_cross_entropy_with_logits(reconstruction, inside, reduction="none")
    each = each.flatten(1)
    return _mean_over_rows(each.sum(1) if pixels == "sum" else each.mean(1))


def check_in_unit_range(x: Tensor) -> None:
    """Refuse images outside [0, 1], which a Bernoulli likelihood cannot have made; asked where data enter."""
    if not ((x >= 0) & (x <= 1)).all():
        raise UserError(
            f"a Bernoulli likelihood wants images in [0, 1], got {x.min():g} to {x.max():g}; give it images "
            "that are not standardised, or take likelihood gaussian"
        )


def _mean_over_rows(values: Tensor) -> Tensor:
    return values.sum(0) / max(len(values), 1)


def _beyond(value: Tensor, free_bits: float, dimensions: int) -> Tensor:
    """The value, held where it is below what is free."""
    if free_bits < 0:
        raise UserError(f"free_bits must be 0 or more nats per dimension, got {free_bits}")
    return value if free_bits == 0 else value.clamp_min(free_bits * dimensions)


def _check_images(reconstruction: Tensor, x: Tensor) -> None:
    if reconstruction.shape != x.shape or x.ndim < 2 or not x.is_floating_point():
        raise UserError(
            f"x must be floating and shaped as the reconstruction {tuple(reconstruction.shape)}, (n, ...), "
            f"got {x.dtype} {tuple(x.shape)}; bytes are to be divided by 255"
        )
