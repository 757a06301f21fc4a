"""How many images fit in memory at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MOST = 256  # images; more at a time are no faster
MAPS = 4  # as large as the largest, held for an image: what a layer takes and gives, a branch, room to work
ON_CPU = 2**30  # bytes


@torch.no_grad()
def images_at_once(model: nn.Module, image: Tensor) -> int:
    """How many images to embed at a time, 1 to 256.

    As many as fit where each holds four maps as large as the largest that a module of the network gives:
    in 1 GiB on a CPU, in a quarter of what is free on a GPU.

    Args:
        model: takes images (n, c, h, w).
        image: any, (c, h, w), on the model's device.
    """
    sizes = [image.nbytes]

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.nbytes)

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        model(image[None])
    finally:
        for hook in hooks:
            hook.remove()
    room = torch.cuda.mem_get_info(image.device)[0] // 4 if image.is_cuda else ON_CPU
    return min(max(1, room // (MAPS * max(sizes))), MOST)
