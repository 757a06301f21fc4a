"""Where the images of a set lie while they are trained on, and how tensors get to the device."""

from __future__ import annotations

import torch
from torch import Tensor

from latentloom.values import Images

SHARE = 0.5  # of the memory that is free on a GPU, the most that images may take


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on the device; to a GPU by pinned memory, so that the processor does not wait for it."""
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def fits(images: Tensor, device: torch.device | str) -> bool:
    """Whether images in memory are kept on the device: not where a GPU would have too little left."""
    if torch.device(device).type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= SHARE * free


def path_of(images: Tensor | Images, device: torch.device | str, workers: int) -> str:
    """How training images come to the model, in words.

    >>> path_of(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "cpu", workers=2)
    'uint8 on cpu'
    """
    if not isinstance(images, Tensor):
        return f"files, decoded ahead by {max(workers, 1)} threads, to {device}"
    if fits(images, device):
        return f"uint8 on {device}"
    return f"uint8 in memory, sent to {device} by batches"
