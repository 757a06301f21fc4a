"""Networks of torchvision and timm are the same with a tap as without, in evaluation and in training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pytest
import timm
import torch
import torchvision.models as tv
from timm.models.mlp_mixer import MlpMixer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close
from torchvision.models.convnext import CNBlockConfig

from latentloom import Objective
from latentloom.encoders import attach
from latentloom.encoders.attach import Attached
from latentloom.encoders.tap import layers

CLASSES, SIZE, N = 5, 32, 6
X = torch.rand(N, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % 3


class Tied(nn.Module):
    """Two exits with one weight between them; the logits are their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 3, padding=1)
        self.early, self.late = nn.Linear(8, CLASSES), nn.Linear(8, CLASSES)
        self.late.weight = self.early.weight

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x).relu_()
        return (self.early(h.mean((2, 3))) + self.late(self.deep(h).mean((2, 3)))) / 2


def plain_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 16, 3, 2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(784, CLASSES),
    )


def convnext() -> nn.Module:
    return tv.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], 0.3, num_classes=CLASSES)


@dataclass(frozen=True)
class Network:
    """A small network, its last layer, and one within with what its places are made into."""

    build: Callable[[], nn.Module]
    last: str
    within: str
    d: int  # of what `within` gives
    pool: Literal["mean", "max", "class_token", "flatten"] = "mean"
    channels: Literal["last"] | None = None


named = partial(timm.create_model, num_classes=CLASSES)
mixer = partial(MlpMixer, CLASSES, SIZE, patch_size=8, num_blocks=2, embed_dim=16)
mobilenet, resnet = (partial(build, num_classes=CLASSES) for build in (tv.mobilenet_v3_small, tv.resnet18))
vit = partial(tv.VisionTransformer, SIZE, 8, 2, 2, 16, 32, num_classes=CLASSES, dropout=0.1)
swin = partial(tv.SwinTransformer, [4, 4], 8, [1, 2], [1, 2], [4, 4], num_classes=CLASSES)
densenet = partial(tv.DenseNet, 4, (2, 2, 2, 2), 8, num_classes=CLASSES, drop_rate=0.1)

NETWORKS = {
    "cnn": Network(plain_cnn, "7", "3", 784, "flatten"),
    "resnet": Network(partial(named, "test_resnet"), "fc", "layer4", 96),
    "resnet of torchvision": Network(resnet, "fc", "layer2.0.bn1", 128, "max"),
    "vit": Network(vit, "heads.head", "encoder.layers.encoder_layer_0", 16, "class_token"),
    "vit of timm": Network(partial(named, "test_vit", img_size=SIZE), "head", "blocks.3", 64),
    "convnext": Network(convnext, "classifier.2", "features.1.0.block.0", 8),
    "convnext of timm": Network(partial(named, "test_convnext"), "head.fc", "stages.3", 64),
    "mlp-mixer": Network(mixer, "head", "norm", 16),
    "efficientnet": Network(partial(named, "test_efficientnet"), "classifier", "blocks.4", 64),
    "mobilenet": Network(mobilenet, "classifier.3", "features.12", 576, "max"),
    "densenet": Network(densenet, "classifier", "features.denseblock2", 16),
    "swin": Network(swin, "head", "features.3", 16, channels="last"),
    "tied exits": Network(Tied, "late", "stem", 8),
}

PLAIN = Objective({"cross_entropy": 1.0})
EXTRA = Objective({"cross_entropy": 1.0, "latent_boost": 0.0, "center": 0.0, "triplet": 0.0})
ON = Objective({"cross_entropy": 1.0, "center": 1.0})

each = pytest.mark.parametrize("name", NETWORKS)


def twins(name: str) -> tuple[nn.Module, nn.Module]:
    """The same network twice, weights drawn from a seed."""
    torch.manual_seed(0)
    model = NETWORKS[name].build()
    return model, copy.deepcopy(model)


def tapped(name: str, model: nn.Module, objective: Objective) -> Attached:
    n = NETWORKS[name]
    return attach(model, n.within, objective, pool=n.pool, channels=n.channels)


@each
def test_logits_are_those_of_the_untouched_model(name: str) -> None:
    bare, model = twins(name)
    bare.eval()
    expected = bare(X)
    attached = tapped(name, model, PLAIN).eval()
    latent = attached(X)
    assert torch.equal(latent.logits, expected)
    assert latent.z.shape == (N, NETWORKS[name].d)
    assert len(latent.z.unique(dim=0)) == N
    assert torch.equal(model(X), expected)
    with torch.no_grad():
        assert torch.equal(attached(X).logits, bare(X))


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "tied exits"])
def test_what_the_last_layer_reads_makes_the_logits(name: str) -> None:
    bare, model = twins(name)
    latent = attach(model, NETWORKS[name].last, PLAIN, read="input").eval()(X)
    assert_close(bare.get_submodule(NETWORKS[name].last)(latent.z), latent.logits)


def gradients(model: nn.Module, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Of a training step, with the same draws for dropout each time; and what else the step leaves."""
    model.train()
    torch.manual_seed(1)
    loss().backward()
    return {name: p.grad for name, p in model.named_parameters()} | dict(model.named_buffers())


@each
def test_gradients_are_those_of_the_untouched_model(name: str) -> None:
    bare, model = twins(name)
    expected = gradients(bare, lambda: cross_entropy(bare(X), Y))
    attached = tapped(name, model, EXTRA)
    got = gradients(model, lambda: EXTRA(attached(X).with_samples(y=Y)).total)
    assert got.keys() == expected.keys()
    assert all(map(same, got.values(), expected.values()))


def same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other is None or torch.equal(one, other)


@each
def test_a_term_that_counts_moves_the_gradients(name: str) -> None:
    bare, model = twins(name)
    expected = gradients(bare, lambda: cross_entropy(bare(X), Y))
    attached = tapped(name, model, ON)
    got = gradients(model, lambda: ON(attached(X).with_samples(y=Y)).total)
    assert not all(map(same, got.values(), expected.values()))


@each
def test_listed_layers_are_those_that_can_be_tapped(name: str) -> None:
    _, model = twins(name)
    shapes, n = layers(model, X), NETWORKS[name]
    assert shapes[n.last] == (N, CLASSES)
    assert shapes[n.within][0] == N
    assert hooks(model) == []
    for layer in [*shapes][:: max(1, len(shapes) // 5)]:
        attached = attach(model, layer, PLAIN, pool="flatten").eval()
        assert attached(X).z.shape == (N, math.prod(shapes[layer][1:]))
        attached.detach()


@each
def test_detached_model_is_the_untouched_one(name: str) -> None:
    bare, model = twins(name)
    attached = tapped(name, model, PLAIN)
    assert hooks(model) == [NETWORKS[name].within]
    assert attached.detach() is model
    assert hooks(model) == hooks(bare) == []


def hooks(model: nn.Module) -> list[str]:
    """Layers with a hook of whatever kind, once for each kind."""
    return [
        layer
        for layer, module in model.named_modules()
        for kind, kept in vars(module).items()
        if "hooks" in kind and kept
    ]


def test_tied_weights_stay_tied() -> None:
    _, model = twins("tied exits")
    attached = copy.deepcopy(tapped("tied exits", model, PLAIN)).double()
    assert attached.model.late.weight is attached.model.early.weight
