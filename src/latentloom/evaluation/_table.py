"""The registry of scores, and the one wrapper around every score."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from latentloom.checks import UserError, check_choice
from latentloom.evaluation.blocks import all_finite, exact
from latentloom.values import Direction

PerImage = Callable[..., Tensor]


@dataclass(frozen=True)
class ScoreInfo:
    """A registered score: what it reads from a `Latent`, and how to read its value."""

    fn: Callable[..., Tensor]
    better: Direction
    low: float  # ends of the range
    high: float
    reads: tuple[str, ...]  # tensors it needs, in the order of its arguments
    may_read: tuple[str, ...]  # tensors it takes if they are there
    title: str  # first line of its docstring
    degenerate: str  # what it is where there is nothing to compare
    per_image: PerImage | None  # (n,) values whose mean it is, where it is one; nan where unlabelled

    @property
    def worst(self) -> float:
        """The end of the range that is not wanted."""
        return self.low if self.better == "higher" else self.high


SCORES: dict[str, ScoreInfo] = {}


def score(
    *,
    better: Direction,
    low: float,
    high: float,
    per_image: PerImage | None = None,
    in_blocks: bool = False,
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a function of tensors as a score, with its direction and its range.

    Its first tensor has a row per image, as has y, the second; those after them have a row per class.
    The wrapper leaves out unlabelled rows, works in float64 without gradient, and answers for the
    function where there is no row (the worst end of the range) or one that is not finite (nan).

    A function that is to be fit for many images reads `in_blocks`: it gets the first tensor and y as they
    are, and takes labelled rows in float64 from `blocks`, some at a time.
    """

    def register(fn: Callable[..., Tensor]) -> Callable[..., Tensor]:
        if fn.__name__ in SCORES:
            raise ValueError(f"two scores are called {fn.__name__!r}; rename one")

        @functools.wraps(fn)
        def call(*tensors: Tensor, **options: object) -> Tensor:
            rows = (checked_rows if in_blocks else labelled_rows)(*tensors[:2])
            like = exact(rows[0][:0])  # where results lie, and their type
            if not _any(*rows):
                return like.new_tensor(info.worst)
            if not all_finite(*rows):
                return like.new_tensor(math.nan)
            return fn(*rows, *(tensor.detach().to(like) for tensor in tensors[2:]), **options)

        info = SCORES[fn.__name__] = _described(call, better, low, high, per_image)
        return call

    return register


def find_score(name: str) -> ScoreInfo:
    """The registered score of that name."""
    check_choice("score", name, SCORES)
    return SCORES[name]


def checked_rows(points: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:
    """Rows as they are, without gradient, and their labels in int64 on the device of `exact`."""
    if points.ndim != 2 or not points.is_floating_point():
        raise UserError(
            f"a score reads floating (n, d) or (n, C), got {points.dtype} {tuple(points.shape)}; "
            "flatten maps with flatten(1)"
        )
    if y is None:
        return (points.detach(),)
    if y.shape != points.shape[:1] or y.is_floating_point():
        raise UserError(
            f"y must be integer ({len(points)},), got {y.dtype} {tuple(y.shape)}; "
            "from one-hot, pass y.argmax(1)"
        )
    return points.detach(), y.to(exact(points[:0]).device, torch.int64)


def labelled_rows(points: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:
    """Rows that have a label, the first tensor in float64; all rows where no labels are given.

    Distances between near points do not survive the cancellation in float32, and a score is taken
    rarely enough to afford better. A device without float64 hands over to the CPU.
    """
    rows, *labels = checked_rows(points, y)
    if not labels:
        return (exact(rows),)
    kept = labels[0] >= 0
    return (exact(rows if kept.all() else rows[kept.to(rows.device)]), labels[0][kept])


def _any(points: Tensor, y: Tensor | None = None) -> bool:
    """Whether there is a row to judge."""
    return len(points) > 0 if y is None else bool((y >= 0).any())


def _described(
    fn: Callable[..., Tensor], better: Direction, low: float, high: float, per_image: PerImage | None
) -> ScoreInfo:
    paragraphs = (inspect.getdoc(fn) or "").split("\n\n")
    positional = [p for p in inspect.signature(fn).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    needed = [p.name for p in positional if p.default is p.empty]
    return ScoreInfo(
        fn=fn,
        better=better,
        low=low,
        high=high,
        reads=tuple(needed),
        may_read=tuple(p.name for p in positional if p.name not in needed),
        title=paragraphs[0].rstrip("."),
        degenerate=next((" ".join(p[12:].split()) for p in paragraphs if p.startswith("Degenerate: ")), ""),
        per_image=per_image,
    )
