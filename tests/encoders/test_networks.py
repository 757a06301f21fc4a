"""Networks: the dimension they end in, the images they take, and that they learn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torchvision
from torch import Tensor, nn

from latentloom.checks import UserError
from latentloom.encoders import ENCODERS, Model, build_encoder, build_model
from latentloom.encoders.networks import Stem, encoder
from latentloom.encoders.normalise import Standardise
from latentloom.values import Latent

every_encoder = pytest.mark.parametrize("name", ENCODERS)
FROM_TIMM = {name for name, info in ENCODERS.items() if info.timm}  # tested beside these, with small models
DEEP = {"resnet101", "resnet152"}  # ResNet-50 with more blocks


def images(n: int, channels: int, size: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, size, size), generator=g, dtype=torch.uint8)


def build(name: str, channels: int, latent_dim: int | None) -> Model:
    """A model of two classes for the smallest images that its encoder takes."""
    half, size = torch.full((channels,), 0.5), ENCODERS[name].smallest
    torch.manual_seed(0)
    return build_model(
        build_encoder(name, channels, size, latent_dim),
        latent_dim=latent_dim or ENCODERS[name].latent_dim,
        classes=2,
        standardise=Standardise(half, half),
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


@pytest.mark.parametrize("name", sorted(ENCODERS.keys() - FROM_TIMM - DEEP))
def test_two_steps_move_every_weight(name: str) -> None:
    model = build(name, channels=3, latent_dim=None)
    before = [p.detach().clone() for p in model.parameters()]
    seen = train_two_steps(model, images(3, 3, ENCODERS[name].smallest))
    assert all(latent.z.shape == (3, ENCODERS[name].latent_dim) for latent in seen)
    assert not any(map(torch.equal, model.parameters(), before))
    assert all(p.isfinite().all() for p in model.parameters())


DIMS = {
    "mlp": 64,
    "small_cnn": 64,
    "conv4": 128,
    "conv": 64,
    "vgg16": 512,
    "resnet18": 512,
    "resnet50": 2048,
    "resnet101": 2048,
    "resnet152": 2048,
    "convnext_small": 768,
    "convnext_base": 1024,
    "convnext_large": 1536,
    "vit_small_patch32": 384,
    "vit_base_patch32": 768,
    "vit_large_patch32": 1024,
}


def test_dimensions_are_those_of_the_papers() -> None:
    assert {name: info.latent_dim for name, info in ENCODERS.items()} == DIMS


@pytest.mark.parametrize(("name", "blocks"), [("resnet101", [3, 4, 23, 3]), ("resnet152", [3, 8, 36, 3])])
def test_deep_resnets_have_their_blocks_and_their_dimension(name: str, blocks: list[int]) -> None:
    with torch.device("meta"):  # shapes alone, at no cost
        resnet = build_encoder(name, 1, 36, stem="full")
        assert resnet(torch.rand(2, 1, 36, 36)).shape == (2, 2048)
    assert [len(layer) for layer in (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4)] == blocks


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("name", sorted(ENCODERS.keys() - FROM_TIMM - DEEP - {"vgg16", "resnet50"}))
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


RESNETS = [name for name, info in ENCODERS.items() if info.stems]


def final_map(resnet: nn.Module, size: int) -> tuple[int, ...]:
    """Places of the last map before it is averaged."""
    maps: list[Tensor] = []
    resnet.layer4.register_forward_hook(lambda layer, inputs, output: maps.append(output))
    resnet.eval()(torch.rand(1, 3, size, size))
    return tuple(maps[0].shape[2:])


@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize(("stem", "sides"), [("auto", (5, 5)), ("small", (5, 5)), ("full", (2, 2))])
def test_small_stem_keeps_the_map(name: str, stem: Stem, sides: tuple[int, int]) -> None:
    with torch.device("meta"):  # shapes alone, at no cost
        assert final_map(build_encoder(name, 3, 36, stem=stem), 36) == sides


def stem_of(network: nn.Module) -> tuple[object, ...]:
    conv = network.conv1
    return conv.in_channels, conv.kernel_size, conv.stride, type(network.maxpool)


@pytest.mark.parametrize(
    ("size", "stem", "small"),
    [
        (16, "auto", True),
        (63, "auto", True),
        (64, "auto", False),
        (224, "auto", False),
        (224, "small", True),
        (36, "full", False),
        (16, "full", False),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_stem_is_the_one_asked_for_or_follows_the_size(
    size: int, stem: Stem, small: bool, channels: int
) -> None:
    with torch.device("meta"):
        found = stem_of(build_encoder("resnet18", channels, size, stem=stem))
    usual = (channels, (7, 7), (2, 2), nn.MaxPool2d)
    assert found == ((channels, (3, 3), (1, 1), nn.Identity) if small else usual)


def test_full_stem_is_torchvisions_own_network() -> None:
    theirs = torchvision.models.resnet18(weights=None)
    ours = build_encoder("resnet18", 3, 36, stem="full")
    ours.load_state_dict(theirs.state_dict(), strict=False)
    theirs.fc, x = nn.Identity(), torch.rand(2, 3, 36, 36)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
    small = build_encoder("resnet18", 3, 36)
    small.load_state_dict({**theirs.state_dict(), "conv1.weight": small.conv1.weight})
    assert not torch.allclose(small.eval()(x), theirs(x))


@pytest.mark.parametrize("name", sorted(ENCODERS.keys() - RESNETS))
@pytest.mark.parametrize("stem", ["small", "full"])
def test_stem_of_an_encoder_without_one(name: str, stem: Stem) -> None:
    with pytest.raises(UserError, match=f"'{name}' has no {stem} stem; leave out --model.stem"):
        build_encoder(name, 3, 32, stem=stem)


def test_misspelt_stem() -> None:
    with pytest.raises(UserError, match=r"no stem 'smal'; did you mean 'small'\?"):
        build_encoder("resnet18", 3, 32, stem="smal")  # type: ignore[arg-type]


def test_vgg16_starts_as_torchvisions_and_never_builds_its_classifier(monkeypatch) -> None:
    torch.manual_seed(0)
    monkeypatch.delattr(nn, "Linear")
    ours = build_encoder("vgg16", 3, 32).features
    assert sum(p.numel() for p in ours.parameters()) == 14_723_136
    for layer in ours:
        if isinstance(layer, nn.Conv2d):
            # Normal of variance 2 / (outputs x places), and biases of 0.
            assert layer.weight.std().item() == pytest.approx((2 / (layer.out_channels * 9)) ** 0.5, rel=0.05)
            assert not layer.bias.any()


def test_vgg16_is_torchvisions_network_without_its_classifier() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.vgg16_bn(weights=None).features
        ours = build_encoder("vgg16", 3, 32).features
    assert str(ours) == str(theirs)


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


def test_a_projection_can_be_had_at_the_length_of_the_network_itself() -> None:
    # A ResNet ends in what a ReLU leaves; points that are drawn to names must reach all directions.
    x = torch.rand(4, 3, 16, 16)
    bare = build_encoder("resnet18", 3, 16, 512).eval()
    projected = build_encoder("resnet18", 3, 16, 512, project=True).eval()
    assert bare(x).min() >= 0
    assert projected(x).min() < 0
    assert projected(x).shape == bare(x).shape
