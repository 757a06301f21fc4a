"""The values that travel from images to report; whoever knows these knows the library.

ImageSet -> Latent -> Breakdown -> Card -> Record
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from torch import Tensor

Direction = Literal["higher", "lower"]
ARROWS = {"higher": "↑", "lower": "↓"}


class Images(Protocol):
    """Images that are decoded when asked for, so that a folder need not fit in memory."""

    def __len__(self) -> int: ...

    def decode(self, row: int) -> Tensor:
        """The image of one row, uint8 (c, h, w)."""
        ...


@dataclass(frozen=True)
class ImageSet:
    """Images with labels: one split of a data set."""

    name: str
    images: Tensor | Images  # uint8 (n, c, h, w), or files decoded on demand
    labels: Tensor  # (n,) int64; -1 is unlabelled
    class_names: tuple[str, ...]
    coarse: Tensor | None = None  # (n,) int64; -1 is unlabelled
    coarse_names: tuple[str, ...] = ()
    coarse_of: Tensor | None = None  # (C,) int64, the group of each class; -1 for none
    source: str = ""
    licence: str = ""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Splits:
    """A data set ready for a run; `test` is looked at once."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet


@dataclass(frozen=True)
class Latent:
    """A batch after the model: what every term and every score reads.

    `samples` has one row per image, `shared` is the same for the whole batch. Processes that train
    together gather the first and never the second.
    """

    # z (n, d), logits (n, C); (n,): y, row, coarse, cluster, and noise, uniform in [0, 1)
    samples: Mapping[str, Tensor]
    # (C, d): class_embeddings, class_centres, centres, label_embeddings; coarse_embeddings (G, d);
    # coarse_of (C,), the group of each class, -1 for none; balance (2,), logits of class and group
    shared: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def z(self) -> Tensor:
        """Points in the latent space, (n, d)."""
        return self.samples["z"]

    @property
    def y(self) -> Tensor:
        """Class of each point, (n,); -1 is unlabelled."""
        return self.samples["y"]

    @property
    def logits(self) -> Tensor:
        """Output of the linear head, (n, C)."""
        return self.samples["logits"]

    def with_samples(self, **more: Tensor | None) -> Latent:
        """The same latent with more per-image tensors; those that are None are left out."""
        present = {name: value for name, value in more.items() if value is not None}
        return replace(self, samples={**self.samples, **present})

    def with_shared(self, **more: Tensor) -> Latent:
        """The same latent with more tensors that are the same for the whole batch."""
        return replace(self, shared={**self.shared, **more})

    def __getitem__(self, name: str) -> Tensor:
        return self.samples[name] if name in self.samples else self.shared[name]

    def __contains__(self, name: str) -> bool:
        return name in self.samples or name in self.shared

    def get(self, name: str) -> Tensor | None:
        """The tensor of that name, or None where there is none."""
        return self.samples.get(name, self.shared.get(name))


@dataclass(frozen=True)
class Breakdown:
    """An objective evaluated once: the scalar to differentiate, and where it came from."""

    total: Tensor  # ()
    parts: Mapping[str, Tensor]  # weighted, detached; they add up to total
    weights: Mapping[str, float | Tensor]  # effective, at this progress; tensors, detached, where learned
    options: Mapping[str, float]  # scheduled options at this progress, as "term.option"
    counts: Mapping[str, Tensor]  # labelled, classes, positive_pairs, singletons; on the device


@dataclass(frozen=True)
class Finding:
    """One score of a latent space, with all that is needed to read it."""

    value: float
    better: Direction
    low: float  # end of the range
    high: float
    protocol: str  # on what it was taken, and how
    interval: tuple[float, float] | None = None  # 95 %, over the images of the split


@dataclass(frozen=True)
class Card:
    """Every score of a latent space over one split."""

    split: str
    images: int
    findings: Mapping[str, Finding]

    def value(self, name: str) -> float:
        return self.findings[name].value

    def __str__(self) -> str:
        """Aligned text, at most 80 columns wide; an arrow points to the better side."""
        lines = [("score", "value", "95 % interval", "better", "range")]
        for name, finding in self.findings.items():
            interval = " to ".join(map(shown, finding.interval)) if finding.interval else "–"
            ends = f"{finding.low:g} to {finding.high:g}"
            lines.append((name, shown(finding.value), interval, ARROWS[finding.better], ends))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = ["  ".join(map(_placed, "<>><<", line, widths)).rstrip() for line in lines]
        return "\n".join([f"{self.split}: {self.images:,} images", *aligned])


def decimals(value: float) -> int:
    """Decimals that a score is shown with: 4 below 10, one less for each power of ten, at least 1."""
    size = abs(value)
    return max(1, 4 - int(math.log10(size))) if 10 <= size < math.inf else 4


def shown(value: float) -> str:
    """A score as text.

    >>> shown(0.91234), shown(123.456)
    ('0.9123', '123.46')
    """
    return f"{value:.{decimals(value)}f}"


def _placed(side: str, text: str, width: int) -> str:
    return f"{text:{side}{width}}"


@dataclass(frozen=True)
class Record:
    """A run: what was asked, where it ran, what happened, what came out."""

    recipe: str
    seed: int
    config: Mapping[str, Any]  # resolved
    card: Card
    history: Sequence[Mapping[str, float]]  # a row per epoch
    best_epoch: int  # 0-based
    seconds: float  # spent training, evaluation between epochs left out
    commit: str  # of the source that ran; ends in "+" where it was changed
    sources: Mapping[str, str]  # source file -> hash of its code, of every file the run depends on
    versions: Mapping[str, str]
    hardware: str
    warnings: Sequence[str] = ()
    data_path: str = ""  # how training images came to the model
