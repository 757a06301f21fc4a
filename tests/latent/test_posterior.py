"""The Gaussian of the encoder: density, divergence, active dimensions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.latent.posterior import active_units, check_posterior, normal_log_density, unit_divergence


def posterior(n: int = 7, d: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    mean, logvar, z = torch.randn(3, n, d, generator=g, dtype=torch.float64)
    return mean, logvar, z


def test_density_is_that_of_torch_and_mistakes_are_noticed() -> None:
    mean, logvar, z = posterior()
    found = normal_log_density(z, mean, logvar)
    assert_close(found, Normal(mean, (logvar / 2).exp()).log_prob(z))
    for mistake in (Normal(mean, logvar.exp()), Normal(mean, (2 * logvar).exp()), Normal(z, logvar.exp())):
        with pytest.raises(AssertionError):
            assert_close(found, mistake.log_prob(z))


@pytest.mark.parametrize("logvar", [-1e4, -300.0, -100.0, 0.0, 100.0, 300.0, 1e4])
def test_density_of_a_draw_is_finite_whatever_the_variance(logvar: float) -> None:
    mean = torch.tensor([[0.7, -3.0]], requires_grad=True)
    spread = torch.full((1, 2), logvar, requires_grad=True)
    z = mean + 1e-3  # not a draw at the larger variances, which float32 does not hold
    value = normal_log_density(z.detach() if logvar > -100 else mean.detach(), mean, spread).sum()
    value.backward()
    assert value.isfinite()
    assert mean.grad is not None
    assert mean.grad.isfinite().all()
    assert spread.grad is not None
    assert spread.grad.isfinite().all()


def test_unit_divergence_is_that_of_torch() -> None:
    mean, logvar, _ = posterior()
    found = unit_divergence(mean, logvar)
    expected = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0))
    assert_close(found, expected)
    with pytest.raises(AssertionError):
        assert_close(found, kl_divergence(Normal(0.0, 1.0), Normal(mean, (logvar / 2).exp())))


def test_unit_divergence_keeps_its_digits_near_the_prior() -> None:
    logvar = torch.tensor([[1e-3, -1e-3, 1e-2]])
    exact = unit_divergence(torch.zeros(1, 3, dtype=torch.float64), logvar.double())
    assert_close(unit_divergence(torch.zeros(1, 3), logvar).double(), exact, rtol=1e-3, atol=0)


def test_active_units_are_those_that_tell_images_apart() -> None:
    g = torch.Generator().manual_seed(0)
    size = torch.tensor([1.0, 0.2, 0.05, 0.0])  # variances 1, 0.04, 0.0025, 0
    mean = size * torch.randn(500, 4, generator=g) + torch.tensor([0.0, 5, -5, 9])
    assert active_units(mean) == 0.5
    assert active_units(mean, threshold=0.001) == 0.75
    assert active_units(mean, threshold=2.0) == 0
    assert active_units(100 * mean[:, :3]) == 1
    assert active_units(mean[:1]) == active_units(mean[:0]) == 0


def test_shapes_that_are_no_posterior() -> None:
    for mean, logvar in (
        (torch.zeros(2, 3), torch.zeros(2, 4)),
        (torch.zeros(2, 3, 1), torch.zeros(2, 3, 1)),
        (torch.zeros(2, 3).long(), torch.zeros(2, 3)),
    ):
        with pytest.raises(UserError, match=r"mean and logvar must be floating \(n, d\), both alike"):
            check_posterior(mean, logvar)
