"""Reconstruction, and divergence from a prior: against loops, closed forms, integrals, and the print."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from cases import Case
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.latent.mixtures import Mixture, VampPrior, sphere_mixture
from latentloom.latent.priors import Hypercube, UnitGaussian
from latentloom.losses import TERMS
from latentloom.losses.generative import check_in_unit_range, kl, reconstruction, unit_kl

Rows = list[list[float]]
DRAWS = 100_000


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene() -> dict[str, Tensor]:
    """Six posteriors in four dimensions with a draw from each, and six images of twelve pixels."""
    g = seeded(5)
    mean, logvar, noise = torch.randn(3, 6, 4, generator=g, dtype=torch.float64)
    x, r = torch.rand(2, 6, 3, 2, 2, generator=g, dtype=torch.float64)
    z = mean + (logvar / 2).exp() * noise
    return {
        "mean": mean,
        "logvar": logvar,
        "z": z,
        "log_prior": Hypercube(4).log_prob(z),
        "reconstruction": 4 * r - 2,
        "x": x,
    }


# References


def naive_kl(
    mean: Rows,
    logvar: Rows,
    z: Rows,
    log_prior: list[float],
    *,
    sign: float = 1.0,
    entropy: float = 0.5,
    two_pi: float = 0.5,
    deviation: float = 1.0,
    over: int = 6,
) -> float:
    """`entropy`: of each log-variance in log q; `deviation`: 2 takes logvar for a log standard deviation."""
    total = 0.0
    for m_row, v_row, z_row, p in zip(mean, logvar, z, log_prior, strict=True):
        log_q = 0.0
        for m, v, point in zip(m_row, v_row, z_row, strict=True):
            log_q -= 0.5 * (point - m) ** 2 / math.exp(v) ** deviation
            log_q -= entropy * v + two_pi * math.log(2 * math.pi)
        total += log_q - p
    return sign * total / over


def naive_unit_kl(
    mean: Rows, logvar: Rows, *, swap: bool = False, free: float = 0.0, of_total: bool = False
) -> float:
    per_dimension = []
    for j in range(len(mean[0])):
        cost = 0.0
        for m_row, v_row in zip(mean, logvar, strict=True):
            m, v = m_row[j], v_row[j]
            cost += 0.5 * (v + (1 + m**2) / math.exp(v) - 1) if swap else 0.5 * (math.exp(v) + m**2 - 1 - v)
        per_dimension.append(cost / len(mean))
    if of_total:
        return max(math.fsum(per_dimension), free * len(per_dimension))
    return math.fsum(max(cost, free) for cost in per_dimension)


def flat(image: Any) -> list[float]:
    return [value for part in image for value in flat(part)] if isinstance(image, list) else [image]


def naive_reconstruction(r: Any, x: Any, *, likelihood: str = "gaussian", mean: bool = False) -> float:
    total = 0.0
    for made, image in zip(r, x, strict=True):
        lost = []
        for a, b in zip(flat(made), flat(image), strict=True):
            s = 1 / (1 + math.exp(-a))
            gaussian, bernoulli = (b - a) ** 2 / 2, -b * math.log(s) - (1 - b) * math.log(1 - s)
            lost.append(gaussian if likelihood == "gaussian" else bernoulli)
        total += math.fsum(lost) / (len(lost) if mean else 1)
    return total / len(x)


BERNOULLI = partial(naive_reconstruction, likelihood="bernoulli")
CASES = {
    "kl": Case(
        "kl",
        naive_kl,
        {
            "wrong sign": partial(naive_kl, sign=-1.0),
            "no entropy": partial(naive_kl, entropy=0.0),
            "no 2 pi in one of two densities": partial(naive_kl, two_pi=0.0),
            "logvar as a log standard deviation": partial(naive_kl, deviation=2.0, entropy=1.0),
            "mean over rows and dimensions": partial(naive_kl, over=24),
            "sum over rows": partial(naive_kl, over=1),
        },
    ),
    "kl wrong_sign": Case(
        "kl", partial(naive_kl, sign=-1.0), {"right sign": naive_kl}, {"variant": "wrong_sign"}
    ),
    "kl no_entropy": Case(
        "kl",
        partial(naive_kl, entropy=0.0),
        {"entropy": naive_kl, "wrong sign": partial(naive_kl, entropy=0.0, sign=-1.0)},
        {"variant": "no_entropy"},
    ),
    "kl paper": Case(
        "kl",
        partial(naive_kl, entropy=0.0, sign=-1.0),
        {"entropy": partial(naive_kl, sign=-1.0), "right sign": partial(naive_kl, entropy=0.0)},
        {"variant": "paper"},
    ),
    "unit_kl": Case(
        "unit_kl",
        naive_unit_kl,
        {
            "prior and posterior swapped": partial(naive_unit_kl, swap=True),
            "mean over dimensions": lambda *rows: naive_unit_kl(*rows) / 4,
            "sum over rows": lambda *rows: naive_unit_kl(*rows) * 6,
        },
    ),
    "unit_kl free bits": Case(
        "unit_kl",
        partial(naive_unit_kl, free=0.6),
        {"none": naive_unit_kl, "of the total": partial(naive_unit_kl, free=0.6, of_total=True)},
        {"free_bits": 0.6},
    ),
    "reconstruction": Case(
        "reconstruction",
        naive_reconstruction,
        {
            "not halved": lambda *images: 2 * naive_reconstruction(*images),
            "mean over pixels": partial(naive_reconstruction, mean=True),
            "bernoulli": BERNOULLI,
        },
    ),
    "reconstruction mean": Case(
        "reconstruction",
        partial(naive_reconstruction, mean=True),
        {"sum over pixels": naive_reconstruction},
        {"pixels": "mean"},
    ),
    "reconstruction bernoulli": Case(
        "reconstruction",
        BERNOULLI,
        {
            "x and its reconstruction swapped": lambda r, x: BERNOULLI(x, r),
            "mean over pixels": partial(BERNOULLI, mean=True),
            "gaussian": naive_reconstruction,
        },
        {"likelihood": "bernoulli"},
    ),
}


def agrees(case: Case, reference: Callable[..., float]) -> None:
    tensors = [scene()[name] for name in TERMS[case.term].reads]
    value = TERMS[case.term].fn(*tensors, **case.options).item()
    assert_close(value, reference(*[tensor.tolist() for tensor in tensors]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_loop(name: str) -> None:
    agrees(CASES[name], CASES[name].naive)


@pytest.mark.parametrize(
    ("name", "mistake"), [(name, mistake) for name, case in CASES.items() for mistake in case.mistakes]
)
def test_a_mistake_is_noticed(name: str, mistake: str) -> None:
    with pytest.raises(AssertionError):
        agrees(CASES[name], CASES[name].mistakes[mistake])


def test_no_label_is_read() -> None:
    assert not {"y", "cluster", "coarse"} & {key for c in CASES.values() for key in TERMS[c.term].reads}


# The divergence against what it must be


def one_posterior(n: int = DRAWS) -> tuple[Tensor, Tensor, Tensor]:
    """One posterior over and over, and draws from it; its divergence from the unit Gaussian is 1.459."""
    mean = torch.tensor([[1.5, -0.5]], dtype=torch.float64).expand(n, -1)
    logvar = torch.tensor([[-1.0, 0.3]], dtype=torch.float64).expand(n, -1)
    noise = torch.randn(n, 2, generator=seeded(0), dtype=torch.float64)
    return mean, logvar, mean + (logvar / 2).exp() * noise


def test_draws_give_the_closed_form_of_the_unit_prior() -> None:
    mean, logvar, z = one_posterior()
    exact = unit_kl(mean[:1], logvar[:1])
    assert_close(exact.item(), 1.459, rtol=0, atol=5e-4)
    for prior in (UnitGaussian(2), sphere_mixture(1, 2, logvar=0.0)):
        assert_close(kl(mean, logvar, z, prior.log_prob(z)), exact, rtol=0.01, atol=0)
        with pytest.raises(AssertionError):
            assert_close(kl(mean, logvar, z, prior.log_prob(1.05 * z)), exact, rtol=0.01, atol=0)


def test_draws_give_the_closed_form_of_any_single_gaussian() -> None:
    mean, logvar, z = one_posterior()
    means, logvars = torch.tensor([[0.5, 1.0]]), torch.tensor([[0.4, -0.6]])
    posterior, prior = (
        Independent(Normal(m.double(), (v.double() / 2).exp()), 1)
        for m, v in ((mean[0], logvar[0]), (means[0], logvars[0]))
    )
    found = kl(mean, logvar, z, Mixture(means, logvars).log_prob(z))
    assert_close(found, kl_divergence(posterior, prior), rtol=0.01, atol=0)
    with pytest.raises(AssertionError):
        assert_close(found, kl_divergence(prior, posterior), rtol=0.01, atol=0)


@pytest.mark.parametrize("prior", [Hypercube(2), Hypercube(2, variant="paper"), sphere_mixture(5, 2)])
def test_draws_give_the_integral_where_there_is_no_closed_form(prior: Any) -> None:
    mean, logvar, z = one_posterior()
    axis = torch.arange(-7, 7, 0.05, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    log_q = Independent(Normal(mean[0], (logvar[0] / 2).exp()), 1).log_prob(grid)
    integral = (log_q.exp() * (log_q - prior.log_prob(grid))).sum() * 0.05**2
    assert_close(kl(mean, logvar, z, prior.log_prob(z)), integral, rtol=0.01, atol=0)


def test_posterior_of_the_one_pseudo_input_costs_nothing() -> None:
    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1)[:, :2], x.flatten(1)[:, 2:]

    x = torch.randn(1, 1, 2, 2, generator=seeded(0))
    mean, logvar = (part.expand(1000, -1) for part in encode(x))
    z = mean + (logvar / 2).exp() * torch.randn(1000, 2, generator=seeded(1))
    assert kl(mean, logvar, z, VampPrior(x, encode).log_prob(z)).abs() < 1e-5
    assert kl(mean, logvar, z, VampPrior(x + 0.5, encode).log_prob(z)) > 0.1


# Algorithm 4 as printed


def algorithm_4(z: Rows, mean: Rows, logvar: Rows, prior_mean: float, prior_logvar: float) -> float:
    """P = -0.5 (z - mu)^2 / exp(sigma); Q = -0.5 (z - mu_p)^2 / exp(sigma_p); return Q - P."""
    total = 0.0
    for z_row, m_row, v_row in zip(z, mean, logvar, strict=True):
        for point, m, v in zip(z_row, m_row, v_row, strict=True):
            p = -0.5 * (point - m) ** 2 / math.exp(v)
            q = -0.5 * (point - prior_mean) ** 2 / math.exp(prior_logvar)
            total += q - p
    return total / len(z)


def test_algorithm_4_is_not_the_divergence() -> None:
    mean, logvar, z = one_posterior(20_000)
    log_prior = UnitGaussian(2).log_prob(z)
    printed = kl(mean, logvar, z, log_prior, variant="paper").item()
    assert_close(printed, algorithm_4(z.tolist(), mean.tolist(), logvar.tolist(), 0.0, 0.0))
    assert_close(printed, -1.110, rtol=0, atol=0.02)
    right_sign = kl(mean, logvar, z, log_prior, variant="no_entropy").item()
    assert_close(right_sign, -printed)  # 1.110, not 1.459, without the entropy
    assert_close(unit_kl(mean[:1], logvar[:1]).item() - right_sign, 0.35, rtol=0, atol=0.02)


def test_algorithm_4_of_another_prior_differs_by_a_constant() -> None:
    mean, logvar, z = one_posterior(50)
    log_prior = Mixture(torch.zeros(1, 2), 1.0).log_prob(z)
    printed = algorithm_4(z.tolist(), mean.tolist(), logvar.tolist(), 0.0, 1.0)
    assert_close(
        kl(mean, logvar, z, log_prior, variant="paper").item(), printed - 2 * 1.0 / 2, rtol=1e-5, atol=0
    )


def descended(variant: Any, steps: int = 100) -> tuple[float, float]:
    """Distance of the mean from the prior, and variance, after some steps down the slope of the term."""
    mean = torch.full((1, 2), 0.5, requires_grad=True)
    logvar = torch.zeros(1, 2, requires_grad=True)
    g, rate = seeded(0), 0.1
    for _ in range(steps):
        many = mean.expand(400, -1), logvar.expand(400, -1)
        z = many[0] + (many[1] / 2).exp() * torch.randn(400, 2, generator=g)
        value = kl(*many, z, UnitGaussian(2).log_prob(z), variant=variant)
        slopes = torch.autograd.grad(value, (mean, logvar))
        with torch.no_grad():
            mean -= rate * slopes[0]
            logvar -= rate * slopes[1]
    return mean.norm().item(), logvar.exp().mean().item()


def test_what_each_error_of_the_print_does_to_the_posterior() -> None:
    start = math.sqrt(2) / 2
    away, variance = descended("default")
    assert away < 0.1
    assert_close(variance, 1.0, rtol=0, atol=0.3)
    away, variance = descended("no_entropy")
    assert away < 0.1
    assert variance < 0.3  # and on to 0
    for variant in ("wrong_sign", "paper"):
        away, variance = descended(variant, steps=15)
        assert away > 2 * start
        assert variance > 1.5 or variant == "wrong_sign"


# Free bits


def posterior(cost: float, n: int = 8) -> tuple[Tensor, Tensor]:
    """Two dimensions, the second at the prior; the first costs so many nats in every row."""
    mean = torch.zeros(n, 2, dtype=torch.float64)
    mean[:, 0] = math.sqrt(2 * cost)
    return mean.requires_grad_(), torch.zeros(n, 2, dtype=torch.float64, requires_grad=True)


def test_free_bits_of_each_dimension() -> None:
    mean, logvar = posterior(3.0)
    assert_close(unit_kl(mean, logvar).item(), 3.0)
    value = unit_kl(mean, logvar, free_bits=0.5)
    assert_close(value.item(), 3.5)
    to_mean, to_logvar = torch.autograd.grad(value, (mean, logvar))
    assert_close(to_mean, torch.tensor([[math.sqrt(6.0) / 8, 0.0]]).double().expand(8, 2))
    assert (to_logvar == 0).all()
    assert_close(unit_kl(mean, logvar, free_bits=0.01).item(), 3.01)
    (slope,) = torch.autograd.grad(unit_kl(mean, logvar, free_bits=3.1), mean)
    assert (slope == 0).all()


def test_free_bits_of_the_mean_over_the_batch_and_not_of_a_row() -> None:
    mean = torch.tensor([[2.0], [0.0]])  # 2 nats and 0 nats
    assert_close(unit_kl(mean, torch.zeros(2, 1), free_bits=0.9).item(), 1.0)
    log_prior = UnitGaussian(1).log_prob(mean)
    assert_close(kl(mean, torch.zeros(2, 1), mean, log_prior, free_bits=0.9).item(), 1.0)


def test_free_bits_by_draws_are_of_all_dimensions() -> None:
    mean, logvar = posterior(3.0)
    log_prior = UnitGaussian(2).log_prob(mean)
    for free, value in ((0.0, 3.0), (1.4, 3.0), (1.6, 3.2)):
        found = kl(mean, logvar, mean, log_prior, free_bits=free)
        assert_close(found.item(), value, rtol=1e-6, atol=0)
        (slope,) = torch.autograd.grad(found, log_prior, retain_graph=True)
        assert (slope != 0).all() == (free < 1.5)


@pytest.mark.parametrize("free", [-1.0, -1e-9])
def test_negative_free_bits(free: float) -> None:
    for value in (lambda: unit_kl(*posterior(1.0), free_bits=free), lambda: draw_kl(free_bits=free)):
        with pytest.raises(UserError, match=r"free_bits must be 0 or more nats per dimension"):
            value()


def draw_kl(**options: Any) -> Tensor:
    return kl(*[scene()[name] for name in ("mean", "logvar", "z", "log_prior")], **options)


# Edges


def test_estimate_may_be_below_zero() -> None:
    mean, logvar, _ = one_posterior(1)
    assert kl(mean, logvar, mean + 3, Hypercube(2).log_prob(torch.ones(1, 2))) < 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types(dtype: torch.dtype) -> None:
    inputs = {name: tensor.to(dtype) for name, tensor in scene().items()}
    for name in ("kl", "unit_kl", "reconstruction"):
        tensors = [inputs[key] for key in TERMS[name].reads]
        value = TERMS[name].fn(*tensors)
        assert value.dtype == torch.promote_types(dtype, torch.float32)
        exact = TERMS[name].fn(*[scene()[key] for key in TERMS[name].reads])
        assert_close(value.double(), exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("kl", {}), ("kl", {"free_bits": 0.3}), ("kl", {"variant": "paper"})),
        *(("unit_kl", {}), ("unit_kl", {"free_bits": 0.3})),
        *(("reconstruction", {}), ("reconstruction", {"likelihood": "bernoulli", "pixels": "mean"})),
    ],
)
def test_no_rows_is_zero_with_the_graph_kept(name: str, options: Mapping[str, Any]) -> None:
    tensors = [scene()[key][:0].requires_grad_() for key in TERMS[name].reads]
    value = TERMS[name].fn(*tensors, **options)
    assert value == 0
    value.backward()


@pytest.mark.parametrize("logvar", [-1e3, -87.0, -20.0, 20.0, 80.0])
def test_extreme_variances_are_finite(logvar: float) -> None:
    mean = torch.ones(3, 2, requires_grad=True)
    spread = torch.full((3, 2), logvar, requires_grad=True)
    z = mean + (spread / 2).exp() * torch.randn(3, 2, generator=seeded(0))
    for value in (unit_kl(mean, spread), kl(mean, spread, z, Hypercube(2).log_prob(z))):
        slopes = torch.autograd.grad(value, (mean, spread), retain_graph=True)
        assert value.isfinite()
        assert all(slope.isfinite().all() for slope in slopes)


def test_a_variance_beyond_floating_point_costs_infinity() -> None:
    assert unit_kl(torch.zeros(1, 2), torch.full((1, 2), 100.0)) == math.inf


# Images


def test_reconstruction_is_minus_the_log_likelihood() -> None:
    r, x = scene()["reconstruction"], scene()["x"]
    gaussian = -Normal(r, 1.0).log_prob(x).sum((1, 2, 3)).mean() - 12 * math.log(2 * math.pi) / 2
    assert_close(reconstruction(r, x), gaussian)
    black = (x > 0.5).double()
    assert_close(
        reconstruction(r, black, likelihood="bernoulli"),
        -Bernoulli(logits=r).log_prob(black).sum((1, 2, 3)).mean(),
    )
    assert_close(2 * reconstruction(r, x, pixels="mean"), torch.nn.functional.mse_loss(r, x))


def test_large_logits_are_finite() -> None:
    r = torch.tensor([[200.0, -200.0, 1e30]], requires_grad=True)
    value = reconstruction(r, torch.tensor([[0.0, 1.0, 1.0]]), likelihood="bernoulli")
    assert value == 400
    assert torch.autograd.grad(value, r)[0].tolist() == [[1.0, -1.0, 0.0]]


@pytest.mark.parametrize("pixel", [-1e-3, 1.001, math.nan])
def test_images_that_no_bernoulli_made(pixel: float) -> None:
    x = torch.tensor([[0.0, pixel, 1.0]])
    assert reconstruction(torch.zeros(1, 3), x, likelihood="bernoulli").isnan()
    assert reconstruction(torch.zeros(1, 3), x).isnan() == math.isnan(pixel)
    with pytest.raises(UserError, match=r"a Bernoulli likelihood wants images in \[0, 1\], got"):
        check_in_unit_range(x)
    check_in_unit_range(torch.tensor([[0.0, 0.5, 1.0]]))
    check_in_unit_range(torch.zeros(0, 3))


# Mistakes of the caller


def test_misspelt_choices() -> None:
    r, x = scene()["reconstruction"], scene()["x"]
    with pytest.raises(UserError, match=r"no variant 'no-entropy'; did you mean 'no_entropy'"):
        draw_kl(variant="no-entropy")
    with pytest.raises(UserError, match=r"no likelihood 'bernouli'; did you mean 'bernoulli'"):
        reconstruction(r, x, likelihood="bernouli")
    with pytest.raises(UserError, match=r"no pixels 'means'; did you mean 'mean'"):
        reconstruction(r, x, pixels="means")


def test_shapes_that_do_not_belong_together() -> None:
    mean, logvar, z, log_prior = (scene()[name] for name in ("mean", "logvar", "z", "log_prior"))
    with pytest.raises(UserError, match=r"z must be \(6, 4\) and log_prior \(6,\), got \(6, 3\)"):
        kl(mean, logvar, z[:, :3], log_prior)
    with pytest.raises(UserError, match=r"log_prior is prior\.log_prob\(z\)"):
        kl(mean, logvar, z, log_prior[:, None])
    for wrong in (lambda: kl(mean, logvar[:, :2], z, log_prior), lambda: unit_kl(mean, logvar[:4])):
        with pytest.raises(UserError, match=r"mean and logvar must be floating \(n, d\), both alike"):
            wrong()


def test_images_of_another_shape_or_in_bytes() -> None:
    r, x = scene()["reconstruction"], scene()["x"]
    for image in (x[:, :1], x.flatten(1)):
        with pytest.raises(UserError, match=r"shaped as the reconstruction \(6, 3, 2, 2\)"):
            reconstruction(r, image)
    with pytest.raises(UserError, match=r"got torch.uint8 .* bytes are to be divided by 255"):
        reconstruction(r, (255 * x).byte())
    with pytest.raises(UserError, match=r"\(n, \.\.\.\)"):
        reconstruction(r.flatten(), x.flatten())
