"""Random changes of training images: batched, each image its own, on the device of the images.

Each takes images, a generator, and, where the images are only some of a batch, their `Place` in it: the
numbers are drawn for the whole batch, so that an image is changed alike wherever it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cache
from math import atan, degrees, log
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor
from torch.nn.functional import grid_sample, pad

from latentloom.data.transfer import sent

Policy = list[tuple[tuple[str, float, int | None], ...]]  # pairs of (operation, probability, level)
Operation = Callable[[Tensor, float], Tensor]  # images (n, c, h, w), strength -> images
UNSIGNED = ("Posterize", "Solarize")  # the others with a level have a direction, drawn for each image
AREA, SHAPE, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10  # of resized_crop; a shape is width / height


class Place(NamedTuple):
    """Which images of a batch are here."""

    images: int  # in the batch
    here: slice


class Augmentation(Protocol):
    """Images (b, c, h, w) to changed ones, by numbers that the generator draws."""

    def __call__(self, x: Tensor, generator: Generator, place: Place | None = None) -> Tensor: ...


def _place(x: Tensor, place: Place | None) -> Place:
    return Place(len(x), slice(None)) if place is None else place


def crop(x: Tensor, generator: Generator, place: Place | None = None) -> Tensor:
    """Shift each image (b, c, h, w) by up to an eighth of its sides, 4 of 32 pixels; zeros move in.

    The shift is uniform over all whole numbers of pixels, at least one pixel each way.
    """
    (b, _, h, w), device = x.shape, x.device
    up, left = max(h // 8, 1), max(w // 8, 1)
    windows = (
        pad(x, (left, left, up, up)).unfold(2, h, 1).unfold(3, w, 1)
    )  # (b, c, 2 up + 1, 2 left + 1, h, w)
    n, here = _place(x, place)
    top = sent(torch.randint(2 * up + 1, (n,), generator=generator)[here], device)
    side = sent(torch.randint(2 * left + 1, (n,), generator=generator)[here], device)
    return windows[torch.arange(b, device=device), :, top, side]


def flip(x: Tensor, generator: Generator, place: Place | None = None) -> Tensor:
    """Mirror each image (b, c, h, w) left to right with probability 1/2."""
    n, here = _place(x, place)
    mirrored = torch.rand(n, generator=generator)[here] < 0.5
    return torch.where(sent(mirrored, x.device)[:, None, None, None], x.flip(-1), x)


def resized_crop(x: Tensor, generator: Generator, place: Place | None = None) -> Tensor:
    """Stretch a window of each image (b, c, h, w) uint8 to the whole, bilinearly.

    The window has 8 to 100 % of the area and a width of 3/4 to 4/3 of its height, both drawn anew where
    it does not fit, up to ten times; then it is the whole image. Szegedy et al. 2015, arXiv:1409.4842,
    sec. 6, with the numbers of torchvision's RandomResizedCrop.
    """
    h, w = x.shape[2:]
    n, here = _place(x, place)
    size, start = (sent(t[here].float(), x.device) for t in _windows(n, h, w, generator))
    rows, columns = _read_at(start[:, 0], size[:, 0], h), _read_at(start[:, 1], size[:, 1], w)
    places = torch.stack([columns[:, None, :].expand(-1, h, w), rows[:, :, None].expand(-1, h, w)], -1)
    return grid_sample(x.float(), places, align_corners=False).round().to(x.dtype)


def _windows(b: int, h: int, w: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Heights and widths (b, 2) of windows, and their first rows and columns (b, 2)."""
    whole = torch.tensor([h, w], dtype=torch.float64)
    area = whole.prod() * torch.empty(TRIES, b).uniform_(*AREA, generator=generator)
    shape = torch.empty(TRIES, b).uniform_(log(SHAPE[0]), log(SHAPE[1]), generator=generator).exp()
    drawn = torch.stack([area / shape, area * shape], -1).sqrt().round()  # (tries, b, 2)
    fits = ((drawn >= 1) & (drawn <= whole)).all(-1)
    size = torch.where(fits.any(0)[:, None], drawn[fits.int().argmax(0), torch.arange(b)], whole)
    share = torch.rand(b, 2, generator=generator, dtype=torch.float64)
    return size, (share * (whole - size + 1)).floor()


def _read_at(start: Tensor, size: Tensor, n: int) -> Tensor:
    """Where n pixels that a window is stretched to are read, (b, n), in [-1, 1] as `grid_sample` wants."""
    pixel = torch.arange(n, device=start.device)
    inside = ((pixel + 0.5) * size[:, None] / n - 0.5).clamp(min=0).minimum(size[:, None] - 1)
    return (2 * (start[:, None] + inside) + 1) / n - 1


def autoaugment(x: Tensor, generator: Generator, place: Place | None = None) -> Tensor:
    """Change each image (b, c, h, w) uint8 by one of the 25 pairs of operations found for CIFAR-10.

    Each operation of the pair takes place with its own probability and strength, in a direction that is
    drawn; black moves in. AutoAugment, Cubuk et al. 2019, arXiv:1805.09501, with the table of pairs and
    the operations of torchvision.
    """
    return _by_policy(x, _policy("cifar10"), generator, place)


def autoaugment_imagenet(x: Tensor, generator: Generator, place: Place | None = None) -> Tensor:
    """Change each image (b, c, h, w) uint8 as `autoaugment` does, by the pairs found for ImageNet."""
    return _by_policy(x, _policy("imagenet"), generator, place)


def _by_policy(x: Tensor, policy: Policy, generator: Generator, place: Place | None = None) -> Tensor:
    n, here = _place(x, place)
    pairs = torch.randint(len(policy), (n,), generator=generator)[here].tolist()
    chances = torch.rand(n, 2, generator=generator)[here].tolist()
    directions = torch.randint(2, (n, 2), generator=generator).mul(2).sub(1)[here].tolist()
    for turn in range(2):
        groups: defaultdict[tuple[str, float], list[int]] = defaultdict(list)
        for row, pair in enumerate(pairs):
            name, probability, level = policy[pair][turn]
            if chances[row][turn] < probability:
                direction = 1 if name in UNSIGNED else directions[row][turn]
                groups[name, direction * (level or 0) / 9].append(row)
        x = _in_groups(x, groups)
    return x


def _in_groups(x: Tensor, groups: dict[tuple[str, float], list[int]]) -> Tensor:
    """The images after an operation on the rows of each group."""
    x = x.clone()
    for (name, strength), group in groups.items():
        rows = torch.tensor(group, device=x.device)
        x[rows] = _operations()[name](x[rows], strength)
    return x


@cache
def _policy(name: str) -> Policy:
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    policy: Policy = AutoAugment(AutoAugmentPolicy(name)).policies
    return policy


@cache
def _operations() -> dict[str, Operation]:
    """By torchvision's names; the strength is a share of the strongest, in [-1, 1]."""
    from torchvision.transforms.v2 import functional as f

    def moved(x: Tensor, right: float = 0, down: float = 0, shear: tuple[float, float] = (0, 0)) -> Tensor:
        angles = [degrees(atan(share)) for share in shear]
        moved: Tensor = f.affine(x, 0, [int(right), int(down)], 1, angles, center=[0, 0])
        return moved

    return {
        "ShearX": lambda x, s: moved(x, shear=(0.3 * s, 0)),
        "ShearY": lambda x, s: moved(x, shear=(0, 0.3 * s)),
        "TranslateX": lambda x, s: moved(x, right=150 / 331 * s * x.shape[3]),
        "TranslateY": lambda x, s: moved(x, down=150 / 331 * s * x.shape[2]),
        "Rotate": lambda x, s: f.rotate(x, 30 * s),
        "Brightness": lambda x, s: f.adjust_brightness(x, 1 + 0.9 * s),
        "Color": lambda x, s: f.adjust_saturation(x, 1 + 0.9 * s),
        "Contrast": lambda x, s: f.adjust_contrast(x, 1 + 0.9 * s),
        "Sharpness": lambda x, s: f.adjust_sharpness(x, 1 + 0.9 * s),
        "Posterize": lambda x, s: f.posterize(x, round(8 - 4 * s)),
        "Solarize": lambda x, s: f.solarize(x, 255 * (1 - s)),
        "AutoContrast": lambda x, s: f.autocontrast(x),
        "Equalize": lambda x, s: f.equalize(x),
        "Invert": lambda x, s: f.invert(x),
    }


# Each draws from a generator on the CPU, so that every device sees the same changes.
AUGMENTATIONS: dict[str, Augmentation] = {
    "crop": crop,
    "flip": flip,
    "resized-crop": resized_crop,
    "autoaugment": autoaugment,
    "autoaugment-imagenet": autoaugment_imagenet,
}
