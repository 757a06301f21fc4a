"""What the comparisons of terms with their references share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass(frozen=True)
class Case:
    """A term with options, its reference, and named mistakes that the same comparison must catch."""

    term: str
    naive: Callable[..., float]
    mistakes: Mapping[str, Callable[..., float]]
    options: Mapping[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()  # tensors after z and y


def each(cases: Mapping[str, Case]) -> tuple[pytest.MarkDecorator, pytest.MarkDecorator]:
    """Runs a test for every case by `name`; and for every `mistake` of every case."""
    mistakes = [(name, mistake) for name, case in cases.items() for mistake in case.mistakes]
    return pytest.mark.parametrize("name", cases), pytest.mark.parametrize(("name", "mistake"), mistakes)


def shuffled(y: Sequence[int]) -> list[int]:
    """The known labels in order of size, the unlabelled rows where they are."""
    known = iter(sorted(label for label in y if label >= 0))
    return [label if label < 0 else next(known) for label in y]


def with_labels_shuffled(naive: Callable[..., float]) -> Callable[..., float]:
    """A reference of points, class embeddings and labels that gets the labels in the wrong order."""
    return lambda z, c, y: naive(z, c, shuffled(y))
