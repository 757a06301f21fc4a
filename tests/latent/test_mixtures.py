"""Mixtures: evenly spread, learned, fitted, of pseudo-inputs."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.latent.mixtures import (
    Mixture,
    VampPrior,
    component_log_probs,
    evenly_spread,
    fitted_mixture,
    log_sum_exp,
    sphere_mixture,
)
from latentloom.latent.posterior import normal_log_density
from latentloom.latent.priors import Hypercube, UnitGaussian


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cosines(directions: Tensor) -> Tensor:
    """Of all pairs, sorted."""
    rows, columns = torch.triu_indices(len(directions), len(directions), 1)
    return (directions @ directions.mT)[rows, columns].sort().values


# Evenly spread


@pytest.mark.parametrize(("count", "d"), [(2, 2), (2, 7), (3, 2), (4, 3), (5, 4), (4, 8), (10, 10), (11, 10)])
def test_few_directions_are_a_regular_simplex(count: int, d: int) -> None:
    found = cosines(evenly_spread(count, d))
    assert_close(found, torch.full_like(found, -1 / (count - 1)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("d", [2, 3, 4])
def test_two_directions_per_dimension_are_the_axes(d: int) -> None:
    found = cosines(evenly_spread(2 * d, d))
    expected = torch.tensor([-1.0] * d + [0.0] * (len(found) - d))
    assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("count", [5, 10, 17])
def test_directions_in_the_plane_are_a_regular_polygon(count: int) -> None:
    x, y = evenly_spread(count, 2).mT
    turns = torch.atan2(y, x).sort().values
    steps = turns.diff(append=turns[:1] + 2 * math.pi)
    assert_close(steps, torch.full_like(steps, 2 * math.pi / count), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("count", "d"), [(37, 3), (60, 5)])
def test_any_number_of_directions_is_further_apart_than_chance(count: int, d: int) -> None:
    found = evenly_spread(count, d)
    assert_close(found.norm(dim=1), torch.ones(count))
    assert found.mean(0).norm() < 0.02
    chance = torch.nn.functional.normalize(torch.randn(count, d, generator=seeded(0)), dim=1)
    assert torch.pdist(found).min() > 2 * torch.pdist(chance).min()
    assert torch.pdist(found).min() > 0.9 * count ** (-1 / (d - 1)) * 2
    assert torch.equal(evenly_spread(count, d), found)


def test_one_direction_and_one_dimension() -> None:
    assert evenly_spread(1, 4).tolist() == [[0, 0, 0, 0]]
    assert evenly_spread(5, 1)[:, 0].tolist() == [-1, -0.5, 0, 0.5, 1]


@pytest.mark.parametrize(("count", "d"), [(0, 2), (3, 0), (-1, 2)])
def test_no_component_or_no_dimension(count: int, d: int) -> None:
    with pytest.raises(UserError, match=r"at least one component and one dimension"):
        sphere_mixture(count, d)


def test_sphere_reaches_as_far_as_the_hypercube() -> None:
    means, logvars = sphere_mixture(7, 5).components()
    assert_close(means.norm(dim=1), Hypercube(5).components()[0].norm(dim=1)[:7])
    assert (logvars == -2).all()
    assert_close(sphere_mixture(7, 5, radius=2.0).components()[0].norm(dim=1), torch.full((7,), 2.0))


# Densities


def test_one_component_in_the_origin_is_the_unit_gaussian() -> None:
    z = torch.randn(20, 6, generator=seeded(0), dtype=torch.float64)
    assert_close(sphere_mixture(1, 6, logvar=0.0).log_prob(z), UnitGaussian(6).log_prob(z))
    with pytest.raises(AssertionError):
        assert_close(sphere_mixture(1, 6, logvar=1.0).log_prob(z), UnitGaussian(6).log_prob(z))


def test_products_agree_with_differences_far_from_the_origin_in_float32() -> None:
    g = seeded(0)
    z, means = torch.randn(50, 10, generator=g) + 300, torch.randn(20, 10, generator=g) + 300
    logvars = torch.randn(20, 10, generator=g) - 2
    exact = normal_log_density(z.double()[:, None], means.double(), logvars.double()).sum(2)
    assert_close(component_log_probs(z, means, logvars).double(), exact, rtol=1e-4, atol=1e-3)


def test_weights_of_any_sum() -> None:
    means, z = torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.4], [-2.0]])
    light, heavy = (Mixture(means, weights=scale * torch.tensor([1.0, 3.0])) for scale in (0.25, 10.0))
    assert_close(light.log_prob(z), heavy.log_prob(z))
    assert (light.sample(4000, seeded(0)) > 0).float().mean().item() == pytest.approx(0.75, abs=0.03)


def test_learned_mixture_finds_the_points() -> None:
    z = sphere_mixture(3, 2, radius=4.0, logvar=-1.0).sample(300, seeded(0)) + 1
    prior = sphere_mixture(3, 2, learned=True)
    before = prior.log_prob(z).mean()
    optimiser = torch.optim.Adam(prior.parameters(), lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        loss = -prior.log_prob(z).mean()
        loss.backward()
        optimiser.step()
    truth = Mixture(sphere_mixture(3, 2, radius=4.0).means + 1, -1.0).log_prob(z).mean()
    assert before < truth - 1
    assert -loss > truth - 0.1
    assert all(p.grad is not None and p.grad.norm() > 0 for p in prior.parameters())


@pytest.mark.parametrize(
    ("means", "logvars", "weights", "message"),
    [
        (torch.zeros(0, 3), -2.0, None, r"at least one component, \(K, d\), got \(0, 3\)"),
        (torch.zeros(3), -2.0, None, r"at least one component"),
        (torch.zeros(2, 3), torch.zeros(3, 2), None, r"log-variances \(2, 3\), as its means"),
        (torch.zeros(2, 3), -2.0, torch.ones(3), r"as many weights above 0"),
        (torch.zeros(2, 3), -2.0, torch.tensor([1.0, 0.0]), r"as many weights above 0, got \[1\.0, 0\.0\]"),
        (torch.zeros(2, 3), -2.0, torch.tensor([1.0, math.nan]), r"as many weights above 0"),
    ],
)
def test_bad_mixtures(means: Tensor, logvars: Tensor | float, weights: Tensor | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Mixture(means, logvars, weights)


# Fitted


def test_fitted_mixture_finds_groups_and_stays_as_it_is() -> None:
    g = seeded(0)
    middles = torch.tensor([[0.0, 9, 0], [9, 0, 0], [0, 0, -9]])
    size = torch.tensor([[0.5, 1, 1], [1, 2, 1], [1, 1, 0.2]])
    row = torch.tensor([0] * 300 + [1] * 150 + [2] * 150)
    z = middles[row] + size[row] * torch.randn(600, 3, generator=g)
    prior = fitted_mixture(z.requires_grad_(), 3)
    means, logvars = prior.components()
    order = torch.cdist(middles, means).argmin(1)
    assert_close(means[order], middles, rtol=0, atol=0.5)
    assert_close((logvars[order] / 2).exp(), size, rtol=0.15, atol=0)
    assert_close(prior.log_weights.softmax(0)[order], torch.tensor([0.5, 0.25, 0.25]), rtol=0.01, atol=0)
    assert not any(part.requires_grad for part in prior.components())
    assert torch.equal(fitted_mixture(z, 3).means, means)


@pytest.mark.parametrize(
    ("z", "count"),
    [
        (torch.randn(5, 2), 6),
        (torch.randn(5, 2), 0),
        (torch.randn(5), 2),
        (torch.full((5, 2), math.nan), 2),
    ],
)
def test_latents_that_nothing_can_be_fitted_on(z: Tensor, count: int) -> None:
    with pytest.raises(UserError, match=rf"a mixture of {count} components wants finite latents"):
        fitted_mixture(z, count)


# Pseudo-inputs


class Encoder(nn.Module):
    """Images (n, 1, 2, 2) to a posterior in three dimensions; counts what it has encoded."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(4, 6)
        self.seen = 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.seen += len(x)
        mean, logvar = self.layer(x.flatten(1)).chunk(2, dim=1)
        return 2 * mean.tanh(), logvar.tanh()  # so near that every component has a share in every point


def images(n: int = 6) -> Tensor:
    return 5 * torch.randn(n, 1, 2, 2, generator=seeded(1))  # as standardised ones, not within [0, 1]


def test_one_pseudo_input_is_the_posterior_there() -> None:
    encoder, x = Encoder(), images(1)
    prior = VampPrior(x, encoder)
    mean, logvar = encoder(x)
    z = mean + (logvar / 2).exp() * torch.randn(1000, 3, generator=seeded(0))
    log_posterior = normal_log_density(z, mean, logvar).sum(1)
    assert_close(prior.log_prob(z), log_posterior, rtol=1e-4, atol=1e-4)
    elsewhere = VampPrior(-x, encoder).log_prob(z)
    assert (log_posterior - elsewhere).mean() > 0.1


def test_pseudo_inputs_start_as_the_images_and_are_not_bounded() -> None:
    x = images()
    prior = VampPrior(x, Encoder())
    assert torch.equal(prior.pseudo_inputs, x)
    assert prior.pseudo_inputs.abs().max() > 5
    with torch.no_grad():
        prior.pseudo_inputs.zero_()
    assert x.abs().max() > 5


def test_encoder_learns_through_the_prior_and_is_not_saved_with_it() -> None:
    encoder = Encoder()
    prior = VampPrior(images(), encoder)
    assert prior.state_dict().keys() == {"pseudo_inputs"}
    assert len(list(prior.parameters())) == 1
    prior.log_prob(torch.zeros(2, 3)).sum().backward()
    assert all(p.grad is not None and p.grad.norm() > 0 for p in (prior.pseudo_inputs, encoder.layer.weight))


def test_a_copy_of_the_model_has_an_encoder_of_its_own() -> None:
    model = nn.ModuleDict({"encoder": Encoder()})
    model["prior"] = VampPrior(images(), model["encoder"])
    twin = copy.deepcopy(model)
    assert twin["prior"].encode is twin["encoder"]


def test_pseudo_inputs_in_turn() -> None:
    encoder = Encoder()
    whole, prior, z = VampPrior(images(), encoder), VampPrior(images(), encoder, fresh=4), torch.randn(8, 3)
    for rows in ([0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]):
        encoder.seen = 0
        value = prior.log_prob(z)
        assert encoder.seen == 4
        assert_close(value, whole.log_prob(z))
        prior.pseudo_inputs.grad = None
        value.sum().backward()
        assert prior.pseudo_inputs.grad is not None
        assert prior.pseudo_inputs.grad.flatten(1).norm(dim=1).nonzero()[:, 0].tolist() == sorted(rows)


def test_what_is_not_in_turn_counts_as_last_encoded_until_its_turn() -> None:
    encoder = Encoder()
    prior, z = VampPrior(images(), encoder, fresh=2), torch.randn(8, 3)
    old = prior.log_prob(z).detach()
    with torch.no_grad():
        encoder.layer.bias.add_(1.0)
    new = VampPrior(images(), encoder).log_prob(z).detach()
    steps = [prior.log_prob(z).detach() for _ in range(3)]
    assert not any(torch.allclose(value, other) for value in steps[:2] for other in (old, new))
    assert_close(steps[2], new)
    encoder.layer.bias.data.add_(1.0)
    assert not torch.allclose(prior.log_prob(z), VampPrior(images(), encoder).log_prob(z))
    assert_close(prior.eval().log_prob(z), VampPrior(images(), encoder).log_prob(z))


def test_turns_go_on_after_a_resume() -> None:
    encoder = Encoder()
    first, z = VampPrior(images(), encoder, fresh=4), torch.randn(8, 3)
    first.log_prob(z)
    encoder.layer.bias.data.add_(1.0)
    resumed = VampPrior(images(), encoder, fresh=4)
    resumed.load_state_dict(first.state_dict())
    for _ in range(3):
        assert torch.equal(first.log_prob(z), resumed.log_prob(z))
        encoder.layer.bias.data.add_(1.0)


def test_bad_pseudo_inputs() -> None:
    with pytest.raises(
        UserError, match=r"one floating pseudo-input or more, got torch.float32 \(0, 1, 2, 2\)"
    ):
        VampPrior(images(0), Encoder())
    with pytest.raises(UserError, match=r"got torch.uint8 .* bytes divided by 255"):
        VampPrior(images().byte(), Encoder())
    with pytest.raises(UserError, match=r"got fresh = 0"):
        VampPrior(images(), Encoder(), fresh=0)
    with pytest.raises(UserError, match=r"mean and logvar must be floating"):
        VampPrior(images(), lambda x: (x.flatten(1), x))


def test_small_shares_cost_no_digit() -> None:
    """The sum over components is that of NumPy in float64, near and far, and so is its slope."""
    torch.manual_seed(0)
    for spread in (1.0, 50.0, 1e4):
        logs = (spread * torch.randn(6, 9)).requires_grad_()
        found = log_sum_exp(logs)
        assert_close(found.double(), torch.from_numpy(np.logaddexp.reduce(logs.detach().double().numpy(), 1)))
        found.sum().backward()
        assert_close(logs.grad, logs.detach().softmax(1))
    double = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(log_sum_exp, double)
