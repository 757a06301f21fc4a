"""Triplets by the pull-back distance of a decoder; those by the Euclidean one are what they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.config import Term
from latentloom.encoders import Linear, Model
from latentloom.latent.geometry import root, squared_distances, unit
from latentloom.latent.pairs import negative_pairs, positive_pairs
from latentloom.latent.pullback import pullback_metric
from latentloom.losses import TERMS, triplet
from latentloom.losses.pairs import _times_counted
from latentloom.objective import Objective
from latentloom.values import Latent


def batch(n: int = 12, d: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Points, classes with two rows that have none, and a metric."""
    g = torch.Generator().manual_seed(0)
    z = torch.randn(n, d, generator=g, dtype=torch.float64)
    j = torch.randn(n, 5, d, generator=g, dtype=torch.float64)
    return z, torch.randint(-1, 3, (n,), generator=g), j.mT @ j


def triplets_by_loop(z: Tensor, y: Tensor, metric: Tensor, margin: float) -> Tensor:
    """Triplet by triplet, point by point."""

    def apart(i: int, j: int) -> Tensor:
        step = z[i] - z[j]
        return (step @ (metric[i] + metric[j]) @ step / 2).sqrt()

    labelled = [i for i in range(len(y)) if y[i] >= 0]
    hinges = [
        (apart(i, j) - apart(i, k) + margin).clamp_min(0)
        for i in labelled
        for j in labelled
        for k in labelled
        if i != j and y[i] == y[j] and y[i] != y[k]
    ]
    return torch.stack(hinges).mean()


def test_it_is_the_triple_loop() -> None:
    z, y, metric = batch()
    z.requires_grad_()
    found = triplet(z, y, metric, margin=2.0, distance="pullback")
    expected = triplets_by_loop(z, y, metric, 2.0)
    assert_close(found, expected)
    assert_close(torch.autograd.grad(found, z), torch.autograd.grad(expected, z))
    with pytest.raises(AssertionError):
        assert_close(found, triplet(z, y, margin=2.0))


def test_slope_is_true_with_the_metric_given() -> None:
    z, y, metric = batch()
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: triplet(z, y, metric, margin=2.0, distance="pullback"), z)


def before(z: Tensor, y: Tensor, margin: float, variant: str, over: str) -> Tensor:
    """The loss as it was when there was one distance, operation by operation."""
    points = unit(z) if variant == "pml" else z
    distance = root(squared_distances(points, points))
    positive, negative = positive_pairs(y), negative_pairs(y)
    times = _times_counted(distance.detach(), positive, negative, margin)
    violated = times.clamp_min(0).sum()
    total = (times * distance).sum() + margin * violated
    every = (positive.sum(1, dtype=z.dtype) * negative.sum(1)).sum()
    return total / (every if over == "all" else violated).clamp_min(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("over", ["all", "nonzero"])
@pytest.mark.parametrize("variant", ["paper", "pml"])
def test_euclidean_triplets_are_bit_for_bit_what_they_were(
    variant: Any, over: Any, dtype: torch.dtype
) -> None:
    z, y, metric = batch(200)
    z = z.to(dtype).requires_grad_()
    expected = before(z, y, 0.3, variant, over)
    for extra in ([], [None], [metric]):  # a metric that is there is not read
        found = triplet(z, y, *extra, margin=0.3, variant=variant, over=over)
        assert_close(found, expected, rtol=0, atol=0)
        slopes = [torch.autograd.grad(value, z, retain_graph=True)[0] for value in (found, expected)]
        assert_close(*slopes, rtol=0, atol=0)


def test_the_registry_says_what_it_may_read() -> None:
    info = TERMS["triplet"]
    assert (info.reads, info.may_read) == (("z", "y"), ("pullback",))
    assert "distance" in info.options


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [-1, -1, -1]])
def test_nothing_to_compare_is_zero_with_the_graph_kept(labels: list[int]) -> None:
    z, _, metric = batch(3)
    z.requires_grad_()
    value = triplet(z, torch.tensor(labels), metric, distance="pullback")
    assert value == 0
    assert (torch.autograd.grad(value, z)[0] == 0).all()


@pytest.mark.parametrize("n", [0, 1])
def test_batches_of_hardly_any_rows(n: int) -> None:
    z, y, metric = (tensor[:n] for tensor in batch())
    z.requires_grad_()
    value = triplet(z, y, metric, distance="pullback")
    value.backward()
    assert value == 0


def test_points_in_one_place_have_a_finite_slope() -> None:
    z = torch.ones(4, 3, requires_grad=True)
    metric = torch.eye(3).expand(4, 3, 3)
    triplet(z, torch.tensor([0, 0, 1, 1]), metric, distance="pullback").backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_without_a_metric_the_way_to_one_is_named() -> None:
    objective = Objective({"triplet": Term(options={"distance": "pullback"})})
    z, y, _ = batch()
    with pytest.raises(UserError, match=r"the latent has none; set --model.pullback true"):
        objective(Latent({"z": z, "y": y}))


def test_scaled_points_have_no_metric() -> None:
    with pytest.raises(UserError, match="of points as they are, got variant 'pml'; take 'paper'"):
        triplet(*batch(), variant="pml", distance="pullback")


def test_misspelt_distance() -> None:
    with pytest.raises(UserError, match="no distance 'pulback'; did you mean 'pullback'"):
        triplet(*batch(), distance="pulback")


def model(pullback: bool, decoder: bool = True) -> Model:
    torch.manual_seed(0)
    decode = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 8), nn.Unflatten(1, (2, 2, 2)))
    return Model(nn.Flatten(), {"a": Linear(4, 2)}, decoder=decode if decoder else None, pullback=pullback)


@pytest.mark.parametrize("generate", [None, True, False])
def test_a_model_gives_the_metric_in_training_where_asked_for(generate: bool | None) -> None:
    """Also where nothing is generated, as of the labelled stream."""
    x = torch.rand(3, 1, 2, 2)
    latent = model(True)(x, generate=generate)
    assert_close(latent["pullback"], pullback_metric(model(True).decode, latent.z))
    assert latent["pullback"].shape == (3, 4, 4)
    assert "pullback" not in model(True).eval()(x, generate=generate)
    assert "pullback" not in model(False)(x, generate=generate)


def test_the_loss_moves_points_and_not_the_decoder() -> None:
    one, x = model(True), torch.rand(6, 1, 2, 2, requires_grad=True)
    assert one.decoder is not None
    latent = one(x, generate=False)
    triplet(latent.z, torch.arange(6) % 2, latent["pullback"], margin=9.0, distance="pullback").backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in one.decoder.parameters())


def test_the_metric_of_no_decoder() -> None:
    with pytest.raises(UserError, match=r"the model has no decoder; set --model\.decoder"):
        model(True, decoder=False)(torch.rand(3, 1, 2, 2))
