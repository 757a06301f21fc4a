"""Silhouettes of a sample: each is what it is among all points."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from latentloom.evaluation import sampling, silhouette_samples
from latentloom.evaluation.sampling import silhouettes_of


def scene(n: int = 400, classes: int = 7) -> tuple[Tensor, Tensor]:
    """Classes of unequal size that overlap, one row in nine unlabelled."""
    g = torch.Generator().manual_seed(0)
    y = (torch.rand(n, generator=g).square() * classes).long()
    z = torch.randn(classes, 5, generator=g)[y] + torch.randn(n, 5, generator=g)
    y[::9] = -1
    return z, y


def drawn(y: Tensor, m: int = 60) -> Tensor:
    rows = (y >= 0).nonzero()[:, 0]
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))[:m]]


# All points together, and a few at a time; of those whose silhouettes are taken all, and 7 at a time.
@pytest.mark.parametrize(("block", "sums"), [(2**21, 2**26), (500, 50)])
def test_each_is_what_it_is_among_all_points(block: int, sums: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "BLOCK", block)
    monkeypatch.setattr(sampling, "SUMS", sums)
    z, y = scene()
    rows = drawn(y)
    found, expected = silhouettes_of(z, y, rows), silhouette_samples(z, y)
    assert_close(found, expected[rows])
    few = silhouette_samples(z[rows], y[rows])
    assert not torch.allclose(found, few, atol=0.01), "measured against the sample alone"


def test_classes_in_one_place_far_away_are_measured_exactly() -> None:
    g = torch.Generator().manual_seed(0)
    near = torch.randn(40, 3, generator=g, dtype=torch.float64) * 1e-9
    far = torch.tensor([[40.0, 50.0, 60.0]], dtype=torch.float64)
    z = torch.cat([far + near, torch.randn(100, 3, generator=g, dtype=torch.float64) * 10])
    y = torch.cat([torch.arange(40) % 2, torch.full((100,), 2)])
    rows = torch.arange(0, 140, 3)
    assert_close(silhouettes_of(z, y, rows), silhouette_samples(z, y)[rows], rtol=1e-6, atol=1e-6)


def test_nothing_to_compare_and_points_that_are_no_numbers() -> None:
    z, y = scene()
    rows = drawn(y)
    assert silhouettes_of(z, torch.where(y >= 0, 3, -1), rows).tolist() == [-1.0] * len(rows)
    assert silhouettes_of(torch.ones_like(z), y, rows).tolist() == [0.0] * len(rows)
    alone = y.clone()
    alone[rows[0]] = 99
    assert silhouettes_of(z, alone, rows)[0] == 0.0
    z[int((y >= 0).nonzero()[5])] = math.nan
    assert silhouettes_of(z, y, rows).isnan().all()
