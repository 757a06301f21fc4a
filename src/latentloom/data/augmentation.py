"""Random changes of training images: batched, each image its own, on the device of the images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad


def crop(x: Tensor, generator: Generator) -> Tensor:
    """Shift each image (b, c, h, w) by up to an eighth of its sides, 4 of 32 pixels; zeros move in.

    The shift is uniform over all whole numbers of pixels, at least one pixel each way.
    """
    (b, _, h, w), device = x.shape, x.device
    up, left = max(h // 8, 1), max(w // 8, 1)
    windows = (
        pad(x, (left, left, up, up)).unfold(2, h, 1).unfold(3, w, 1)
    )  # (b, c, 2 up + 1, 2 left + 1, h, w)
    top = torch.randint(2 * up + 1, (b,), generator=generator).to(device)
    side = torch.randint(2 * left + 1, (b,), generator=generator).to(device)
    return windows[torch.arange(b, device=device), :, top, side]


def flip(x: Tensor, generator: Generator) -> Tensor:
    """Mirror each image (b, c, h, w) left to right with probability 1/2."""
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(mirrored.to(x.device)[:, None, None, None], x.flip(-1), x)


# Each draws from a generator on the CPU, so that every device sees the same images.
AUGMENTATIONS: dict[str, Callable[[Tensor, Generator], Tensor]] = {"crop": crop, "flip": flip}
