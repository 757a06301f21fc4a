"""The registry of scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.evaluation import SCORES, find_score, score


@pytest.fixture(autouse=True)
def _registry_restored() -> Iterator[None]:
    with patch.dict(SCORES):
        yield


def test_a_score_is_registered_with_what_it_reads_and_says() -> None:
    @score(better="lower", low=0.0, high=math.inf)
    def widest(z: Tensor, y: Tensor, *, power: int = 1) -> Tensor:
        """Largest coordinate.

        Degenerate: 0 where all
        coordinates are.
        """
        assert z.dtype == torch.float64
        return z.abs().max() ** power

    info = find_score("widest")
    assert (info.reads, info.title, info.worst) == (("z", "y"), "Largest coordinate", math.inf)
    assert info.degenerate == "0 where all coordinates are."
    assert widest(torch.tensor([[1.0], [-3.0], [9.0]]), torch.tensor([0, 4, -1]), power=2).item() == 9.0


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match="did you mean 'silhouette'"):
        find_score("siluette")


def test_a_name_is_taken_once() -> None:
    def silhouette(z: Tensor) -> Tensor:
        return z.sum()

    with pytest.raises(ValueError, match="two scores are called 'silhouette'"):
        score(better="higher", low=0.0, high=1.0)(silhouette)
