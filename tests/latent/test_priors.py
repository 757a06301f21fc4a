"""Laws of every prior, and what is particular to the unit Gaussian and the hypercube."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.latent.mixtures import Mixture, VampPrior, fitted_mixture, sphere_mixture
from latentloom.latent.priors import Hypercube, UnitGaussian


def encode(x: Tensor) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 1, 2) to a posterior in two dimensions."""
    flat = x.flatten(1)
    return 2 * flat, flat.tanh() - 1


def vamp(fresh: int | None = None) -> VampPrior:
    return VampPrior(torch.randn(5, 1, 1, 2, generator=seeded(3)), encode, fresh=fresh)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(n: int = 9) -> Tensor:
    return 1.5 * torch.randn(n, 2, generator=seeded(1), dtype=torch.float64)


PRIORS: dict[str, Callable[[], Any]] = {
    "unit": lambda: UnitGaussian(2),
    "hypercube": lambda: Hypercube(2, side=3.0, logvar=-1.0),
    "hypercube paper": lambda: Hypercube(2, variant="paper"),
    "mixture": lambda: Mixture(points(3), points(3).sin() - 1, torch.tensor([1.0, 2.0, 5.0])),
    "sphere": lambda: sphere_mixture(5, 2),
    "learned": lambda: sphere_mixture(3, 2, learned=True),
    "fitted": lambda: fitted_mixture(points(60), 3),
    "vamp": vamp,
    "vamp in turn": lambda: vamp(fresh=2),
}
every_prior = pytest.mark.parametrize("name", PRIORS)


def weights(prior: Any, count: int) -> Tensor:
    return prior.log_weights.softmax(0) if isinstance(prior, Mixture) else torch.full((count,), 1 / count)


def oracle(prior: Any) -> MixtureSameFamily:
    """What torch makes of the components that the prior says it has, in float64."""
    means, logvars = (part.detach().double() for part in prior.components())
    chosen = Categorical(weights(prior, len(means)).detach().double())
    return MixtureSameFamily(chosen, Independent(Normal(means, (logvars / 2).exp()), 1))


@every_prior
def test_density_is_that_of_its_components(name: str) -> None:
    prior, z = PRIORS[name](), points()
    found, expected = prior.log_prob(z), oracle(prior).log_prob(z)
    assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for mistake in (oracle(prior).log_prob(z + 0.1), expected / 2, expected + math.log(2)):
        with pytest.raises(AssertionError):
            assert_close(found, mistake, rtol=1e-5, atol=1e-5)


@every_prior
def test_density_integrates_to_one(name: str) -> None:
    axis = torch.arange(-14, 14, 0.1, dtype=torch.float64)
    density = PRIORS[name]().log_prob(torch.cartesian_prod(axis, axis)).exp()
    assert_close(density.sum().item() * 0.1**2, 1.0, rtol=1e-5, atol=1e-5)


@every_prior
def test_samples_have_the_moments_of_the_density(name: str) -> None:
    prior = PRIORS[name]()
    before = torch.get_rng_state()
    z = prior.sample(20_000, seeded(0)).detach().double()
    assert torch.equal(torch.get_rng_state(), before)
    assert_close(prior.sample(20_000, seeded(0)).double(), z)
    expected = oracle(prior)
    spread = expected.variance.sqrt()
    assert ((z.mean(0) - expected.mean).abs() < 4 * spread / math.sqrt(20_000)).all()
    assert_close(z.std(0), spread, rtol=0.03, atol=0)
    # A density that the samples do not come from is less likely in them.
    likely = prior.log_prob(z).mean()
    assert prior.log_prob(1.2 * z).mean() < likely < prior.log_prob(0.8 * z).mean() + 1


@every_prior
def test_most_responsible_component(name: str) -> None:
    prior, z = PRIORS[name](), points(40)
    means, logvars = prior.components()
    share = weights(prior, len(means))
    expected = []
    for point in z.tolist():
        likely = [
            math.log(w)
            - math.fsum((p - m) ** 2 / math.exp(v) + v for p, m, v in zip(point, mean, logvar, strict=True))
            / 2
            for w, mean, logvar in zip(share.tolist(), means.tolist(), logvars.tolist(), strict=True)
        ]
        expected.append(likely.index(max(likely)))
    assert prior.most_responsible(z).tolist() == expected
    assert len(set(expected)) > 1 or len(means) == 1


@every_prior
def test_gradient_is_true(name: str) -> None:
    prior = PRIORS[name]().double().eval()
    assert torch.autograd.gradcheck(prior.log_prob, points().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@every_prior
def test_half_types_and_autocast_are_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    prior, z = PRIORS[name](), points().to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = prior.log_prob(z)
    assert found.dtype == torch.float32
    assert_close(found, prior.log_prob(z.float()), rtol=0, atol=0)
    assert_close(found.double(), oracle(prior).log_prob(z.double()), rtol=1e-4, atol=1e-4)
    assert prior.log_prob(z.double()).dtype == torch.float64


@every_prior
def test_far_points_are_finite_and_drawn_back(name: str) -> None:
    z = torch.tensor([[1e4, -1e4], [0.0, 3e3]], requires_grad=True)
    value = PRIORS[name]().log_prob(z)
    value.sum().backward()
    assert value.isfinite().all()
    assert z.grad is not None
    assert (z.grad * z.detach()).sum(1).lt(0).all()


@every_prior
def test_no_points(name: str) -> None:
    prior = PRIORS[name]()
    assert prior.log_prob(torch.zeros(0, 2)).shape == (0,)
    assert prior.most_responsible(torch.zeros(0, 2)).shape == (0,)


@every_prior
def test_what_is_not_a_number_is_seen(name: str) -> None:
    assert not PRIORS[name]().log_prob(torch.tensor([[math.nan, 0.0]])).isfinite().any()


@pytest.mark.parametrize("z", [torch.zeros(4, 3), torch.zeros(4), torch.zeros(4, 2).long()])
@every_prior
def test_points_of_another_dimension_are_refused(name: str, z: Tensor) -> None:
    with pytest.raises(UserError, match=r"a prior over 2 dimensions wants floating points \(n, 2\)"):
        PRIORS[name]().log_prob(z)


@every_prior
def test_survives_the_state_dict(name: str) -> None:
    prior, again, z = PRIORS[name](), PRIORS[name](), points()
    with torch.no_grad():
        for tensor in [*again.parameters(), *again.buffers()]:
            tensor.zero_()
    again.load_state_dict(prior.state_dict())
    assert_close(again.log_prob(z), prior.log_prob(z), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["hypercube", "mixture", "vamp in turn"])
def test_compiles_whole(name: str) -> None:
    torch.compiler.reset()
    prior, z = PRIORS[name](), points().float()
    compiled = torch.compile(prior.log_prob, fullgraph=True, backend="aot_eager")
    assert_close(compiled(z), PRIORS[name]().log_prob(z))


# Hypercube


def enumerated(z: Tensor, side: float, logvar: float) -> list[float]:
    """The mixture over all vertices, one by one."""
    d = z.shape[1]
    found = []
    for point in z.tolist():
        total = 0.0
        for vertex in itertools.product((-side / 2, side / 2), repeat=d):
            squared = math.dist(point, vertex) ** 2
            total += math.exp(-squared / (2 * math.exp(logvar))) / 2**d
        found.append(math.log(total) - d * (math.log(2 * math.pi) + logvar) / 2)
    return found


@pytest.mark.parametrize("d", [1, 2, 3, 6])
@pytest.mark.parametrize(("side", "logvar"), [(2.0, -2.0), (2.0, 1.0), (3.5, -0.5)])
def test_product_over_dimensions_is_the_sum_over_vertices(d: int, side: float, logvar: float) -> None:
    z = 1.5 * torch.randn(6, d, generator=seeded(0), dtype=torch.float64)
    found = Hypercube(d, side=side, logvar=logvar).log_prob(z).tolist()
    assert_close(found, enumerated(z, side, logvar), rtol=1e-10, atol=1e-10)
    for mistake in (enumerated(z, 2 * side, logvar), enumerated(z, side, 2 * logvar)):
        with pytest.raises(AssertionError):
            assert_close(found, mistake, rtol=1e-10, atol=1e-10)


def modes_along_an_edge(prior: Hypercube) -> int:
    """Local maxima of the density on a line through two neighbouring vertices."""
    z = torch.ones(801, 4, dtype=torch.float64)
    z[:, 0] = torch.linspace(-4, 4, 801)
    height = prior.log_prob(z)
    return int(((height[1:-1] > height[:-2]) & (height[1:-1] > height[2:])).sum())


def test_printed_variance_leaves_one_mode_and_the_default_two() -> None:
    assert modes_along_an_edge(Hypercube(4, variant="paper")) == 1
    assert modes_along_an_edge(Hypercube(4)) == 2
    # The border is a variance of (side / 2)^2.
    assert modes_along_an_edge(Hypercube(4, logvar=math.log(0.9))) == 2
    assert modes_along_an_edge(Hypercube(4, logvar=0.0)) == 1
    assert modes_along_an_edge(Hypercube(4, logvar=1.0, side=4.0)) == 2


def test_variants() -> None:
    z = torch.tensor([[0.3, -2.0]])
    paper = Hypercube(2, variant="paper")
    assert_close(paper.log_prob(z), Hypercube(2, logvar=1.0).log_prob(z))
    assert_close(Hypercube(2, variant="paper", logvar=-2.0).log_prob(z), Hypercube(2).log_prob(z))
    between, at = Hypercube(1).log_prob(torch.tensor([[0.0], [1.0]])).exp()
    assert_close((between / at).item(), 0.05, rtol=0.02, atol=0)


def test_any_number_of_dimensions() -> None:
    prior = Hypercube(64)
    z = prior.sample(50, seeded(0))
    assert prior.log_prob(z).isfinite().all()
    assert (z.abs() - 1).std().item() < 0.5


def test_a_posterior_between_the_vertices_has_no_gradient_to_either() -> None:
    z = torch.zeros(3, 2, requires_grad=True)
    Hypercube(2).log_prob(z).sum().backward()
    assert torch.equal(z.grad, torch.zeros(3, 2))


def test_vertices_of_a_large_hypercube_are_not_listed() -> None:
    prior = Hypercube(13)
    for ask in (prior.components, lambda: prior.most_responsible(torch.zeros(1, 13))):
        with pytest.raises(UserError, match=r"13 dimensions has 2\^13 components, and at most 4096"):
            ask()
    assert len(Hypercube(12).components()[0]) == 4096


def test_bad_hypercubes() -> None:
    with pytest.raises(UserError, match=r"side of a hypercube must be above 0, got 0\.0"):
        Hypercube(2, side=0.0)
    with pytest.raises(UserError, match=r"no variant 'papers'; did you mean 'paper'"):
        Hypercube(2, variant="papers")  # type: ignore[arg-type]


def test_only_what_is_learned_is_a_parameter() -> None:
    for name, make in PRIORS.items():
        prior: nn.Module = make()
        learned = {"learned": 3, "vamp": 1, "vamp in turn": 1}.get(name, 0)
        assert len(list(prior.parameters())) == learned, name
