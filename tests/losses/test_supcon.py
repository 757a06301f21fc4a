"""Supervised contrastive loss: pytorch-metric-learning as a second oracle, bounds, nothing to compare."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.losses import supcon

both = pytest.mark.parametrize("variant", ["out", "in"])


def batch(n: int = 30, d: int = 5, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=g, dtype=torch.float64, requires_grad=True)
    return z, torch.randint(classes, (n,), generator=g)


def slope(value: Tensor, z: Tensor) -> Tensor:
    return torch.autograd.grad(value, z)[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
def test_out_equals_pytorch_metric_learning(seed: int, temperature: float) -> None:
    from pytorch_metric_learning.losses import SupConLoss

    z, y = batch(seed=seed)
    y[3] = 9  # an anchor without a positive
    found = supcon(z, y, temperature=temperature)
    expected = SupConLoss(temperature=temperature)(z, y)
    assert_close([found, slope(found, z)], [expected, slope(expected, z)])
    with pytest.raises(AssertionError):
        assert_close(supcon(z, y, temperature=temperature, variant="in"), expected)


def test_where_pytorch_metric_learning_differs() -> None:
    """It needs a negative somewhere in the batch; the formula does not."""
    from pytorch_metric_learning.losses import SupConLoss

    z, y = batch(6, classes=1)
    assert SupConLoss()(z, y) == 0
    assert supcon(z, y) > math.log(5)


@both
def test_one_positive_each_is_a_softmax_over_all_other_rows(variant: str) -> None:
    z, _ = batch(12)
    partner = torch.arange(12).roll(6)
    logits = (normalize(z) @ normalize(z).T / 0.1).fill_diagonal_(-torch.inf)
    found, expected = supcon(z, torch.arange(12) % 6, variant=variant), cross_entropy(logits, partner)
    assert_close([found, slope(found, z)], [expected, slope(expected, z)])


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
def test_in_is_at_most_out_and_both_at_least_their_bound(seed: int, temperature: float) -> None:
    z, y = batch(9, 3, 3, seed)
    values = {v: supcon(z, y, temperature=temperature, variant=v).item() for v in ("out", "in")}
    assert values["in"] < values["out"]
    sizes = y.bincount()[y] - 1
    least = sizes[sizes > 0].double().log().mean().item()
    assert values["in"] >= least


@both
def test_bound_is_met_where_classes_are_points_far_apart(variant: str) -> None:
    z = torch.tensor([[1.0, 0], [2, 0], [3, 0], [-1, 0], [-2, 0]], dtype=torch.float64)
    found = supcon(z, torch.tensor([0, 0, 0, 1, 1]), temperature=0.01, variant=variant)
    assert_close(found.item(), 3 * math.log(2) / 5)


@both
def test_one_class_counts_its_others(variant: str) -> None:
    z, y = batch(7, classes=1)
    found = supcon(z, y, variant=variant)
    if variant == "in":
        assert_close(found.item(), math.log(6))
        assert slope(found, z).abs().max() < 1e-12
    else:
        assert found > math.log(6)
    corners = torch.eye(7, dtype=torch.float64)  # each is equally near to all others
    assert_close(supcon(corners, y, variant=variant).item(), math.log(6))


@both
def test_lengths_do_not_matter(variant: str) -> None:
    z, y = batch()
    length = torch.linspace(0.1, 9, 30, dtype=torch.float64)[:, None]
    assert_close(supcon(length * z, y, variant=variant), supcon(z, y, variant=variant))


@both
def test_low_temperature_keeps_its_digits(variant: str) -> None:
    """exp(1 / temperature) is far beyond float32; the greatest of the exponents decides."""
    z, y = batch()
    single = z.detach().float().requires_grad_()
    value = supcon(single, y, temperature=1e-3, variant=variant)
    expected = supcon(single.detach().double(), y, temperature=1e-3, variant=variant)
    assert_close(value.double(), expected, rtol=1e-4, atol=0)
    assert slope(value, single).isfinite().all()


def test_descent_draws_classes_together() -> None:
    z, y = batch(20, 3, 4)
    z = z.detach().requires_grad_()
    sgd = torch.optim.SGD([z], lr=1.0)
    for _ in range(100):
        sgd.zero_grad()
        supcon(z, y).backward()
        sgd.step()
    cosines, same = normalize(z) @ normalize(z).T, y[:, None] == y
    assert cosines[same].min() > cosines[~same].max()


NOTHING = {
    "empty": [],
    "single row": [0],
    "no class twice": [0, 1, 2, 3],
    "unlabelled": [-1, -1, -1, -1],
    "one labelled row": [-1, 2, -1, -1],
}


@both
@pytest.mark.parametrize("what", NOTHING)
def test_nothing_to_compare_is_zero_with_the_graph_kept(what: str, variant: str) -> None:
    y = torch.tensor(NOTHING[what], dtype=torch.int64)
    z = batch(len(y), 3)[0]
    value = supcon(z, y, variant=variant)
    assert value == 0
    assert (slope(value, z) == 0).all()


@both
def test_pair_alone_costs_nothing(variant: str) -> None:
    z, _ = batch(2)
    value = supcon(z, torch.tensor([1, 1]), variant=variant)
    assert value == 0
    assert slope(value, z).abs().max() < 1e-12


@pytest.mark.parametrize("bad", [0.0, -0.1, math.nan])
def test_temperature_that_is_none(bad: float) -> None:
    with pytest.raises(UserError, match=f"temperature must be > 0, got {bad}; 0.1 is usual"):
        supcon(*batch(), temperature=bad)


def test_misspelt_variant() -> None:
    with pytest.raises(UserError, match=r"no variant 'outt'; did you mean 'out'"):
        supcon(*batch(), variant="outt")
