"""Magnet, Latent Boost, center: what follows from their formulas, and what they do at the edges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.latent.projection import principal
from latentloom.losses import center, latent_boost, magnet

LITERAL: Mapping[str, Any] = {"variant": "paper", "share": 1.0}


def blobs(apart: float = 3.0, classes: int = 5, each: int = 8, d: int = 6) -> tuple[Tensor, Tensor]:
    """Classes of unit variance round centres drawn with standard deviation `apart`."""
    g = torch.Generator().manual_seed(1)
    y = torch.arange(classes).repeat(each)
    middles = apart * torch.randn(classes, d, generator=g, dtype=torch.float64)
    z = torch.randn(len(y), d, generator=g, dtype=torch.float64) + middles[y]
    return z.requires_grad_(), y


def slope(value: Tensor, z: Tensor) -> Tensor:
    return torch.autograd.grad(value, z)[0]


def own_means(z: Tensor, y: Tensor) -> Tensor:
    return torch.stack([z[y == label].mean(0) for label in y])


def class_variance(z: Tensor, y: Tensor) -> Tensor:
    """Of each row's class, (n,)."""
    return torch.stack([z[y == label].var(0).sum() for label in y])


# Magnet


def test_first_part_of_magnet_is_a_constant_while_the_variance_is_live() -> None:
    z, y = blobs()
    n = len(y)
    s2 = (z - own_means(z, y)).square().sum() / (n - 1)
    d2 = torch.stack([(z - z[y == c].mean(0)).square().sum(1) for c in range(5)], dim=1)
    rivals = torch.where(y[:, None] == torch.arange(5), -torch.inf, -d2 / (2 * s2)).logsumexp(1)
    first = magnet(z, y, alpha=0.3, variant="paper") - 0.3 - rivals.mean()
    assert_close(first.item(), (n - 1) / (2 * n))
    assert slope(first, z).abs().max() < 1e-12


def test_hinge_of_magnet_clips_what_is_far_enough() -> None:
    z, y = blobs(apart=30.0)
    assert magnet(z, y) == 0
    assert (slope(magnet(z, y), z) == 0).all()
    assert magnet(z, y, variant="paper") < 0
    assert magnet(z, y, alpha=1e6) > 0


@pytest.mark.parametrize("scale", [1e-3, 7.3, 1e3])
def test_scale_of_the_latents_does_not_matter_to_a_live_variance(scale: float) -> None:
    z, y = blobs(apart=1.0)
    for options in ({"variant": "original"}, {"variant": "paper"}):
        assert_close(magnet(scale * z, y, **options), magnet(z, y, **options))
    for options in ({}, {"variant": "paper"}, {"variance": "class"}, {"beta": 0.7, "share": 0.9}):
        assert_close(latent_boost(scale * z, y, **options), latent_boost(z, y, **options))
    with pytest.raises(AssertionError):
        assert_close(magnet(scale * z, y, variant="code"), magnet(z, y, variant="code"))


# Latent Boost


@pytest.mark.parametrize("variance", ["class", "pooled"])
@pytest.mark.parametrize("alpha", [0.0, 1.7])
def test_latent_boost_at_beta_0_is_known_and_flat(variance: str, alpha: float) -> None:
    z, y = blobs()
    n, classes = 40, 5
    value = latent_boost(z, y, alpha=alpha, beta=0.0, variance=variance, **LITERAL)
    assert_close(value.item(), (n - classes) / (2 * n) + alpha + math.log(classes - 1 + 1e-8))
    assert slope(value, z).abs().max() < 1e-12


def test_gradient_of_the_literal_formula_dies_with_beta() -> None:
    """The paper takes beta to 1e-8: nothing is left of the term while the variance is live."""
    z, y = blobs()
    norms = [slope(latent_boost(z, y, beta=beta, **LITERAL), z).norm() for beta in (1.0, 0.5, 0.1, 1e-8)]
    assert norms == sorted(norms, reverse=True)
    assert norms[0] > 0.1
    assert norms[-1] < 1e-6


def test_gradient_with_the_variance_held_still_pulls_to_the_centre() -> None:
    z, y = blobs()
    got = slope(latent_boost(z, y, beta=1e-10, detach_variance=True, **LITERAL), z)
    expected = (z - own_means(z, y)) / (len(y) * class_variance(z, y))[:, None]
    assert_close(got, expected.detach(), rtol=1e-6, atol=1e-9)


def test_detaching_the_variance_changes_the_gradient_and_not_the_value() -> None:
    z, y = blobs()
    live, still = (latent_boost(z, y, detach_variance=detach) for detach in (False, True))
    assert_close(live, still)
    assert not torch.allclose(slope(live, z), slope(still, z))


def test_alpha_has_a_gradient_through_the_hinge_alone() -> None:
    z, y = blobs(apart=1.2)

    def slopes(hinge: bool) -> list[Tensor]:
        return [slope(latent_boost(z, y, alpha=alpha, hinge=hinge), z) for alpha in (0.0, 1.0, 5.0)]

    free, clipped = slopes(hinge=False), slopes(hinge=True)
    assert_close(free[0], free[1])
    assert_close(free[0], free[2])
    assert not torch.allclose(clipped[0], clipped[1])


def test_literal_formula_is_negative_down_to_its_bound() -> None:
    z, y = blobs(apart=100.0)
    value = latent_boost(z, y, alpha=1.0, variant="paper", share=1.0)
    assert_close(value.item(), 35 / 80 + 1 + math.log(1e-8))
    assert latent_boost(z, y) == 0


def test_projection_on_everything_changes_nothing() -> None:
    z, y = blobs()
    for options in ({}, {"variant": "paper"}):
        none = latent_boost(z, y, share=1.0, **options)
        whole = latent_boost(z @ principal(z, y >= 0, 1.0), y, share=1.0, **options)
        assert_close(whole, none)
        assert_close(slope(whole, z), slope(none, z))


@pytest.mark.parametrize("d", [6, 60])
def test_no_gradient_passes_through_the_projection(d: int) -> None:
    z, y = blobs(d=d)
    basis = principal(z, y >= 0, 0.9)
    assert not basis.requires_grad
    assert 0 < (basis != 0).any(0).sum() < 6
    got = slope(latent_boost(z, y, share=0.9), z)
    assert_close(got, slope(latent_boost(z @ basis, y, share=1.0), z))


def test_rows_alone_in_their_class_repel_but_are_not_counted() -> None:
    z, y = blobs(apart=1.0, classes=3)
    alone = torch.cat([z.detach()[:1] + 0.1, z.detach()]).requires_grad_()
    label = torch.cat([torch.tensor([7]), y])
    with_it = latent_boost(alone, label, share=1.0, hinge=False)
    assert with_it > latent_boost(z, y, share=1.0, hinge=False)  # one rival more, so a larger log-sum
    far = alone.detach().clone()
    far[0] += 1e3
    assert_close(latent_boost(far, label, share=1.0, hinge=False), latent_boost(z, y, share=1.0, hinge=False))


def one_class_without_extent() -> tuple[Tensor, Tensor]:
    z, y = blobs(classes=3)
    z = z.detach().float()
    z[y == 0] = z[0].clone()
    return z, y


def outlier(at: tuple[float, float], rival: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """600 rows near the origin, one of the same class elsewhere, and 20 of another class round `rival`.

    The lonely row is 600 times the class variance away: half of that in the exponent is beyond float32.
    """
    g = torch.Generator().manual_seed(0)
    home = 1e-3 * torch.randn(600, 2, generator=g)
    others = torch.tensor(rival) + 0.5 * torch.randn(20, 2, generator=g)
    z = torch.cat([home, torch.tensor([at]), others])
    return z, torch.tensor([0] * 601 + [1] * 20)


STRESS = {
    "own near, others far": blobs(apart=1e3),
    "own far, others far": outlier(at=(20.0, 0.0), rival=(0.0, 300.0)),
    "own far, others near": outlier(at=(20.0, 0.0), rival=(20.0, 1.0)),
    "a class without extent": one_class_without_extent(),
}
OPTIONS: dict[str, Mapping[str, Any]] = {
    "default": {},
    "paper": {"variant": "paper"},
    "paper, no projection": LITERAL,
    "paper, variance still": {"variant": "paper", "detach_variance": True},
    "no eps": {"variant": "paper", "eps": 0.0},
}


@pytest.mark.parametrize("scene", STRESS)
@pytest.mark.parametrize("options", OPTIONS)
def test_stress_cases_are_finite_in_float32_and_equal_float64(scene: str, options: str) -> None:
    z, y = STRESS[scene]
    z = z.detach().float().requires_grad_()
    value = latent_boost(z, y, **OPTIONS[options])
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert slope(value, z).isfinite().all()
    assert_close(value.double(), latent_boost(z.double(), y, **OPTIONS[options]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", ["default", "paper, no projection", "no eps"])
def test_worst_row_keeps_its_gradient(options: str) -> None:
    """In the formula as printed, exp underflows and the row that is furthest gone has no gradient."""
    z, y = outlier(at=(20.0, 0.0), rival=(20.0, 1.0))
    single, double = z.requires_grad_(), z.detach().double().requires_grad_()
    worst, exact = (slope(latent_boost(r, y, **OPTIONS[options]), r)[600] for r in (single, double))
    assert exact.norm() > 1e-4
    assert_close(worst.double(), exact, rtol=1e-2, atol=1e-3 * exact.norm().item())


# Groups


def two_modes() -> tuple[Tensor, Tensor, Tensor]:
    """Class 0 lies on both sides of class 1."""
    g = torch.Generator().manual_seed(0)
    mode = torch.arange(3).repeat(12)
    middles = torch.tensor([[-9.0, 0], [0, 0], [9, 0]], dtype=torch.float64)
    z = middles[mode] + 0.3 * torch.randn(36, 2, generator=g, dtype=torch.float64)
    return z, torch.tensor([0, 1, 0])[mode], mode


@pytest.mark.parametrize("term", [magnet, latent_boost])
def test_right_clusters_of_a_class_with_two_modes_cost_nothing(term: Any) -> None:
    z, y, mode = two_modes()
    assert term(z, y, mode) == 0
    assert term(z, y) > 0.5
    assert_close(term(z, y, y), term(z, y))


@pytest.mark.parametrize("term", [magnet, latent_boost])
def test_clusters_of_the_own_class_do_not_repel(term: Any) -> None:
    z, y, mode = two_modes()
    assert term(z[y == 0], y[y == 0], mode[y == 0]) == 0
    near = torch.where((mode == 2)[:, None], z - torch.tensor([18.0, 0]), z)  # both modes in one place
    assert term(near, y, mode) == 0


@pytest.mark.parametrize("term", [magnet, latent_boost])
def test_number_of_a_cluster_on_an_unlabelled_row_is_not_read(term: Any) -> None:
    z, y, mode = two_modes()
    y = torch.where(torch.arange(36) % 5 == 0, -1, y)
    known = y >= 0
    assert_close(term(z, y, mode, alpha=400.0), term(z[known], y[known], mode[known], alpha=400.0))


NOTHING = {"one class": [0] * 6, "one labelled row": [-1, -1, 4, -1, -1, -1], "none": [-1] * 6}


@pytest.mark.parametrize("what", NOTHING)
@pytest.mark.parametrize("options", [{}, {"variant": "paper"}])
@pytest.mark.parametrize("term", [magnet, latent_boost])
def test_no_other_class_is_zero_with_the_graph_kept(term: Any, options: Mapping[str, Any], what: str) -> None:
    z, _ = blobs(classes=1, each=6)
    value = term(z, torch.tensor(NOTHING[what]), **options)
    assert value == 0
    assert (slope(value, z) == 0).all()


def test_every_row_alone_is_zero_for_latent_boost() -> None:
    z, y = blobs(classes=6, each=1)
    for options in ({}, {"variant": "paper"}):
        value = latent_boost(z, y, **options)
        assert value == 0
        assert (slope(value, z) == 0).all()


# Center


def test_centres_given_draw_and_are_drawn() -> None:
    z, y = blobs()
    centres = torch.zeros(5, 6, dtype=torch.float64, requires_grad=True)
    value = center(z, y, centres)
    to_points, to_centres = torch.autograd.grad(value, (z, centres))
    assert_close(value, z.square().sum(1).mean() / 2)
    assert_close(to_points, z.detach() / 40)
    assert_close(to_centres, -torch.stack([z[y == c].sum(0) for c in range(5)]).detach() / 40)


def test_centres_too_near_are_pushed_apart_and_far_ones_left() -> None:
    z = torch.tensor([[0.0, 0], [2, 0], [0, 1], [2, 1]], dtype=torch.float64)
    y = torch.tensor([0, 1, 0, 1])
    compact = center(z, y).item()
    assert_close(compact, 0.125)
    assert_close(center(z, y, apart=3.0).item(), compact + 1.0)
    assert_close(center(z, y, apart=2.0).item(), compact)
    assert_close(center(z, torch.zeros_like(y), apart=3.0), center(z, torch.zeros_like(y)))


# Mistakes of the caller


def test_misspelt_options() -> None:
    z, y = blobs()
    for term in (magnet, latent_boost):
        with pytest.raises(UserError, match=r"no variant 'papers'; did you mean 'paper'"):
            term(z, y, variant="papers")
    with pytest.raises(UserError, match=r"'pool'; did you mean 'pooled'"):
        latent_boost(z, y, variance="pool")
