"""The registry of terms, and the one wrapper around every term."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentloom.checks import check_choice


@dataclass(frozen=True)
class TermInfo:
    """A registered term: what it reads from a `Latent`, and the options it takes."""

    fn: Callable[..., Tensor]
    reads: tuple[str, ...]  # tensors it needs
    may_read: tuple[str, ...]  # tensors it uses where there are any
    options: tuple[str, ...]


TERMS: dict[str, TermInfo] = {}


def term(fn: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Register `fn` as a loss term: tensors by position, options by keyword.

    The wrapper raises half types to float32, keeps float64, and switches autocast off, under which
    float32 products would be rounded to bfloat16 again.
    """
    if fn.__name__ in TERMS:
        raise ValueError(f"two loss terms are called {fn.__name__!r}; rename one")

    @functools.wraps(fn)
    def call(*tensors: Tensor | None, **options: Any) -> Tensor:
        device = next(t.device.type for t in (*tensors, *options.values()) if isinstance(t, Tensor))
        with torch.autocast(device, enabled=False):
            return fn(*map(_raised, tensors), **{k: _raised(v) for k, v in options.items()})

    positional = [p for p in inspect.signature(fn).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    TERMS[fn.__name__] = TermInfo(
        fn=call,
        reads=tuple(p.name for p in positional if p.default is p.empty),
        may_read=tuple(p.name for p in positional if p.default is not p.empty),
        options=tuple(p.name for p in inspect.signature(fn).parameters.values() if p.kind is p.KEYWORD_ONLY),
    )
    return call


def find_term(name: str) -> TermInfo:
    """The registered term of that name."""
    check_choice("loss term", name, TERMS)
    return TERMS[name]


def _raised(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(torch.promote_types(value.dtype, torch.float32))
    return value
