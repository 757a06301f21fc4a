"""Networks that turn images (n, c, h, w) into points (n, d)."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, cast, get_args

from torch import Tensor, nn

from latentloom.checks import UserError, check_choice
from latentloom.encoders.weights import hub_weights, imagenet_weights, load_weights, read_weights

Stem = Literal["auto", "small", "full"]
MAPS = (32, 64)  # of the two convolutions of `conv`, from the image inwards
FULL_STEM_FROM = 64  # pixels; it would leave an image of 32 with a map of 1 x 1


@dataclass(frozen=True)
class EncoderInfo:
    """A registered encoder: how it is built, the dimension it ends in, the images it can take."""

    build: Callable[[int, int], nn.Module]  # channels, size -> network
    latent_dim: int
    smallest: int  # images, in pixels
    about: str
    torchvision: str = ""  # the model of torchvision whose weights it can start from
    timm: str = ""  # the model of timm whose weights it can start from, with their tag
    stems: bool = False  # it is a ResNet, built with the full stem
    patch: int = 1  # pixels; the sides of images are multiples of it


ENCODERS: dict[str, EncoderInfo] = {}


def encoder(
    latent_dim: int, smallest: int, about: str, *, torchvision: str = ""
) -> Callable[[Callable[[int, int], nn.Module]], Callable[[int, int], nn.Module]]:
    """Register a function (channels, size) -> network that ends in (n, latent_dim)."""

    def keep(build: Callable[[int, int], nn.Module]) -> Callable[[int, int], nn.Module]:
        if build.__name__ in ENCODERS:
            raise ValueError(f"two encoders are called {build.__name__!r}; rename one")
        ENCODERS[build.__name__] = EncoderInfo(build, latent_dim, smallest, about, torchvision)
        return build

    return keep


def build_encoder(
    name: str,
    channels: int,
    size: int,
    latent_dim: int | None = None,
    *,
    stem: Stem = "auto",
    pretrained: bool = False,
    weights: str | Path | None = None,
    project: bool = False,
) -> nn.Module:
    """The network of that name for images (channels, size, size).

    Args:
        name: of `ENCODERS`.
        channels, size: of the images.
        latent_dim: where it differs from the network's own, a linear projection without activation follows.
        stem: of a ResNet: `full` is a 7 x 7 convolution of stride 2 and a max-pool, `small` a 3 x 3
            convolution without either, `auto` is small below 64 pixels.
        pretrained: start from the ImageNet weights of torchvision or timm, which are downloaded.
        weights: start from this file of weights of the same model of torchvision or timm. Here and with
            `pretrained`, the convolution of a small stem starts at random.
        project: the projection follows even where latent_dim is the network's own, whose end may have an
            activation.
    """
    _check(name, size, latent_dim, stem)
    _check_weights(name, pretrained, weights)
    info = ENCODERS[name]
    network = info.build(channels, size)
    small = info.stems and (stem == "small" or (stem == "auto" and size < FULL_STEM_FROM))
    if small:
        _shrink_stem(network, channels)
    if pretrained or weights is not None:
        found, origin = _found_weights(info, weights)
        load_weights(network, found, origin, fresh_stem=small)
    if latent_dim is None or (latent_dim == info.latent_dim and not project):
        return network
    return nn.Sequential(network, nn.Linear(info.latent_dim, latent_dim))


def _check(name: str, size: int, latent_dim: int | None, stem: str) -> None:
    check_choice("encoder", name, ENCODERS)
    check_choice("stem", stem, get_args(Stem))
    info = ENCODERS[name]
    if size < info.smallest:
        raise UserError(
            f"encoder {name!r} needs images of at least {info.smallest} pixels, got {size}; "
            "choose mlp, or larger images with --data.size"
        )
    if size % info.patch:
        raise UserError(
            f"encoder {name!r} reads patches of {info.patch} pixels, which do not fill images of {size}; "
            f"give --data.size {size // info.patch * info.patch}, or a larger multiple of {info.patch}"
        )
    if latent_dim is not None and latent_dim < 1:
        raise UserError(f"latent_dim must be at least 1, got {latent_dim}")
    if stem != "auto" and not info.stems:
        raise UserError(f"encoder {name!r} has no {stem} stem; leave out --model.stem, or choose a ResNet")


def _check_weights(name: str, pretrained: bool, weights: str | Path | None) -> None:
    if pretrained and weights is not None:
        raise UserError(f"weights were asked for from ImageNet (pretrained) and from {weights}; choose one")
    able = [other for other, info in ENCODERS.items() if info.torchvision or info.timm]
    if (pretrained or weights is not None) and name not in able:
        raise UserError(f"encoder {name!r} has no weights to start from; choose one of {', '.join(able)}")


def _found_weights(info: EncoderInfo, weights: str | Path | None) -> tuple[dict[str, Tensor], str]:
    """Tensors by name, and where they are from: that file, else torchvision or timm."""
    if weights is not None:
        return read_weights(weights), str(weights)
    if info.timm:
        return hub_weights(info.timm), f"timm's {info.timm}"
    return imagenet_weights(info.torchvision), f"torchvision's {info.torchvision}"


@encoder(latent_dim=64, smallest=4, about="two hidden layers of 256, for small images such as digits")
def mlp(channels: int, size: int) -> nn.Module:
    """Two hidden layers and a linear one."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size * size, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, 64),
    )


@encoder(latent_dim=64, smallest=10, about="two convolutions and a layer of 64, as for Fashion-MNIST")
def small_cnn(channels: int, size: int) -> nn.Module:
    """Two blocks of convolution, pooling, ReLU and dropout, then a linear layer.

    Latent Boost, arXiv:2412.08515, sec. 5, which takes a latent of 64 "from the flattening layer" of such
    a network; flattening alone gives more, so that the layer of 64 is our reading of it.
    """
    side = ((size - 2) // 2 - 2) // 2
    return nn.Sequential(
        *_small_block(channels, 32), *_small_block(32, 64), nn.Flatten(), nn.Linear(64 * side * side, 64)
    )


@encoder(latent_dim=128, smallest=16, about="four convolutions with batch norm, small and fast")
def conv4(channels: int, size: int) -> nn.Module:
    """Four blocks of 3 x 3 convolution, batch norm, ReLU and pooling, and the mean over the places.

    The network of few-shot learning (Vinyals et al. 2016, arXiv:1606.04080, sec. 4.1), with 16, 32, 64 and
    128 maps in place of 64 in each block, for most of its time goes where the maps are large.
    """
    widths = (channels, 16, 32, 64, 128)
    blocks = [layer for pair in itertools.pairwise(widths) for layer in _normalised_block(*pair)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@encoder(latent_dim=64, smallest=4, about="two strided convolutions without dropout, for autoencoders")
def conv(channels: int, size: int) -> nn.Module:
    """Two convolutions, each of which halves the side, and a linear layer.

    In place of `small_cnn` where images are to be made again from z: without dropout, which would give one
    image another z each time, and with the side halved in the convolution and not after it.
    """
    outer, inner = MAPS
    quarter = size // 4
    return nn.Sequential(
        nn.Conv2d(channels, outer, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(outer, inner, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(inner * quarter * quarter, 64),
    )


def _normalised_block(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]


def _small_block(inputs: int, outputs: int) -> list[nn.Module]:
    # Pooling before the ReLU gives the same values from a quarter of the work.
    return [nn.Conv2d(inputs, outputs, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.25)]


@encoder(
    latent_dim=512,
    smallest=32,
    about="VGG-16 with batch norm, its convolutions alone",
    torchvision="vgg16_bn",
)
def vgg16(channels: int, size: int) -> nn.Module:
    """The convolutions of VGG-16 with batch norm; at 32 x 32 they end in one place of 512 channels."""
    from torchvision.models.vgg import cfgs, make_layers

    # Not vgg16_bn().features, which would first fill a classifier of 124 million weights.
    features = make_layers(cfgs["D"], batch_norm=True)
    features[0] = nn.Conv2d(channels, 64, 3, padding=1)
    for layer in features:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:  # as torchvision starts them
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return nn.Sequential(OrderedDict(features=features, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()))


def _resnet(depth: int, latent_dim: int) -> EncoderInfo:
    name = f"resnet{depth}"
    about = f"ResNet-{depth}; a 3 x 3 stem for images below {FULL_STEM_FROM} pixels unless asked otherwise"
    build = partial(_torchvision_resnet, name)
    return EncoderInfo(build, latent_dim, smallest=16, about=about, torchvision=name, stems=True)


def _torchvision_resnet(model: str, channels: int, size: int) -> nn.Module:
    """The ResNet without its last layer."""
    from torchvision.models import get_model

    resnet = cast(nn.Module, get_model(model, weights=None))
    if channels != 3:
        resnet.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    resnet.fc = nn.Identity()
    return resnet


def _shrink_stem(resnet: nn.Module, channels: int) -> None:
    resnet.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    resnet.maxpool = nn.Identity()


def _convnext(letter: str, model: str, latent_dim: int) -> EncoderInfo:
    about = f"ConvNeXt-{letter}; can start from timm's {model}"
    return EncoderInfo(partial(_timm_network, model), latent_dim, smallest=32, about=about, timm=model)


def _vit(letter: str, model: str, latent_dim: int) -> EncoderInfo:
    about = f"ViT-{letter}/32, for images of a multiple of 32 pixels; can start from timm's {model}"
    build = partial(_timm_network, model, fixed=True)
    return EncoderInfo(build, latent_dim, smallest=32, about=about, timm=model, patch=32)


def _timm_network(model: str, channels: int, size: int, *, fixed: bool = False) -> nn.Module:
    """The network of timm without its last layer; a fixed one is built for images of that size alone."""
    from timm import create_model

    return create_model(model, in_chans=channels, num_classes=0, img_size=size if fixed else None)


# The weights of a family come of one training: of ConvNeXts on ImageNet-1k, of ViTs on ImageNet-21k and
# then 1k. At 32 pixels the last map of a ConvNeXt is 1 x 1, and a ViT reads one patch.
ENCODERS |= {
    "resnet18": _resnet(18, 512),
    "resnet50": _resnet(50, 2048),
    "resnet101": _resnet(101, 2048),
    "resnet152": _resnet(152, 2048),
    "convnext_small": _convnext("S", "convnext_small.fb_in1k", 768),
    "convnext_base": _convnext("B", "convnext_base.fb_in1k", 1024),
    "convnext_large": _convnext("L", "convnext_large.fb_in1k", 1536),
    "vit_small_patch32": _vit("S", "vit_small_patch32_224.augreg_in21k_ft_in1k", 384),
    "vit_base_patch32": _vit("B", "vit_base_patch32_224.augreg_in21k_ft_in1k", 768),
    "vit_large_patch32": _vit("L", "vit_large_patch32_384.orig_in21k_ft_in1k", 1024),
}
