"""Many processes, one batch: the rows of all of them, with the gradient that one process would have.

Every process computes the whole loss of the whole batch, unscaled. What belongs to an image goes through
`gathered`; what all images share, `Latent.shared` and learned weights, is there already and enters as it
is. The factor that the mean of gradients over processes takes away is given back in the backward of the
gather, and nowhere else: on the loss it would multiply the gradient of shared parameters too.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad

from latentloom.checks import UserError
from latentloom.values import Latent

Samples = Mapping[str, Tensor]


def processes() -> int:
    """How many processes train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gathered(latent: Latent, only: Collection[str] | None = None) -> Latent:
    """The latent of all processes' rows, in the order of the processes; what is shared stays as it is.

    All tensors are exchanged as bytes in one collective, whatever their types. The numbers of rows may
    differ, and a process may have none; its tensors are then empty and have the shapes, beyond the rows,
    types and gradients of the others', as a model gives them for an empty batch. Of one process, or
    without a process group, it is the latent itself.

    Args:
        latent: of the rows of this process.
        only: names of the samples that are wanted, the same in every process; all unless given.
    """
    own = {name: t for name, t in sorted(latent.samples.items()) if only is None or name in only}
    if processes() == 1:
        return replace(latent, samples=own)
    sizes = _sizes(own)
    whole = _unpacked(_exchanged(_packed(own), sizes), own)
    start = sum(sizes[: dist.get_rank()])
    return replace(latent, samples={name: Rows.apply(own[name], whole[name], start) for name in own})


class Rows(torch.autograd.Function):
    """All processes' rows, of which this process's are live.

    Backward, its own rows have the gradient of the whole loss, times the number of processes, by which
    the mean of the gradients over processes divides.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, whole: Tensor, start: int) -> Tensor:
        ctx.span = slice(start, start + len(own))
        return whole

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        return slopes[0][ctx.span] * processes(), None, None


def _sizes(own: Samples) -> list[int]:
    """Rows of each process, which must agree on all else."""
    lengths = {len(t) for t in own.values()}
    if len(lengths) != 1:
        have = ", ".join(f"{name} {len(t)}" for name, t in own.items())
        raise UserError(f"wanted per-image tensors with a row per image, got {have or 'none'}")
    (rows,), kind = lengths, zlib.crc32(repr(_kinds(own)).encode())
    mine = torch.tensor([rows, kind], device=next(iter(own.values())).device)
    every = mine.new_empty(processes(), 2)
    dist.all_gather(list(every.unbind()), mine)
    sizes: list[int]
    sizes, kinds = every.T.tolist()
    if len(set(kinds)) > 1:
        raise _disagreement(own)
    return sizes


def _kinds(own: Samples) -> dict[str, str]:
    return {n: f"{t.dtype} (n, {', '.join(map(str, t.shape[1:]))}) {t.requires_grad}" for n, t in own.items()}


def _disagreement(own: Samples) -> UserError:
    """What every process but the first has otherwise."""
    every: list[Any] = [None] * processes()
    dist.all_gather_object(every, _kinds(own))
    first = every[0]
    found = [
        f"{name} is {first.get(name, 'absent')} in process 0, {kinds.get(name, 'absent')} in process {rank}"
        for rank, kinds in enumerate(every)
        for name in sorted(first.keys() | kinds.keys())
        if first.get(name) != kinds.get(name)
    ]
    return UserError(
        "wanted the same per-image tensors (type, shape beyond the rows, gradient) in every process, got "
        f"{'; '.join(found)}; a process without rows passes an empty batch through the model"
    )


def _packed(own: Samples) -> Tensor:
    """All that is known of each row, as bytes side by side, (n, bytes)."""
    flat = (t.detach().unsqueeze(-1).flatten(1).contiguous() for t in own.values())
    return torch.cat([t.view(torch.uint8) for t in flat], 1)


def _exchanged(packed: Tensor, sizes: list[int]) -> Tensor:
    """The rows of all processes, (sum of sizes, bytes); they travel padded to the longest."""
    longest = max(sizes)
    every = packed.new_empty(len(sizes), longest, packed.shape[1])
    dist.all_gather(list(every.unbind()), pad(packed, (0, 0, 0, longest - len(packed))))
    return torch.cat([rows[:size] for rows, size in zip(every, sizes, strict=True)])


def _unpacked(packed: Tensor, like: Samples) -> dict[str, Tensor]:
    widths = [t.shape[1:].numel() * t.element_size() for t in like.values()]
    parts = torch.split(packed, widths, 1)
    return {
        # Cloned, since bytes can be read as numbers only where a number may begin.
        name: part.clone(memory_format=torch.contiguous_format).view(t.dtype).view(len(packed), *t.shape[1:])
        for (name, t), part in zip(like.items(), parts, strict=True)
    }
