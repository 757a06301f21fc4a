"""Priors that are mixtures of Gaussians: given, learned, fitted, spread on a sphere, or of pseudo-inputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor, nn

from latentloom.checks import UserError
from latentloom.latent.geometry import unit
from latentloom.latent.posterior import LOG_2PI, check_posterior
from latentloom.latent.priors import checked_points, noise

LEAST = -80.0  # log of the smallest share that is computed
Encode = Callable[[Tensor], tuple[Tensor, Tensor]]  # images -> mean and log-variance, (n, d) each


class Mixture(nn.Module):
    """A mixture of Gaussians that are independent in each dimension.

        p(z) = sum_k w_k prod_j N(z_j; means_kj, exp(logvars_kj))

    Args:
        means: (K, d).
        logvars: log-variances, (K, d), or one for all.
        weights: (K,), above 0, of any sum; equal unless given.
        learned: means, log-variances and weights are parameters, and these are what they start at.
    """

    means: Tensor
    logvars: Tensor
    log_weights: Tensor  # up to a constant

    def __init__(
        self,
        means: Tensor,
        logvars: Tensor | float = -2.0,
        weights: Tensor | None = None,
        *,
        learned: bool = False,
    ) -> None:
        super().__init__()
        weights = torch.ones(len(means), device=means.device) if weights is None else weights
        spread = logvars if isinstance(logvars, Tensor) else torch.full_like(means, logvars)
        _check_mixture(means, spread, weights)
        start = {"means": means, "logvars": spread, "log_weights": weights.log()}
        for name, value in start.items():
            copy = value.detach().float().clone()
            if learned:
                self.register_parameter(name, nn.Parameter(copy))
            else:
                self.register_buffer(name, copy)

    @property
    def count(self) -> int:
        """K."""
        return len(self.means)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) of points (n, d): (n,)."""
        return log_sum_exp(self._joint(z))

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """Points drawn from the prior, (n, d)."""
        return _draw(n, self.means, self.logvars, self.log_weights.softmax(0), generator)

    def components(self) -> tuple[Tensor, Tensor]:
        """Means and log-variances of the Gaussians, (K, d) each."""
        return self.means, self.logvars

    def most_responsible(self, z: Tensor) -> Tensor:
        """The component that each point most probably comes from, (n,)."""
        return self._joint(z).argmax(1)

    def _joint(self, z: Tensor) -> Tensor:
        return component_log_probs(z, self.means, self.logvars) + self.log_weights.log_softmax(0)


class VampPrior(nn.Module):
    """The mean posterior of K pseudo-inputs, images that are learned.

        p(z) = 1/K sum_k q(z | u_k)

    Args:
        images: what the pseudo-inputs start at, (K, ...), such as training images, in the units that
            `encode` takes; there is no bound on where they go.
        encode: the encoder, images -> mean and log-variance, (n, d) each. Its parameters are not those of
            the prior: whoever owns it trains and saves it. With batch normalisation, pseudo-inputs are a
            batch of their own.
        fresh: how many pseudo-inputs are encoded anew in each training step, in turn; the others count as
            they were last encoded, without a gradient. All of them unless given, and outside training.

    Paper: Tomczak and Welling 2018, VAE with a VampPrior, arXiv:1705.07120, Eq. 9.
    """

    encode: Encode
    means: Tensor
    logvars: Tensor
    turn: Tensor

    def __init__(self, images: Tensor, encode: Encode, *, fresh: int | None = None) -> None:
        super().__init__()
        if not len(images) or not images.is_floating_point():
            raise UserError(
                f"a prior wants one floating pseudo-input or more, got {images.dtype} {tuple(images.shape)}; "
                "take some training images, bytes divided by 255"
            )
        if fresh is not None and fresh < 1:
            raise UserError(f"at least one pseudo-input must be encoded in a step, got fresh = {fresh}")
        object.__setattr__(self, "encode", encode)  # not a submodule: a model saves its encoder once
        self.pseudo_inputs = nn.Parameter(images.detach().float().clone())
        self.fresh = None if fresh is None else min(fresh, len(images))
        with torch.no_grad():
            means, logvars = self.components()
        self.d = means.shape[1]
        if fresh is not None:
            self.register_buffer("means", means.clone())
            self.register_buffer("logvars", logvars.clone())
            self.register_buffer("turn", torch.zeros((), dtype=torch.long, device=means.device))

    @property
    def count(self) -> int:
        """K."""
        return len(self.pseudo_inputs)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) of points (n, d): (n,). Call it once in a training step where `fresh` is given."""
        in_turn = self.training and self.fresh is not None
        means, logvars = self._encoded_in_turn(self.fresh or 0) if in_turn else self.components()
        return log_sum_exp(component_log_probs(z, means, logvars)) - math.log(len(means))

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """Points drawn from the prior, (n, d)."""
        means, logvars = self.components()
        return _draw(n, means, logvars, means.new_ones(len(means)), generator)

    def components(self) -> tuple[Tensor, Tensor]:
        """Means and log-variances of all pseudo-inputs, (K, d) each."""
        means, logvars = self.encode(self.pseudo_inputs)
        check_posterior(means, logvars)
        return means, logvars

    def most_responsible(self, z: Tensor) -> Tensor:
        """The pseudo-input that each point most probably comes from, (n,)."""
        return component_log_probs(z, *self.components()).argmax(1)

    def _encoded_in_turn(self, fresh: int) -> tuple[Tensor, Tensor]:
        count = len(self.pseudo_inputs)
        rows = (self.turn + torch.arange(fresh, device=self.turn.device)) % count
        mean, logvar = self.encode(self.pseudo_inputs[rows])
        means = self.means.index_copy(0, rows, mean.to(self.means))
        logvars = self.logvars.index_copy(0, rows, logvar.to(self.logvars))
        self.means, self.logvars = means.detach(), logvars.detach()
        self.turn = (self.turn + fresh) % count
        return means, logvars


def sphere_mixture(
    count: int, d: int, *, radius: float | None = None, logvar: float = -2.0, learned: bool = False
) -> Mixture:
    """Equal Gaussians at evenly spread points of a sphere round the origin; see `evenly_spread`.

    Args:
        count: any number of components.
        d: dimensions.
        radius: of the sphere; sqrt(d) unless given, that of the vertices of a hypercube of side 2.
        logvar: log-variance in each dimension.
        learned: only start there.
    """
    radius = math.sqrt(d) if radius is None else radius
    return Mixture(radius * evenly_spread(count, d), logvar, learned=learned)


def fitted_mixture(z: Tensor, count: int, *, seed: int = 0) -> Mixture:
    """A fixed mixture fitted on latents by expectation and maximisation (scikit-learn).

    Args:
        z: latents, (n, d), of a trained model.
        count: components, at most n.
        seed: of the start.
    """
    from sklearn.mixture import GaussianMixture

    if z.ndim != 2 or not 1 <= count <= len(z) or not z.isfinite().all():
        raise UserError(
            f"a mixture of {count} components wants finite latents (n, d) with n >= {max(count, 1)} >= 1, "
            f"got {tuple(z.shape)}, {'all finite' if z.isfinite().all() else 'not all finite'}"
        )
    points = z.detach().cpu().double().numpy()
    found = GaussianMixture(count, covariance_type="diag", random_state=seed).fit(points)
    means, variances, weights = map(torch.from_numpy, (found.means_, found.covariances_, found.weights_))
    return Mixture(means, variances.log(), weights).to(z.device)


def evenly_spread(count: int, d: int) -> Tensor:
    """Directions as far from each other as they come, (count, d), of length 1; always the same.

    They minimise the sum over pairs of 1/|u_i - u_j|^2: up to d + 1 of them are a regular simplex, 2 d are
    the axes both ways, on a circle they are a regular polygon, and else a local minimum found by L-BFGS. A
    single one is put in the origin. On a line, whose sphere has two points, they divide [-1, 1] evenly.
    """
    from scipy.optimize import minimize

    if count < 1 or d < 1:
        raise UserError(f"a prior wants at least one component and one dimension, got {count} and {d}")
    if count == 1:
        return torch.zeros(1, d)
    if d == 1:
        return torch.linspace(-1, 1, count)[:, None]
    start = np.random.default_rng(0).standard_normal(count * d)
    options = {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-9}
    found = minimize(_repulsion, start, args=(d,), jac=True, method="L-BFGS-B", options=options)
    return unit(torch.from_numpy(found.x).view(count, d)).float()


def component_log_probs(z: Tensor, means: Tensor, logvars: Tensor) -> Tensor:
    """log N(z_n; means_k, exp(logvars_k)) of points (n, d) and components (K, d): (n, K)."""
    z = checked_points(z, means.shape[1])
    dtype = torch.promote_types(z.dtype, means.dtype)
    with torch.autocast(z.device.type, enabled=False):  # which would round the products to bfloat16
        z, means, logvars = z.to(dtype), means.to(dtype), logvars.to(dtype)
        # Products in place of (n, K, d) differences, which take three times as long at K = 500. They lose
        # digits far from the origin, so the origin goes to the means.
        origin = means.detach().mean(0)
        z, means, precision = z - origin, means - origin, (-logvars).exp()
        squared = z.square() @ precision.mT - 2 * z @ (means * precision).mT
        constant = (means.square() * precision + logvars + LOG_2PI).sum(1)
        return -(squared + constant) / 2


def log_sum_exp(logs: Tensor) -> Tensor:
    """log sum_k exp(logs_nk) of finite logs (n, K), K >= 1: (n,).

    What is e^80 times smaller than the largest counts nothing, and has no gradient: no float holds it beside
    that. torch.logsumexp would compute it, in numbers so small that processors are slow at them.
    """
    largest = logs.detach().max(1, keepdim=True).values
    return (logs - largest).clamp_min(LEAST).exp().sum(1).log() + largest[:, 0]


def _draw(n: int, means: Tensor, logvars: Tensor, weights: Tensor, generator: Generator | None) -> Tensor:
    chosen = torch.multinomial(weights, n, replacement=True, generator=generator)
    return means[chosen] + (logvars[chosen] / 2).exp() * noise(means[chosen], generator)


def _repulsion(flat: np.ndarray, d: int) -> tuple[float, np.ndarray]:
    """Mean over pairs of 1/|u_i - u_j|^2 of the directions of the points, and its slope."""
    points = torch.from_numpy(flat).requires_grad_()
    value = torch.pdist(unit(points.view(-1, d))).pow(-2).mean()
    (slope,) = torch.autograd.grad(value, points)
    return value.item(), slope.numpy()


def _check_mixture(means: Tensor, logvars: Tensor, weights: Tensor) -> None:
    if means.ndim != 2 or not means.numel():
        raise UserError(
            f"a mixture wants the means of at least one component, (K, d), got {tuple(means.shape)}"
        )
    if logvars.shape != means.shape:
        raise UserError(
            f"a mixture wants log-variances {tuple(means.shape)}, as its means, got {tuple(logvars.shape)}; "
            "one number stands for all"
        )
    if weights.shape != means.shape[:1] or not (weights > 0).all():
        raise UserError(
            f"a mixture of {len(means)} components wants as many weights above 0, got {weights.tolist()}; "
            "leave out the component that has none"
        )
