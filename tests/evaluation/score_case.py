"""What the comparisons of scores with their references share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """What a score should be, and what it would be with a mistake."""

    naive: Callable[..., float]
    mistakes: Mapping[str, Callable[..., float]] = field(default_factory=dict)
