"""Contrastive, triplet, N-pair: pytorch-metric-learning as a second oracle, and what they do with nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.latent.geometry import root
from latentloom.losses import TERMS, contrastive, n_pair, triplet

PAIRS = {"contrastive": contrastive, "triplet": triplet, "n_pair": n_pair}


def batch(n: int, d: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=g, dtype=torch.float64, requires_grad=True)
    return z, torch.randint(classes, (n,), generator=g)


def value_and_slope(fn: Any, z: Tensor, y: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    value = fn(z, y, **options)
    (slope,) = torch.autograd.grad(value, z)
    return value.detach(), slope


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("margin", [0.05, 0.7])
def test_triplet_equals_pytorch_metric_learning(seed: int, margin: float) -> None:
    from pytorch_metric_learning.losses import TripletMarginLoss

    z, y = batch(30, 5, 4, seed)
    assert_close(
        value_and_slope(triplet, z, y, margin=margin, variant="pml"),
        value_and_slope(TripletMarginLoss(margin=margin), z, y),
    )


@pytest.mark.parametrize("over", ["all", "nonzero"])
def test_triplet_on_raw_latents_equals_pytorch_metric_learning_so_set(over: str) -> None:
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.reducers import AvgNonZeroReducer, MeanReducer

    z, y = batch(30, 5, 4)
    reducer = MeanReducer() if over == "all" else AvgNonZeroReducer()
    rival = TripletMarginLoss(margin=0.3, distance=LpDistance(normalize_embeddings=False), reducer=reducer)
    assert_close(
        value_and_slope(triplet, z, y, margin=0.3, over=over, variant="paper"), value_and_slope(rival, z, y)
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("margin", [1.0, 1.6])
def test_contrastive_equals_pytorch_metric_learning(seed: int, margin: float) -> None:
    from pytorch_metric_learning.losses import ContrastiveLoss

    z, y = batch(30, 5, 4, seed)
    assert_close(
        value_and_slope(contrastive, z, y, margin=margin, variant="pml"),
        value_and_slope(ContrastiveLoss(neg_margin=margin), z, y),
    )


@pytest.mark.parametrize("seed", range(3))
def test_n_pair_equals_pytorch_metric_learning(seed: int) -> None:
    """The rival, too, takes the first row of each class and the next of that class; sizes are 1 to 10."""
    from pytorch_metric_learning.losses import NPairsLoss

    z, y = batch(20, 5, 6, seed)
    y[7] = 6
    assert_close(value_and_slope(n_pair, z, y, variant="pml"), value_and_slope(NPairsLoss(), z, y))


def test_n_pair_is_cross_entropy_against_the_diagonal() -> None:
    anchors, positives = batch(5, 3, 1, 0)[0], batch(5, 3, 1, 1)[0]
    z = torch.cat([anchors, positives])
    expected = torch.nn.functional.cross_entropy(anchors @ positives.mT, torch.arange(5))
    assert_close(n_pair(z, torch.arange(5).repeat(2)), expected)
    with pytest.raises(AssertionError):
        assert_close(n_pair(torch.cat([positives, anchors]), torch.arange(5).repeat(2)), expected)


def test_n_pair_on_the_sphere_has_its_lower_bound() -> None:
    axes = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    z, y = axes[[0, 1, 0, 1]] * 7, torch.tensor([0, 1, 0, 1])
    assert_close(n_pair(z, y, variant="pml").item(), math.log(1 + math.exp(-2)))


NOTHING = {
    "triplet": {"one class": [0, 0, 0, 0], "no class twice": [0, 1, 2, 3], "unlabelled": [-1, -1, 0, -1]},
    "n_pair": {"one class": [0, 0, 0, 0], "no class twice": [0, 1, 2, 3], "one pair": [0, 0, 1, 2]},
    "contrastive": {"one labelled row": [-1, 0, -1, -1], "none": [-1, -1, -1, -1]},
}


@pytest.mark.parametrize("variant", ["paper", "pml"])
@pytest.mark.parametrize(("name", "what"), [(name, what) for name in NOTHING for what in NOTHING[name]])
def test_nothing_to_compare_is_zero_with_the_graph_kept(name: str, what: str, variant: str) -> None:
    z = batch(4, 3, 1)[0]
    value, slope = value_and_slope(PAIRS[name], z, torch.tensor(NOTHING[name][what]), variant=variant)
    assert value == 0
    assert (slope == 0).all()


def test_satisfied_triplets_are_zero_and_the_margin_wakes_them() -> None:
    z = torch.tensor([[0.0, 0], [1, 0], [3, 0], [4, 0]], dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 1])
    assert triplet(z, y, margin=1.0) == 0  # d(1, 0) + 1 = d(1, 2): on the edge counts as satisfied
    assert triplet(z, y, margin=1.0, over="nonzero") == 0
    assert_close(triplet(z, y, margin=1.5).item(), 2 * 0.5 / 8)
    assert_close(triplet(z, y, margin=1.5, over="nonzero").item(), 0.5)


def test_pairs_that_cost_nothing_are_not_in_the_mean_of_pml() -> None:
    z = torch.tensor([[2.0, 0], [2, 0], [0, 2], [0, 2]])  # own class 0, r, r apart; others r, r, 0
    assert_close(contrastive(z, torch.tensor([0, 0, 0, 1]), variant="pml").item(), math.sqrt(2) + 1)


def test_distance_of_a_point_to_itself_has_no_slope() -> None:
    squared = torch.zeros(3, requires_grad=True)
    root(squared).sum().backward()
    assert squared.grad is not None
    assert (squared.grad == 0).all()


@pytest.mark.parametrize("variant", ["paper", "pml"])
def test_all_triplets_agree_with_all_triplets_built(variant: str) -> None:
    """At a size where the sorting has many ties and many rows: the tensor of n^3 is the reference."""
    z, y = batch(60, 2, 5)
    z = (z.detach() * 2).round().add(0.25).requires_grad_()
    points = torch.nn.functional.normalize(z) if variant == "pml" else z
    d = (points[:, None] - points).square().sum(-1)
    d = torch.where(d > 0, d, 1.0).sqrt() * (d > 0)
    same = y[:, None] == y
    valid = (same & ~torch.eye(60, dtype=torch.bool))[:, :, None] & ~same[:, None, :]
    gap = (d[:, :, None] - d[:, None, :] + 0.3).clamp_min(0) * valid
    expected = gap.sum() / valid.sum()
    assert_close(triplet(z, y, margin=0.3, variant=variant, over="all"), expected)


@pytest.mark.parametrize("name", PAIRS)
def test_misspelt_variant(name: str) -> None:
    with pytest.raises(UserError, match=r"no variant 'pmll'; did you mean 'pml'"):
        PAIRS[name](*batch(4, 3, 2), variant="pmll")


def test_misspelt_choice_of_triplets() -> None:
    with pytest.raises(UserError, match=r"'nonzeros'; did you mean 'nonzero'"):
        triplet(*batch(4, 3, 2), over="nonzeros")


@pytest.mark.parametrize("name", [n for n, info in TERMS.items() if info.reads[1:] == ("y",)])
def test_wrong_shapes_are_refused_with_the_way_out(name: str) -> None:
    fn, y = TERMS[name].fn, torch.tensor([0, 1])
    with pytest.raises(UserError, match=r"flatten"):
        fn(torch.zeros(2, 3, 4), y)
    with pytest.raises(UserError, match=r"must be integer \(2,\)"):
        fn(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(UserError, match=r"must be integer \(2,\)"):
        fn(torch.zeros(2, 3), torch.tensor([0, 1, 2]))
