"""Decoders: the images they make, what they compute, and that they mirror their encoders."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.encoders import build_encoder
from latentloom.encoders.decoders import DECODERS, build_decoder, decoder

every_decoder = pytest.mark.parametrize("name", DECODERS)
Grid = list[list[float]]


@every_decoder
@pytest.mark.parametrize("channels", [1, 3])
def test_images_have_the_size_asked_for_whatever_it_is(name: str, channels: int) -> None:
    for size in [*range(DECODERS[name].smallest, 12), 28, 31, 32]:
        assert build_decoder(name, channels, size, 2)(torch.zeros(3, 2)).shape == (3, channels, size, size)


@every_decoder
def test_values_are_not_confined(name: str) -> None:
    torch.manual_seed(0)
    x = build_decoder(name, 1, 28, 10)(100 * torch.randn(64, 10))
    assert x.min() < -1
    assert x.max() > 2


@every_decoder
def test_one_step_moves_every_weight(name: str) -> None:
    torch.manual_seed(0)
    network = build_decoder(name, 3, 7, 2)
    before = [p.detach().clone() for p in network.parameters()]
    adam = torch.optim.Adam(network.parameters())
    (network(torch.randn(8, 2)) - 1).square().mean().backward()
    adam.step()
    assert not any(map(torch.equal, network.parameters(), before))


def doubled(maps: list[Grid], weight: list[list[Grid]], bias: list[float], size: int) -> list[Grid]:
    """Every pixel paints a 4 x 4 patch, two pixels further for each neighbour, one pixel off the edge."""
    painted = [[[b] * size for _ in range(size)] for b in bias]
    for i, grid in enumerate(maps):
        for (row, line), o in itertools.product(enumerate(grid), range(len(bias))):
            for (column, value), down, right in itertools.product(enumerate(line), range(4), range(4)):
                y, x = 2 * row - 1 + down, 2 * column - 1 + right
                if 0 <= y < size and 0 <= x < size:
                    painted[o][y][x] += value * weight[i][o][down][right]
    return painted


def positive(value: float) -> float:
    return max(value, 0.0)


def naive_conv(
    network: nn.Module, z: list[float], size: int, *, activation: Callable[[float], float] = positive
) -> list[Grid]:
    """The image of one point, in loops over numbers."""
    weights = [p.tolist() for p in network.parameters()]
    flat = [
        positive(sum(map(float.__mul__, row, z)) + b) for row, b in zip(weights[0], weights[1], strict=True)
    ]
    quarter, half = size // 4, size // 2
    lines = [flat[i : i + quarter] for i in range(0, len(flat), quarter)]
    maps = [lines[i : i + quarter] for i in range(0, len(lines), quarter)]
    inner = doubled(maps, weights[2], weights[3], half)
    return doubled(
        [[[activation(v) for v in line] for line in grid] for grid in inner], weights[4], weights[5], size
    )


@pytest.mark.parametrize("size", [4, 7])
def test_conv_agrees_with_the_loop_and_with_no_mistake(size: int) -> None:
    torch.manual_seed(0)
    network, z = build_decoder("conv", 2, size, 2).double(), torch.randn(2, dtype=torch.float64)
    image = network(z[None])[0].detach()

    right = torch.tensor(naive_conv(network, z.tolist(), size), dtype=torch.float64)
    linear = torch.tensor(naive_conv(network, z.tolist(), size, activation=float), dtype=torch.float64)
    assert_close(image, right)
    for mistake in (linear, right.mT, right.sigmoid(), right.clamp_min(0), right.flip(-1), right.flip(0)):
        assert not torch.allclose(image, mistake)


def test_mlp_agrees_with_its_layers() -> None:
    torch.manual_seed(0)
    network, z = build_decoder("mlp", 3, 5, 2), torch.randn(4, 2)
    w1, b1, w2, b2, w3, b3 = network.parameters()
    flat = ((z @ w1.T + b1).clamp_min(0) @ w2.T + b2).clamp_min(0) @ w3.T + b3
    assert_close(network(z), flat.view(4, 3, 5, 5))
    assert w1.shape[0] == w2.shape[0] == build_encoder("mlp", 3, 5)[1].out_features


def sides(network: nn.Module, x: Tensor) -> list[int]:
    """Sides of the maps that go into and come out of the network's convolutions."""
    seen = []
    for layer in network:
        before, x = x, layer(x)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            seen += [before.shape[-1], x.shape[-1]]
    return seen


def test_the_decoder_goes_back_the_way_of_the_encoder() -> None:
    for size in range(4, 34):
        there = sides(build_encoder("conv", 1, size), torch.zeros(1, 1, size, size))
        back = sides(build_decoder("conv", 1, size, 2), torch.zeros(1, 2))
        assert there == [size, size // 2, size // 2, size // 4]
        assert back == there[::-1]


def test_the_encoder_gives_an_image_one_point_in_training_too() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 1, 28, 28)
    ours, theirs = build_encoder("conv", 1, 28), build_encoder("small_cnn", 1, 28)
    assert torch.equal(ours.train()(x), ours.eval()(x))
    assert not torch.allclose(theirs.train()(x), theirs.eval()(x))
    assert ours(x).shape == (4, 64)
    assert build_encoder("conv", 3, 9, 5)(torch.rand(2, 3, 9, 9)).shape == (2, 5)


@every_decoder
def test_a_pair_learns_to_make_images_again(name: str) -> None:
    torch.manual_seed(0)
    angle = torch.rand(128) * 6.28
    place = torch.stack([angle.cos(), angle.sin()], 1)[:, :, None]  # (n, 2, 1): a blob on a circle
    axis = torch.linspace(-1.5, 1.5, 8)
    row, column = torch.exp(-2 * (axis - place).square()).unbind(1)  # (n, 8)
    x = (row[:, :, None] * column[:, None]).unsqueeze(1)
    encoder = build_encoder(name, 1, 8, 2)
    pair = nn.Sequential(encoder, build_decoder(name, 1, 8, 2))
    adam = torch.optim.Adam(pair.parameters(), lr=3e-3)
    for _ in range(150):
        loss = (pair(x) - x).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss < 0.2 * (x - x.mean(0)).square().mean()


def test_misspelt_decoder() -> None:
    with pytest.raises(UserError, match=r"no decoder 'cnv'; did you mean 'conv'\?"):
        build_decoder("cnv", 1, 28, 10)


@every_decoder
def test_too_small_images(name: str) -> None:
    smallest = DECODERS[name].smallest
    with pytest.raises(UserError, match=f"'{name}' makes images of at least {smallest} pixels, got"):
        build_decoder(name, 1, smallest - 1, 10)


@pytest.mark.parametrize(("channels", "latent_dim"), [(1, 0), (0, 2)])
def test_nothing_to_decode(channels: int, latent_dim: int) -> None:
    with pytest.raises(UserError, match=f"of at least 1, got {latent_dim} and {channels}"):
        build_decoder("mlp", channels, 8, latent_dim)


def test_two_decoders_of_one_name() -> None:
    def conv(channels: int, size: int, latent_dim: int) -> nn.Module:
        return nn.Identity()

    with pytest.raises(ValueError, match="two decoders are called 'conv'"):
        decoder(smallest=1, about="twice")(conv)
