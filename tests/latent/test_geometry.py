"""Lengths and directions, at the points where a careless gradient is not finite or far too large."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from latentloom.latent.geometry import unit


def test_unit_is_the_direction_bit_for_bit() -> None:
    g = torch.Generator().manual_seed(0)
    for scale in (1e-30, 1e-12, 1e-3, 1.0, 1e18):
        z = scale * torch.randn(50, 7, generator=g)
        z[3, :6] = 0
        assert torch.equal(unit(z), torch.nn.functional.normalize(z, dim=1))
    for row in unit(torch.randn(9, 4, generator=g, dtype=torch.float64)).tolist():
        assert math.hypot(*row) == pytest.approx(1, abs=1e-12)


def test_unit_of_zeros_is_zero_with_gradient_zero() -> None:
    z = torch.tensor([[0.0, 0.0], [3.0, 4.0], [-0.0, 0.0]], requires_grad=True)
    found = unit(z)
    assert_close(found, torch.tensor([[0.0, 0.0], [0.6, 0.8], [0.0, 0.0]]))
    (slope,) = torch.autograd.grad(found[:, 0].sum(), z)
    # d/dz of z_0 / |z| is (z_1^2, -z_0 z_1) / |z|^3
    assert_close(slope, torch.tensor([[0.0, 0.0], [16 / 125, -12 / 125], [0.0, 0.0]]))


def test_gradient_of_unit_is_true() -> None:
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z[0, :2] = 0
    assert torch.autograd.gradcheck(unit, z.requires_grad_())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_a_number_is_seen_by_unit(bad: float) -> None:
    found = unit(torch.tensor([[bad, 0.0], [0.0, 1.0]]))
    assert not found[0].isfinite().all()
    assert found[1].tolist() == [0, 1]


def test_unit_compiles_whole() -> None:
    torch.compiler.reset()
    compiled = torch.compile(unit, fullgraph=True, backend="aot_eager")
    z = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    slopes = [torch.autograd.grad(fn(z)[:, 0].sum(), z)[0] for fn in (compiled, unit)]
    assert_close(*slopes)
    assert (slopes[0][0] == 0).all()
