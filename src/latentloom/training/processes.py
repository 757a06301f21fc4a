"""Many processes that train as one: how many there are, which this is, and what they do together."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import Tensor
from torch.nn.functional import batch_norm
from torch.overrides import TorchFunctionMode

from latentloom.checks import UserError, reason
from latentloom.config import Training
from latentloom.latent.gather import processes

LOST = re.compile("gloo|connection (closed|reset)", re.IGNORECASE)  # in errors of no type of their own
WAIT = timedelta(days=7)  # for the first process to evaluate


def laid_out(config: Training) -> tuple[int, int]:
    """(processes on a machine, machines), as torchrun has them where it started this one, else as asked."""
    asked = config.devices, config.num_nodes
    if min(asked) < 1:
        raise UserError(f"wanted at least one device on one machine, got {asked[0]} on {asked[1]}")
    if not TorchElasticEnvironment.detect():
        return asked
    world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if asked not in ((1, 1), (local, world // local)):
        raise UserError(
            f"torchrun started {world} processes, {local} on this machine, and {asked[0]} devices on "
            f"{asked[1]} machines are asked for; leave out --training.devices and --training.num_nodes"
        )
    return local, world // local


def rank_of(config: Training) -> int:
    """Which process this is, from 0, of those that train together; known before they have met."""
    devices, machines = laid_out(config)
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment().global_rank()
    if devices * machines == 1:
        return 0
    if SLURMEnvironment.detect():
        return SLURMEnvironment().global_rank()
    here = LightningEnvironment()
    return here.node_rank() * devices + here.local_rank()


@contextmanager
def first_alone() -> Iterator[bool]:
    """Whether this process is the first; the others leave the block when the first has left it.

    Where the first fails, so do they.
    """
    if processes() == 1:
        yield True
        return
    group: Any = dist.new_group(backend="gloo", timeout=WAIT)
    yield dist.get_rank() == 0
    dist.barrier(group)


class LostError(UserError):
    """Another of the processes that train together has ended."""


@contextmanager
def lost_process_told() -> Iterator[None]:
    """What the network says where another process has ended, as one message."""
    try:
        yield
    except RuntimeError as error:
        if processes() == 1 or not (isinstance(error, dist.DistError) or LOST.search(str(error))):
            raise
        said = re.sub(r"^\[[^]]*\] ", "", reason(error))  # less its place in the source
        raise LostError(
            f"another of the {processes()} processes has ended, or cannot be reached ({said}), and may have "
            "said why; the same command goes on from the last checkpoint"
        ) from error


class SharedStatistics(TorchFunctionMode):
    """Within this block batch normalisation takes mean and variance over the rows of all processes.

    That of any module, on any device, in training: what calls `torch.nn.functional.batch_norm`. The parts
    of the batch may differ in length.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return (_batch_norm if func is batch_norm else func)(*args, **(kwargs or {}))


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm` of (n, c, ...) by the statistics of all processes."""
    if not training:
        return batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    wide, over = x.to(torch.promote_types(x.dtype, torch.float32)), [d for d in range(x.ndim) if d != 1]
    of_channel = (1, -1, *[1] * (x.ndim - 2))
    own = wide.new_full((1,), x.numel() // x.shape[1])
    total, count = _Sum.apply(torch.cat([wide.sum(over), own])).split([x.shape[1], 1])
    mean = total / count
    centred = wide - mean.view(of_channel)
    variance = _Sum.apply(centred.square().sum(over)) / count
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((variance * count / (count - 1)).to(running_var), momentum)
    scale = (variance + eps).rsqrt() * (1 if weight is None else weight)
    out: Tensor = centred * scale.view(of_channel) + (0 if bias is None else bias.view(of_channel))
    return out.to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over processes, of which each has a part of the gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return _summed(own)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        return _summed(slopes[0])


def _summed(own: Tensor) -> Tensor:
    total = own.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
