"""Classifiers on frozen latents: what they predict, on what they are fitted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentloom.evaluation import knn_predictions, linear_predictions
from latentloom.evaluation.probes import stratified_rows

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]

ALL: list[Predict] = [knn_predictions, linear_predictions]


def clusters(n: int, seed: int, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Three classes, called 0, 4 and 9, on the corners of a triangle of side 4."""
    g = torch.Generator().manual_seed(seed)
    row = torch.randint(3, (n,), generator=g)
    corners = torch.tensor([[0.0, 0.0], [4.0, 0.0], [2.0, 3.46]])
    return corners[row] + spread * torch.randn(n, 2, generator=g), torch.tensor([0, 4, 9])[row]


@pytest.mark.parametrize("predict", ALL)
def test_finds_classes_that_are_apart_and_not_those_that_are_shuffled(predict: Predict) -> None:
    (train_z, train_y), (z, y) = clusters(300, 0), clusters(200, 1)
    assert (predict(train_z, train_y, z) == y).double().mean() > 0.9
    assert (
        predict(train_z, train_y[torch.randperm(300, generator=torch.Generator().manual_seed(0))], z) == y
    ).double().mean() < 0.6


@pytest.mark.parametrize("predict", ALL)
def test_unlabelled_training_rows_and_their_order_do_not_matter(predict: Predict) -> None:
    (train_z, train_y), (z, _) = clusters(60, 0), clusters(40, 1)
    more_z, more_y = torch.cat([train_z.flip(0), 2 * z]), torch.cat([train_y.flip(0), torch.full((40,), -1)])
    assert predict(more_z, more_y, z).tolist() == predict(train_z, train_y, z).tolist()


@pytest.mark.parametrize("predict", ALL)
def test_one_class_and_fewer_points_than_neighbours(predict: Predict) -> None:
    assert predict(torch.zeros(1, 2), torch.tensor([7]), torch.randn(3, 2)).tolist() == [7, 7, 7]


def test_neighbours_vote_as_counted_by_hand() -> None:
    (train_z, train_y), (z, _) = clusters(40, 2, spread=3.0), clusters(30, 3, spread=3.0)

    def voted(k: int) -> list[int]:
        found = []
        for p in z.tolist():
            near = sorted(range(40), key=lambda i: math.dist(p, train_z[i].tolist()))[:k]
            found.append(statistics.multimode(sorted(train_y[near].tolist()))[0])
        return found

    assert knn_predictions(train_z, train_y, z).tolist() == voted(5)
    assert knn_predictions(train_z, train_y, z, k=1).tolist() == voted(1)
    assert voted(1) != voted(5) != voted(6)


def test_linear_probe_does_not_depend_on_the_units_of_a_coordinate() -> None:
    (train_z, train_y), (z, _) = clusters(100, 0), clusters(100, 1)
    units = torch.tensor([1e-4, 1e4])
    there = linear_predictions(units * train_z, train_y, units * z)
    assert (there == linear_predictions(train_z, train_y, z)).double().mean() >= 0.99


def test_linear_probe_that_does_not_settle_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentloom.evaluation.probes.STEPS", 1)  # a warning would be an error here
    (train_z, train_y), (z, _) = clusters(100, 0), clusters(10, 1)
    assert linear_predictions(train_z, train_y, z).shape == (10,)


def test_chosen_rows_keep_the_shares_of_the_classes() -> None:
    y = torch.tensor([0] * 600 + [1] * 300 + [-1] * 50 + [2] * 100)
    rows = stratified_rows(y, 100, seed=0)
    assert y[rows].bincount().tolist() == [60, 30, 10]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert rows.tolist() == stratified_rows(y, 100, seed=0).tolist()
    assert rows.tolist() != stratified_rows(y, 100, seed=1).tolist()
    assert stratified_rows(y, 5000, seed=0).tolist() == (y >= 0).nonzero()[:, 0].tolist()
    assert stratified_rows(torch.tensor([-1, -1]), 5, seed=0).tolist() == []
