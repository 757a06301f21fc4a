"""Networks: the dimension they end in, the images they take, and that they learn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from latentloom.checks import UserError
from latentloom.encoders import ENCODERS, Model, build_encoder, build_model
from latentloom.encoders.networks import Standardise, encoder
from latentloom.values import Latent

every_encoder = pytest.mark.parametrize("name", ENCODERS)


def images(n: int, channels: int, size: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, size, size), generator=g, dtype=torch.uint8)


def build(name: str, channels: int, latent_dim: int | None) -> Model:
    """A model of two classes for the smallest images that its encoder takes."""
    half, size = torch.full((channels,), 0.5), ENCODERS[name].smallest
    torch.manual_seed(0)
    return build_model(
        name, channels=channels, size=size, classes=2, mean=half, std=half, latent_dim=latent_dim
    )


def train_two_steps(model: Model, x: Tensor) -> list[Latent]:
    adam, seen = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for _ in range(2):
        seen.append(model(x))
        adam.zero_grad()
        nn.functional.cross_entropy(seen[-1].logits, torch.tensor([0, 1, 1])).backward()
        adam.step()
    return seen


@pytest.fixture
def strict() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@every_encoder
def test_two_steps_move_every_weight(name: str) -> None:
    model = build(name, channels=3, latent_dim=None)
    before = [p.detach().clone() for p in model.parameters()]
    seen = train_two_steps(model, images(3, 3, ENCODERS[name].smallest))
    assert all(latent.z.shape == (3, ENCODERS[name].latent_dim) for latent in seen)
    assert not any(map(torch.equal, model.parameters(), before))
    assert all(p.isfinite().all() for p in model.parameters())


DIMS = {"mlp": 64, "small_cnn": 64, "vgg16": 512, "resnet18": 512, "resnet50": 2048}


def test_dimensions_are_those_of_the_papers() -> None:
    assert {name: info.latent_dim for name, info in ENCODERS.items()} == DIMS


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("name", sorted(ENCODERS.keys() - {"vgg16", "resnet50"}))
def test_training_is_deterministic_through_a_projection(name: str) -> None:
    first, second = (build(name, channels=1, latent_dim=5) for _ in range(2))
    x = images(3, 1, ENCODERS[name].smallest)
    runs = []
    for model in (first, second):
        torch.manual_seed(1)  # of the dropout
        runs.append(train_two_steps(model, x))
    assert runs[0][-1].z.shape == (3, 5)
    assert torch.equal(runs[0][-1].z, runs[1][-1].z)
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    assert not torch.equal(runs[0][0].z, runs[0][1].z)


def test_own_dimension_needs_no_projection() -> None:
    plain, asked, other = (build_encoder("mlp", 1, 8, dim) for dim in (None, 64, 63))
    assert [p.shape for p in plain.parameters()] == [p.shape for p in asked.parameters()]
    assert list(other.parameters())[-2].shape == (63, 64)


@pytest.mark.parametrize("latent_dim", [1, 700])
def test_projection_is_linear(latent_dim: int) -> None:
    torch.manual_seed(0)
    network = build_encoder("mlp", 1, 8, latent_dim)
    z = network(torch.rand(16, 1, 8, 8))
    assert z.shape == (16, latent_dim)
    assert (z < 0).any()


@pytest.mark.parametrize(("size", "side"), [(10, 1), (16, 2), (28, 5), (32, 6), (33, 6)])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_cnn_takes_any_size(size: int, side: int, channels: int) -> None:
    network = build_encoder("small_cnn", channels, size)
    assert network(torch.rand(2, channels, size, size)).shape == (2, 64)
    assert network[-1].in_features == 64 * side * side


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_small_stem_keeps_the_map(name: str) -> None:
    resnet = build_encoder(name, 3, 32)
    maps: list[Tensor] = []
    resnet.layer4.register_forward_hook(lambda layer, inputs, output: maps.append(output))
    with torch.no_grad():
        resnet.eval()(torch.rand(1, 3, 32, 32))
    assert maps[0].shape[2:] == (4, 4)


def stem(network: nn.Module) -> tuple[object, ...]:
    conv = network.conv1
    return conv.in_channels, conv.kernel_size, conv.stride, type(network.maxpool)


@pytest.mark.parametrize(("size", "small"), [(32, True), (63, True), (64, False), (224, False)])
@pytest.mark.parametrize("channels", [1, 3])
def test_stem_of_large_images_is_the_usual_one(size: int, small: bool, channels: int) -> None:
    found = stem(build_encoder("resnet18", channels, size))
    usual = (channels, (7, 7), (2, 2), nn.MaxPool2d)
    assert found == ((channels, (3, 3), (1, 1), nn.Identity) if small else usual)


@every_encoder
def test_too_small_images(name: str) -> None:
    smallest = ENCODERS[name].smallest
    with pytest.raises(UserError, match=f"'{name}' needs images of at least {smallest} pixels, got"):
        build_encoder(name, 3, smallest - 1)


def test_misspelt_encoder() -> None:
    with pytest.raises(UserError, match=r"no encoder 'resnet_18'; did you mean 'resnet18'\?"):
        build_encoder("resnet_18", 3, 32)


@pytest.mark.parametrize("latent_dim", [0, -3])
def test_latent_dim_is_positive(latent_dim: int) -> None:
    with pytest.raises(UserError, match=f"latent_dim must be at least 1, got {latent_dim}"):
        build_encoder("mlp", 1, 8, latent_dim)


def test_two_encoders_of_one_name() -> None:
    def mlp(channels: int, size: int) -> nn.Module:
        return nn.Identity()

    with pytest.raises(ValueError, match="two encoders are called 'mlp'"):
        encoder(latent_dim=1, smallest=1, about="twice")(mlp)


@pytest.mark.parametrize("channels", [1, 3])
def test_standardised_images_have_mean_0_and_deviation_1(channels: int) -> None:
    x = images(8, channels, 12) // torch.arange(1, channels + 1, dtype=torch.uint8).reshape(-1, 1, 1)
    scaled = x.double() / 255
    standardise = Standardise(scaled.mean((0, 2, 3)), scaled.std((0, 2, 3)))
    found = standardise(x)
    assert_close(found, standardise(scaled))
    assert_close(found.mean((0, 2, 3)), torch.zeros(channels).double())
    assert_close(found.std((0, 2, 3)), torch.ones(channels).double())


def test_channel_that_never_changes_stays_finite() -> None:
    standardise = Standardise(torch.tensor([0.5]), torch.tensor([0.0]))
    assert torch.equal(standardise(torch.full((2, 1, 3, 3), 0.5)), torch.zeros(2, 1, 3, 3))


def test_scale_of_the_images_travels_with_the_weights() -> None:
    assert Standardise(torch.rand(3), torch.rand(3)).state_dict().keys() == {"mean", "std"}
