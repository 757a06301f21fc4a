"""The pull-back metric of a decoder, and distances by it, against loops that share no thought with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.encoders import build_decoder
from latentloom.latent.geometry import squared_distances
from latentloom.latent.pullback import LARGEST, pullback_distances, pullback_metric

Decode = Callable[[Tensor], Tensor]


def points(n: int = 6, d: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def curved(d: int = 3) -> Decode:
    """A decoder whose Jacobian is another one everywhere, to images (n, 1, 3, 3)."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(d, 8), nn.Tanh(), nn.Linear(8, 9), nn.Unflatten(1, (1, 3, 3)))
    return layers.double()


def metric_by_loop(decode: Decode, z: Tensor) -> Tensor:
    """Point by point in reverse mode."""
    found = []
    for point in z:
        whole = torch.autograd.functional.jacobian(lambda p: decode(p[None])[0], point)
        jacobian = whole.reshape(-1, len(point))  # (pixels, d)
        found.append(jacobian.T @ jacobian)
    return torch.stack(found)


def distances_by_loop(z: Tensor, metric: Tensor) -> Tensor:
    """Pair by pair."""
    found = torch.zeros(len(z), len(z), dtype=z.dtype)
    for i in range(len(z)):
        for j in range(len(z)):
            step = z[i] - z[j]
            found[i, j] = (step @ ((metric[i] + metric[j]) / 2) @ step).sqrt()
    return found


def assert_distances(found: Tensor, expected: Tensor) -> None:
    """What is 0 is left with the root of a rounding error by both."""
    assert_close(found, expected, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("d", [1, 3, LARGEST])
def test_metric_is_that_of_a_loop_in_reverse_mode(d: int) -> None:
    z = points(d=d)
    assert_close(pullback_metric(curved(d), z), metric_by_loop(curved(d), z))


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_metric_of_our_decoders(name: str) -> None:
    torch.manual_seed(0)
    decode = build_decoder(name, 1, 9, 3).double()
    assert_close(pullback_metric(decode, points()), metric_by_loop(decode, points()))


def test_a_metric_of_another_decoder_or_of_other_points_is_noticed() -> None:
    found = pullback_metric(curved(), points())
    for other in (
        metric_by_loop(lambda z: 2 * curved()(z), points()),
        metric_by_loop(curved(), points() + 1),
    ):
        with pytest.raises(AssertionError):
            assert_close(found, other)
    assert_close(found.mT, found)
    assert torch.linalg.eigvalsh(found).min() > 0


def test_distances_are_those_of_a_loop() -> None:
    z = points()
    metric = metric_by_loop(curved(), z)
    found = pullback_distances(z, metric)
    assert_distances(found, distances_by_loop(z, metric))
    of_row_alone = torch.einsum("ijd,ide,ije->ij", z[:, None] - z, metric, z[:, None] - z).sqrt()
    of_column_alone = of_row_alone.mT
    for mistake in (of_row_alone, of_column_alone, found.square(), distances_by_loop(z, metric.roll(1, 0))):
        with pytest.raises(AssertionError):
            assert_distances(found, mistake)


def test_a_linear_decoder_gives_the_distance_of_the_images() -> None:
    z, a = points(), points(9, 3, seed=1)
    found = pullback_distances(z, pullback_metric(lambda z: z @ a.T + 5, z))
    images = z @ a.T
    expected = torch.stack([torch.stack([(one - other).norm() for other in images]) for one in images])
    assert_distances(found, expected)


@pytest.mark.parametrize("decode", [lambda z: z, lambda z: z + torch.tensor([7.0, 0, -9]).double()])
def test_the_identity_gives_euclidean_distances(decode: Decode) -> None:
    z = points()
    assert_distances(pullback_distances(z, pullback_metric(decode, z)), squared_distances(z, z).sqrt())


def test_distances_of_near_points_are_those_of_their_images() -> None:
    """To first order, where no decoder is linear: the error falls with the square of the step."""
    decode, z = curved(), points(2)
    errors = []
    for step in (1e-2, 1e-3):
        pair = torch.stack([z[0], z[0] + step * z[1]])
        found = pullback_distances(pair, pullback_metric(decode, pair))[0, 1]
        apart = (decode(pair[:1]) - decode(pair[1:])).norm()
        errors.append(((found - apart) / apart).abs().item())
    assert errors[1] < errors[0] / 50
    assert errors[0] < 1e-3


def test_rotating_the_latent_space_and_the_decoder_changes_nothing() -> None:
    z, decode = points(), curved()
    turn = torch.linalg.qr(points(3, 3, seed=2)).Q
    metric, turned = pullback_metric(decode, z), pullback_metric(lambda z: decode(z @ turn.T), z @ turn)
    assert_close(turned, turn.T @ metric @ turn)
    assert_distances(pullback_distances(z @ turn, turned), pullback_distances(z, metric))
    with pytest.raises(AssertionError):
        assert_distances(pullback_distances(z @ turn, metric), pullback_distances(z, metric))


def test_the_metric_holds_still() -> None:
    decode, z = curved(), points().requires_grad_()
    assert not pullback_metric(decode, z).requires_grad


def test_slope_is_true_with_the_metric_given() -> None:
    z = points(5).requires_grad_()
    metric = metric_by_loop(curved(), z.detach()).requires_grad_()
    apart = ~torch.eye(5, dtype=torch.bool)  # of a point from itself there is no slope
    assert torch.autograd.gradcheck(lambda z, m: pullback_distances(z, (m + m.mT) / 2)[apart], (z, metric))


def test_slope_is_zero_where_points_are_one() -> None:
    z = torch.ones(4, 3, requires_grad=True)
    pullback_distances(z, torch.eye(3).expand(4, 3, 3)).sum().backward()
    assert z.grad is not None
    assert (z.grad == 0).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_batches_of_hardly_any_points(n: int) -> None:
    z = points(n)
    metric = pullback_metric(curved(), z)
    assert metric.shape == (n, 3, 3)
    assert_distances(pullback_distances(z, metric), distances_by_loop(z, metric))


def test_a_decoder_that_is_deaf_to_a_dimension() -> None:
    z = points().float()
    found = pullback_distances(z, pullback_metric(lambda z: z[:, :1], z))
    assert_close(found, (z[:, 0] - z[:, :1]).abs(), rtol=1e-4, atol=1e-3)


def test_far_from_the_origin_digits_are_kept() -> None:
    z = points().float()
    metric = metric_by_loop(curved(), z.double()).float()
    far = z + 1000
    expected = distances_by_loop(far.double(), metric.double()).float()
    assert_close(pullback_distances(far, metric), expected, rtol=1e-4, atol=2e-3)


def test_what_is_not_a_number_is_seen() -> None:
    z = points()
    z[0, 1] = torch.nan
    metric = pullback_metric(curved(), z)
    assert metric[0].isnan().any()
    assert metric[1:].isfinite().all()
    assert pullback_distances(z, metric).isnan().any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_half_types_give_a_metric_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    decode, z = build_decoder("conv", 1, 8, 3), points().float()
    with torch.autocast("cpu", torch.bfloat16):
        found = pullback_metric(decode, z.to(dtype))
    assert found.dtype == torch.float32
    expected = metric_by_loop(decode, z)
    assert_close(found, expected, rtol=0, atol=0.03 * expected.abs().max().item())


def test_too_many_dimensions() -> None:
    with pytest.raises(UserError, match=r"d <= 10, got \(6, 11\); set --model.latent_dim to 10 or less"):
        pullback_metric(lambda z: z, points(d=LARGEST + 1))


def test_a_metric_of_another_batch() -> None:
    with pytest.raises(UserError, match=r"wanted a metric \(6, 3, 3\) at 6 points, got \(5, 3, 3\)"):
        pullback_distances(points(), torch.eye(3).expand(5, 3, 3))
