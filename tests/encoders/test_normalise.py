"""The scale of pixels: as measured, and as the paper had it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.encoders.normalise import (
    PAPER_CONSTANTS,
    Standardise,
    measured_standardise,
    paper_standardise,
)


def images(n: int, channels: int, size: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, size, size), generator=g, dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_measured_images_have_mean_0_and_deviation_1(channels: int) -> None:
    x = images(8, channels, 12) // torch.arange(1, channels + 1, dtype=torch.uint8).reshape(-1, 1, 1)
    scaled = x.double() / 255
    standardise = measured_standardise(scaled)
    found = standardise(x)
    assert_close(found, standardise(scaled))
    assert_close(found.mean((0, 2, 3)), torch.zeros(channels).double())
    assert_close(found.std((0, 2, 3)), torch.ones(channels).double())


def test_channel_that_never_changes_becomes_0() -> None:
    x = torch.rand(2, 3, 4, 4)
    x[:, 1] = 0.5
    found = measured_standardise(x)(x)
    assert not found[:, 1].any()
    assert found.isfinite().all()
    assert_close(found[:, 0].std(), torch.tensor(1.0))


def test_scale_of_the_images_travels_with_the_weights() -> None:
    assert Standardise(torch.rand(3), torch.rand(3)).state_dict().keys() == {"mean", "std"}


def by_hand(x: Tensor, name: str) -> Tensor:
    """Pixel by pixel: (value of 0 to 255 - constant) / constant."""
    found = torch.empty(x.shape)
    for i, image in enumerate(x.tolist()):
        for c, plane in enumerate(image):
            mean, std = (constants[c] for constants in PAPER_CONSTANTS[name])
            found[i, c] = torch.tensor([[(value - mean) / std for value in row] for row in plane])
    return found


@pytest.mark.parametrize("name", PAPER_CONSTANTS)
def test_constants_of_the_paper_are_applied_to_pixels_of_0_to_255(name: str) -> None:
    channels = len(PAPER_CONSTANTS[name][0])
    x = images(2, channels, 9)
    x[0, :, 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    found, expected = paper_standardise(name)(x), by_hand(x, name)
    assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert_close(paper_standardise(name)(x / 255), expected, rtol=1e-5, atol=1e-5)
    mean, std = map(torch.tensor, PAPER_CONSTANTS[name])
    for mistake in (
        Standardise(mean, std),
        Standardise(mean / 255, (std / 255).clamp_min(1e-3) if channels == 3 else std),
    ):
        with pytest.raises(AssertionError):
            assert_close(mistake(x), expected, rtol=1e-5, atol=1e-5)


def test_range_that_the_encoder_sees() -> None:
    black, white = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    assert paper_standardise("cifar10")(white).max().item() == pytest.approx((255 - 0.482) / 0.2)
    assert paper_standardise("cifar10")(black).flatten().tolist() == pytest.approx(
        [-0.491 / 0.202, -0.482 / 0.2, -0.447 / 0.201]
    )
    assert paper_standardise("kmnist")(white[:, :1]).item() == pytest.approx((255 - 33.3149) / 78.5639)


def test_data_without_constants() -> None:
    with pytest.raises(UserError, match=r"no constants for 'digits', only for cifar10, .*leave out --model"):
        paper_standardise("digits")


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_of_a_pixel_lie_side_by_side(channels):
    """By strides: of one channel both ways are contiguous, and torch goes by the strides alone."""
    x = torch.randint(256, (4, channels, 5, 6), dtype=torch.uint8)
    out = Standardise(torch.full((channels,), 0.5), torch.full((channels,), 0.25))(x)
    assert out.stride() == (30 * channels, 1, 6 * channels, channels)
    assert torch.equal(out, (x.float() / 255 - 0.5) / 0.25)
